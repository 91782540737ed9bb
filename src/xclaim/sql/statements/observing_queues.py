"""What is to be seen of queues, from a bounded number of index entries, however large the table is.

Text, because what is asked of each queue is asked again for each of its priorities. On PostgreSQL
one statement answers for many queues, by LATERAL; on SQLite, where a statement costs no round trip,
there is one for each. The full names are filled in when they are sent.

Each count reads the entries of one index range and ends at a bound. An entry whose row was changed
lately costs its row besides, as for every index: so what does not need the row does not read it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Float, Integer, Table, Text, TextClause, bindparam, text

from xclaim.sql.dialects import SQLITE, Dialect, UtcTimestamp
from xclaim.sql.revision import qualified
from xclaim.sql.schema import QUEUE_TABLE_NAME
from xclaim.sql.statements.observing_messages import Due, Walk, Way

_PARAMETERS: dict[str, Any] = {
    "queue_name": Text(),
    "dead_letter_queue": Text(),
    "queues": Text(),
    "most": Integer(),
    "least": Integer(),
    "levels": Integer(),
    "level": Integer(),
    "bound": Integer(),
    "others": Integer(),
    "sample": Integer(),
    "seconds": Float(),
    "after": UtcTimestamp(),
    "until": UtcTimestamp(),
}
_MESSAGES, _SETTINGS = "<messages>", "<settings>"
_WAITING = "status = 'available' AND {present}"
_HELD = "claim_expires_at IS NOT NULL"
_DONE = "consumed_at IS NOT NULL"


def _text(sql: str, table: Table, dialect: Dialect, **parts: str) -> TextClause:
    is_sqlite = dialect is SQLITE
    named = {
        "table": _MESSAGES,
        "queue_table": _SETTINGS,
        "now": "strftime('%Y-%m-%d %H:%M:%f', 'now')" if is_sqlite else "statement_timestamp()",
        "present": "available_at IS NOT NULL" if is_sqlite else "available_at >= '-infinity'",
    }
    while "{" in sql:
        sql = sql.format(**named, **parts)
    # At last: the name of a schema may have whatever is special above.
    for place, name in ((_MESSAGES, table.name), (_SETTINGS, QUEUE_TABLE_NAME)):
        sql = sql.replace(place, qualified(name, table.schema).replace(":", "\\:"))
    found = text(sql)
    names = list(found._bindparams)  # noqa: SLF001  (it has no other list)
    return found.bindparams(*[bindparam(name, type_=_PARAMETERS[name]) for name in names])


_WALK = """
WITH RECURSIVE walk AS (
SELECT (SELECT queue FROM {table} WHERE {indexed} ORDER BY queue LIMIT 1) AS queue, 1 AS number
UNION ALL
SELECT (SELECT behind.queue FROM {table} AS behind
         WHERE {indexed} AND behind.queue > walk.queue ORDER BY behind.queue LIMIT 1),
       walk.number + 1
  FROM walk WHERE walk.queue IS NOT NULL AND walk.number < :most)
SELECT queue FROM walk WHERE queue IS NOT NULL
"""


@lru_cache
def waiting_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have an available message, by one index descent each."""
    return _text(_WALK, table, dialect, indexed=_WAITING)


@lru_cache
def held_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have a claimed message, by one index descent each."""
    return _text(_WALK, table, dialect, indexed=_HELD)


# The first entries behind a queue, by queue. Small queues share a page of the index: one descent
# returns all that are complete among them. Of the last there may be more; with fewer than `least`
# of it the next step begins with it.
_FIRST_ENTRIES = """
SELECT queue, entries, due, oldest_at, newest_at, is_cut, is_last
  FROM (SELECT queue, entries, due, oldest_at, newest_at,
               is_full AND number = queues AS is_cut,
               is_full AND (number = queues OR number = (queues - 1) AND of_last < {least})
                 AS is_last,
               is_full AND queues > 1 AND number = queues AND entries < {least} AS is_left_out
          FROM (SELECT queue, entries, due, oldest_at, newest_at,
                       row_number() OVER (ORDER BY queue) AS number,
                       count(*) OVER () AS queues, (sum(entries) OVER ()) >= :bound AS is_full,
                       first_value(entries) OVER (ORDER BY queue DESC) AS of_last
                  FROM (SELECT entry.queue, count(*) AS entries,
                               count(CASE WHEN entry.at <= {now} THEN 1 END) AS due,
                               min(CASE WHEN entry.at <= {now} THEN entry.at END) AS oldest_at,
                               max(entry.at) AS newest_at
                          FROM (SELECT queue, {at} AS at FROM {table} AS behind
                                 WHERE {indexed} {condition}
                                 ORDER BY queue, {order} LIMIT :bound) AS entry
                         GROUP BY entry.queue) AS of_queue) AS numbered) AS step
 WHERE NOT is_left_out
