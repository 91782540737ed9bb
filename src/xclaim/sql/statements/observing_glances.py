"""A glance at many queues: the first entries of each, as many as fit on a page of the index.

Each count reads the entries of one index range and ends at a bound. An entry whose row was changed
lately costs its row besides, as for every index: so what does not need the row does not read it.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Table, TextClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.observing_text import HELD, LAST_DIED, WAITING, bounded, statement_of

# The first entries behind a queue, by queue. Small queues share a page of the index: one descent
# returns all that are complete among them. Of the last there may be more; with fewer than `least`
# of it the next step begins with it.
_FIRST_ENTRIES = """
SELECT queue, entries, due, oldest_at, newest_at, top, bottom, is_cut, is_last
  FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom,
               is_full AND number = queues AS is_cut,
               is_full AND (number = queues OR number = (queues - 1) AND of_last < {least})
                 AS is_last,
               is_full AND queues > 1 AND number = queues AND entries < {least} AS is_left_out
          FROM (SELECT queue, entries, due, oldest_at, newest_at, top, bottom,
                       row_number() OVER (ORDER BY queue) AS number,
                       count(*) OVER () AS queues, (sum(entries) OVER ()) >= :bound AS is_full,
                       first_value(entries) OVER (ORDER BY queue DESC) AS of_last
                  FROM (SELECT entry.queue, count(*) AS entries,
                               count(CASE WHEN entry.at <= {now} THEN 1 END) AS due,
                               min(CASE WHEN entry.at <= {now} THEN entry.at END) AS oldest_at,
                               max(CASE WHEN entry.at <= {now} THEN entry.at END) AS newest_at,
                               {top} AS top, {bottom} AS bottom
                          FROM (SELECT queue, {at} AS at{of_entry} FROM {table} AS behind
                                 WHERE {indexed} {condition}
                                 ORDER BY queue, {order} LIMIT :bound) AS entry
                         GROUP BY entry.queue) AS of_queue) AS numbered) AS step
 WHERE NOT is_left_out
"""
_COLUMNS = (
    "{0}.queue, {0}.entries, {0}.due, {0}.oldest_at, {0}.newest_at, {0}.top, {0}.bottom,"
    " {0}.is_cut, {0}.is_last"
)
# One step more than the most says whether there are queues behind those that were seen.
_FIRST_OF_EACH = """
WITH RECURSIVE walk AS (
SELECT {of_first}, 1 AS number FROM ({first}) AS first
UNION ALL
SELECT {of_found}, walk.number + 1
  FROM walk CROSS JOIN LATERAL ({behind}) AS found WHERE walk.is_last AND walk.number <= :most)
SELECT queue, entries, due, top, bottom, is_cut, {oldest_at} AS oldest_at, {newest_at} AS newest_at,
       number > :most AS is_behind
  FROM walk
"""
_NO_LEVELS = {"of_entry": "", "top": "0", "bottom": "0"}
_LEVELS = {
    "of_entry": ", priority",
    "top": "max(entry.priority)",
    "bottom": "min(entry.priority)",
}
_LAST_CLAIM = """
SELECT claim_expires_at > {now} AS is_live FROM {table}
 WHERE queue = {queue} AND {held} ORDER BY claim_expires_at DESC LIMIT 1
