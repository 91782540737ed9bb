"""Who may do what, as SQL that a person can read before it is run: PostgreSQL only.

What a role may do is a matter of columns, and with queues of its own also of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xclaim.sql.schema import (
    DELETE_NAME,
    LINE_UP_NAME,
    PASS_OWED_NAME,
    QUEUE_TABLE_NAME,
    SLOT_TABLE_NAME,
    TABLE_NAME,
    VERSION_TABLE_NAME,
    message_table,
    queue_table,
    slot_table,
)
from xclaim.sql.statements.granted import (
    VERBS,
    VIEWS,
    VIEWS_WITHOUT_TEXTS,
    Facts,
    Grant,
    Kind,
    Part,
    function,
    policy_names_of,
    quoted,
)
from xclaim.sql.statements.policies import (
    policies_of,
    rules_of_messages,
    rules_of_settings,
    rules_of_slots,
)

_LOCK_TIMEOUT = "10s"  # a new policy waits for all who use the table, and all others wait for it

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
    statements += policies_of(grant, message, rules_of_messages(grant))
    statements += policies_of(grant, settings, rules_of_settings(grant))
    statements += policies_of(grant, slots, rules_of_slots(grant))
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
    own = [each for each in policy_names_of(name) if each not in found.taken]
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
            return VIEWS if grant.shows_payloads else VIEWS_WITHOUT_TEXTS


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


def _listed(privilege: str, columns: Iterable[str]) -> str:
    return f"{privilege} ({', '.join(columns)})"


def _of(found: Facts, name: str) -> str:
    return f"{quoted(found.schema)}.{name}"
