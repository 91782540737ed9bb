"""Each action of the dashboard, once, by somebody who may; what stands there for who may not.

The queues have names that would like to act. What is here is done alone and inside Airflow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.full import IMAGE, LONG, SCRIPT
from tests.browser.looking import Looked, View
from tests.browser.shops import Shop
from xclaim import Claim, ClaimLostError, Queue
from xclaim.retry import Retry
from xclaim.web.pages.filtering import filter_of

Act = Callable[[Looked, Shop], None]
ONCE = Retry(max_attempts=1)


def claimed(queue: Queue[Any], **options: Any) -> Claim[Any]:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def press(view: View, link: str, button: str) -> None:
    """Follow the link to an action, and press its button."""
    view.get_by_role("link", name=link).first.click()
    view.get_by_role("button", name=button, exact=True).click()


def said(view: View) -> Any:
    return expect(view.locator(".flash"))


def give_dead_letters_back(looked: Looked, shop: Shop) -> None:
    queue = shop.queue(f"dead {SCRIPT}")
    queue.push_many([1, 2])
    queue.release(claimed(queue), error=ValueError(IMAGE), retry=ONCE)
    queue.release(claimed(queue), error=KeyError(LONG), retry=ONCE)

    looked.open(shop.page("dead-letters"))
    looked.view.get_by_role("link", name=queue.name).first.click()
    press(looked.view, "Redrive all", "Redrive")

    said(looked.view).to_contain_text("2 messages")
    assert (queue.counts().available, queue.counts().dead_letters) == (2, 0)


def take_a_claim_from_who_holds_it(looked: Looked, shop: Shop) -> None:
    view = looked.view
    queue = shop.queue(f"held {IMAGE}")
    message = queue.push(1)
    claim = claimed(queue, claimed_by=SCRIPT)

    looked.open(shop.page("claims"))
    view.locator(f'a.button[href*="filter=id%3A{message.id}&"]').click()
    view.get_by_label("Why").fill(SCRIPT)
    view.get_by_role("button", name="Release").click()
    said(view).to_contain_text("1 message")
    looked.open(shop.page("message", id=str(message.id)))

    expect(view.get_by_text(SCRIPT).first).to_be_attached()
    with pytest.raises(ClaimLostError):
        queue.ack(claim)


def withdraw_a_message(looked: Looked, shop: Shop) -> None:
    queue = shop.queue("left {{ 7 * 7 }}")
    message = queue.push({"text": SCRIPT}, unique_key=IMAGE)

    looked.open(shop.page("message", id=str(message.id)))
    press(looked.view, "Withdraw", "Withdraw")

    said(looked.view).to_contain_text("1 message")
    assert queue.get(message.id) is None


def give_back_what_lapsed_claims_hold(looked: Looked, shop: Shop) -> None:
    queue = shop.queue("lapsed \N{PILE OF POO}/../?a=b&c#d%00")
    queue.push(1)
    claimed(queue, lease=timedelta(0))

    looked.open(shop.page("queues"))
    looked.view.get_by_role("link", name=queue.name).click()
    press(looked.view, "Give lapsed claims back", "Give back")

    said(looked.view).to_contain_text("1 message")
    assert queue.counts().claimed == 0


def push_a_message_after_the_form_was_wrong(looked: Looked, shop: Shop) -> None:
    view = looked.view
    queue = shop.queue("push '\"`")

    looked.open(shop.page("push", queue=queue.name))
    view.get_by_label("Payload").fill("{no JSON")
    view.get_by_label("Unique key").fill(IMAGE)
    view.get_by_role("button", name="Push").click()
    expect(view.get_by_role("alert")).to_contain_text("Payload")
    view.get_by_label("Payload").fill(f'{{"text": "{SCRIPT}"}}')
    view.get_by_role("button", name="Push").click()

    expect(view.get_by_label("Payload")).to_contain_text(SCRIPT)
    (pushed,) = queue.peek(2)
    assert (pushed.payload, pushed.unique_key) == ({"text": SCRIPT}, IMAGE)
    looked.complaints[:] = [each for each in looked.complaints if "422" not in each]


def withdraw_what_a_filter_finds_after_it_was_shown(looked: Looked, shop: Shop) -> None:
    view = looked.view
    queue = shop.queue("bulk")
    queue.push_many([{"of": {"kind": SCRIPT}}] * 25 + [{"of": {"kind": "other"}}] * 5)

    looked.open(shop.page("messages"))
    view.get_by_label("Filter").fill(f'{filter_of("bulk")} payload.of.kind:"{SCRIPT}"')
    view.get_by_role("button", name="Search").click()
    view.get_by_role("link", name="Withdraw").click()
    expect(view.get_by_role("heading", name="Withdraw 25 messages?")).to_be_visible()
    expect(view.locator("tbody tr")).to_have_count(20)
    expect(view.get_by_text("Shown are 20 of 25.")).to_be_visible()
    later = queue.push({"of": {"kind": SCRIPT}})
    view.get_by_role("button", name="Withdraw").click()

    said(view).to_contain_text("25 messages")
    assert queue.counts().available == 6
    assert queue.get(later.id) is not None


def pause_a_queue_and_let_it_go_on(looked: Looked, shop: Shop) -> None:
    view = looked.view
    queue = shop.queue(f"paused {IMAGE}")
    queue.push(1)

    looked.open(shop.page("queue", name=queue.name))
    view.get_by_role("link", name="Pause the queue").click()
    view.get_by_label("Why").fill(SCRIPT)
    view.get_by_role("button", name="Pause", exact=True).click()
    said(view).to_contain_text("is paused")
    paused = queue.paused()
    assert queue.claim() is None
    press(view, "Unpause the queue", "Unpause")

    said(view).to_contain_text("hands out messages again")
    assert paused is not None
    assert paused.reason == SCRIPT
    assert paused.paused_by.startswith("ada (dashboard of ")
    assert queue.claim() is not None


EVERY_ACTION: dict[str, Act] = {
    "redrive": give_dead_letters_back,
    "release": take_a_claim_from_who_holds_it,
    "withdraw": withdraw_a_message,
    "expire": give_back_what_lapsed_claims_hold,
    "push": push_a_message_after_the_form_was_wrong,
    "many": withdraw_what_a_filter_finds_after_it_was_shown,
    "pause": pause_a_queue_and_let_it_go_on,
}

# Pages of what `full.fill` fills, and the actions that they offer to who may act.
OFFERED: dict[str, tuple[dict[str, str], set[str]]] = {
    "queue": ({"name": "orders"}, {"push", "redrive", "expire", "pause"}),
    "dead-letters": ({"queue": "orders"}, {"redrive", "withdraw"}),
    "messages": ({"filter": "queue:orders"}, {"redrive", "release", "withdraw"}),
    "claims": ({"queue": "orders"}, {"expire", "release"}),
}
_SEND = """async ([page, fields]) => {
  const answer = await fetch(page, {method: "POST", body: new URLSearchParams(fields)});
  return answer.status;
}"""


def reasons(looked: Looked, actions: Collection[str]) -> str:
    """Return why these are not offered on the page, of which none may be offered."""
    for action in actions:
        expect(looked.view.locator(f'a.button[href*="{action}?"]')).to_have_count(0)
    return " ".join(looked.view.locator(".button.refused").all_inner_texts())


def assert_refused(looked: Looked, shop: Shop, action: str, reason: str) -> None:
    """Ask for the page of an action, and send its form as who knows what is in it."""
    before = shop.queue("orders").counts()

    asked = looked.view.goto(shop.page(action, queue="orders"))
    expect(looked.view.locator("main")).to_contain_text(reason)
    looked.open(shop.page("audit"))  # every form has the token, and this one he is shown
    token = looked.view.locator('[name="csrf_token"]').input_value()
    place = looked.view.locator('main [name="place"]').input_value()
    fields = {
        "csrf_token": token,
        "place": place,
        "queue": "orders",
        "filter": "queue:orders",
        "payload": "1",
    }
    sent = looked.view.evaluate(_SEND, [action, fields])

    assert asked is not None
    assert (asked.status, sent) == (403, 403)
    assert shop.queue("orders").counts() == before
    looked.complaints[:] = [each for each in looked.complaints if "403" not in each]
