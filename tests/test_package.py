"""The package as a whole: its names, its two facades, and what an import costs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import xclaim
from xclaim import AsyncQueue, Queue

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
(READABLE,) = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]


def test_every_public_name_is_there_and_listed() -> None:
    assert dir(xclaim) == xclaim.__all__
    assert all(getattr(xclaim, name) is not None for name in xclaim.__all__)


def test_the_version_is_written_once() -> None:
    assert version("xclaim") == xclaim.__version__
    assert PYPROJECT["project"]["dynamic"] == ["readme", "version"]
    assert "version" not in PYPROJECT["project"]


def test_the_extras_are_what_users_choose_from() -> None:
    assert sorted(PYPROJECT["project"]["optional-dependencies"]) == [
        "airflow",
        "arrow",
        "azure",
        "embedded",
        "encryption",
        "gcs",
        "messaging",
        "metrics",
        "otel",
        "postgresql",
        "pydantic",
        "s3",
        "storage",
        "web",
    ]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("see [semantics](docs/semantics.md#fails).", "see semantics."),
        ("![a queue](docs/artefacts/queue.svg)", "a queue"),
        ("[`make help`](CONTRIBUTING.md)", "`make help`"),
        ("[below](#the-verbs)", "below"),
        ("[PyPI](https://pypi.org/p/x) and [us](docs/a.md)", "[PyPI](https://pypi.org/p/x) and us"),
        ("`pack[3](claim)`", "`pack[3](claim)`"),
        ("values[0](claim, lease)", "values[0](claim, lease)"),
    ],
)
def test_pypi_shows_the_text_of_a_link_that_leads_into_the_checkout(
    written: str, shown: str
) -> None:
    assert re.sub(READABLE["pattern"], READABLE["replacement"], written) == shown


def test_one_setting_makes_them_links_again() -> None:
    link = r"[\g<text>](https://example.org/\g<path>)"

    shown = re.sub(READABLE["pattern"], link, "[see](docs/a.md#b)")

    assert shown == "[see](https://example.org/docs/a.md#b)"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Qeue'"):
        xclaim.Qeue  # noqa: B018


def public_methods(facade: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in inspect.getmembers(facade, callable)
        if not name.startswith("_")
    }


def test_both_facades_have_the_same_methods() -> None:
    assert public_methods(Queue) == public_methods(AsyncQueue)


def test_a_claim_may_be_passed_by_its_name(sqlite_url: str) -> None:
    with Queue("orders", sqlite_url) as queue:
        settle: Any = queue
        queue.push_many([1, 2])

        settle.ack(claim=queue.claim())
        settle.ack_many(claims=queue.claim_many(1))

        assert queue.counts().consumed == 2


def loaded_by(code: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


def test_the_import_brings_nothing_heavy() -> None:
    loaded = loaded_by("import xclaim")

    assert not loaded & {"sqlalchemy", "alembic", "airflow", "click", "rich", "psycopg"}


def test_a_queue_brings_sqlalchemy_and_no_more_worlds() -> None:
    loaded = loaded_by("from xclaim import Queue")

    assert "sqlalchemy" in loaded
    assert not loaded & {"alembic", "airflow", "click", "rich", "psycopg", "aiosqlite"}
