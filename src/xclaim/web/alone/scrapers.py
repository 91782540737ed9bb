"""A token for who scrapes metrics: Prometheus follows no link and keeps no cookie."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from xclaim.errors import InvalidArgumentError
from xclaim.web.access import AccessDeniedError, Person
from xclaim.web.addresses import path_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from xclaim.web.access import Access

VARIABLE = "XCLAIM_METRICS_TOKEN"
LEAST = 16  # characters of a token
_METRICS = "/metrics"
_REALM = {"www-authenticate": 'Bearer realm="xclaim metrics"'}


class ScrapersToken:
    """Lets who has the token read the metrics and nothing else; all others go to ``access``."""

    def __init__(self, access: Access, token: str) -> None:
        if len(token) < LEAST:
            raise InvalidArgumentError(
                f"{VARIABLE} must have at least {LEAST} characters: `openssl rand -hex 16` makes "
                "one"
            )
        self._access = access
        self._expected = _digest(token)

    async def identify(self, request: Request) -> Person:
        """Return who asks, or raise AccessDeniedError."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if path_of(request.scope) != _METRICS or kind.lower() != "bearer":
            return await self._access.identify(request)
        if not hmac.compare_digest(_digest(given.strip()), self._expected):
            raise AccessDeniedError(401, f"the token is not that of {VARIABLE}", _REALM)
        return Person(name="metrics")


def _digest(value: str) -> bytes:
    # Of one length, so that the comparison takes as long for every guess.
    return hashlib.sha256(value.encode(errors="replace")).digest()