"""
_COLUMNS = "{0}.queue, {0}.entries, {0}.due, {0}.oldest_at, {0}.newest_at, {0}.is_cut, {0}.is_last"
_FIRST_OF_EACH = """
WITH RECURSIVE walk AS (
SELECT {of_first}, 1 AS number FROM ({first}) AS first
UNION ALL
SELECT {of_found}, walk.number + 1
  FROM walk CROSS JOIN LATERAL ({behind}) AS found WHERE walk.is_last AND walk.number < :most)
SELECT queue, entries, due, is_cut, {oldest_at} AS oldest_at, {newest_at} AS newest_at FROM walk
"""


def _first_of_each(table: Table, dialect: Dialect, **parts: str) -> TextClause:
    return _text(
        _FIRST_OF_EACH,
        table,
        dialect,
        of_first=_COLUMNS.format("first"),
        of_found=_COLUMNS.format("found"),
        first=_FIRST_ENTRIES.replace("{condition}", ""),
        behind=_FIRST_ENTRIES.replace("{condition}", "AND behind.queue > walk.queue"),
        oldest_at=_bounded("walk.oldest_at"),
        newest_at=_bounded("walk.newest_at"),
        **parts,
    )


@lru_cache
def first_entries(table: Table, dialect: Dialect) -> TextClause:
    """Return of each queue what waits among its first entries, ``bound`` at most (PostgreSQL).

    Of those that are cut ``least`` were seen or more, in the order in which they are claimed.
    """
    order = "priority DESC, available_at"
    parts = {"at": "available_at", "indexed": _WAITING, "order": order, "least": ":least"}
    return _first_of_each(table, dialect, waiting=_WAITING, **parts)


@lru_cache
def first_claims(table: Table, dialect: Dialect) -> TextClause:
    """Return of each queue its claims, ``bound`` at most, and of them the lapsed (PostgreSQL)."""
    column = "claim_expires_at"
    parts = {"at": column, "indexed": _HELD, "order": column, "least": ":bound"}
    return _first_of_each(table, dialect, **parts)


@lru_cache
def counted_entries(table: Table, dialect: Dialect) -> TextClause:
    """Count what waits in some queues, ``bound`` of each at most (PostgreSQL)."""
    return _counted(table, dialect, indexed=_WAITING, at="available_at", order="priority DESC, ")


@lru_cache
def counted_claims(table: Table, dialect: Dialect) -> TextClause:
    """Count the claims of some queues, ``bound`` of each at most, the lapsed first (PostgreSQL)."""
    return _counted(table, dialect, indexed=_HELD, at="claim_expires_at", order="")


def _counted(table: Table, dialect: Dialect, **parts: str) -> TextClause:
    sql = (
        "SELECT name.queue, found.entries, found.due"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN LATERAL (SELECT count(*) AS entries,"
        " count(CASE WHEN entry.at <= {now} THEN 1 END) AS due"
        " FROM (SELECT {at} AS at FROM {table} WHERE queue = name.queue AND {indexed}"
        " ORDER BY {order}{at} LIMIT :bound) AS entry) AS found"
    )
    return _text(sql, table, dialect, **parts)


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
    return _text(sql, table, dialect, waiting=_WAITING)


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
    return _text(sql, table, dialect, held=_HELD, claimed_at=_bounded("found.claimed_at"))


@lru_cache
def last_died(table: Table, dialect: Dialect) -> TextClause:
    """Return when the last message died, of some queues of dead letters (PostgreSQL).

    Of those with the lowest priority: most have the same.
    """
    sql = (
        "SELECT name.queue, {died_at} AS died_at"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN LATERAL (SELECT available_at FROM {table} WHERE queue = name.queue"
        " AND {waiting} ORDER BY priority, available_at DESC LIMIT 1) AS found"
    )
    return _text(sql, table, dialect, waiting=_WAITING, died_at=_bounded("found.available_at"))


@lru_cache
def who_and_when(table: Table, dialect: Dialect) -> TextClause:
    """Return the role that looks, and the time by the database's clock (PostgreSQL)."""
    return _text("SELECT current_user::text AS role, {now} AS now", table, dialect)


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
SELECT queue, (SELECT max(message.consumed_at) FROM {table} AS message
                WHERE message.queue = walk.queue AND {done}) AS consumed_at
  FROM walk WHERE queue IS NOT NULL
