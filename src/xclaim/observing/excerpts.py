"""The beginnings of the payloads of messages that were found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import DBAPIError

from xclaim.errors import ObservationTimeoutError
from xclaim.observing import rows
from xclaim.observing.sending import Ask
from xclaim.observing.values import Listed
from xclaim.sql.statements import observing_messages
from xclaim.sql.statements.message_conditions import Readable
from xclaim.verbs.unsendable import is_unsendable

_PART = 16


def with_excerpts(
    ask: Ask, ends_at: float, may: Readable, found: Sequence[Any]
) -> tuple[Listed, ...]:
    """Return the messages with the beginnings of their payloads, as far as the role may read them.

    Payloads that cannot be sent fail alone.
    """
    if not may.payload:
        return tuple(rows.listed(row) for row in found)
    ids = [row.id for row in found if row.codec is None]
    begun = _beginnings(ask, ends_at, ids)
    return tuple(rows.listed(row, *_excerpt(row, begun)) for row in found)


def _excerpt(row: Any, begun: dict[int, Any]) -> tuple[str, str | None]:
    if row.codec is not None:
        return "", f"encoded as {row.codec}"
    kept = begun.get(row.id)
    if kept is None:
        return "", "its text cannot be sent, or not in time"
    if kept.excerpt is None:
        return "", f"large: {shown_size(kept.size)} as it is stored"
    return kept.excerpt, None


def shown_size(size: int) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1_000:  # noqa: PLR2004
            return f"{size:,.0f} {unit}"
        size /= 1_000  # type: ignore[assignment]  # one digit less is exact enough
    return f"{size:,.1f} GB"


def _beginnings(ask: Ask, ends_at: float, ids: Sequence[int]) -> dict[int, Any]:
    """Return the beginnings of payloads by id: all at once, and where that fails one by one."""
    if not ids:
        return {}
    try:
        return _asked_for(ask, ids)
    except (DBAPIError, ObservationTimeoutError) as error:
        if isinstance(error, DBAPIError) and not is_unsendable(error):
            raise
    begun: dict[int, Any] = {}
    size = max(1, min(_PART, len(ids) // 2))
    for first in range(0, len(ids), size):
        if len(ids) == 1 or time.monotonic() >= ends_at:
            break
        begun |= _beginnings(ask, ends_at, ids[first : first + size])
    return begun


def _asked_for(ask: Ask, ids: Sequence[int]) -> dict[int, Any]:
    with ask("how payloads begin") as question:
        parameters = question.dialect.row_parameters(id=list(ids))
        return {row.id: row for row in question.rows(observing_messages.beginnings, parameters)}
