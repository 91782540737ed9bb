"""How fast a queue is worked on, and what happened in it when: from its newest rows."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Table, TextClause

from xclaim.sql.dialects import SQLITE, Dialect
from xclaim.sql.statements.observing_text import DONE, WAITING, bounded, statement_of

# The newest rows by the consumed index: when they were available, claimed and consumed.
_LATEST = """
SELECT available_at, claimed_at, consumed_at FROM {table}
 WHERE queue = {queue} AND {done} AND consumed_at <= {now} ORDER BY consumed_at DESC LIMIT :sample
"""


@lru_cache
def last_consumed(table: Table, dialect: Dialect) -> TextClause:
    """Return when a message of the queue was consumed last."""
    read = "consumed_at" if dialect is SQLITE else bounded("consumed_at")
    sql = (
        "SELECT {read} AS consumed_at FROM (SELECT consumed_at FROM {table}"
        " WHERE queue = :queue_name AND {done} ORDER BY consumed_at DESC LIMIT 1) AS newest"
    )
    return statement_of(sql, table, dialect, read=read, done=DONE)


@lru_cache
def latest(table: Table, dialect: Dialect) -> TextClause:
    """Return when the messages that were consumed last were available, claimed and consumed.

    Of each queue ``sample`` at most; on SQLite of one. In the future nothing is consumed.
    """
    times = ("available_at", "claimed_at", "consumed_at")
    if dialect is SQLITE:
        sql = "SELECT :queue_name AS queue, {read}, {now} AS now FROM ({latest}) AS latest"
        parts = {"queue": ":queue_name", "read": ", ".join(times)}
    else:
        sql = (
            "SELECT name.queue, {read}, {now} AS now"
            " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
            " CROSS JOIN LATERAL ({latest}) AS latest"
        )
        parts = {
            "queue": "name.queue",
            "read": ", ".join(f"{bounded(f'latest.{name}')} AS {name}" for name in times),
        }
    return statement_of(sql, table, dialect, latest=_LATEST, done=DONE, **parts)


# The newest of a step of time: how many, no more than are counted, the earliest of them, and how
# many came later than that: of those of its own instant, as an ack of many has it, some may be cut.
_STEP = """
SELECT count(*) AS messages, min(consumed_at) AS consumed_at,
       count(CASE WHEN consumed_at > earliest THEN 1 END) AS later
  FROM (SELECT consumed_at, min(consumed_at) OVER () AS earliest
          FROM (SELECT consumed_at FROM {table}
                 WHERE queue = {queue} AND {done} AND consumed_at > {after}
                   AND consumed_at <= {until}
                 ORDER BY consumed_at DESC LIMIT :bound) AS newest) AS entry
"""


@lru_cache
def consumed_in_steps(table: Table, dialect: Dialect) -> TextClause:
    """Count what was consumed of some queues in each of ``most`` steps of time since ``after``.

    ``bound`` of a step at most, with the time of the earliest that was counted, and how many of
    them are ``later``. On SQLite of one queue, between ``after`` and ``until``.
    """
    if dialect is SQLITE:
        parts = {"queue": ":queue_name", "after": ":after", "until": ":until"}
        return statement_of(_STEP, table, dialect, done=DONE, **parts)
    sql = (
        "SELECT name.queue, step.number, found.messages, found.consumed_at, found.later"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN (SELECT generate_series(0, :most - 1) AS number) AS step"
        " CROSS JOIN LATERAL ({counted}) AS found"
    )
    return statement_of(
        sql,
        table,
        dialect,
        counted=_STEP,
        done=DONE,
        queue="name.queue",
        after="((:after) + ((step.number * :seconds) * interval '1 second'))",
        until="((:after) + (((step.number + 1) * :seconds) * interval '1 second'))",
    )


@lru_cache
def newest_pushed(table: Table, dialect: Dialect) -> TextClause:
    """Return of the newest ``bound`` messages of all queues those pushed to one, and when.

    By id, as there is no index on the time of pushing. The last column is of all that were read.
    """
    read = "created_at" if dialect is SQLITE else bounded("newest.created_at")
    sql = (
        "SELECT {read} AS created_at, newest.origin_queue = :queue_name AS is_of_queue"
        " FROM (SELECT created_at, origin_queue, id FROM {table}"
        " ORDER BY id DESC LIMIT :bound) AS newest"
    )
    return statement_of(sql, table, dialect, read=read)


_DEAD_OF_LEVEL = """
SELECT available_at FROM {table}
 WHERE queue = {dead} AND {waiting} AND priority = {level} AND available_at > {after}
   AND available_at <= {now} ORDER BY available_at DESC LIMIT :bound
"""


@lru_cache
def newest_dead(table: Table, dialect: Dialect) -> TextClause:
    """Return when the newest ``bound`` dead letters of a queue died, of those since ``after``.

    On SQLite of one priority. What rests until later has died before.
    """
    parts = {"waiting": WAITING, "of_level": _DEAD_OF_LEVEL, "dead": ":dead_letter_queue"}
    if dialect is SQLITE:
        return statement_of("{of_level}", table, dialect, level=":level", after=":after", **parts)
    sql = (
        "SELECT {read} AS available_at FROM ({levels_of_dead}"
        " SELECT of_level.available_at FROM level CROSS JOIN LATERAL ({of_level}) AS of_level"
        " WHERE level.priority IS NOT NULL"
        " ORDER BY of_level.available_at DESC LIMIT :bound) AS newest"
    )
    parts |= {"level": "level.priority", "after": "(:after)"}
    return statement_of(sql, table, dialect, read=bounded("newest.available_at"), **parts)
