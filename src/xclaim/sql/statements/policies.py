"""Row-level security: which rows a role may find and leave behind, by what it is granted.

PostgreSQL only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from xclaim.arguments import dead_letter_queue
from xclaim.sql.statements.granted import (
    Grant,
    Kind,
    Part,
    policy_name_of,
    quoted,
    text_literal,
)

# For each command which rows it may find, and which it may leave behind.
Rules = dict[str, tuple[str | None, str | None]]

_EVERYTHING = "true"

# What a producer inserts can be sent to who claims it. Some KB of jsonb can be printed as more than
# the 1 GB that PostgreSQL makes, and some texts of other encodings cannot be made UTF-8: then this
# is an error itself. 256 MiB are far more than a queue lets be pushed, unless told otherwise.
_SENDABLE = (
    "octet_length(convert_to(concat_ws('', payload::text, headers::text, unique_key, codec),"
    " 'UTF8')) <= 268435456"
)


def policies_of(grant: Grant, table: str, rules: Rules) -> Iterator[str]:
    """Yield the statements that make the policies of a role for a table, one for each command."""
    for command, (using, check) in rules.items():
        name = quoted(policy_name_of(command, grant.role))
        rule = "" if using is None else f" USING ({using})"
        rule += "" if check is None else f" WITH CHECK ({check})"
        yield f"CREATE POLICY {name} ON {table} FOR {command} TO {quoted(grant.role)}{rule}"


def rules_of_messages(grant: Grant) -> Rules:
    """Return which messages each command may find, and which it may leave behind.

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
    return [policy_name_of(command, grant.role) for command in rules_of_messages(grant)]


def rules_of_settings(grant: Grant) -> Rules:
    """Return the same of the settings of queues."""
    near = _among("queue", _with_dead(grant.queues))
    if grant.kind is Kind.MAINTAINER:
        return {"SELECT": (near, None), "INSERT": (None, near), "UPDATE": (near, near)}
    return {"SELECT": (near, None)}


def rules_of_slots(grant: Grant) -> Rules:
    """Return the same of the slots of limits."""
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
