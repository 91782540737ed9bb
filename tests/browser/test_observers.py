"""What a role that was granted to observe is shown: no payloads, and why it may not act."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.acting import OFFERED, assert_refused, reasons
from tests.browser.conftest import Observed
from tests.browser.full import SECRET, SECRET_ERROR
from tests.browser.looking import Looked, crawl, paths
from tests.browser.shops import ACTIONS, pages_to_look_at
from tests.web.dashboards import Dashboard

pytestmark = pytest.mark.slow


def test_no_page_sends_a_payload_or_an_error(observed: Observed, looked: Looked) -> None:
    opened = list(crawl(looked, *observed.ways_in, checks=False))

    assert paths(opened, observed.address) == pages_to_look_at(Dashboard(observed.engine).app)
    assert SECRET not in observed.recorded.sent
    assert SECRET_ERROR not in observed.recorded.sent


@pytest.mark.parametrize("page", OFFERED)
def test_an_action_is_not_offered_and_the_reason_is_said(
    observed: Observed, looked: Looked, page: str
) -> None:
    query, actions = OFFERED[page]

    looked.open(observed.page(page, **query))

    refused = reasons(looked, actions)
    assert {action for action in ACTIONS if f"may not {action}" in refused} == actions
    assert "as the owner of the table run" in refused


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_refused_also_to_who_knows_its_address(
    observed: Observed, looked: Looked, action: str
) -> None:
    assert_refused(looked, observed, action, f"may not {action}")


def test_what_may_not_be_read_may_not_be_searched_for(observed: Observed, looked: Looked) -> None:
    looked.page.goto(observed.page("messages", filter=f'payload.secret:"{SECRET}"'))

    expect(looked.page.get_by_role("alert")).to_contain_text("may not read payloads")
    looked.complaints[:] = [each for each in looked.complaints if "400" not in each]
