"""Each action once, in a real browser, by its owner; and those that meet another, or a fault.

How a queue is paused and unpaused without a script is in `test_as_a_person`.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from tests.browser.acting import EVERY_ACTION, ONCE, Act, claimed, said
from tests.browser.conftest import Served
from tests.browser.looking import Looked
from tests.browser.shops import ACTIONS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("act", EVERY_ACTION.values(), ids=EVERY_ACTION)
def test_an_action_does_what_it_says(shop: Served, looked: Looked, act: Act) -> None:
    act(looked, shop)


def test_no_action_is_left_out() -> None:
    assert {*ACTIONS} <= EVERY_ACTION.keys()


def test_an_action_that_two_windows_ask_about_is_done_once(shop: Served, looked: Looked) -> None:
    page = looked.page
    queue = shop.queue("twice")
    queue.push(1)
    queue.release(claimed(queue), error="boom", retry=ONCE)

    looked.open(shop.page("redrive", queue="twice"))
    other = page.context.new_page()
    other.goto(page.url)
    page.get_by_role("button", name="Redrive").click()
    said(page).to_contain_text("1 message")
    other.get_by_role("button", name="Redrive").click()

    said(other).to_contain_text("1 message of the preview changed meanwhile")
    assert queue.counts().available == 1


def test_the_doctor_leads_to_the_audit_which_finds_what_is_broken(
    shop: Served, looked: Looked
) -> None:
    page = looked.page
    message = shop.queue("audited").push(1)

    looked.open(shop.page("doctor"))
    page.get_by_role("link", name="Go to the audit").click()
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("status")).to_contain_text("Sound")
    with shop.engine.begin() as connection:
        broken = "UPDATE xclaim_message SET attempts = max_attempts WHERE id = :id"
        connection.execute(text(broken), {"id": message.id})
    page.get_by_role("button", name="Run it again").click()

    expect(page.get_by_role("status")).to_contain_text("Not sound")
    expect(page.get_by_role("link", name=re.compile(f"message {message.id}"))).to_be_visible()
