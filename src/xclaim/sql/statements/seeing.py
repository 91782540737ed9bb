"""Ask PostgreSQL whether row-level security hides messages from the role.

Text, because SQLAlchemy knows no catalogs. That row-level security is active says too much: a
policy may hold for all rows, as those of a role for all queues do.
https://www.postgresql.org/docs/current/ddl-rowsecurity.html
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Text, TextClause, bindparam, text

from xclaim.sql.statements.parts import QUEUE

_CONDITIONS = """
ARRAY(SELECT coalesce(pg_get_expr(polqual, polrelid), 'false')
        FROM pg_catalog.pg_policy
       WHERE polrelid = message.oid AND polcmd IN ('r', '*') AND polpermissive = {permissive}
         AND EXISTS (SELECT FROM unnest(polroles) AS of_role
                      WHERE of_role = 0 OR pg_has_role(of_role, 'USAGE')))
"""
_SIGHT = f"""
SELECT current_user::text AS role,
       coalesce(row_security_active(message.oid), false) AS is_limited,
       {_CONDITIONS.format(permissive="true")} AS one_of,
       {_CONDITIONS.format(permissive="false")} AS all_of
  FROM (SELECT to_regclass(:message_table)::oid AS oid) AS message
"""  # noqa: S608  (a constant of ours)


@lru_cache
def sight() -> TextClause:
    """Return the role, whether it is limited, and the conditions on which it sees a message.

    One of ``one_of``, and ``all_of``; each is an expression over the table's columns.
    """
    return text(_SIGHT).bindparams(bindparam("message_table", type_=Text))


def is_seen(one_of: Sequence[str], all_of: Sequence[str]) -> TextClause:
    """Return whether a message that is in the queue it was pushed to meets the conditions.

    They are the text of the table's own policies, as ``sight`` has read it from the catalog.
    """
    conditions = [" OR ".join(f"({each})" for each in one_of) or "false", *all_of]
    met = " AND ".join(f"({each})" for each in conditions)
    escaped = met.replace(":", "\\:")  # a colon in the name of a queue is no parameter
    row = "SELECT CAST(:queue_name AS text) AS queue, CAST(:queue_name AS text) AS origin_queue"
    sql = f"SELECT ({escaped}) AS is_seen FROM ({row}) AS xclaim_message"  # noqa: S608
    return text(sql).bindparams(bindparam(QUEUE.key, type_=Text))
