"""Addresses within the dashboard, all of them relative: it may be mounted under any prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

Scope = Mapping[str, Any]


def path_of(scope: Scope) -> str:
    """Return the path of a request within the dashboard, without the prefix it is mounted under."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        path = path[len(prefix) :]
    return path


def address(scope: Scope, page: str, **query: Any) -> str:
    """Return the address of a page as seen from the page of this request.

    Names of queues stand in the query, never in the path: a browser would resolve the dots of
    one, and a proxy may decode its slashes. What is None or empty is left out.
    """
    upwards = "../" * (path_of(scope).count("/") - 1)
    given = {name: value for name, value in query.items() if value not in (None, "")}
    text = urlencode(given, doseq=True, errors="replace")
    return f"{upwards or './'}{page.removeprefix('/')}{'?' if text else ''}{text}"