"""


def _first_of_each(table: Table, dialect: Dialect, **parts: str) -> TextClause:
    return statement_of(
        _FIRST_OF_EACH,
        table,
        dialect,
        of_first=_COLUMNS.format("first"),
        of_found=_COLUMNS.format("found"),
        first=_FIRST_ENTRIES.replace("{condition}", ""),
        behind=_FIRST_ENTRIES.replace("{condition}", "AND behind.queue > walk.queue"),
        oldest_at=bounded("walk.oldest_at"),
        newest_at=bounded("walk.newest_at"),
        **parts,
    )


@lru_cache
def first_entries(table: Table, dialect: Dialect, *, with_levels: bool = False) -> TextClause:
    """Return of each queue what waits among its first entries, ``bound`` at most (PostgreSQL).

    Of those that are cut ``least`` were seen or more, in the order in which they are claimed. With
    levels the priorities of the first and the last that was seen are told, ``top`` and ``bottom``.
    """
    order = "priority DESC, available_at"
    parts = {"at": "available_at", "indexed": WAITING, "order": order, "least": ":least"}
    told = _LEVELS if with_levels else _NO_LEVELS
    return _first_of_each(table, dialect, waiting=WAITING, **parts, **told)


@lru_cache
def first_claims(table: Table, dialect: Dialect) -> TextClause:
    """Return of each queue its claims, ``bound`` at most, and of them the lapsed (PostgreSQL)."""
    column = "claim_expires_at"
    parts = {"at": column, "indexed": HELD, "order": column, "least": ":bound"}
    return _first_of_each(table, dialect, **parts, **_NO_LEVELS)


@lru_cache
def counted_entries(table: Table, dialect: Dialect) -> TextClause:
    """Count what waits in some queues, ``bound`` of each at most (PostgreSQL)."""
    return _counted(table, dialect, indexed=WAITING, at="available_at", order="priority DESC, ")


@lru_cache
def counted_claims(table: Table, dialect: Dialect) -> TextClause:
    """Count the claims of some queues, ``bound`` of each at most, the lapsed first (PostgreSQL)."""
    return _counted(table, dialect, indexed=HELD, at="claim_expires_at", order="")


def _counted(table: Table, dialect: Dialect, **parts: str) -> TextClause:
    sql = (
        "SELECT name.queue, found.entries, found.due"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN LATERAL (SELECT count(*) AS entries,"
        " count(CASE WHEN entry.at <= {now} THEN 1 END) AS due"
        " FROM (SELECT {at} AS at FROM {table} WHERE queue = name.queue AND {indexed}"
        " ORDER BY {order}{at} LIMIT :bound) AS entry) AS found"
    )
    return statement_of(sql, table, dialect, **parts)


@lru_cache
def tried(table: Table, dialect: Dialect) -> TextClause:
    """Return of some queues which of the first ``sample`` messages failed before (PostgreSQL)."""
    sql = (
        "SELECT name.queue, found.looked_at, found.retrying"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN LATERAL (SELECT count(*) AS looked_at,"
        " count(CASE WHEN attempts > 0 THEN 1 END) AS retrying"
        " FROM (SELECT attempts FROM {table} WHERE queue = name.queue AND {waiting}"
        " ORDER BY priority DESC, available_at LIMIT :sample) AS entry) AS found"
    )
    return statement_of(sql, table, dialect, waiting=WAITING)


@lru_cache
def tried_of_known(table: Table, dialect: Dialect) -> TextClause:
    """Return of some queues which of their first messages failed before (PostgreSQL).

    Of each queue of ``nears`` the first, and as many as of ``fars`` of those that are due later and
    have its priority of ``tops``.
    """
    sql = (
        "SELECT name.queue, found.looked_at, found.retrying"
        " FROM (SELECT unnest((:queues)::text[]) AS queue, unnest((:tops)::smallint[]) AS top,"
        " unnest((:nears)::integer[]) AS near, unnest((:fars)::integer[]) AS far) AS name"
        " CROSS JOIN LATERAL (SELECT count(*) AS looked_at,"
        " count(CASE WHEN attempts > 0 THEN 1 END) AS retrying"
        " FROM (SELECT * FROM (SELECT attempts FROM {table} WHERE queue = name.queue AND {waiting}"
        " ORDER BY priority DESC, available_at LIMIT name.near) AS near"
        " UNION ALL SELECT * FROM (SELECT attempts FROM {table} WHERE queue = name.queue"
        " AND {waiting} AND priority = name.top AND available_at > {now}"
        " ORDER BY available_at LIMIT name.far) AS far) AS entry) AS found"
    )
    return statement_of(sql, table, dialect, waiting=WAITING)


@lru_cache
def first_claimed(table: Table, dialect: Dialect) -> TextClause:
    """Return of some queues when the first of ``sample`` claims was made (PostgreSQL)."""
    sql = (
        "SELECT name.queue, {claimed_at} AS claimed_at"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN LATERAL (SELECT min(entry.claimed_at) AS claimed_at"
        " FROM (SELECT claimed_at FROM {table} WHERE queue = name.queue AND {held}"
        " ORDER BY claim_expires_at LIMIT :sample) AS entry) AS found"
    )
    return statement_of(sql, table, dialect, held=HELD, claimed_at=bounded("found.claimed_at"))


@lru_cache
def last_claims(table: Table, dialect: Dialect) -> TextClause:
    """Return of some queues whether the lease that ends last lasts yet (PostgreSQL)."""
    sql = (
        "SELECT name.queue, found.is_live"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN LATERAL ({last_claim}) AS found"
    )
    parts = {"last_claim": _LAST_CLAIM, "queue": "name.queue", "held": HELD}
    return statement_of(sql, table, dialect, **parts)


@lru_cache
def last_claim(table: Table, dialect: Dialect) -> TextClause:
    """Return of a queue whether the lease that ends last lasts yet (SQLite)."""
    return statement_of(_LAST_CLAIM, table, dialect, held=HELD, queue=":queue_name")


@lru_cache
def last_died(table: Table, dialect: Dialect) -> TextClause:
    """Return when the last message died, of some queues of dead letters (PostgreSQL)."""
    sql = (
        "SELECT name.queue, {died_at} AS died_at"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN LATERAL ({last_died}) AS found"
    )
    return statement_of(
        sql,
        table,
        dialect,
        last_died=LAST_DIED,
        dead="name.queue",
        waiting=WAITING,
        died_at=bounded("found.available_at"),
    )
