"""Who holds what, by queue and by the end of the lease."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Table, select, tuple_

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.observing_columns import column_of
from xclaim.sql.statements.observing_walks import PLACE_ID
from xclaim.sql.statements.parts import LIMIT, QUEUE, Statement


@lru_cache
def held(table: Table, dialect: Dialect, *, is_of_queue: bool, is_begun: bool) -> Statement:
    """Return who holds what, by queue and by the end of the lease: no tokens.

    Of all queues or of one; from the beginning on, or behind a place.
    """
    found = select(
        *[column_of(table, dialect, name) for name in _HELD],
        (table.c.claim_expires_at <= dialect.now()).label("is_lapsed"),
        dialect.place(table.c.claim_expires_at).label("place"),
    ).where(table.c.claim_expires_at.is_not(None))
    place = [dialect.time_at("place"), PLACE_ID]
    by: list[Any] = [table.c.claim_expires_at, table.c.id]
    if is_of_queue:
        found = found.where(table.c.queue == QUEUE)
    else:
        by.insert(0, table.c.queue)
        place.insert(0, QUEUE)
    if is_begun:
        found = found.where(tuple_(*by) > tuple_(*place))
    return found.order_by(*by).limit(LIMIT)


_HELD = (
    "id",
    "queue",
    "claimed_by",
    "attempts",
    "claimed_at",
    "claim_expires_at",
    "last_error_class",
)
