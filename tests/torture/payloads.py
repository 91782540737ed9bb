"""The payload that belongs to a key: the same each time it is pushed, and known when it is seen."""

from __future__ import annotations

import zlib
from typing import Any

_BAD_ONES = 50  # one in so many


def is_poison(key: str) -> bool:
    """Return whether the work on the message of this key fails, whoever does it and how often."""
    return zlib.crc32(key.encode()) % _BAD_ONES == 0


def payload_of(key: str) -> dict[str, Any]:
    """Return the payload of a key, from a few bytes to a few hundred."""
    return {"key": key, "text": "x" * (zlib.crc32(key.encode()) % 300)}
