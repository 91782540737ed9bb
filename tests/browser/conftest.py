"""A real browser over dashboards that a real server serves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright
from starlette.types import ASGIApp

from tests.browser.chromium import WHY_NOT, executable
from tests.eventually import until
from tests.web.dashboards import Dashboard, SignedIn
from xclaim import create_engine

Serve = Callable[..., "Served"]


class Served:
    """A dashboard that answers at an address."""

    def __init__(self, dashboard: Dashboard, address: str) -> None:
        self.dashboard = dashboard
        self.address = address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for the tests of one file: what drives it has an event loop in our thread."""
    if executable() is None:
        pytest.skip(WHY_NOT)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application at a free port of the loopback; yield its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        server.force_exit = True  # a stream of events would be waited for
        thread.join()


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
