"""Pause a queue, and ask whether it is paused: its row in the table of settings."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    Text,
    bindparam,
    exists,
    func,
    null,
    select,
    update,
)

from xclaim.sql.dialects import POSTGRESQL, Dialect
from xclaim.sql.schema import queue_table
from xclaim.sql.statements.parts import QUEUE, Statement, notifying
from xclaim.sql.statements.settings import of_queue, of_queues, shown, written

PAUSE_COLUMNS = ("paused_at", "paused_by", "reason")


def is_paused(table: Table) -> ColumnElement[bool]:
    """Return whether the queue hands out nothing.

    It says nothing of a message, so PostgreSQL asks it once and then does not look for any.
    """
    settings = queue_table(table.schema)
    return exists(
        select(settings.c.queue).where(settings.c.queue == QUEUE, settings.c.paused_at.is_not(None))
    )


@lru_cache
def pause(table: Table, dialect: Dialect) -> Statement:
    """Pause the queue. If it is paused already only the reason changes, if there is a new one."""
    settings = queue_table(table.schema)
    values = {
        "paused_at": dialect.now(),
        "paused_by": bindparam("paused_by", type_=Text),
        "reason": bindparam("reason", type_=Text),
    }
    kept = written(settings, dialect, values, _kept)
    return kept.returning(*shown(settings, dialect, PAUSE_COLUMNS))  # type: ignore[no-any-return]


def _kept(old: Any, new: Any) -> dict[str, Any]:
    return {
        "paused_at": func.coalesce(old.paused_at, new.paused_at),
        "paused_by": func.coalesce(old.paused_by, new.paused_by),
        "reason": func.coalesce(new.reason, old.reason),
    }


@lru_cache
def unpause(table: Table, dialect: Dialect) -> Statement:
    """Let the queue hand out messages again; return a row if it was paused.

    On PostgreSQL it wakes those who wait, whether its pushes do or not: it is a rare thing.
    """
    settings = queue_table(table.schema)
    ended = (
        update(settings)
        .where(settings.c.queue == QUEUE, settings.c.paused_at.is_not(None))
        .values({name: null() for name in PAUSE_COLUMNS})
        .returning(settings.c.queue)
    )
    return notifying(ended) if dialect is POSTGRESQL else ended


@lru_cache
def paused(table: Table, dialect: Dialect) -> Statement:
    """Return since when the queue is paused, by whom and why; nothing if it is not."""
    settings = queue_table(table.schema)
    return of_queue(settings, dialect, PAUSE_COLUMNS, settings.c.paused_at.is_not(None))


@lru_cache
def paused_queues(table: Table, dialect: Dialect) -> Statement:
    """Return the queues that are paused, by name, and since when, by whom and why."""
    settings = queue_table(table.schema)
    return of_queues(settings, dialect, PAUSE_COLUMNS, settings.c.paused_at.is_not(None))
