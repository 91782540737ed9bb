"""Signing in by a user and a password, as HTTP itself has it (Basic)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING

import anyio

from xclaim.errors import InvalidArgumentError
from xclaim.web.access import AccessDeniedError, Person

if TYPE_CHECKING:
    from starlette.requests import Request

LEAST = 8  # characters of a password
_DELAY = 1.0  # seconds, of a wrong answer
_WAITING = 5  # wrong answers at a time, of everybody together: so many guesses a second
_REALM = {"www-authenticate": 'Basic realm="xclaim", charset="UTF-8"'}


class OnePassword:
    """Lets in who knows the password. Wrong ones are answered slowly, the right one never is.

    That is so for everybody together: behind a proxy all of them have one address, and whoever
    guesses should not lock out whoever knows.
    """

    def __init__(self, user: str, password: str) -> None:
        if not user or ":" in user:
            raise InvalidArgumentError("XCLAIM_DASHBOARD_USER must be a name without a colon")
        if len(password) < LEAST:
            raise InvalidArgumentError(
                f"XCLAIM_DASHBOARD_PASSWORD must have at least {LEAST} characters"
            )
        self._person = Person(name=user, may_act=True, may_see_payloads=True)
        self._expected = _digest(f"{user}:{password}".encode())
        self._waiting = 0

    async def identify(self, request: Request) -> Person:
        """Return the person, or raise AccessDeniedError, which asks for the password."""
        given = _given(request.headers.get("authorization", ""))
        if given is None:
            raise AccessDeniedError(401, "this dashboard asks for a user and a password", _REALM)
        if hmac.compare_digest(_digest(given), self._expected):
            return self._person
        await self._be_slow()
        raise AccessDeniedError(401, "user or password is wrong", _REALM)

    async def _be_slow(self) -> None:
        if self._waiting >= _WAITING:
            raise AccessDeniedError(
                429, "too many wrong passwords: try again in a moment", {"retry-after": "5"}
            )
        self._waiting += 1
        try:
            await anyio.sleep(_DELAY)
        finally:
            self._waiting -= 1


def _given(header: str) -> bytes | None:
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _digest(value: bytes) -> bytes:
    # Of one length, so that the comparison takes as long for every guess.
    return hashlib.sha256(value).digest()
