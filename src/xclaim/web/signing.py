"""What a page hands out and gets back: tokens of forms, and what is said after an action.

Signed with a secret of the process, or of all processes that serve one dashboard, and bound to the
person: nothing is kept on the server, and nobody can make one for somebody else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xclaim.web.access import Person


class Signer:
    """Signs values for a purpose and a person, and reads what it signed."""

    def __init__(self, secret: bytes) -> None:
        self._key = hashlib.sha256(b"xclaim dashboard\0" + secret).digest()

    def sign(self, purpose: str, person: Person, value: Any) -> str:
        """Return the JSON-serialisable value as text for a form or an address."""
        text = json.dumps([int(time.time()), value]).encode()
        return f"{_encoded(text)}.{_encoded(self._signature(purpose, person, text))}"

    def read(self, purpose: str, person: Person, signed: str, *, lifetime: int) -> Any:
        """Return the value, or None if this was not signed so within ``lifetime`` seconds."""
        encoded, _, signature = signed.partition(".")
        try:
            text, given = _decoded(encoded), _decoded(signature)
        except (ValueError, binascii.Error):
            return None
        if not hmac.compare_digest(given, self._signature(purpose, person, text)):
            return None
        signed_at, value = json.loads(text)
        return value if time.time() - signed_at < lifetime else None

    def _signature(self, purpose: str, person: Person, text: bytes) -> bytes:
        # As JSON, so that no two of them run together to the same bytes.
        bound = json.dumps([purpose, person.name]).encode() + b"\0" + text
        return hmac.digest(self._key, bound, "sha256")


def _encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
