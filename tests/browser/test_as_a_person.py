"""What a person does at three in the morning: with a keyboard, without a script, on a live page."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import Serve
from tests.browser.full import fill
from tests.browser.looking import looking
from xclaim import Queue

pytestmark = pytest.mark.slow


def test_without_a_script_a_queue_is_paused_and_let_go_on(
    browser: Browser, serve: Serve, database_url: str
) -> None:
    served = serve(database_url)
    queue: Queue[Any] = served.dashboard.queue("orders")
    queue.push(1)

    with looking(browser, java_script_enabled=False) as looked:
        page = looked.page
        looked.open(f"{served.address}/queue?name=orders")
        page.get_by_role("link", name="Pause the queue").click()
        page.get_by_label("Why").fill("<b>the warehouse moves</b>")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("<b>the warehouse moves</b>").first).to_be_visible()
        paused = queue.paused()
        page.get_by_role("link", name="Unpause").click()
        page.get_by_role("button", name="Unpause").click()
        expect(page.get_by_role("status")).to_be_visible()

    assert paused is not None
    assert paused.paused_by == "ada (dashboard of shop)"
    assert paused.reason == "<b>the warehouse moves</b>"
    assert queue.paused() is None
    assert not looked.complaints


def test_dead_letters_of_one_error_are_given_back_by_the_keyboard_alone(
    browser: Browser, serve: Serve, database_url: str
) -> None:
    served = serve(database_url)
    fill(served.dashboard.engine)
    queue: Queue[Any] = served.dashboard.queue("orders")
    before = queue.counts().dead_letters

    with looking(browser) as looked:
        page = looked.page
        looked.open(f"{served.address}/dead-letters")
        group = page.get_by_role("row").filter(has_text="KeyError")
        group.get_by_role("link", name="Redrive").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/redrive?**")
        page.get_by_role("button", name="Redrive").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_be_visible()

    assert queue.counts().dead_letters == before - 1
    assert not looked.complaints


def test_the_first_key_of_a_page_leads_past_its_navigation(
    browser: Browser, serve: Serve, sqlite_url: str
) -> None:
    served = serve(sqlite_url)

    with looking(browser) as looked:
        looked.open(f"{served.address}/")
        looked.page.keyboard.press("Tab")
        looked.page.keyboard.press("Enter")
        focused = looked.page.evaluate("() => document.activeElement.id")

    assert focused == "main"


def test_a_number_changes_while_somebody_looks(
    browser: Browser, serve: Serve, database_url: str
) -> None:
    served = serve(database_url)
    queue: Queue[Any] = served.dashboard.queue("orders")
    queue.push(1)

    with looking(browser) as looked:
        page = looked.page
        looked.open(f"{served.address}/queues")
        number = page.locator('[data-cell="available:orders"]')
        expect(number).to_have_text("1")
        page.get_by_label("Name contains").focus()
        queue.push(2)
        expect(number).to_have_text("2", timeout=120_000)
        focused = page.evaluate("() => document.activeElement.id")

    assert focused == "named"
    assert not looked.complaints


def test_what_is_chosen_of_light_and_dark_is_kept(
    browser: Browser, serve: Serve, sqlite_url: str
) -> None:
    served = serve(sqlite_url)

    with looking(browser, scheme="light") as looked:
        page = looked.page
        looked.open(f"{served.address}/")
        page.get_by_role("button", name="Theme: system").click()
        page.get_by_role("button", name="Theme: light").click()
        looked.open(f"{served.address}/claims")
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")

    assert ground == "rgb(18, 22, 27)"
    assert not looked.complaints
