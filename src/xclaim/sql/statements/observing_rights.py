"""Ask PostgreSQL what the role may do: its columns, functions and policies.

Text, because SQLAlchemy knows no catalogs.
https://www.postgresql.org/docs/current/functions-info.html
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Text, TextClause, bindparam, text

from xclaim.sql.schema import TABLE_NAME

_COLUMNS = """
SELECT attname::text AS name,
       has_column_privilege(attrelid, attnum, 'SELECT') AS may_select,
       has_column_privilege(attrelid, attnum, 'INSERT') AS may_insert,
       has_column_privilege(attrelid, attnum, 'UPDATE') AS may_update
  FROM pg_attribute
 WHERE attrelid = to_regclass(:named_table)::oid AND attnum > 0 AND NOT attisdropped
"""
_ROLE = """
SELECT current_user::text AS role, to_regclass(:message_table) IS NOT NULL AS is_there,
       coalesce(has_table_privilege(to_regclass(:message_table)::oid, 'DELETE'), false)
         AS may_delete,
       coalesce(has_function_privilege(to_regprocedure(:delete_function)::oid, 'EXECUTE'), false)
         AS may_call_delete,
       pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only') = 'on' AS is_read_only
"""
_POLICIES = """
SELECT polcmd::text AS command, polpermissive AS permits,
       coalesce(pg_get_expr(polqual, polrelid), 'true') AS finds,
       coalesce(pg_get_expr(coalesce(polwithcheck, polqual), polrelid), 'true') AS leaves
  FROM pg_policy
 WHERE polrelid = to_regclass(:named_table)::oid AND row_security_active(polrelid)
   AND EXISTS (SELECT FROM unnest(polroles) AS of_role
                WHERE of_role = 0 OR pg_has_role(of_role, 'USAGE'))
"""
_IS_LIMITED = (
    "SELECT coalesce(row_security_active(to_regclass(:named_table)::oid), false) AS is_limited"
)

# Rows that could be there, for `meets`: what an action finds, or leaves behind.
_ROW = (
    "SELECT 1::bigint AS id, CAST(:{queue} AS text) AS queue,"
    " CAST(:queue_name AS text) AS origin_queue, '{status}'::text AS status,"
    " {expires}::timestamptz AS claim_expires_at, NULL::timestamptz AS consumed_at,"
    " NULL::text AS claimed_by, NULL::text AS consumed_by, 0::smallint AS priority,"
    " 0 AS attempts, 20 AS max_attempts, now() AS created_at, now() AS available_at,"
    " '1'::jsonb AS payload, '{{}}'::jsonb AS headers, NULL::text AS unique_key,"
    " NULL::text AS codec"
)
AVAILABLE = _ROW.format(queue="queue_name", status="available", expires="NULL")
DEAD = _ROW.format(queue="dead_letter_queue", status="available", expires="NULL")
HELD = _ROW.format(queue="queue_name", status="claimed", expires="'infinity'")
LAPSED = _ROW.format(queue="queue_name", status="claimed", expires="'-infinity'")
SETTING = (
    "SELECT CAST(:queue_name AS text) AS queue, now() AS paused_at, 'x'::text AS paused_by,"
    " 'x'::text AS reason"
)


@lru_cache
def role() -> TextClause:
    """Return the role, whether the table is there, and what holds for all of its actions."""
    return text(_ROLE).bindparams(
        bindparam("message_table", type_=Text), bindparam("delete_function", type_=Text)
    )


@lru_cache
def columns() -> TextClause:
    """Return of each column of a table whether the role may read, insert and update it."""
    return text(_COLUMNS).bindparams(bindparam("named_table", type_=Text))


@lru_cache
def is_limited() -> TextClause:
    """Return whether row-level security limits the role on a table."""
    return text(_IS_LIMITED).bindparams(bindparam("named_table", type_=Text))


@lru_cache
def policies() -> TextClause:
    """Return the policies of a table that hold for the role: which rows they find and leave."""
    return text(_POLICIES).bindparams(bindparam("named_table", type_=Text))


@lru_cache
def changes_nothing() -> TextClause:
    """Return what the database refuses to a process that may not write, and changes nothing."""
    return text(f"DELETE FROM {TABLE_NAME} WHERE false")  # noqa: S608


def meets(named_table: str, row: str, one_of: Sequence[str], all_of: Sequence[str]) -> TextClause:
    """Return whether a row that could be there meets the conditions of policies.

    They are the text of the table's own policies, as ``policies`` has read it; ``row`` is a SELECT
    of ours, with ``:queue_name`` and ``:dead_letter_queue``.
    """
    conditions = [" OR ".join(f"({each})" for each in one_of) or "false", *all_of]
    met = " AND ".join(f"({each})" for each in conditions)
    escaped = met.replace(":", "\\:")  # a colon in the name of a queue is no parameter
    sql = f"SELECT ({escaped}) AS is_met FROM ({row}) AS {named_table}"  # noqa: S608
    return text(sql)
