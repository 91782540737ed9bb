"""Names, keys, errors and payloads by whoever may push: on each page they are text, and no more."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from tests.browser.conftest import Served
from tests.browser.full import (
    BY_HAND,
    HOSTILE,
    IMAGE,
    LONG,
    SCRIPT,
    STEERING,
    fill_all,
    fill_by_hand,
)
from tests.browser.looking import Looked
from xclaim.sql.schema import message_table
from xclaim.web.pages.filtering import filter_of

pytestmark = pytest.mark.slow
# Of those that each kind of trouble has; all others are on the pages of messages.
_NAMES = (SCRIPT, IMAGE, STEERING, LONG, "a?b=1&c#d", "..")
_LONGEST = 2_000  # characters of a filter


@pytest.fixture(scope="module")
def full(shop: Served) -> Served:
    fill_all(shop.dashboard.engine)
    fill_by_hand(shop.dashboard.engine)
    return shop


def addresses(name: str) -> list[str]:
    """Return the pages that have to do with a name, as others of ours link to them."""
    of_queue = ("dead-letters", "claims", "push", "pause", "withdraw")
    given: list[tuple[str, dict[str, str]]] = [
        ("queue", {"name": name}),
        ("queues", {"named": name}),
        ("task", {"dag": name, "run": name, "task": name, "map": ""}),
        *((page, {"queue": name}) for page in of_queue),
    ]
    if len(found := filter_of(name)) <= _LONGEST:
        given.append(("messages", {"filter": found}))
    return [f"{page}?{urlencode(query)}" for page, query in given]


@pytest.mark.parametrize("name", _NAMES, ids=lambda name: ascii(name)[1:20])
def test_no_name_does_anything_on_any_page(full: Served, looked: Looked, name: str) -> None:
    failures = []
    for address in addresses(name):
        answer = looked.page.goto(f"{full.address}/{address}")
        assert answer is not None
        if answer.status >= 500:
            failures.append(f"{answer.status}: {address[:200]}")
        expect(looked.page.locator("main h1")).to_have_count(1)
        has, shown = looked.page.evaluate(_WIDTHS)
        if has > shown:
            failures.append(f"{has} px in a window of {shown}: {address[:200]}")
        failures += looked.page.evaluate(_FOREIGN)

    assert failures == []
    _forget_answers(looked)


_WIDTHS = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
# What no page of ours has, and a name, a payload or an error could have made.
_FOREIGN = """() => [...document.querySelectorAll(
  "img, b, iframe, a[href^='javascript:'], script:not([src]), [onerror], [onload]")]
  .map(each => each.outerHTML.slice(0, 200))"""


def test_every_queue_that_is_listed_has_a_page(full: Served, looked: Looked) -> None:
    looked.open(f"{full.address}/queues")
    links = looked.page.eval_on_selector_all("tbody th a", "all => all.map(each => each.href)")

    answers = [looked.open(link) for link in links]

    assert [answer and answer.status for answer in answers] == [200] * len(links)
    assert len(links) >= len(BY_HAND)
    _forget_answers(looked)


def _forget_answers(looked: Looked) -> None:
    """Leave out what the console says of answers: not all of so many pages are watched live."""
    looked.complaints[:] = [
        each for each in looked.complaints if "the server responded" not in each
    ]


def test_no_message_does_anything_on_its_page(full: Served, looked: Looked) -> None:
    with full.dashboard.engine.connect() as connection:
        ids = connection.execute(select(message_table().c.id)).scalars().all()
    failures = []

    for id_ in ids:
        looked.open(f"{full.address}/message?id={id_}")
        failures += looked.page.evaluate(_FOREIGN)
        has, shown = looked.page.evaluate(_WIDTHS)
        if has > shown:
            failures.append(f"{has} px in a window of {shown}: message {id_}")

    assert failures == []
    assert len(ids) > len(HOSTILE) + len(BY_HAND)
