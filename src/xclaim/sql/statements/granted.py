"""What a role is granted and what a database has before: PostgreSQL only.

PostgreSQL takes no parameters in the statements that grant, so names and texts are quoted here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects import postgresql

from xclaim.arguments import MAX_IDENTIFIER_BYTES, visible
from xclaim.sql.schema import (
    DEAD_LETTERS_NAME,
    FAILING_NAME,
    FAILURES_NAME,
    LINEAGE_VIEW_NAME,
    OVERVIEW_NAME,
    QUEUE_TABLE_NAME,
    SLOT_TABLE_NAME,
    TABLE_NAME,
    VIEW_NAME,
)
from xclaim.sql.statements.functions import plain_types


class Kind(StrEnum):
    """What a role is for."""

    PRODUCER = "producer"  # pushes
    CONSUMER = "consumer"  # claims and settles
    OBSERVER = "observer"  # looks, at more than payloads only if told so
    MAINTAINER = "maintainer"  # expires, redrives, prunes, withdraws


class Part(StrEnum):
    """What a role is for that nobody is: it only has functions of a capability run as it."""

    DELETER = "deleter"  # prunes and withdraws; has the right to lock the table as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a role is granted; without ``queues`` on all of them."""

    kind: Kind | Part
    role: str
    queues: tuple[str, ...] = ()
    shows_payloads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a database has before a grant, as ``facts`` reads it."""

    schema: str
    is_schema_open: bool  # everybody may use it
    is_role: bool
    is_owner: bool  # the role has the rights of the table's owner, or a superuser's
    bypasses_policies: bool
    policies: tuple[str, ...]  # those for the role alone, whatever they are called
    policies_of_settings: tuple[str, ...]
    policies_of_slots: tuple[str, ...]
    taken: tuple[str, ...]  # names that its policies are to have, and those of others have
    taken_by: tuple[str, ...]  # the roles of those
    orders: bool  # ordering keys are enabled
    functions: tuple[str, ...]  # of the verbs, with the types of what they take
    views_heed_reader: bool  # they show what their reader may see, not what their owner may
    without_policy: tuple[str, ...]  # other roles, which have rights on the table
    wider: tuple[str, ...]  # what the role has besides, through everybody or other roles


VIEWS_WITHOUT_TEXTS = (VIEW_NAME, OVERVIEW_NAME, FAILING_NAME, DEAD_LETTERS_NAME)
VIEWS = (*VIEWS_WITHOUT_TEXTS, LINEAGE_VIEW_NAME, FAILURES_NAME)
# The verbs that are SQL functions as well, and what the trigger function does.
VERBS = (
    "push",
    "push_many",
    "push_row",
    "claim",
    "ack",
    "ack_many",
    "release",
    "extend",
    "expire",
    "redrive",
    "withdraw",
    "prune",
    "peek",
    "counts",
)
_COMMANDS = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Named parameters: with others the preparer would double each percent sign for the driver.
_preparer = postgresql.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]

_FACTS = """
WITH message AS (
     SELECT oid, relnamespace, relowner FROM pg_class WHERE oid = to_regclass(:message_table)),
granted AS (
     SELECT DISTINCT granted.grantee
       FROM message
      CROSS JOIN LATERAL (
            SELECT relacl AS rights FROM pg_class WHERE oid = message.oid
            UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = message.oid) AS acl
      CROSS JOIN aclexplode(acl.rights) AS granted
      WHERE granted.grantee <> message.relowner),
policy AS (
     SELECT polname::text AS name, polroles AS roles, polpermissive AS permits, named AS of_role
       FROM message
       JOIN pg_policy ON polrelid = message.oid
      CROSS JOIN unnest(polroles) AS named),
ours AS (
     SELECT class.relname::text AS table_name, polname::text AS name, polroles AS roles
       FROM message
       JOIN pg_class AS class ON class.relnamespace = message.relnamespace
       JOIN pg_policy ON polrelid = class.oid)
