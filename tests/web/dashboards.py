"""A dashboard to test: the application over a database, asked as somebody who is signed in."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import Any

from httpx import ASGITransport, AsyncClient, Cookies, Response
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import ASGIApp

from tests.looks import PATIENT
from xclaim import Queue
from xclaim.web import AccessDeniedError, OnePlace, Person, Place, create_app

OPERATOR = Person(name="ada", may_act=True, may_see_payloads=True)
_TOKEN = re.compile(r'name="csrf_token" value="([^"]*)"')


def shop(engine: Engine, *, timeout: timedelta = PATIENT) -> OnePlace:
    """Return the one place of a dashboard, whose looks may take long on a loaded machine."""
    return OnePlace(Place(name="shop", engine=engine, timeout=timeout))


@dataclass
class SignedIn:
    """Lets everybody in as ``person``; nobody if that is None."""

    person: Person | None = OPERATOR

    async def identify(self, request: Request) -> Person:
        if self.person is None:
            raise AccessDeniedError(401, "sign in first")
        return self.person


@dataclass
class Browser:
    """Asks an ASGI application, keeps cookies, follows no redirect; an error of it is its answer.

    ``address`` is where it finds the application. Each request has an event loop of its own.
    """

    app: ASGIApp
    address: str = "http://dashboard.example"
    headers: dict[str, str] = field(default_factory=dict)
    cookies: Cookies = field(default_factory=Cookies)
    peer: str = "127.0.0.1"

    def get(self, path: str, **options: Any) -> Response:
        return self.send("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        return self.send("POST", path, **options)

    def send(self, method: str, path: str, **options: Any) -> Response:
        return asyncio.run(self._send(method, path, options))

    async def _send(self, method: str, path: str, options: dict[str, Any]) -> Response:
        transport = ASGITransport(self.app, raise_app_exceptions=False, client=(self.peer, 50_000))
        async with AsyncClient(
            transport=transport, base_url=self.address, cookies=self.cookies, headers=self.headers
        ) as client:
            response = await client.request(method, path, **options)
            self.cookies = client.cookies
            return response


@dataclass
class Dashboard:
    """A dashboard over an engine, and a browser that looks at it.

    ``get`` and ``post`` take an address relative to the dashboard. ``post`` sends the token that
    the page ``form`` carries, as a browser would. ``timeout`` is that of its looks.
    """

    engine: Engine
    access: SignedIn = field(default_factory=SignedIn)
    options: dict[str, Any] = field(default_factory=dict)
    timeout: timedelta = PATIENT
    app: Starlette = field(init=False)
    browser: Browser = field(init=False)

    def __post_init__(self) -> None:
        place = shop(self.engine, timeout=self.timeout)
        self.app = create_app(place, self.access, **self.options)
        self.browser = Browser(self.app)

    def queue(self, name: str) -> Queue[Any]:
        return Queue(name, self.engine)

    def get(self, address: str, **query: Any) -> Response:
        return self.browser.get(f"/{address}", params=query or None)

    def post(self, address: str, *, form: str, **fields: Any) -> Response:
        token = self.token_of(form)
        return self.browser.post(
            f"/{address}",
            data={"csrf_token": token, **fields},
            headers={"sec-fetch-site": "same-origin"},
        )

    def token_of(self, form: str) -> str:
        """Return the token that the forms of a page carry."""
        page = self.get(form)
        found = _TOKEN.search(page.text)
        assert found is not None, f"{form} has no form: {page.status_code}"
        return unescape(found.group(1))


@contextmanager
def dashboard_of(url: str, **options: Any) -> Iterator[Dashboard]:
    """Yield a dashboard of the database at a URL; ``options`` are those of ``create_app``."""
    from xclaim import create_engine

    engine = create_engine(url)
    try:
        yield Dashboard(engine, options=options)
    finally:
        engine.dispose()
