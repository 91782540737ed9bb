"""The dashboard inside Airflow, in a real browser: menu entry, frame, and the way out of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.looking import looking
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]
_PATIENCE = 120_000  # milliseconds
# What Airflow's own pages complain of: the sandbox around every plugin, and 3.1 its router.
_AIRFLOWS = ("can escape its sandboxing", "No `HydrateFallback` element")


def test_the_menu_leads_to_the_queues_and_a_task_back_to_airflow(
    stack: Stack, browser: Browser
) -> None:
    with stack.queue("crowd") as queue:
        message = queue.push("for the browser")
    run = stack.start("crowd", size=1)
    assert run.end() == "success"

    with looking(browser) as looked:
        page = looked.page
        # Signed in first: where all are admins, Airflow before 3.3 leads home who signs in here.
        for path in ("/auth/token/login", "/plugin/xclaim"):
            page.goto(str(stack.client.base_url.join(path)), timeout=_PATIENCE)
        frame = page.frame_locator("iframe")
        expect(frame.get_by_role("heading", name="Queues")).to_be_visible(timeout=_PATIENCE)
        frame.get_by_role("link", name="crowd", exact=True).click()
        expect(frame.get_by_role("heading", name="crowd")).to_be_visible(timeout=_PATIENCE)
        frame.get_by_role("link", name="Messages", exact=True).click()
        frame.get_by_label("Filter").fill(f"id:{message.id}")
        frame.get_by_role("button", name="Search").click()
        expect(frame.locator("tbody tr")).to_have_count(1, timeout=_PATIENCE)
        frame.get_by_role("link", name=str(message.id), exact=True).click()
        named = f"Message {message.id}"
        expect(frame.get_by_role("heading", name=named)).to_be_visible(timeout=_PATIENCE)
        frame.get_by_role("link", name="crowd/").first.click()
        page.wait_for_url("**/dags/crowd/runs/**", timeout=_PATIENCE)

        refused = [each for each in looked.complaints if not any(own in each for own in _AIRFLOWS)]

    assert refused == []
