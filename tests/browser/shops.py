"""A dashboard where a browser finds it, and the database behind it, to arrange and to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.routing import Route

from xclaim import Queue
from xclaim.observing.values import Action

ACTIONS = tuple(map(str, Action))
# What only scripts and other programs ask for.
_NO_PAGES = {"/healthz", "/static/{name}", "/events", "/flows", "/completions", "/metrics"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A dashboard at an address, and its database as the owner has it.

    ``place``: which of its databases it is, where the dashboard has several.
    """

    address: str
    engine: Engine
    place: str | None = None

    def queue(self, name: str) -> Queue[Any]:
        """Return a queue as the owner has it."""
        return Queue(name, self.engine)

    def page(self, page: str, **query: str) -> str:
        """Return the address of a page."""
        given = query if self.place is None else {"place": self.place, **query}
        return f"{self.address}/{page}{'?' if given else ''}{urlencode(given)}"

    @property
    def ways_in(self) -> list[str]:
        """Pages of what `full.fill` fills, from which links lead to all others.

        To that of an Airflow task only Airflow leads.
        """
        task = {"dag": "shop", "run": "manual__2026/11/27", "task": "push", "map": "3"}
        return [self.page(""), self.page("queue", name="orders"), self.page("task", **task)]


def pages_of(app: Starlette) -> set[str]:
    """Return the paths of all pages of a dashboard, those of actions among them."""
    return {
        route.path
        for route in app.routes
        if isinstance(route, Route) and "GET" in (route.methods or ())
    } - _NO_PAGES


def pages_to_look_at(app: Starlette) -> set[str]:
    """Return the paths of its pages that are not those of actions."""
    return pages_of(app) - {f"/{action}" for action in (*ACTIONS, "unpause")}
