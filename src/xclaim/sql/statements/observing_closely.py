"""A close look at queues: what waits of each priority, what is held and what died.

Each count reads the entries of one index range and ends at a bound, and of what no index has only
so many rows are read.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Table, TextClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.observing_text import (
    HELD,
    LAST_DIED,
    LEVELS,
    WAITING,
    bounded,
    statement_of,
)

# What is due of a priority, the oldest first; what is delayed; and which of both were tried before.
_OF_LEVEL = """
SELECT due.messages AS due, due.available_at, later.messages AS delayed,
       tried.messages AS retrying, tried.looked_at
  FROM (SELECT count(*) AS messages, min(available_at) AS available_at
          FROM (SELECT available_at FROM {table}
                 WHERE queue = {queue} AND {waiting} AND {level} AND available_at <= {now}
                 ORDER BY {order} LIMIT {bound}) AS entry) AS due
 CROSS JOIN (SELECT count(*) AS messages
          FROM (SELECT available_at FROM {table}
                 WHERE queue = {queue} AND {waiting} AND {level} AND available_at > {now}
                 ORDER BY {order} LIMIT {bound}) AS entry) AS later
 CROSS JOIN (SELECT count(*) AS looked_at,
                    count(CASE WHEN attempts > 0 THEN 1 END) AS messages
          FROM (SELECT * FROM (SELECT attempts FROM {table}
                 WHERE queue = {queue} AND {waiting} AND {level} AND available_at <= {now}
                 ORDER BY {order} LIMIT {sample}) AS near
                UNION ALL
                SELECT * FROM (SELECT attempts FROM {table}
                 WHERE queue = {queue} AND {waiting} AND {level} AND available_at > {now}
                 ORDER BY {order} LIMIT {sample}) AS far) AS entry) AS tried
"""
# Of the queue and of its dead letters, which somebody may have claimed, too. `live`, `own_lapsed`
# and `claim_expires_at` are of the queue alone: who claims from it gives back what lapsed there.
_CLAIMS = """
SELECT held.messages AS claimed, held.lapsed, held.live, held.own_lapsed, held.claim_expires_at,
       first.claimed_at
  FROM (SELECT count(*) AS messages, count(CASE WHEN entry.is_lapsed THEN 1 END) AS lapsed,
               count(CASE WHEN entry.is_own = 1 AND NOT entry.is_lapsed THEN 1 END) AS live,
               count(CASE WHEN entry.is_own = 1 AND entry.is_lapsed THEN 1 END) AS own_lapsed,
               min(CASE WHEN entry.is_own = 1 THEN entry.claim_expires_at END) AS claim_expires_at
          FROM (SELECT * FROM (SELECT claim_expires_at, claim_expires_at <= {now} AS is_lapsed,
                                      1 AS is_own FROM {table}
                 WHERE queue = {queue} AND {held} ORDER BY claim_expires_at LIMIT :others) AS own
                UNION ALL
                SELECT * FROM (SELECT claim_expires_at, claim_expires_at <= {now} AS is_lapsed,
                                      0 AS is_own FROM {table}
                 WHERE queue = {dead} AND {held} ORDER BY claim_expires_at LIMIT :others)
                AS of_dead) AS entry) AS held
 CROSS JOIN (SELECT min(claimed_at) AS claimed_at
          FROM (SELECT * FROM (SELECT claimed_at FROM {table}
                 WHERE queue = {queue} AND {held} ORDER BY claim_expires_at LIMIT :sample) AS own
                UNION ALL
                SELECT * FROM (SELECT claimed_at FROM {table}
                 WHERE queue = {dead} AND {held} ORDER BY claim_expires_at LIMIT :sample)
                AS of_dead) AS entry) AS first
"""
_LETTERS = """
SELECT (SELECT count(*) FROM (SELECT priority FROM {table}
         WHERE queue = {dead} AND {waiting} ORDER BY priority DESC LIMIT :others) AS entry)
         AS dead,
       ({last_died}) AS available_at
