"""Each action once, in a real browser, by its owner; the queues have names that would like to act.

How a queue is paused and unpaused is in `test_as_a_person`.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import text

from tests.browser.conftest import Served
from tests.browser.full import IMAGE, LONG, SCRIPT
from tests.browser.looking import Looked
from xclaim import Claim, ClaimLostError, Queue
from xclaim.retry import Retry
from xclaim.web.pages.filtering import filter_of

pytestmark = pytest.mark.slow
_ONCE = Retry(max_attempts=1)


def claimed(queue: Queue[Any], **options: Any) -> Claim[Any]:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def press(page: Page, link: str, button: str) -> None:
    """Follow the link to an action, and press its button."""
    page.get_by_role("link", name=link).first.click()
    page.get_by_role("button", name=button, exact=True).click()


def said(page: Page) -> Any:
    return expect(page.locator(".flash"))


def test_dead_letters_are_given_back(shop: Served, looked: Looked) -> None:
    queue = shop.dashboard.queue(f"dead {SCRIPT}")
    queue.push_many([1, 2])
    queue.release(claimed(queue), error=ValueError(IMAGE), retry=_ONCE)
    queue.release(claimed(queue), error=KeyError(LONG), retry=_ONCE)

    looked.open(f"{shop.address}/dead-letters")
    looked.page.get_by_role("link", name=queue.name).first.click()
    press(looked.page, "Redrive all", "Redrive")

    said(looked.page).to_contain_text("2 messages")
    assert (queue.counts().available, queue.counts().dead_letters) == (2, 0)


def test_a_claim_is_taken_from_who_holds_it(shop: Served, looked: Looked) -> None:
    queue = shop.dashboard.queue(f"held {IMAGE}")
    message = queue.push(1)
    claim = claimed(queue, claimed_by=SCRIPT)

    looked.open(f"{shop.address}/claims")
    looked.page.locator(f'a.button[href*="filter=id%3A{message.id}&"]').click()
    looked.page.get_by_label("Why").fill(SCRIPT)
    looked.page.get_by_role("button", name="Release").click()
    said(looked.page).to_contain_text("1 message")
    looked.open(f"{shop.address}/message?id={message.id}")

    expect(looked.page.get_by_text(SCRIPT).first).to_be_attached()
    with pytest.raises(ClaimLostError):
        queue.ack(claim)


def test_a_message_is_withdrawn(shop: Served, looked: Looked) -> None:
    queue = shop.dashboard.queue("left {{ 7 * 7 }}")
    message = queue.push({"text": SCRIPT}, unique_key=IMAGE)

    looked.open(f"{shop.address}/message?id={message.id}")
    press(looked.page, "Withdraw", "Withdraw")

    said(looked.page).to_contain_text("1 message")
    assert queue.get(message.id) is None


def test_what_lapsed_claims_hold_is_given_back(shop: Served, looked: Looked) -> None:
    queue = shop.dashboard.queue("lapsed \N{PILE OF POO}/../?a=b&c#d%00")
    queue.push(1)
    claimed(queue, lease=timedelta(0))

    looked.open(f"{shop.address}/queues")
    looked.page.get_by_role("link", name=queue.name).click()
    press(looked.page, "Give lapsed claims back", "Give back")

    said(looked.page).to_contain_text("1 message")
    assert queue.counts().claimed == 0


def test_a_message_is_pushed_after_its_form_was_wrong(shop: Served, looked: Looked) -> None:
    page = looked.page
    queue = shop.dashboard.queue("push '\"`")

    looked.open(f"{shop.address}/push?queue=push '\"`")
    page.get_by_label("Payload").fill("{no JSON")
    page.get_by_label("Unique key").fill(IMAGE)
    page.get_by_role("button", name="Push").click()
    expect(page.get_by_role("alert")).to_contain_text("Payload")
    page.get_by_label("Payload").fill(f'{{"text": "{SCRIPT}"}}')
    page.get_by_role("button", name="Push").click()

    expect(page.get_by_label("Payload")).to_contain_text(SCRIPT)
    (pushed,) = queue.peek(2)
    assert (pushed.payload, pushed.unique_key) == ({"text": SCRIPT}, IMAGE)
    looked.complaints[:] = [each for each in looked.complaints if "422" not in each]


def test_what_a_filter_finds_is_shown_before_it_is_withdrawn(shop: Served, looked: Looked) -> None:
    page = looked.page
    queue = shop.dashboard.queue("bulk")
    queue.push_many([{"of": {"kind": SCRIPT}}] * 25 + [{"of": {"kind": "other"}}] * 5)

    looked.open(f"{shop.address}/messages")
    page.get_by_label("Filter").fill(f'{filter_of("bulk")} payload.of.kind:"{SCRIPT}"')
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Withdraw").click()
    expect(page.get_by_role("heading", name="Withdraw 25 messages?")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(20)
    expect(page.get_by_text("Shown are 20 of 25.")).to_be_visible()
    later = queue.push({"of": {"kind": SCRIPT}})
    page.get_by_role("button", name="Withdraw").click()

    said(page).to_contain_text("25 messages")
    assert queue.counts().available == 6
    assert queue.get(later.id) is not None


def test_an_action_that_two_windows_ask_about_is_done_once(shop: Served, looked: Looked) -> None:
    page = looked.page
    queue = shop.dashboard.queue("twice")
    queue.push(1)
    queue.release(claimed(queue), error="boom", retry=_ONCE)

    looked.open(f"{shop.address}/redrive?queue=twice")
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
    message = shop.dashboard.queue("audited").push(1)

    looked.open(f"{shop.address}/doctor")
    page.get_by_role("link", name="Go to the audit").click()
    page.get_by_role("button", name="Run it").click()
    expect(page.get_by_role("status")).to_contain_text("Sound")
    with shop.dashboard.engine.begin() as connection:
        broken = "UPDATE xclaim_message SET attempts = max_attempts WHERE id = :id"
        connection.execute(text(broken), {"id": message.id})
    page.get_by_role("button", name="Run it again").click()

    expect(page.get_by_role("status")).to_contain_text("Not sound")
    expect(page.get_by_role("link", name=re.compile(f"message {message.id}"))).to_be_visible()
