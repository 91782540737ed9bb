"""The messages that are pushed; it imports nothing, so that any side's process may use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def payloads(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return payloads of about 200 bytes as JSON."""
    return [{"n": number, "text": "x" * 175} for number in range(first, first + count)]


def in_chunks(count: int, size: int, first: int = 0) -> Iterator[list[dict[str, Any]]]:
    """Yield so many payloads, some at a time."""
    end = first + count
    for number in range(first, end, size):
        yield payloads(min(size, end - number), number)
