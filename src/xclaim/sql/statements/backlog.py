"""How many messages may wait in a queue, and how many do: its row of settings, a bounded count."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    select,
)

from xclaim.sql.dialects import Dialect
from xclaim.sql.schema import queue_table
from xclaim.sql.statements.parts import AVAILABLE, ONE, QUEUE, ZERO, Statement
from xclaim.sql.statements.settings import of_queues, shown, written

_COLUMNS = ("max_backlog", "on_full")
_ASKED = bindparam("asked_backlog", type_=Integer)


def is_limited(table: Table) -> ColumnElement[bool]:
    """Return whether it is set how many messages may wait in the queue.

    It says nothing of what is pushed, so PostgreSQL asks it once for a statement.
    """
    settings = queue_table(table.schema)
    return exists(
        select(settings.c.queue).where(
            settings.c.queue == QUEUE, settings.c.max_backlog.is_not(None)
        )
    )


@lru_cache
def set_backlog(table: Table, dialect: Dialect) -> Statement:
    """Set how many messages may wait in the queue, or with NULL that any number may."""
    settings = queue_table(table.schema)
    values = {
        "max_backlog": bindparam("max_backlog", type_=Integer),
        "on_full": bindparam("on_full", type_=Text),
    }
    kept = written(settings, dialect, values)
    return kept.returning(*shown(settings, dialect, _COLUMNS))  # type: ignore[no-any-return]


@lru_cache
def limited_backlogs(table: Table, dialect: Dialect) -> Statement:
    """Return the queues with a limit of what may wait, by name, and what a push does at that."""
    settings = queue_table(table.schema)
    return of_queues(settings, dialect, _COLUMNS, settings.c.max_backlog.is_not(None))


@lru_cache
def backlog(table: Table, dialect: Dialect, *, in_line: bool = False) -> Statement:
    """Return the limit of the queue, and how many messages wait in it: at most one more than that.

    By the index of what can be claimed, in its order, so that no other way looks cheaper. With
    ``in_line`` also by that of what stands in line, which there is where ordering is enabled.
    ``asked_backlog`` is counted to instead of the setting, if there is one. Without any limit
    nothing is counted.
    """
    settings = queue_table(table.schema)
    of_queue = settings.c.queue == QUEUE
    limit = select(settings.c.max_backlog).where(of_queue).scalar_subquery()
    on_full = select(dialect.readable(settings.c.on_full)).where(of_queue).scalar_subquery()
    most = func.coalesce(_ASKED, limit, literal_column("-1", Integer)) + ONE
    waiting = _count(
        select(table.c.id)
        .where(
            and_(
                table.c.queue == QUEUE,
                table.c.status == AVAILABLE,
                table.c.available_at.is_not(None),
            )
        )
        .order_by(table.c.queue, table.c.priority.desc(), table.c.available_at, table.c.id)
        .limit(most)
    )
    standing: ColumnElement[int] = ZERO
    if in_line:
        standing = _count(
            select(table.c.id)
            .where(
                table.c.queue == QUEUE,
                table.c.ordering_key.is_not(None),
                table.c.status == AVAILABLE,
                table.c.available_at.is_(None),
            )
            .order_by(table.c.queue, table.c.ordering_key, table.c.id)
            .limit(most)
        )
    return select(
        limit.label("max_backlog"), on_full.label("on_full"), (waiting + standing).label("waiting")
    )


def _count(rows: Any) -> ColumnElement[int]:
    counted: ColumnElement[int] = (
        select(func.count()).select_from(rows.subquery()).scalar_subquery()
    )
    return counted