SELECT schema.nspname::text AS schema,
       has_schema_privilege('public', schema.oid, 'USAGE') AS is_schema_open,
       role.oid IS NOT NULL AS is_role,
       coalesce(pg_has_role(role.oid, message.relowner, 'USAGE'), false) AS is_owner,
       coalesce(role.rolbypassrls, false) AS bypasses_policies,
       ARRAY(SELECT name FROM policy WHERE roles = ARRAY[role.oid] ORDER BY 1) AS policies,
       ARRAY(SELECT name FROM ours
              WHERE table_name = :settings AND roles = ARRAY[role.oid] ORDER BY 1)
         AS policies_of_settings,
       ARRAY(SELECT name FROM ours
              WHERE table_name = :slots AND roles = ARRAY[role.oid] ORDER BY 1)
         AS policies_of_slots,
       ARRAY(SELECT DISTINCT name FROM ours
              WHERE table_name = ANY (:tables) AND name = ANY (:own)
                AND (role.oid IS NULL OR roles <> ARRAY[role.oid]) ORDER BY 1) AS taken,
       ARRAY(SELECT DISTINCT coalesce(other.rolname::text, 'PUBLIC')
               FROM ours
              CROSS JOIN unnest(ours.roles) AS named
               LEFT JOIN pg_roles AS other ON other.oid = named
              WHERE table_name = ANY (:tables) AND name = ANY (:own)
                AND (role.oid IS NULL OR roles <> ARRAY[role.oid]) ORDER BY 1) AS taken_by,
       EXISTS (SELECT FROM pg_proc WHERE pronamespace = schema.oid
                  AND proname = 'xclaim_line_up') AS orders,
       ARRAY(SELECT concat(proname, '(', oidvectortypes(proargtypes), ')') FROM pg_proc
              WHERE pronamespace = schema.oid AND proowner = message.relowner
                AND proname = ANY (:functions)
              ORDER BY 1) AS functions,
       (SELECT count(*) = cardinality(:views) FROM pg_class
         WHERE relnamespace = schema.oid AND relname = ANY (:views)
           AND 'security_invoker=true' = ANY (reloptions)) AS views_heed_reader,
       ARRAY(SELECT coalesce(other.rolname::text, 'PUBLIC')
               FROM granted
               LEFT JOIN pg_roles AS other ON other.oid = grantee
              WHERE (role.oid IS NULL OR grantee <> role.oid)
                AND NOT coalesce(pg_has_role(grantee, message.relowner, 'USAGE'), false)
                AND NOT coalesce(other.rolbypassrls, false)
                AND NOT EXISTS (
                    SELECT FROM policy WHERE of_role = 0 OR pg_has_role(grantee, of_role, 'USAGE'))
              ORDER BY 1) AS without_policy,
       ARRAY(SELECT 'the policy ' || name
               FROM policy
              WHERE permits AND (role.oid IS NULL OR roles <> ARRAY[role.oid])
                AND (of_role = 0 OR pg_has_role(role.oid, of_role, 'USAGE'))
              UNION
             SELECT 'the rights of ' || coalesce(other.rolname::text, 'PUBLIC')
               FROM granted
               LEFT JOIN pg_roles AS other ON other.oid = grantee
              WHERE (role.oid IS NULL OR grantee <> role.oid)
                AND (grantee = 0 OR pg_has_role(role.oid, grantee, 'USAGE'))
              ORDER BY 1) AS wider
  FROM message
  JOIN pg_namespace AS schema ON schema.oid = message.relnamespace
  LEFT JOIN pg_roles AS role ON role.rolname = :role
"""


def facts(schema: str | None, role: str) -> TextClause:
    """Return one row: what the database has of the role, and of the table it may use."""
    name = quoted(TABLE_NAME) if schema is None else f"{quoted(schema)}.{quoted(TABLE_NAME)}"
    return text(_FACTS).bindparams(
        bindparam("role", role, postgresql.TEXT),
        bindparam("message_table", name, postgresql.TEXT),
        bindparam("settings", QUEUE_TABLE_NAME, postgresql.TEXT),
        bindparam("slots", SLOT_TABLE_NAME, postgresql.TEXT),
        bindparam(
            "tables",
            [TABLE_NAME, QUEUE_TABLE_NAME, SLOT_TABLE_NAME],
            postgresql.ARRAY(postgresql.TEXT),
        ),
        bindparam("own", policy_names_of(role), postgresql.ARRAY(postgresql.TEXT)),
        bindparam("views", list(VIEWS), postgresql.ARRAY(postgresql.TEXT)),
        bindparam(
            "functions", [function(verb) for verb in VERBS], postgresql.ARRAY(postgresql.TEXT)
        ),
    )


def function(verb: str) -> str:
    """Return the name of the function of a verb."""
    return f"xclaim_{verb}"


def policy_names_of(role: str) -> list[str]:
    """Return the names that policies of ours for a role have, of which a table has some."""
    return [policy_name_of(command, role) for command in _COMMANDS]


def policy_name_of(command: str, role: str) -> str:
    """Return the name of the policy of a role for a command, as short as a name has to be."""
    name = f"xclaim_{command.lower()}_{role}"
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    return f"xclaim_{command.lower()}_{sha256(role.encode()).hexdigest()[:40]}"


def quoted(name: str) -> str:
    """Return a name as SQL."""
    written: str = _preparer.quote_identifier(name)
    return written


def text_literal(value: str) -> str:
    """Return a text as SQL."""
    # E'' means the same whatever standard_conforming_strings says of backslashes.
    escaped = value.replace("'", "''").replace("\\", "\\\\")
    return f"E'{escaped}'" if "\\" in value else f"'{escaped}'"


def comment(line: str) -> str:
    """Return the line as a comment of SQL that ends where the line ends, whatever stands in it."""
    return f"-- {visible(line)}"


def facts_of(row: Any) -> Facts:
    """Return the row of ``facts`` as a value."""
    found: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row._asdict().items()
    }
    return Facts(**{**found, "functions": tuple(map(plain_types, found["functions"]))})
