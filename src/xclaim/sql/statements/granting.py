"""Who may do what, as SQL that a person can read before it is run: PostgreSQL only.

What a role may do is a matter of columns, and with queues of its own also of rows. PostgreSQL takes
no parameters in these statements, so names and texts are quoted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects import postgresql

from xclaim.arguments import MAX_IDENTIFIER_BYTES, dead_letter_queue, visible
from xclaim.sql.schema import (
    DEAD_LETTERS_NAME,
    DELETE_NAME,
    FAILING_NAME,
    FAILURES_NAME,
    LINE_UP_NAME,
    LINEAGE_VIEW_NAME,
    OVERVIEW_NAME,
    PASS_OWED_NAME,
    QUEUE_TABLE_NAME,
    SLOT_TABLE_NAME,
    TABLE_NAME,
    VERSION_TABLE_NAME,
    VIEW_NAME,
    message_table,
    queue_table,
    slot_table,
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


_WITHOUT_TEXTS = (VIEW_NAME, OVERVIEW_NAME, FAILING_NAME, DEAD_LETTERS_NAME)
VIEWS = (*_WITHOUT_TEXTS, LINEAGE_VIEW_NAME, FAILURES_NAME)
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
_LOCK_TIMEOUT = "10s"  # a new policy waits for all who use the table, and all others wait for it

# For each command which rows it may find, and which it may leave behind.
_Rules = dict[str, tuple[str | None, str | None]]

_EVERYTHING = "true"
_TOKEN = ("claim_token",)
_CONFIDENTIAL = ("payload", "headers", "last_error", "failures")
_PUSHED = (
    "queue",
    "origin_queue",
    "priority",
    "payload",
    "headers",
    "unique_key",
    "max_attempts",
    "created_at",
    "available_at",
    "codec",
    "ordering_key",
    "due_at",
    "keeps_turn",
)
_GIVEN_BACK = (
    "queue",
    "status",
    "attempts",
    "available_at",
    "due_at",
    "claimed_at",
    "claim_expires_at",
    "claimed_by",
    "claim_key",
    "claim_token",
    "last_error",
    "last_error_class",
    "failures",
)
_SETTLED = (*_GIVEN_BACK, "consumed_at", "consumed_by")
_SETTING = (
    *("paused_at", "paused_by", "reason"),
    *("max_backlog", "on_full"),
    *("concurrency", "rate", "rate_seconds", "burst"),
)
_SLOT = ("queue", "kind", "slot")
_TAKING = ("message_id", "taken_at")

# What a producer inserts can be sent to who claims it. Some KB of jsonb can be printed as more than
# the 1 GB that PostgreSQL makes, and some texts of other encodings cannot be made UTF-8: then this
# is an error itself. 256 MiB are far more than a queue lets be pushed, unless told otherwise.
_SENDABLE = (
    "octet_length(convert_to(concat_ws('', payload::text, headers::text, unique_key, codec),"
    " 'UTF8')) <= 268435456"
)

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
        bindparam("own", _policy_names(role), postgresql.ARRAY(postgresql.TEXT)),
        bindparam("views", list(VIEWS), postgresql.ARRAY(postgresql.TEXT)),
        bindparam(
            "functions", [function(verb) for verb in VERBS], postgresql.ARRAY(postgresql.TEXT)
        ),
    )


def function(verb: str) -> str:
    """Return the name of the function of a verb."""
    return f"xclaim_{verb}"


def granting(grant: Grant, found: Facts) -> list[str]:
    """Return the statements, in their order, that leave the role with what is granted and no more.

    To be run in one transaction, by the owner of the table; for a new role by one who may create
    roles.
    """
    return [*PREPARING, *_creating(grant.role, found), *narrowing(grant, found)]


# A policy binds its operators for ever: they are PostgreSQL's own where the path is empty.
PREPARING = (f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'", "SET LOCAL search_path = ''")


def _creating(role: str, found: Facts) -> list[str]:
    return [] if found.is_role else [f"CREATE ROLE {quoted(role)} NOLOGIN"]


def narrowing(grant: Grant, found: Facts) -> list[str]:
    """Return the statements that do so for a role that is there."""
    role = quoted(grant.role)
    message, settings = _of(found, TABLE_NAME), _of(found, QUEUE_TABLE_NAME)
    statements = revoking(grant.role, found)
    slots = _of(found, SLOT_TABLE_NAME)
    if not found.is_schema_open:
        statements.append(f"GRANT USAGE ON SCHEMA {quoted(found.schema)} TO {role}")
    statements.append(f"GRANT SELECT ON {_of(found, VERSION_TABLE_NAME)} TO {role}")
    statements.append(f"GRANT {_rights(grant)} ON {message} TO {role}")
    statements.append(f"GRANT {_rights_on_settings(grant)} ON {settings} TO {role}")
    if rights := _rights_on_slots(grant):
        statements.append(f"GRANT {rights} ON {slots} TO {role}")
    if grant.kind is Kind.MAINTAINER:
        statements.append(f"GRANT EXECUTE ON FUNCTION {_delete(found)} TO {role}")
    if called := _functions(found, _verbs(grant)):
        statements.append(f"GRANT EXECUTE ON FUNCTION {called} TO {role}")
    if found.orders:
        statements += _rights_on_turns(grant, found, role)
    if views := shown_views(grant, found):
        named = ", ".join(_of(found, view) for view in views)
        statements.append(f"GRANT SELECT ON {named} TO {role}")
    statements += _policies(grant, message, _rules(grant))
    statements += _policies(grant, settings, _rules_of_settings(grant))
    statements += _policies(grant, slots, _rules_of_slots(grant))
    if is_limited(grant):
        statements += [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY" for table in (message, settings, slots)
        ]
    return statements


def revoking(name: str, found: Facts) -> list[str]:
    """Return the statements that take away what a role has on what is ours."""
    role = quoted(name)
    # By their role: a role that has another name now has policies of the old one.
    policies = {
        TABLE_NAME: found.policies,
        QUEUE_TABLE_NAME: found.policies_of_settings,
        SLOT_TABLE_NAME: found.policies_of_slots,
    }
    everything = ", ".join(_of(found, each) for each in (*policies, VERSION_TABLE_NAME, *VIEWS))
    functions = ", ".join(filter(None, (_delete(found), _functions(found, VERBS))))
    # What is printed may be run again later. What has the name of ours and is another's stays.
    own = [each for each in _policy_names(name) if each not in found.taken]
    return [
        f"REVOKE ALL ON {everything} FROM {role}",
        f"REVOKE ALL ON FUNCTION {functions} FROM {role}",
        *[
            f"DROP POLICY IF EXISTS {quoted(each)} ON {_of(found, table)}"
            for table, there in policies.items()
            for each in dict.fromkeys([*own, *there])
        ],
    ]


def parting(name: str, found: Facts) -> list[str]:
    """Return the statements that take all away from a role of ours, and drop it."""
    role = quoted(name)
    statements = revoking(name, found)
    if found.orders:
        statements.append(f"REVOKE ALL ON FUNCTION {_turns(found)} FROM {role}")
    statements.append(f"REVOKE ALL ON SCHEMA {quoted(found.schema)} FROM {role}")
    return [*statements, f"DROP ROLE {role}"]


def _verbs(grant: Grant) -> tuple[str, ...]:
    """Return the verbs whose functions do what the role may do by statements, too."""
    looks = ("peek", "counts") if grant.shows_payloads else ("counts",)
    match grant.kind:
        case Kind.PRODUCER:
            return ("push", "push_many", "push_row", "peek", "counts")
        case Kind.CONSUMER:
            settles = ("ack", "ack_many", "release", "extend")
            return ("claim", *settles, "expire", "peek", "counts")
        case Kind.OBSERVER:
            return looks
        case Kind.MAINTAINER:
            return ("expire", "redrive", "withdraw", "prune", *looks)
        case Part.DELETER:
            return ("withdraw", "prune")


def _functions(found: Facts, verbs: Iterable[str]) -> str:
    wanted = {function(verb) for verb in verbs}
    return ", ".join(
        _of(found, each) for each in found.functions if each.partition("(")[0] in wanted
    )


def _delete(found: Facts) -> str:
    return f"{_of(found, DELETE_NAME)}(bigint[], text)"


def _turns(found: Facts) -> str:
    return f"{_of(found, LINE_UP_NAME)}(bigint[]), {_of(found, PASS_OWED_NAME)}(text)"


def _rights_on_turns(grant: Grant, found: Facts, role: str) -> Iterator[str]:
    """Yield who may stand in line and who may pass on what is owed; an ack needs no right to."""
    line_up = f"{_of(found, LINE_UP_NAME)}(bigint[])"
    pass_owed = f"{_of(found, PASS_OWED_NAME)}(text)"
    yield f"REVOKE ALL ON FUNCTION {_turns(found)} FROM {role}"
    match grant.kind:
        case Kind.PRODUCER:
            yield f"GRANT EXECUTE ON FUNCTION {line_up} TO {role}"
        case Kind.CONSUMER | Kind.MAINTAINER:
            yield f"GRANT EXECUTE ON FUNCTION {pass_owed} TO {role}"
        case Kind.OBSERVER | Part.DELETER:
            pass


def is_limited(grant: Grant) -> bool:
    """Return whether the grant needs row-level security: all that change messages do.

    Column rights alone would let a consumer take back what was consumed.
    """
    return bool(grant.queues) or grant.kind is not Kind.OBSERVER


def shown_views(grant: Grant, found: Facts) -> tuple[str, ...]:
    """Return the views that the role may read: none that would show more than it may see."""
    if grant.queues and not found.views_heed_reader:
        return ()
    match grant.kind:
        case Kind.PRODUCER | Kind.CONSUMER | Part.DELETER:
            return ()
        case Kind.OBSERVER | Kind.MAINTAINER:
            return VIEWS if grant.shows_payloads else _WITHOUT_TEXTS


def _rights(grant: Grant) -> str:
    columns = [column.name for column in message_table().c]
    hidden = _TOKEN if grant.shows_payloads else _TOKEN + _CONFIDENTIAL
    shown = [name for name in columns if name not in hidden]
    match grant.kind:
        case Kind.PRODUCER:
            # What a repeated push returns.
            read = _listed("SELECT", [name for name in columns if name not in _TOKEN])
            return f"{read}, {_listed('INSERT', _PUSHED)}"
        case Kind.CONSUMER:
            return f"{_listed('SELECT', columns)}, {_listed('UPDATE', _SETTLED)}"
        case Kind.OBSERVER:
            return _listed("SELECT", shown)
        case Kind.MAINTAINER:
            # A lapsed lease is added to the failures: so it sees the errors of failed attempts.
            read = _listed("SELECT", [*shown, *({"failures"} - {*shown})])
            # Not DELETE, with which goes the right to lock the table: it deletes by a function.
            return f"{read}, {_listed('UPDATE', _GIVEN_BACK)}"
        case Part.DELETER:
            # To lock a row takes the right to update some column; its policy lets it update none.
            return f"{_listed('SELECT', shown)}, UPDATE (consumed_at), DELETE"


def _rights_on_settings(grant: Grant) -> str:
    # All know of them: a claim asks whether its queue is paused, a push whether it has a limit.
    read = _listed("SELECT", [column.name for column in queue_table().c])
    if grant.kind is not Kind.MAINTAINER:
        return read
    return f"{read}, {_listed('INSERT', ('queue', *_SETTING))}, {_listed('UPDATE', _SETTING)}"


def _rights_on_slots(grant: Grant) -> str:
    """Return the rights on slots: a claim takes them, who limits a queue makes them.

    Who watches a queue sees whether there are free ones.
    """
    read = _listed("SELECT", [column.name for column in slot_table().c])
    match grant.kind:
        case Kind.CONSUMER:
            return f"{read}, {_listed('UPDATE', _TAKING)}"
        case Kind.MAINTAINER:
            return f"{read}, {_listed('INSERT', _SLOT)}"
        case Kind.OBSERVER | Kind.PRODUCER:
            return read
        case Part.DELETER:
            return ""


def _policies(grant: Grant, table: str, rules: _Rules) -> Iterator[str]:
    for command, (using, check) in rules.items():
        name = quoted(_policy_name(command, grant.role))
        rule = "" if using is None else f" USING ({using})"
        rule += "" if check is None else f" WITH CHECK ({check})"
        yield f"CREATE POLICY {name} ON {table} FOR {command} TO {quoted(grant.role)}{rule}"


def _rules(grant: Grant) -> _Rules:
    """Return which rows each command may find, and which it may leave behind.

    Not how the one became the other: of two rows a policy sees one at a time.
    """
    queues = grant.queues
    own, near = _among("queue", queues), _among("queue", _with_dead(queues))
    pushed = _among("origin_queue", queues)
    match grant.kind:
        case Kind.PRODUCER:
            inserted = _all("queue = origin_queue", pushed, _SENDABLE)
            return {"SELECT": (pushed, None), "INSERT": (None, inserted)}
        case Kind.CONSUMER:
            # It reads dead letters, because what it may not see it may not make; claims none.
            unconsumed = "consumed_at IS NULL"  # costs a claim less than to compare the status
            return {"SELECT": (near, None), "UPDATE": (_all(own, unconsumed), near)}
        case Kind.OBSERVER:
            return {"SELECT": (near, None)}
        case Kind.MAINTAINER:
            found = _any(near, pushed)
            lapsed = "claim_expires_at <= statement_timestamp()"
            given_back = _any(lapsed, "status = 'available' AND queue LIKE '%.dead'")
            return {
                "SELECT": (found, None),
                "UPDATE": (_all(near, given_back), _all(near, "status = 'available'")),
                "DELETE": (_all(found, "status <> 'claimed'"), None),
            }
        case Part.DELETER:
            found = _any(near, pushed)
            return {
                "SELECT": (found, None),
                "UPDATE": (_all(near, "consumed_at IS NOT NULL"), "false"),
                "DELETE": (_all(found, "status <> 'claimed'"), None),
            }


def policy_names(grant: Grant) -> list[str]:
    """Return the names of the policies that the grant makes for the table."""
    return [_policy_name(command, grant.role) for command in _rules(grant)]


def _rules_of_settings(grant: Grant) -> _Rules:
    near = _among("queue", _with_dead(grant.queues))
    if grant.kind is Kind.MAINTAINER:
        return {"SELECT": (near, None), "INSERT": (None, near), "UPDATE": (near, near)}
    return {"SELECT": (near, None)}


def _rules_of_slots(grant: Grant) -> _Rules:
    near = _among("queue", _with_dead(grant.queues))
    match grant.kind:
        case Kind.CONSUMER:
            return {"SELECT": (near, None), "UPDATE": (near, near)}
        case Kind.MAINTAINER:
            return {"SELECT": (near, None), "INSERT": (None, _all(near, "slot >= 0"))}
        case Kind.OBSERVER | Kind.PRODUCER:
            return {"SELECT": (near, None)}
        case Part.DELETER:
            return {}


def _with_dead(queues: Iterable[str]) -> list[str]:
    names = list(queues)
    return list(dict.fromkeys([*names, *map(dead_letter_queue, names)]))


def _all(*conditions: str) -> str:
    needed = [f"({each})" for each in conditions if each != _EVERYTHING]
    return " AND ".join(needed) or _EVERYTHING


def _any(*conditions: str) -> str:
    if _EVERYTHING in conditions:
        return _EVERYTHING
    return " OR ".join(f"({each})" for each in conditions)


def _among(column: str, queues: Iterable[str]) -> str:
    texts = [text_literal(queue) for queue in queues]
    match texts:
        case []:
            return _EVERYTHING
        case [only]:
            return f"{column} = {only}"
        case _:
            return f"{column} IN ({', '.join(texts)})"


def _policy_names(role: str) -> list[str]:
    return [_policy_name(command, role) for command in _COMMANDS]


def _policy_name(command: str, role: str) -> str:
    name = f"xclaim_{command.lower()}_{role}"
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    return f"xclaim_{command.lower()}_{sha256(role.encode()).hexdigest()[:40]}"


def _listed(privilege: str, columns: Iterable[str]) -> str:
    return f"{privilege} ({', '.join(columns)})"


def _of(found: Facts, name: str) -> str:
    return f"{quoted(found.schema)}.{name}"


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
