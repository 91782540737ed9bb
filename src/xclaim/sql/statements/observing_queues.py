"""Which queues there are, by one descent of an index for each, and what is set for them."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Table, TextClause

from xclaim.sql.dialects import SQLITE, Dialect
from xclaim.sql.statements.observing_text import DONE, HELD, WAITING, bounded, statement_of

_WALK = """
WITH RECURSIVE walk AS (
SELECT (SELECT queue FROM {table} WHERE {indexed} ORDER BY queue LIMIT 1) AS queue, 1 AS number
UNION ALL
SELECT (SELECT behind.queue FROM {table} AS behind
         WHERE {indexed} AND behind.queue > walk.queue ORDER BY behind.queue LIMIT 1),
       walk.number + 1
  FROM walk WHERE walk.queue IS NOT NULL AND walk.number < :most)
SELECT {name} FROM walk WHERE queue IS NOT NULL
"""


def _sent(text: str, dialect: Dialect) -> str:
    """Return how a text is sent: that of SQLite as bytes, because it may be no Unicode."""
    return f"CAST({text} AS BLOB) AS {text}" if dialect is SQLITE else text


@lru_cache
def waiting_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have an available message, by one index descent each."""
    return statement_of(_WALK, table, dialect, indexed=WAITING, name=_sent("queue", dialect))


@lru_cache
def held_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have a claimed message, by one index descent each."""
    return statement_of(_WALK, table, dialect, indexed=HELD, name=_sent("queue", dialect))


@lru_cache
def who_and_when(table: Table, dialect: Dialect) -> TextClause:
    """Return the role that looks, and the time by the database's clock (PostgreSQL)."""
    return statement_of("SELECT current_user::text AS role, {now} AS now", table, dialect)


_LAST = """
WITH RECURSIVE walk AS (
(SELECT queue, consumed_at, 1 AS number FROM {table}
  WHERE {done} ORDER BY queue DESC, consumed_at DESC LIMIT 1)
UNION ALL
SELECT found.queue, found.consumed_at, walk.number + 1
  FROM walk
 CROSS JOIN LATERAL (
       SELECT before.queue, before.consumed_at FROM {table} AS before
        WHERE {done} AND before.queue < walk.queue
        ORDER BY before.queue DESC, before.consumed_at DESC LIMIT 1) AS found
 WHERE walk.number < :most)
SELECT queue, {consumed_at} AS consumed_at FROM walk
"""
_SQLITE_LAST = """
WITH RECURSIVE walk AS (
SELECT (SELECT queue FROM {table} WHERE {done} ORDER BY queue LIMIT 1) AS queue, 1 AS number
UNION ALL
SELECT (SELECT behind.queue FROM {table} AS behind
         WHERE {done} AND behind.queue > walk.queue ORDER BY behind.queue LIMIT 1),
       walk.number + 1
  FROM walk WHERE walk.queue IS NOT NULL AND walk.number < :most)
SELECT {name}, (SELECT max(message.consumed_at) FROM {table} AS message
                WHERE message.queue = walk.queue AND {done}) AS consumed_at
  FROM walk WHERE queue IS NOT NULL
"""


@lru_cache
def consumed_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have a consumed message, and when the last one was consumed."""
    if dialect is SQLITE:
        name = _sent("queue", dialect)
        return statement_of(_SQLITE_LAST, table, dialect, done=DONE, name=name)
    return statement_of(_LAST, table, dialect, done=DONE, consumed_at=bounded("consumed_at"))


@lru_cache
def paused_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have a setting: how they are paused, and what limits they have."""
    paused_at = "paused_at" if dialect is SQLITE else bounded("paused_at")
    sql = """
SELECT {name}, {paused_at} AS paused_at, {paused_by}, {reason}, max_backlog, on_full, concurrency,
       rate, rate_seconds, burst
  FROM {queue_table} LIMIT :most"""
    texts = {
        "name": _sent("queue", dialect),
        "paused_by": _sent("paused_by", dialect),
        "reason": _sent("reason", dialect),
    }
    return statement_of(sql, table, dialect, paused_at=paused_at, **texts)


@lru_cache
def clock(table: Table, dialect: Dialect) -> TextClause:
    """Return the time by the database's clock."""
    return statement_of("SELECT {now} AS now", table, dialect)
