"""Under which names a dashboard answers.

A page of another site can make its own name lead to this machine (DNS rebinding), and is then of
the same origin for the browser. It cannot make the browser say another name than its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from xclaim.web.access import AccessDeniedError

if TYPE_CHECKING:
    from starlette.requests import Request

    from xclaim.web.access import Access, Person

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class OnlyHosts:
    """Lets in whom ``access`` lets in, under the names alone; the port does not matter."""

    access: Access
    names: frozenset[str]

    async def identify(self, request: Request) -> Person:
        """Return who asks. Raise AccessDeniedError if it is asked for under another name."""
        name = host_name(request.headers.get("host", ""))
        if name not in self.names:
            raise AccessDeniedError(
                403,
                f"this dashboard does not answer to the name {name or ''!r}: open it as localhost, "
                "or start it with --allowed-host and the name it has",
            )
        return await self.access.identify(request)


def only_hosts(access: Access, names: Iterable[str]) -> OnlyHosts:
    """Return the access under loopback's names, and those that are given."""
    return OnlyHosts(access, LOOPBACK | {name.lower().rstrip(".") for name in names})


def host_name(host: str) -> str | None:
    """Return the name in a Host header, without its port."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return None
    return None if name is None else name.rstrip(".")


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
