"""Dashboards that a real server serves, for the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.full import fill_all
from tests.browser.looking import Looked, looking
from tests.browser.serving import Recorded, served
from tests.browser.shops import Shop
from tests.people import people
from tests.web.dashboards import Dashboard, SignedIn
from xclaim import create_engine

Serve = Callable[..., "Served"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served(Shop):
    """A dashboard that answers at an address, with all that it has sent."""

    dashboard: Dashboard
    recorded: Recorded


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a dashboard of a database: `serve(url, person=..., read_only=...)`."""
    with _Servers() as servers:
        yield servers.serve


@pytest.fixture(scope="module")
def shop(new_database_url: Callable[[], str]) -> Iterator[Served]:
    """A dashboard on either database, which the tests of a module share: each has a queue in it."""
    with _Servers() as servers:
        yield servers.serve(new_database_url())


@pytest.fixture(scope="module")
def observed(postgresql_server: str, _template_url: str) -> Iterator[Observed]:
    """A full shop as somebody sees it whose role was granted to observe, and its owner's queues."""
    with people(postgresql_server, _template_url, kinds=["observer"]) as office:
        fill_all(office.owner)
        url = office.engines["observer"].url.render_as_string(hide_password=False)
        with _Servers() as servers:
            served = servers.serve(url)
            recorded = served.recorded
            yield Observed(address=served.address, engine=office.owner, recorded=recorded)


@pytest.fixture
def looked(browser: Browser) -> Iterator[Looked]:
    """A new window, which must have nothing to complain about in the end."""
    with looking(browser) as new:
        yield new
    assert not new.complaints, "\n".join(new.complaints)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed(Shop):
    """A dashboard as an observer sees it, with all that it has sent."""

    recorded: Recorded


class _Servers:
    def __init__(self) -> None:
        self._ends: list[Callable[[], Any]] = []

    def serve(self, url: str, *, person: Any = None, **options: Any) -> Served:
        engine = create_engine(url)
        self._ends.append(engine.dispose)
        access = SignedIn() if person is None else SignedIn(person)
        dashboard = Dashboard(engine, access=access, options=options)
        recorded = Recorded(dashboard.app)
        running = served(recorded)
        address = running.__enter__()
        self._ends.append(lambda: running.__exit__(None, None, None))
        return Served(address=address, engine=engine, dashboard=dashboard, recorded=recorded)

    def __enter__(self) -> _Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for end in reversed(self._ends):
            end()
