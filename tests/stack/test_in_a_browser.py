"""The dashboard inside Airflow, in a real browser: every page and every action, by who may what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import URL

from tests.browser.acting import EVERY_ACTION, OFFERED, Act, assert_refused, reasons
from tests.browser.full import SECRET, SECRET_ERROR, fill_all
from tests.browser.looking import crawl, paths
from tests.browser.shops import ACTIONS, Shop, pages_of, pages_to_look_at
from tests.databases import copy_sqlite, sqlite_url
from tests.people import people
from tests.stack.conftest import Run, Stack
from tests.stack.visitors import Visitors
from tests.web.dashboards import Dashboard
from xclaim import create_engine

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]
_PAYLOAD = "for the browser"
_DATABASES = ("postgresql", "sqlite")
# Who may only look, where, and why they may not do something.
_OBSERVERS = {
    "a person, on PostgreSQL": ("olga", "postgresql", "olga may only look"),
    "a person, on SQLite": ("olga", "sqlite", "olga may only look"),
    "a role of the database": ("ada", "observed", "as the owner of the table run"),
}
_by_observers = pytest.mark.parametrize(
    ("who", "where", "why"), _OBSERVERS.values(), ids=_OBSERVERS
)


@pytest.fixture(scope="module")
def visitors(stack: Stack, browser: Browser) -> Iterator[Visitors]:
    with Visitors(browser, _address(stack)) as visitors:
        yield visitors


@pytest.fixture(scope="module")
def shops(
    stack: Stack,
    postgresql_server: str,
    _template_url: str,
    _sqlite_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Shop]]:
    """Full databases behind connections of Airflow: one of each kind, and one with its observer."""
    path = tmp_path_factory.mktemp("shop") / "xclaim.db"
    copy_sqlite(_sqlite_template, path)
    with (
        people(postgresql_server, _template_url, kinds=["observer"]) as office,
        ExitStack() as closing,
    ):
        in_file = create_engine(sqlite_url(path))
        closing.callback(in_file.dispose)
        engines = {"postgresql": office.owner, "sqlite": in_file, "observed": office.owner}
        urls = {name: engine.url for name, engine in engines.items()}
        urls["observed"] = office.engines["observer"].url
        for name, url in urls.items():
            stack.ask("POST", "/connections", _connection(f"shop_{name}", url))
            closing.callback(stack.ask, "DELETE", f"/connections/shop_{name}")
        for engine in {*engines.values()}:
            fill_all(engine)
        yield {
            name: Shop(address=f"{_address(stack)}/xclaim", engine=engine, place=f"shop_{name}")
            for name, engine in engines.items()
        }


def _address(stack: Stack) -> str:
    return str(stack.client.base_url).rstrip("/")


def _connection(conn_id: str, url: URL) -> dict[str, object]:
    """Return a connection of type xclaim, as Airflow's API takes it."""
    return {
        "connection_id": conn_id,
        "conn_type": "xclaim",
        "host": url.host,
        "port": url.port,
        "login": url.username,
        "password": url.password,
        "schema": url.database,
        "extra": json.dumps(dict(url.query)),
    }


@pytest.fixture(scope="module")
def run(stack: Stack) -> Run:
    """A run whose mapped task has consumed a message."""
    with stack.queue("crowd") as queue:
        queue.push(_PAYLOAD)
    run = stack.start("crowd", size=1)
    assert run.end() == "success"
    return run


