"""Where a search has got to: a place in the order of an index, and as a cursor that travels.

A cursor holds nothing that its reader could not see, and no SQL: what it says is checked, and given
to the database as parameters. One that somebody has made up begins a search elsewhere, no more.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from xclaim.arguments import HIGHEST_ID, LOWEST_ID, MAX_QUEUE_BYTES, is_storable_text
from xclaim.errors import FilterError
from xclaim.sql.dialects import Dialect

_LOWEST, _HIGHEST = -32_768, 32_767
_MOST_CHARACTERS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Behind a message: its id, and the time by which the index has it. Without: at the beginning.

    ``queue`` and ``priority`` say in which part of the index; None is the first.
    """

    queue: str | None = None
    priority: int | None = None
    time: str | None = None
    id: int | None = None


def to_cursor(kind: str, place: Place) -> str:
    """Return the place as text for an address."""
    values = [kind, place.queue, place.priority, place.time, place.id]
    text = json.dumps(values, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def from_cursor(kind: str, cursor: str | None, dialect: Dialect) -> Place | None:
    """Return the place. Raise FilterError for what is no cursor of such a search."""
    if cursor is None:
        return None
    try:
        return _read(kind, cursor, dialect)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise FilterError(
            "the cursor is none of this search: leave it out, and begin with the newest", 0
        ) from None


def _read(kind: str, cursor: str, dialect: Dialect) -> Place:
    if len(cursor) > _MOST_CHARACTERS:
        raise ValueError("too long")
    padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
    values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    found_kind, queue, priority, time, id_ = values
    if found_kind != kind:
        raise ValueError("of another search")
    if time is not None:
        dialect.place_parameters("place", _text(time))
    if (time is not None or kind in ("ids", "chosen")) and id_ is None:
        raise ValueError("no id")
    if time is not None and queue is None:
        raise ValueError("no queue")
    return Place(
        queue=None if queue is None else _text(queue),
        priority=None if priority is None else _number(priority, _LOWEST, _HIGHEST),
        time=time,
        id=None if id_ is None else _number(id_, LOWEST_ID, HIGHEST_ID),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not is_storable_text(value):
        raise ValueError("no text")
    if len(value.encode()) > 5 * MAX_QUEUE_BYTES:
        raise ValueError("too long")
    return value


def _number(value: Any, lowest: int, highest: int) -> int:
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError("no such number")
    return value
