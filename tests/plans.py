"""How PostgreSQL carries a statement out: its plan, and what it reads of the message table.

A statement is prepared and executed, as a client does that uses it again and again, so that it can
have the plan for any parameters (`force_generic_plan`); one that is sent with its parameters to be
explained is planned for these alone, whatever is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from psycopg import ClientCursor
from sqlalchemy import Engine

from xclaim.sql import full_names

MODES = ["force_custom_plan", "force_generic_plan"]
_NO_TOKEN = "00000000-0000-0000-0000-000000000000"
PARAMETERS = {
    "queue_name": "load",
    "dead_letter_queue": "load.dead",
    "message_limit": 100,
    "asked_backlog": 200,
    "claimant": "me",
    "key": "task",
    "handed_on_key": "worker 95",
    "handed_on_by": "worker 95",
    "lease_seconds": 300.0,
    "delay_seconds": 0.0,
    "age_seconds": 3600.0,
    "error": None,
    "error_class": None,
    "is_limited": False,
    "most_attempts": None,
    "pauses": "[5.0, 10.0, 20.0]",
    "pause_count": 3,
    "jitter": 0.25,
    "drawn": 17,
    "message_id": 500_000,
    "token": _NO_TOKEN,
    "token_secret": b"of this statement",
    "ids": "{" + ",".join(str(500_000 + number) for number in range(100)) + "}",
    "tokens": "{" + ",".join([_NO_TOKEN] * 100) + "}",
    "ack_count": 0,
    "payloads": "[" + ",".join("1" for _ in range(100)) + "]",
    "message_priority": 0,
    "attempts_limit": None,
    "message_headers": "{}",
    "after_priority": 0,
    "after_available_at": "-infinity",
    "after_id": 0,
    "rest_seconds": 3600.0,
    "payload_before": '{"n": 1}',
    "payload_after": '{"n": 2}',
}
# As PostgreSQL counts within a transaction, so with what triggers and functions read, which no plan
# shows, and all their sequential scans.
_READ = """
SELECT (SELECT sum(pg_stat_get_xact_blocks_fetched(relation))::bigint
          FROM (SELECT 'xclaim_message'::regclass::oid
                 UNION ALL SELECT indexrelid FROM pg_index
                            WHERE indrelid = 'xclaim_message'::regclass) AS part (relation)),
       coalesce(pg_stat_get_xact_numscans('xclaim_message'::regclass), 0)
"""
_PARAMETER = re.compile(r"%\((\w+)\)s")
_number = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a statement was carried out.

    ``buffers`` and ``rows`` are those of the plan, ``returned`` what it returned; ``pages`` and
    ``scans``, from one end to the other, are of the message table with all that triggers do.
    """

    text: str
    buffers: int
    rows: int
    returned: int
    pages: int
    scans: int


def explain(
    engine: Engine,
    statement: Any,
    mode: str,
    *,
    role: str | None = None,
    before: Sequence[str] = (),
    **parameters: Any,
) -> Plan:
    """Run a statement in a transaction that is rolled back, and return how it was carried out.

    ``before``: what is done in the transaction first.
    """
    name = f"explained_{next(_number)}"
    prepared, given = _prepared(statement)
    execute = f"EXECUTE {name} ({given})" if given else f"EXECUTE {name}"
    values = PARAMETERS | parameters
    with engine.connect() as connection, connection.begin() as transaction:
        driver: Any = connection.connection.driver_connection
        cursor = ClientCursor(driver)
        cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        for each in before:
            cursor.execute(each)
        if role is not None:
            cursor.execute(f"SET LOCAL ROLE {role}")
        cursor.execute(f"PREPARE {name} AS {prepared}")
        cursor.execute("SAVEPOINT done")
        cursor.execute(execute, values)  # so that the functions that it calls have planned, too
        cursor.execute("ROLLBACK TO SAVEPOINT done")
        pages, scans = _read(cursor)
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {execute}", values)
        (root,) = cursor.fetchall()[0][0]
        pages_after, scans_after = _read(cursor)
        cursor.execute(f"DEALLOCATE {name}")
        transaction.rollback()
    plan = root["Plan"]
    nodes = list(every_node(plan))
    return Plan(
        text=json.dumps(root, indent=1),
        buffers=plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        rows=max(int(node["Actual Rows"] * node["Actual Loops"]) for node in nodes)
        + sum(int(node.get("Rows Removed by Filter", 0)) for node in nodes),
        returned=int(plan["Actual Rows"]),
        pages=pages_after - pages,
        scans=scans_after - scans,
    )


def _prepared(statement: Any) -> tuple[str, str]:
    """Return the text with numbers for the parameters, and what is given for them."""
    compiled = str(statement.compile(dialect=full_names.dialect()))
    names = list(dict.fromkeys(_PARAMETER.findall(compiled)))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", compiled)
    return numbered.replace("%%", "%"), ", ".join(f"%({name})s" for name in names)


def _read(cursor: ClientCursor[Any]) -> tuple[int, int]:
    pages, scans = cursor.execute(_READ).fetchall()[0]
    return pages or 0, scans


def every_node(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from every_node(inner)