def test_the_menu_leads_to_the_queues_and_a_task_back_to_airflow(
    stack: Stack, visitors: Visitors, run: Run
) -> None:
    message = stack.messages(run.dag_id)[-1]

    with visitors.window("ada") as looked:
        page = looked.page
        page.goto(f"{_address(stack)}/plugin/xclaim")
        frame = page.frame_locator("iframe")
        expect(frame.get_by_role("heading", name="Queues")).to_be_visible()
        frame.get_by_role("link", name="crowd", exact=True).click()
        expect(frame.get_by_role("heading", name="crowd")).to_be_visible()
        frame.get_by_role("link", name="Messages", exact=True).click()
        frame.get_by_label("Filter").fill(f"id:{message.id}")
        frame.get_by_role("button", name="Search").click()
        expect(frame.locator("tbody tr")).to_have_count(1)
        frame.get_by_role("link", name=str(message.id), exact=True).click()
        named = f"Message {message.id}"
        expect(frame.get_by_role("heading", name=named)).to_be_visible()
        frame.get_by_role("link", name="crowd/").first.click()
        page.wait_for_url("**/dags/crowd/runs/**")


@pytest.mark.parametrize("tab", ["plugin/xclaim-run", "tasks/work/mapped/0/plugin/xclaim-task"])
@pytest.mark.parametrize(("who", "shown"), [("ada", [_PAYLOAD]), ("olga", [])])
def test_a_tab_shows_what_a_task_consumed_and_its_payload_to_who_may_see_it(
    visitors: Visitors, run: Run, tab: str, who: str, shown: list[str]
) -> None:
    with visitors.frame(who, f"dags/crowd/runs/{quote(run.run_id, safe='')}/{tab}") as looked:
        text = looked.view.locator("main").inner_text()

    assert "Consumed" in text
    assert [each for each in [_PAYLOAD] if each in text] == shown


@pytest.mark.parametrize("look", [Visitors.frame, Visitors.window], ids=["framed", "by itself"])
@pytest.mark.parametrize("where", _DATABASES)
def test_no_page_complains(
    visitors: Visitors, shops: dict[str, Shop], where: str, look: Callable[..., Any]
) -> None:
    shop = shops[where]

    with look(visitors, "ada") as looked:
        opened = list(crawl(looked, *shop.ways_in, checks=False))

    assert paths(opened, shop.address) == pages_of(Dashboard(shop.engine).app)


@_by_observers
def test_no_page_shows_an_observer_a_payload_or_an_error(
    visitors: Visitors, shops: dict[str, Shop], who: str, where: str, why: str
) -> None:
    shop = shops[where]

    with visitors.frame(who) as looked:
        pages = crawl(looked, *shop.ways_in, checks=False)
        shown = {page: looked.view.content() for page in pages}

    assert paths(shown, shop.address) == pages_to_look_at(Dashboard(shop.engine).app)
    assert [page for page, text in shown.items() if SECRET in text or SECRET_ERROR in text] == []
    assert why in shown[shop.page("queue", name="orders")]


@pytest.mark.parametrize("act", EVERY_ACTION.values(), ids=EVERY_ACTION)
@pytest.mark.parametrize("where", _DATABASES)
def test_an_action_does_what_it_says(
    visitors: Visitors, shops: dict[str, Shop], where: str, act: Act
) -> None:
    with visitors.frame("ada") as looked:
        act(looked, shops[where])


@_by_observers
@pytest.mark.parametrize("page", OFFERED)
def test_no_action_is_offered_to_an_observer_and_the_reason_is_said(
    visitors: Visitors, shops: dict[str, Shop], page: str, who: str, where: str, why: str
) -> None:
    query, actions = OFFERED[page]

    with visitors.frame(who) as looked:
        looked.open(shops[where].page(page, **query))
        refused = reasons(looked, actions)

    assert why in refused


@_by_observers
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_is_refused_to_an_observer_who_knows_its_address(
    visitors: Visitors, shops: dict[str, Shop], action: str, who: str, where: str, why: str
) -> None:
    with visitors.frame(who) as looked:
        assert_refused(looked, shops[where], action, why)


def test_who_may_read_no_connection_is_told_which_right_to_ask_for(
    visitors: Visitors, shops: dict[str, Shop]
) -> None:
    with visitors.frame("vic") as looked:
        text = looked.view.locator("main").inner_text()
        looked.complaints[:] = [each for each in looked.complaints if "403" not in each]

    assert shops
    assert "You (vic) may read none of the connections" in text
    assert "“can read” on “Connections”" in text