"""


@lru_cache
def consumed_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have a consumed message, and when the last one was consumed."""
    if dialect is SQLITE:
        return _text(_SQLITE_LAST, table, dialect, done=_DONE)
    return _text(_LAST, table, dialect, done=_DONE, consumed_at=_bounded("consumed_at"))


@lru_cache
def paused_queues(table: Table, dialect: Dialect) -> TextClause:
    """Return the queues that have a setting: how they are paused, and what limits they have."""
    paused_at = "paused_at" if dialect is SQLITE else _bounded("paused_at")
    sql = """
SELECT queue, {paused_at} AS paused_at, paused_by, reason, max_backlog, on_full, concurrency, rate,
       rate_seconds, burst
  FROM {queue_table} LIMIT :most"""
    return _text(sql, table, dialect, paused_at=paused_at)


def _bounded(time: str) -> str:
    """Return a time of PostgreSQL so that the driver can read it."""
    earliest, latest = "'0001-01-03 00:00:00+00'", "'9999-12-29 00:00:00+00'"
    return f"CASE WHEN {time} IS NOT NULL THEN least(greatest({time}, {earliest}), {latest}) END"


_TOP = """(SELECT top.priority FROM {table} AS top
   WHERE top.queue = {queue} AND {waiting} ORDER BY top.priority DESC LIMIT 1)"""
_NEXT = """(SELECT lower.priority FROM {table} AS lower
   WHERE lower.queue = {queue} AND {waiting} AND lower.priority < level.priority
   ORDER BY lower.priority DESC LIMIT 1)"""
_LEVELS = """
WITH RECURSIVE level AS (
SELECT {top} AS priority, 1 AS number
UNION ALL
SELECT {next}, level.number + 1
  FROM level WHERE level.priority IS NOT NULL AND level.number < :levels)
"""
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
_CLAIMS = """
SELECT held.messages AS claimed, held.lapsed, held.claim_expires_at, first.claimed_at
  FROM (SELECT count(*) AS messages, count(CASE WHEN entry.is_lapsed THEN 1 END) AS lapsed,
               min(entry.claim_expires_at) AS claim_expires_at
          FROM (SELECT claim_expires_at, claim_expires_at <= {now} AS is_lapsed FROM {table}
                 WHERE queue = {queue} AND {held} ORDER BY claim_expires_at LIMIT :others)
                AS entry) AS held
 CROSS JOIN (SELECT min(claimed_at) AS claimed_at
          FROM (SELECT claimed_at FROM {table}
                 WHERE queue = {queue} AND {held} ORDER BY claim_expires_at LIMIT :sample)
                AS entry) AS first
"""
# When the last one died, of those with the lowest priority: most have the same.
_LETTERS = """
SELECT (SELECT count(*) FROM (SELECT priority FROM {table}
         WHERE queue = {dead} AND {waiting} ORDER BY priority DESC LIMIT :others) AS entry)
         AS dead,
       (SELECT available_at FROM {table}
         WHERE queue = {dead} AND {waiting} ORDER BY priority, available_at DESC LIMIT 1)
         AS available_at
"""
_WAITS = """
 CROSS JOIN LATERAL ({levels}
   SELECT coalesce(sum(found.due), 0)::bigint AS due, {oldest} AS available_at,
          coalesce(sum(found.delayed), 0)::bigint AS delayed,
          coalesce(sum(found.retrying), 0)::bigint AS retrying,
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
       waiting.retrying, waiting.is_due_cut, waiting.is_delayed_cut, waiting.is_retrying_cut"""