"""
_WAITS = """
 CROSS JOIN LATERAL ({levels}
   SELECT coalesce(sum(found.due), 0)::bigint AS due, {oldest} AS available_at,
          coalesce(sum(found.delayed), 0)::bigint AS delayed,
          coalesce(sum(found.retrying), 0)::bigint AS retrying,
          coalesce(sum(found.looked_at), 0)::bigint AS looked_at,
          coalesce(bool_or(found.due >= found.bound OR found.is_rest), false) AS is_due_cut,
          coalesce(bool_or(found.delayed >= found.bound OR found.is_rest), false)
            AS is_delayed_cut,
          coalesce(bool_or(found.looked_at < (found.due + found.delayed) OR found.is_rest), false)
            AS is_retrying_cut
     FROM (SELECT of_level.due, of_level.available_at, of_level.delayed, of_level.retrying,
                  of_level.looked_at,
                  greatest(:bound / level.number, 1) AS bound, false AS is_rest
             FROM level CROSS JOIN LATERAL ({of_level}) AS of_level
            WHERE level.priority IS NOT NULL
            UNION ALL
           SELECT of_rest.due, of_rest.available_at, of_rest.delayed, of_rest.retrying,
                  of_rest.looked_at,
                  :bound AS bound, (of_rest.due + of_rest.delayed) >= :bound AS is_rest
             FROM (SELECT priority FROM level WHERE number = :levels) AS last
            CROSS JOIN LATERAL ({of_rest}) AS of_rest
            WHERE last.priority IS NOT NULL) AS found) AS waiting
"""
_WAITING_COLUMNS = """name.queue, waiting.due, waiting.available_at, waiting.delayed,
       waiting.retrying, waiting.looked_at, waiting.is_due_cut, waiting.is_delayed_cut,
       waiting.is_retrying_cut"""


_SUMMARIES = """
SELECT {waiting_columns},
       held.claimed, held.lapsed, held.live, held.own_lapsed, held.claim_expires_at,
       held.claimed_at,
       letters.dead, letters.died_at, {now} AS now
  FROM (SELECT unnest((:queues)::text[]) AS queue) AS name
{waits}
 CROSS JOIN LATERAL (SELECT claimed, lapsed, live, own_lapsed,
                            {claim_expires_at} AS claim_expires_at, {claimed_at} AS claimed_at
                       FROM ({claims}) AS claims) AS held
 CROSS JOIN LATERAL (SELECT dead, {available_at} AS died_at FROM ({letters}) AS letters) AS letters
"""
# Of a queue that has a second priority nothing: that is one descent, and the others are not made.
_OF_ONE_LEVEL = """
SELECT name.queue, found.due, {oldest} AS available_at, found.delayed, found.retrying,
       found.looked_at, found.due >= :bound AS is_due_cut,
       found.delayed >= :bound AS is_delayed_cut,
       found.looked_at < (found.due + found.delayed) AS is_retrying_cut
  FROM (SELECT unnest((:queues)::text[]) AS queue,
               unnest((:tops)::smallint[]) AS priority) AS name
 CROSS JOIN LATERAL (
       SELECT CASE WHEN (SELECT lower.priority FROM {table} AS lower
                          WHERE lower.queue = name.queue AND {waiting}
                            AND lower.priority < name.priority
                          ORDER BY lower.priority DESC LIMIT 1) IS NULL
                   THEN name.priority END AS priority OFFSET 0) AS level
 CROSS JOIN LATERAL ({of_level}) AS found
 WHERE level.priority IS NOT NULL
"""
# Behind the last of the levels: in the order of the index, whatever is due or delayed there.
_OF_REST = """
SELECT count(CASE WHEN entry.available_at <= {now} THEN 1 END) AS due,
       min(CASE WHEN entry.available_at <= {now} THEN entry.available_at END) AS available_at,
       count(CASE WHEN entry.available_at > {now} THEN 1 END) AS delayed,
       0 AS retrying, 0 AS looked_at
  FROM (SELECT available_at FROM {table}
         WHERE queue = {queue} AND {waiting} AND priority < {last}
         ORDER BY priority DESC, available_at LIMIT :bound) AS entry
