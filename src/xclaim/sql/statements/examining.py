"""What is wrong in queues, by their first and last messages: bounded, however large the table is.

What counts everything stands in ``looking``; here the same is counted of ``LOOK`` messages from
each end of an index in each queue. On SQLite of one queue, on PostgreSQL of those in ``rows``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, func, select, true, union
from sqlalchemy.sql.selectable import FromClause, Subquery

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.looking import (
    dead_letters_among,
    failing_queues_among,
    stuck_claims_among,
)
from xclaim.sql.statements.observing_walks import LOOK
from xclaim.sql.statements.parts import AVAILABLE, QUEUE, Statement

_Order = tuple[ColumnElement[Any], ...]


@lru_cache
def stuck_claims(table: Table, dialect: Dialect) -> Statement:
    """Count of some queues the claims that lapsed a while ago, and those held for very long."""
    is_held = table.c.claim_expires_at.is_not(None)
    order, names = (table.c.claim_expires_at,), ("claim_expires_at", "claimed_at")
    return _counted(table, dialect, stuck_claims_among, names, condition=is_held, order=order)


@lru_cache
def failing_queues(table: Table, dialect: Dialect) -> Statement:
    """Count of some queues, by class of the last error, what is tried again."""
    names = ("available_at", "attempts", "last_error_class")
    return _of_waiting(table, dialect, failing_queues_among, names)


@lru_cache
def dead_letters(table: Table, dialect: Dialect) -> Statement:
    """Count the dead letters of some queues by class of error."""
    return _of_waiting(table, dialect, dead_letters_among, ("last_error_class",))


_Among = Callable[[FromClause, Dialect], Select[Any]]


def _of_waiting(table: Table, dialect: Dialect, among: _Among, names: tuple[str, ...]) -> Statement:
    is_waiting = (table.c.status == AVAILABLE) & dialect.is_present(table.c.available_at)
    order = (table.c.priority.desc(), table.c.available_at)
    return _counted(table, dialect, among, names, condition=is_waiting, order=order)


def _counted(
    table: Table,
    dialect: Dialect,
    among: _Among,
    names: tuple[str, ...],
    *,
    condition: ColumnElement[bool],
    order: _Order,
) -> Statement:
    columns = [table.c[name] for name in ("id", "queue", *names)]
    found = select(*columns).where(condition)
    backwards = [_turned(each) for each in order]
    ends = [_end(found, table, dialect, each) for each in (order, backwards)]
    looked = union(*[select(*end.c) for end in ends]).subquery("looked")
    # Of each queue: whether there may be more.
    of_queue = func.count().over(partition_by=looked.c.queue).label("looked_at")
    counted = select(*looked.c, of_queue).subquery("counted")
    return among(counted, dialect).add_columns(func.max(counted.c.looked_at).label("looked_at"))


def _turned(order: ColumnElement[Any]) -> ColumnElement[Any]:
    is_falling = getattr(order, "modifier", None) is not None
    return order.element if is_falling else order.desc()


def _end(found: Select[Any], table: Table, dialect: Dialect, order: Any) -> Subquery:
    """Return the first messages of each queue in an order."""
    if not dialect.has_lateral:
        return found.where(table.c.queue == QUEUE).order_by(*order).limit(LOOK).subquery()
    named = dialect.rows(queue=Text())
    rows = found.where(table.c.queue == named.c.queue).order_by(*order).limit(LOOK)
    of_each = rows.lateral()
    return select(*of_each.c).select_from(named.join(of_each, true())).subquery()
