"""Signing in by a link that works once, as the terminal shows it.

Whoever sees the terminal may look. The token is exchanged for a cookie, and so neither stays in the
address nor in the browser's history. The browser that has used a link may open it again: it has the
cookie. For any other the terminal shows a new link as soon as one has been used.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import quote

from xclaim.web.access import AccessDeniedError
from xclaim.web.addresses import address, path_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from xclaim.web.access import Person

_LIFETIME = 12 * 60 * 60  # seconds of a session
_SESSIONS = 100  # the oldest ends when there would be more
_FIELD = "token"


class OneTimeLinks:
    """Lets in ``person`` by links that work once.

    ``cookie`` is the name of the cookie. Browsers send a cookie to all ports of a machine, so it
    should name this server's. ``told`` is called with the token of each new link.
    """

    def __init__(self, person: Person, *, cookie: str, told: Callable[[str], None]) -> None:
        self._person = person
        self._cookie = cookie
        self._told = told
        self._lock = Lock()
        self._sessions: dict[bytes, float] = {}
        self._token = secrets.token_urlsafe(32)

    def begin(self) -> None:
        """Tell the first link."""
        self._told(self._token)

    async def identify(self, request: Request) -> Person:
        """Return the person, or raise AccessDeniedError with the way in."""
        is_signed_in = self._knows(request.cookies.get(self._cookie, ""))
        token = request.query_params.get(_FIELD)
        if token is not None and request.method == "GET":
            if is_signed_in:
                raise _onwards(request)
            if self._use_up(token):
                raise _onwards(request, cookie=self._new_cookie(request))
        if is_signed_in:
            return self._person
        raise _refusal(request, is_used=token is not None)

    def _knows(self, cookie: str) -> bool:
        with self._lock:
            return self._sessions.get(_digest(cookie), 0) > time.monotonic()

    def _use_up(self, token: str) -> bool:
        with self._lock:
            is_it = hmac.compare_digest(token.encode(), self._token.encode())
            if is_it:
                self._token = secrets.token_urlsafe(32)
        if is_it:
            self._told(self._token)
        return is_it

    def _new_cookie(self, request: Request) -> str:
        value = secrets.token_urlsafe(32)
        with self._lock:
            if len(self._sessions) >= _SESSIONS:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_digest(value)] = time.monotonic() + _LIFETIME
        # No path: the browser takes that of the address, which has the prefix of a proxy.
        secure = "; Secure" if request.url.scheme == "https" else ""
        return f"{self._cookie}={value}; HttpOnly; SameSite=Strict{secure}"


def _onwards(request: Request, cookie: str | None = None) -> AccessDeniedError:
    """Return the way to the same page without the token."""
    rest = {name: value for name, value in request.query_params.items() if name != _FIELD}
    location = address(request.scope, quote(path_of(request.scope), errors="replace"), **rest)
    headers = {"location": location} | ({} if cookie is None else {"set-cookie": cookie})
    return AccessDeniedError(303, "", headers)


def _refusal(request: Request, *, is_used: bool) -> AccessDeniedError:
    if is_used:
        return AccessDeniedError(
            401,
            "this link has been used, or is of a dashboard that has ended: the terminal in which "
            "`xclaim dashboard` runs shows a new one",
        )
    if request.headers.get("sec-fetch-site") == "cross-site":
        return AccessDeniedError(
            401, "another site led here, and then browsers do not say who you are: follow the link"
        )
    return AccessDeniedError(
        401,
        "open the link that the terminal shows in which `xclaim dashboard` runs; the browser has "
        "to keep its cookie, which is for 12 hours",
    )


def _digest(value: str) -> bytes:
    # Looked up by a digest: how long that takes says nothing of the value.
    return hashlib.sha256(value.encode(errors="replace")).digest()
