"""Who asks: what an application that shows the dashboard has to say of each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may see the dashboard.

    ``may_act`` and ``may_see_payloads`` only take away: what the database role may not do or read,
    nobody may. ``name`` is logged with each action.
    """

    name: str
    may_act: bool = False
    may_see_payloads: bool = False


class Access(Protocol):
    """Says who asks. The application calls it for everything but ``/healthz`` and static files."""

    async def identify(self, request: Request) -> Person:
        """Return who asks. Raise AccessDeniedError if that cannot be told, or he may not.

        Any other error closes the door as well.
        """
        ...


class AccessDeniedError(Exception):
    """Who asks is not let in. ``reason`` is shown to him, and should say the way in.

    ``status`` is the HTTP status: 401, 403, or 303 with a ``location`` in ``headers``. ``sign_in``
    is the address at which one signs in, which the page leads to.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Mapping[str, str] | None = None,
        *,
        sign_in: str | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        self.sign_in = sign_in
        super().__init__(reason)
