"""Addresses are relative to the page they stand on, and say what they are given."""

from __future__ import annotations

from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

from xclaim.web.addresses import address, path_of

HOSTILE = [
    "../../etc",
    "a/b",
    "?x=1&y",
    "#",
    "%2e%2e",
    "javascript:alert(1)",
    "//evil",
    "\udcff",
    " ",
]


@pytest.mark.parametrize("prefix", ["", "/tools", "/a/b c"])
@pytest.mark.parametrize("page", ["/", "/queues", "/deep/down/here"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_a_name_wherever_the_page_is(prefix: str, page: str, name: str) -> None:
    scope = {"path": prefix + page, "root_path": prefix}

    led_to = urlsplit(urljoin(f"http://host{prefix}{page}", address(scope, "queue", name=name)))

    assert (led_to.netloc, led_to.path) == ("host", f"{prefix}/queue")
    assert parse_qs(led_to.query) == {"name": [name.replace("\udcff", "?")]}
    assert led_to.fragment == ""


def test_what_is_empty_is_left_out() -> None:
    scope = {"path": "/", "root_path": ""}

    assert address(scope, "queues", named="", after=None, sort="name") == "./queues?sort=name"
    assert address(scope, "") == "./"


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("/tools/queues", "/tools", "/queues"),
        ("/queues", "/tools", "/queues"),
        ("/toolsmith", "/tools", "/toolsmith"),
        ("/tools", "/tools", ""),
    ],
)
def test_the_path_is_that_within_the_dashboard(path: str, prefix: str, expected: str) -> None:
    assert path_of({"path": path, "root_path": prefix}) == expected
