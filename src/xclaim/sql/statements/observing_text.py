"""The text of what is asked of queues: what its parts have in common.

Text, because what is asked of each queue is asked again for each of its priorities. On PostgreSQL
one statement answers for many queues, by LATERAL; on SQLite, where a statement costs no round trip,
there is one for each. The full names are filled in when they are sent.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, Integer, Table, Text, TextClause, bindparam, text

from xclaim.sql.dialects import SQLITE, Dialect, UtcTimestamp
from xclaim.sql.revision import qualified
from xclaim.sql.schema import QUEUE_TABLE_NAME

_PARAMETERS: dict[str, Any] = {
    "queue_name": Text(),
    "dead_letter_queue": Text(),
    "queues": Text(),
    "tops": Text(),
    "nears": Text(),
    "fars": Text(),
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
WAITING = "status = 'available' AND {present}"
HELD = "claim_expires_at IS NOT NULL"
DONE = "consumed_at IS NOT NULL"
# The first priorities of a queue, the highest first: a descent of the index for each.
LEVELS = """
WITH RECURSIVE level AS (
SELECT (SELECT top.priority FROM {table} AS top
         WHERE top.queue = {queue} AND {waiting} ORDER BY top.priority DESC LIMIT 1) AS priority,
       1 AS number
UNION ALL
SELECT (SELECT lower.priority FROM {table} AS lower
         WHERE lower.queue = {queue} AND {waiting} AND lower.priority < level.priority
         ORDER BY lower.priority DESC LIMIT 1), level.number + 1
  FROM level WHERE level.priority IS NOT NULL AND level.number < :levels)
"""
LEVELS_OF_DEAD = LEVELS.replace("{queue}", "{dead}")
# When the last letter died: a descent for each priority. What was claimed as a dead letter and
# rests until later has died before.
LAST_DIED = """
SELECT max(newest.available_at) AS available_at
  FROM ({levels_of_dead}
        SELECT (SELECT died.available_at FROM {table} AS died
                 WHERE died.queue = {dead} AND {waiting} AND died.priority = level.priority
                   AND died.available_at <= {now}
                 ORDER BY died.available_at DESC LIMIT 1) AS available_at
          FROM level WHERE level.priority IS NOT NULL) AS newest
"""


def statement_of(sql: str, table: Table, dialect: Dialect, **parts: str) -> TextClause:
    """Return the statement of a text with these parts in it."""
    is_sqlite = dialect is SQLITE
    named = {
        "table": _MESSAGES,
        "queue_table": _SETTINGS,
        "levels_of_dead": LEVELS_OF_DEAD,
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


def bounded(time: str) -> str:
    """Return a time of PostgreSQL so that the driver can read it."""
    earliest, latest = "'0001-01-03 00:00:00+00'", "'9999-12-29 00:00:00+00'"
    return f"CASE WHEN {time} IS NOT NULL THEN least(greatest({time}, {earliest}), {latest}) END"