_SUMMARIES = """
SELECT {waiting_columns},
       held.claimed, held.lapsed, held.claim_expires_at, held.claimed_at,
       letters.dead, letters.died_at, {now} AS now
  FROM (SELECT unnest((:queues)::text[]) AS queue) AS name
{waits}
 CROSS JOIN LATERAL (SELECT claimed, lapsed, {claim_expires_at} AS claim_expires_at,
                            {claimed_at} AS claimed_at FROM ({claims}) AS claims) AS held
 CROSS JOIN LATERAL (SELECT dead, {available_at} AS died_at FROM ({letters}) AS letters) AS letters
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
        dead="(name.queue || '.dead')",
        held=_HELD,
        claim_expires_at=_bounded("claims.claim_expires_at"),
        claimed_at=_bounded("claims.claimed_at"),
        available_at=_bounded("letters.available_at"),
    )


@lru_cache
def waits(table: Table, dialect: Dialect) -> TextClause:
    """Return for each of some queues what waits, as ``summaries`` does (PostgreSQL)."""
    sql = (
        "SELECT {waiting_columns} FROM (SELECT unnest((:queues)::text[]) AS queue) AS name {waits}"
    )
    return _of_waiting(sql, table, dialect)


def _of_waiting(sql: str, table: Table, dialect: Dialect, **parts: str) -> TextClause:
    of_level = _of_level("level.priority", "greatest(:bound / level.number, 1)")
    return _text(
        sql,
        table,
        dialect,
        waiting_columns=_WAITING_COLUMNS,
        waits=_WAITS,
        levels=_LEVELS,
        top=_TOP,
        next=_NEXT,
        of_level=of_level.replace("{sample}", "greatest(:sample / level.number, 1)"),
        of_rest=_OF_REST,
        last="last.priority",
        queue="name.queue",
        waiting=_WAITING,
        oldest=_bounded("min(found.available_at)"),
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
    parts = {"top": _TOP, "next": _NEXT, "queue": ":queue_name", "waiting": _WAITING}
    return _text(sql, table, dialect, levels=_LEVELS, **parts)


@lru_cache
def of_level(table: Table, dialect: Dialect) -> TextClause:
    """Return what waits in a queue with one priority (SQLite)."""
    sql = _of_level(":level", ":bound").replace("{sample}", ":sample")
    return _text(sql, table, dialect, queue=":queue_name", waiting=_WAITING)


@lru_cache
def of_rest(table: Table, dialect: Dialect) -> TextClause:
    """Return what waits in a queue behind a priority (SQLite)."""
    return _text(_OF_REST, table, dialect, queue=":queue_name", waiting=_WAITING, last=":level")


@lru_cache
def claims_and_letters(table: Table, dialect: Dialect) -> TextClause:
    """Return what is held of a queue, and what died (SQLite)."""
    sql = (
        "SELECT claims.claimed, claims.lapsed, claims.claim_expires_at, claims.claimed_at,"
        " letters.dead, letters.available_at, {now} AS now"
        " FROM ({claims}) AS claims CROSS JOIN ({letters}) AS letters"
    )
    return _text(
        sql,
        table,
        dialect,
        claims=_CLAIMS,
        letters=_LETTERS,
        queue=":queue_name",
        dead=":dead_letter_queue",
        waiting=_WAITING,
        held=_HELD,
    )


def _range(table: Table, dialect: Dialect, condition: str) -> TextClause:
    return _text(
        f"SELECT id FROM {{table}} WHERE queue = :queue_name AND {condition}",  # noqa: S608
        table,
        dialect,
        waiting=_WAITING,
        held=_HELD,
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

# Parts of an index, in the order of some queues: of what waits a priority each, the highest first.
# An empty step ends a queue; a part without a message that is meant still costs a descent.
# OFFSET 0: the planner would copy the next priority to each place that has it, a descent each.
_PARTS = """
WITH RECURSIVE part AS (
SELECT 1 AS place, :level AS below, (NULL)::integer AS priority,
       (0)::bigint AS entries, (0)::bigint AS total, 0 AS number
UNION ALL
SELECT part.place + CASE WHEN next.priority IS NULL THEN 1 ELSE 0 END,
       coalesce(next.priority, {top}), next.priority, counted.entries,
       part.total + CASE WHEN next.priority IS NULL THEN 0 ELSE greatest(counted.entries, 1) END,
       part.number + 1
  FROM part
 CROSS JOIN LATERAL (SELECT {next} AS priority OFFSET 0) AS next
 CROSS JOIN LATERAL (SELECT count(*) AS entries FROM (SELECT 1 FROM {table}
         WHERE queue = {queue} AND {indexed} AND next.priority IS NOT NULL LIMIT :bound) AS entry)
       AS counted
 WHERE part.place <= cardinality((:queues)::text[]) AND part.total < :bound AND part.number < :most)
