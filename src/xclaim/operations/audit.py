"""Check on a live database that every row keeps the promises.

Read-only, and a part of the table at a time: no snapshot is held for long, and a claim never waits
for it. A message that changes between two parts is seen once, as it was then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, inspect

from xclaim import arguments
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL, SQLITE
from xclaim.sql.revision import mismatch, read_revision
from xclaim.sql.schema import CHECKS, TABLE_NAME, message_table
from xclaim.sql.statements import auditing, diagnosing
from xclaim.verbs import resolve_schema
from xclaim.verbs.execution import execute

__all__ = ["Audit", "Check", "audit"]

_PART = 20_000  # rows read at a time: some tens of milliseconds
_SAID = {
    "status": "the status is available, claimed or consumed",
    "claimed": "a claimed message has a token, a claimant and an expiry, the others have none",
    "consumed": "a consumed message has a consumer and a time, the others have none",
    "attempts": "attempts are not negative, max_attempts are positive",
    "queue": "every message is in a queue and came from one",
    "attempted": "what is claimed or consumed was attempted",
    "attempts_bounded": "no message was claimed more often than max_attempts, dead letters aside",
    "exhausted_is_dead": "a message whose attempts are used up is a dead letter",
    "order_of_times": "created, then claimed, then consumed; a lease ends after it began",
    auditing.IN_THE_PAST: "nothing was created, claimed or consumed in the future",
    auditing.READABLE: "payload and headers are JSON",
    "unique_keys": "a unique key is one message of its queue",
    "tokens": "a token is one claim",
    "columns": "the table has the columns of the schema",
    "checks": "the CHECK constraints are there, and hold for all rows",
    "indexes": "the indexes are there, and valid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise: how many rows (or parts of the schema) were checked, how many break it.

    ``examples`` name the first of those, as in ``message 7 in 'orders'``.
    """

    name: str
    promise: str
    checked: int
    broken: int
    examples: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was checked. ``rows`` are by status; ``gone`` ids were pruned, withdrawn or not used.

    ``gone`` counts from the first id there is; with a queue or a limit it says nothing and is None.
    """

    checks: list[Check]
    rows: dict[str, int]
    gone: int | None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is broken."""
        return not any(check.broken for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON-serialisable values."""
        return {"is_sound": self.is_sound, **asdict(self)}


def audit(
    engine: Engine,
    *,
    queue: str | None = None,
    newest: int | None = None,
    schema: str | None = None,
) -> Audit:
    """Check every promise, of all messages, of one queue, or of so many of the newest.

    Raise SchemaVersionError where there is no xclaim schema. Nothing is written.
    """
    schema = resolve_schema(schema, engine.dialect.name)
    reading = _Reading(engine, schema)
    with reading.connection() as connection:
        if read_revision(connection, schema) is None:
            raise mismatch(None, schema)
    after = reading.start(None if newest is None else arguments.limit(newest))
    rows, checks = _check_rows(
        reading, None if queue is None else arguments.queue_name(queue), after
    )
    for name, build in (
        ("unique_keys", auditing.repeated_keys),
        ("tokens", auditing.repeated_tokens),
    ):
        found = reading.rows(_of_queue(build, queue), {"after_id": after, "queue_name": queue})
        checks.append(_check(name, rows.total, len(found), found))
    checks += _check_schema(reading)
    is_whole = queue is None and newest is None
    return Audit(
        checks=checks,
        rows={"available": rows.available, "claimed": rows.claimed, "consumed": rows.consumed},
        gone=rows.last - rows.total if is_whole else None,
    )


@dataclass(slots=True)
class _Rows:
    total: int = 0
    available: int = 0
    claimed: int = 0
    consumed: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class _Reading:
    engine: Engine
    schema: str | None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection that cannot write, in a short transaction."""
        options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
        if self.engine.dialect.name == POSTGRESQL.name:
            options = {"isolation_level": "READ COMMITTED", "postgresql_readonly": True}
        with self.engine.connect().execution_options(**options) as connection:
            yield connection

    def rows(self, build: Callable[..., statements.Statement], parameters: dict[str, Any]) -> Any:
        with self.connection() as connection:
            return execute(connection, self.schema, build, parameters)

    def start(self, newest: int | None) -> int:
        """Return the id that the rows to check come after."""
        if newest is None:
            return -1
        found = self.rows(auditing.nth_newest, {"message_limit": newest})
        return int(found[0].id) if found else -1


def _check_rows(reading: _Reading, queue: str | None, after: int) -> tuple[_Rows, list[Check]]:
    rows, broken, examples = _Rows(), dict[str, int](), dict[str, list[Any]]()
    parameters: dict[str, Any] = {"message_limit": _PART}
    if queue is not None:
        parameters["queue_name"] = queue
    while True:
        parameters["after_id"] = after
        (part,) = reading.rows(_of_queue(auditing.audit_rows, queue), parameters)
        found = part._asdict()
        for name in _SAID.keys() & found.keys():
            broken[name] = broken.get(name, 0) + found[name]
            if found[name] and name not in examples:
                build = _of_queue(auditing.broken_rows, queue, promise=name)
                examples[name] = reading.rows(build, parameters)
        if part.last is None:
            break
        rows.total += part.rows
        rows.available += part.rows_available
        rows.claimed += part.rows_claimed
        rows.consumed += part.rows_consumed
        rows.last = after = part.last
    checks = [
        _check(name, rows.total, broken[name], examples.get(name, []))
        for name in _SAID
        if name in broken
    ]
    return rows, checks


def _of_queue(
    build: Callable[..., statements.Statement], queue: str | None, **options: str
) -> Callable[..., statements.Statement]:
    def built(table: Any, dialect: Any) -> statements.Statement:
        return build(table, dialect, of_queue=queue is not None, **options)

    return built


def _check(name: str, checked: int, broken: int, rows: Any) -> Check:
    named = [f"message {row.id} in {row.queue!r}" for row in rows]
    return Check(name=name, promise=_SAID[name], checked=checked, broken=broken, examples=named)


def _check_schema(reading: _Reading) -> list[Check]:
    with reading.connection() as connection:
        wanted = {
            "columns": {column.name for column in message_table().columns},
            "checks": set(CHECKS),
            "indexes": {str(index.name) for index in message_table().indexes},
        }
        found = {
            "columns": _columns(connection, reading.schema),
            "checks": sound_checks(connection, reading.schema),
            "indexes": sound_indexes(connection, reading.schema),
        }
    return [
        Check(
            name=name,
            promise=_SAID[name],
            checked=len(names),
            broken=len(names - found[name]),
            examples=sorted(names - found[name]),
        )
        for name, names in wanted.items()
    ]


def _columns(connection: Connection, schema: str | None) -> set[str]:
    columns = inspect(connection).get_columns(TABLE_NAME, schema=schema)
    return {column["name"] for column in columns}


def sound_checks(connection: Connection, schema: str | None) -> set[str]:
    """Return the names of the CHECK constraints that hold for all rows."""
    if connection.dialect.name == SQLITE.name:
        found = inspect(connection).get_check_constraints(TABLE_NAME)
        return {str(check["name"]) for check in found}
    return set(connection.execute(diagnosing.valid_checks(), {"schema": schema}).scalars())


def sound_indexes(connection: Connection, schema: str | None) -> set[str]:
    """Return the names of the indexes that are whole and in use."""
    if connection.dialect.name == SQLITE.name:
        found = inspect(connection).get_indexes(TABLE_NAME)
        return {str(index["name"]) for index in found}
    rows = connection.execute(diagnosing.indexes(), {"schema": schema})
    return {row.name for row in rows if row.is_valid}
