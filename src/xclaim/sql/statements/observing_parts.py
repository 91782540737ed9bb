"""Through which parts of an index a search goes, and how many messages each of them has."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import Table, TextClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.observing_text import HELD, WAITING, statement_of
from xclaim.sql.statements.observing_walks import Due, Walk, Way

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
    return statement_of(
        _PARTS,
        table,
        dialect,
        top=str(TOP_PRIORITY),
        next=_NEXT_PRIORITY if is_waiting else "CASE WHEN part.below > 0 THEN 0 END",
        indexed=indexed if is_waiting else HELD,
        queue="((:queues)::text[])[part.place]",
        waiting=WAITING,
    )
