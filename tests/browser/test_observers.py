"""What a role that was granted to observe is shown: no payloads, and why it may not act."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Observed
from tests.browser.full import SECRET, SECRET_ERROR
from tests.browser.looking import Looked, crawl

pytestmark = pytest.mark.slow
_ACTIONS = ("push", "redrive", "release", "withdraw", "expire", "pause")
_SEND = """async ([page, fields]) => {
  const answer = await fetch(page, {method: "POST", body: new URLSearchParams(fields)});
  return answer.status;
}"""


def test_no_page_sends_a_payload_or_an_error(observed: Observed, looked: Looked) -> None:
    opened = crawl(looked, f"{observed.address}/", checks=False)

    assert len(opened) > 15
    assert SECRET not in observed.recorded.sent
    assert SECRET_ERROR not in observed.recorded.sent


@pytest.mark.parametrize(
    ("page", "actions"),
    [
        ("queue?name=orders", {"push", "redrive", "expire", "pause"}),
        ("dead-letters?queue=orders", {"redrive", "withdraw"}),
        ("messages?filter=queue:orders", {"redrive", "release", "withdraw"}),
        ("claims?queue=orders", {"expire", "release"}),
    ],
)
def test_an_action_is_not_offered_and_the_reason_is_said(
    observed: Observed, looked: Looked, page: str, actions: set[str]
) -> None:
    looked.open(f"{observed.address}/{page}")

    refused = " ".join(looked.page.locator(".button.refused").all_inner_texts())
    assert {action for action in _ACTIONS if f"may not {action}" in refused} == actions
    assert "as the owner of the table run" in refused
    for action in actions:
        expect(looked.page.locator(f'a.button[href*="{action}?"]')).to_have_count(0)


@pytest.mark.parametrize("action", _ACTIONS)
def test_an_action_is_refused_also_to_who_knows_its_address(
    observed: Observed, looked: Looked, action: str
) -> None:
    before = observed.people.owned().counts()

    asked = looked.page.goto(f"{observed.address}/{action}?queue=orders")
    expect(looked.page.locator("main")).to_contain_text(f"may not {action}")
    looked.open(f"{observed.address}/audit")  # every form has the token, and this one he is shown
    token = looked.page.locator('[name="csrf_token"]').input_value()
    fields = {"csrf_token": token, "queue": "orders", "filter": "queue:orders", "payload": "1"}
    sent = looked.page.evaluate(_SEND, [action, fields])

    assert asked is not None
    assert (asked.status, sent) == (403, 403)
    assert observed.people.owned().counts() == before
    looked.complaints[:] = [each for each in looked.complaints if "403" not in each]


def test_what_may_not_be_read_may_not_be_searched_for(observed: Observed, looked: Looked) -> None:
    looked.page.goto(f'{observed.address}/messages?filter=payload.secret:"{SECRET}"')

    expect(looked.page.get_by_role("alert")).to_contain_text("may not read payloads")
    looked.complaints[:] = [each for each in looked.complaints if "400" not in each]