SELECT place, priority, entries FROM part WHERE priority IS NOT NULL ORDER BY number
"""
TOP_PRIORITY, LOWEST_PRIORITY = 32_768, -32_768  # above all there are, and the last of them
_NEXT_PRIORITY = """(SELECT (message.priority)::integer FROM {table} AS message
         WHERE message.queue = {queue} AND {waiting} AND message.priority < part.below
         ORDER BY message.priority DESC LIMIT 1)"""
_IN_TIME = {
    Due.NOW: " AND available_at <= {now}",
    Due.LATER: " AND available_at > {now}",
    Due.ANY: "",
}


@lru_cache
def parts(table: Table, dialect: Dialect, *, way: Way) -> TextClause:
    """Return the next parts of the index in some queues, and how many of the way's messages have.

    Until they are ``bound`` together, and no more of one; ``level`` is above the first priority
    (PostgreSQL). Of a walk that knows no priorities a queue is one part, 0.
    """
    is_waiting = way.walk is Walk.WAITING
    indexed = "{waiting} AND priority = next.priority" + _IN_TIME[way.due]
    return _text(
        _PARTS,
        table,
        dialect,
        top=str(TOP_PRIORITY),
        next=_NEXT_PRIORITY if is_waiting else "CASE WHEN part.below > 0 THEN 0 END",
        indexed=indexed if is_waiting else _HELD,
        queue="((:queues)::text[])[part.place]",
        waiting=_WAITING,
    )


# The newest rows by the consumed index: when they were available, claimed and consumed.
_LATEST = """
SELECT available_at, claimed_at, consumed_at FROM {table}
 WHERE queue = {queue} AND {done} AND consumed_at <= {now} ORDER BY consumed_at DESC LIMIT :sample
"""


@lru_cache
def last_consumed(table: Table, dialect: Dialect) -> TextClause:
    """Return when a message of the queue was consumed last."""
    read = "consumed_at" if dialect is SQLITE else _bounded("consumed_at")
    sql = (
        "SELECT {read} AS consumed_at FROM (SELECT consumed_at FROM {table}"
        " WHERE queue = :queue_name AND {done} ORDER BY consumed_at DESC LIMIT 1) AS newest"
    )
    return _text(sql, table, dialect, read=read, done=_DONE)


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
            "read": ", ".join(f"{_bounded(f'latest.{name}')} AS {name}" for name in times),
        }
    return _text(sql, table, dialect, latest=_LATEST, done=_DONE, **parts)


# The newest of a step of time: how many, no more than are counted, and the earliest of them.
_STEP = """
SELECT count(*) AS messages, min(consumed_at) AS consumed_at
  FROM (SELECT consumed_at FROM {table}
         WHERE queue = {queue} AND {done} AND consumed_at > {after} AND consumed_at <= {until}
         ORDER BY consumed_at DESC LIMIT :bound) AS entry
"""


@lru_cache
def consumed_in_steps(table: Table, dialect: Dialect) -> TextClause:
    """Count what was consumed of some queues in each of ``most`` steps of time since ``after``.

    ``bound`` of a step at most, with the time of the earliest that was counted. On SQLite of one
    queue, between ``after`` and ``until``.
    """
    if dialect is SQLITE:
        parts = {"queue": ":queue_name", "after": ":after", "until": ":until"}
        return _text(_STEP, table, dialect, done=_DONE, **parts)
    sql = (
        "SELECT name.queue, step.number, found.messages, found.consumed_at"
        " FROM (SELECT unnest((:queues)::text[]) AS queue) AS name"
        " CROSS JOIN (SELECT generate_series(0, :most - 1) AS number) AS step"
        " CROSS JOIN LATERAL ({counted}) AS found"
    )
    return _text(
        sql,
        table,
        dialect,
        counted=_STEP,
        done=_DONE,
        queue="name.queue",
        after="((:after) + ((step.number * :seconds) * interval '1 second'))",
        until="((:after) + (((step.number + 1) * :seconds) * interval '1 second'))",
    )


@lru_cache
def newest_pushed(table: Table, dialect: Dialect) -> TextClause:
    """Return of the newest ``bound`` messages of all queues those pushed to one, and when.

    By id, as there is no index on the time of pushing. The last column is of all that were read.
    """
    read = "created_at" if dialect is SQLITE else _bounded("newest.created_at")
    sql = (
        "SELECT {read} AS created_at, newest.origin_queue = :queue_name AS is_of_queue"
        " FROM (SELECT created_at, origin_queue, id FROM {table}"
        " ORDER BY id DESC LIMIT :bound) AS newest"
    )
    return _text(sql, table, dialect, read=read)


@lru_cache
def newest_dead(table: Table, dialect: Dialect) -> TextClause:
    """Return when the newest ``bound`` dead letters of a queue died, of the lowest priority first.

    Most queues have one priority.
    """
    read = "available_at" if dialect is SQLITE else _bounded("newest.available_at")
    sql = (
        "SELECT {read} AS available_at FROM (SELECT available_at FROM {table}"
        " WHERE queue = :dead_letter_queue AND {waiting}"
        " ORDER BY priority, available_at DESC LIMIT :bound) AS newest"
    )
    return _text(sql, table, dialect, read=read, waiting=_WAITING)


@lru_cache
def clock(table: Table, dialect: Dialect) -> TextClause:
    """Return the time by the database's clock."""
    return _text("SELECT {now} AS now", table, dialect)
