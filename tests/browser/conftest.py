"""Dashboards that a real server serves, for the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.serving import served
from tests.web.dashboards import Dashboard, SignedIn
from xclaim import create_engine

Serve = Callable[..., "Served"]


class Served:
    """A dashboard that answers at an address."""

    def __init__(self, dashboard: Dashboard, address: str) -> None:
        self.dashboard = dashboard
        self.address = address


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a dashboard of a database: `serve(url, person=..., read_only=...)`."""
    with _Servers() as servers:
        yield servers.serve


class _Servers:
    def __init__(self) -> None:
        self._ends: list[Callable[[], Any]] = []

    def serve(self, url: str, *, person: Any = None, **options: Any) -> Served:
        engine = create_engine(url)
        self._ends.append(engine.dispose)
        access = SignedIn() if person is None else SignedIn(person)
        dashboard = Dashboard(engine, access=access, options=options)
        running = served(dashboard.app)
        address = running.__enter__()
        self._ends.append(lambda: running.__exit__(None, None, None))
        return Served(dashboard, address)

    def __enter__(self) -> _Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for end in reversed(self._ends):
            end()