"""


@lru_cache
def summaries(table: Table, _dialect: Dialect) -> TextClause:
    """Return for each of some queues what waits, what is held and what died (PostgreSQL).

    ``bound`` entries are counted of each range at most, of a second priority half as many, and so
    on; of claims and dead letters ``others``. Of ``sample`` rows the attempts and times of claiming
    are read. Behind ``levels`` priorities the entries are read as they come.
    """
    return _of_waiting(
        _SUMMARIES,
        table,
        _dialect,
        claims=_CLAIMS,
        letters=_LETTERS,
        last_died=LAST_DIED,
        dead="(name.queue || '.dead')",
        held=HELD,
        claim_expires_at=bounded("claims.claim_expires_at"),
        claimed_at=bounded("claims.claimed_at"),
        available_at=bounded("letters.available_at"),
    )


@lru_cache
def waits(table: Table, dialect: Dialect) -> TextClause:
    """Return for each of some queues what waits, as ``summaries`` does (PostgreSQL)."""
    sql = (
        "SELECT {waiting_columns} FROM (SELECT unnest((:queues)::text[]) AS queue) AS name {waits}"
    )
    return _of_waiting(sql, table, dialect)


@lru_cache
def waits_of_one_level(table: Table, dialect: Dialect) -> TextClause:
    """Return what ``waits`` returns, of those of some queues that have no second priority.

    ``tops`` are their highest priorities (PostgreSQL).
    """
    of_level = _of_level("level.priority", ":bound").replace("{sample}", ":sample")
    return statement_of(
        _OF_ONE_LEVEL,
        table,
        dialect,
        of_level=of_level,
        oldest=bounded("found.available_at"),
        queue="name.queue",
        waiting=WAITING,
    )


def _of_waiting(sql: str, table: Table, dialect: Dialect, **parts: str) -> TextClause:
    of_level = _of_level("level.priority", "greatest(:bound / level.number, 1)")
    return statement_of(
        sql,
        table,
        dialect,
        waiting_columns=_WAITING_COLUMNS,
        waits=_WAITS,
        levels=LEVELS,
        of_level=of_level.replace("{sample}", "greatest(:sample / level.number, 1)"),
        of_rest=_OF_REST,
        last="last.priority",
        queue="name.queue",
        waiting=WAITING,
        oldest=bounded("min(found.available_at)"),
        **parts,
    )


def _of_level(priority: str, bound: str) -> str:
    level = f"priority = {priority}"
    found = _OF_LEVEL.replace("{level}", level).replace("{order}", "available_at")
    return found.replace("{bound}", bound)


@lru_cache
def levels(table: Table, dialect: Dialect) -> TextClause:
    """Return the first ``levels`` priorities of a queue, the highest first (SQLite)."""
    sql = "{levels} SELECT priority FROM level WHERE priority IS NOT NULL ORDER BY number"
    parts = {"queue": ":queue_name", "waiting": WAITING}
    return statement_of(sql, table, dialect, levels=LEVELS, **parts)


@lru_cache
def of_level(table: Table, dialect: Dialect) -> TextClause:
    """Return what waits in a queue with one priority (SQLite)."""
    sql = _of_level(":level", ":bound").replace("{sample}", ":sample")
    return statement_of(sql, table, dialect, queue=":queue_name", waiting=WAITING)


@lru_cache
def of_rest(table: Table, dialect: Dialect) -> TextClause:
    """Return what waits in a queue behind a priority (SQLite)."""
    return statement_of(
        _OF_REST, table, dialect, queue=":queue_name", waiting=WAITING, last=":level"
    )


@lru_cache
def claims_and_letters(table: Table, dialect: Dialect) -> TextClause:
    """Return what is held of a queue, and what died (SQLite)."""
    sql = (
        "SELECT claims.claimed, claims.lapsed, claims.live, claims.own_lapsed,"
        " claims.claim_expires_at, claims.claimed_at, letters.dead, letters.available_at,"
        " {now} AS now"
        " FROM ({claims}) AS claims CROSS JOIN ({letters}) AS letters"
    )
    return statement_of(
        sql,
        table,
        dialect,
        claims=_CLAIMS,
        letters=_LETTERS,
        last_died=LAST_DIED,
        queue=":queue_name",
        dead=":dead_letter_queue",
        waiting=WAITING,
        held=HELD,
    )


def _range(table: Table, dialect: Dialect, condition: str) -> TextClause:
    return statement_of(
        f"SELECT id FROM {{table}} WHERE queue = :queue_name AND {condition}",  # noqa: S608
        table,
        dialect,
        waiting=WAITING,
        held=HELD,
    )


@lru_cache
def available_range(table: Table, dialect: Dialect) -> TextClause:
    """Find what can be claimed of a queue: never run, only planned, for the estimate."""
    return _range(table, dialect, "{waiting} AND available_at <= {now}")


@lru_cache
def delayed_range(table: Table, dialect: Dialect) -> TextClause:
    """Find what is delayed of a queue: never run, only planned, for the estimate."""
    return _range(table, dialect, "{waiting} AND available_at > {now}")


@lru_cache
def claimed_range(table: Table, dialect: Dialect) -> TextClause:
    """Find what is claimed of a queue: never run, only planned, for the estimate."""
    return _range(table, dialect, "{held}")


RANGES = {
    "available": available_range,
    "delayed": delayed_range,
    "claimed": claimed_range,
}
