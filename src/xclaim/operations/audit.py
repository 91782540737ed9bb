"""Check on a live database that every row keeps the promises.

Read-only, and a part of the table at a time: no snapshot is held for long, and a claim never waits
for it. A message that changes between two parts is seen once, as it was then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from math import isqrt
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.connections import missing_files
from xclaim.connections.direct import run
from xclaim.connections.encodings import check_names
from xclaim.errors import ObservationTimeoutError
from xclaim.observing.asking import is_ended, limiting
from xclaim.payloads.plain_json import decode_strictly
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL, SQLITE, dialect_of
from xclaim.sql.revision import mismatch, qualified, read_revision
from xclaim.sql.schema import (
    CHECKS,
    QUEUE_CHECKS,
    TABLE_NAME,
    message_table,
    queue_table,
    slot_table,
)
from xclaim.sql.statements import auditing, diagnosing
from xclaim.verbs import refuse_hidden_rows, schema_on
from xclaim.verbs.execution import execute
from xclaim.verbs.unsendable import decoded, ids_of, is_unsendable

__all__ = ["Audit", "Check", "audit"]

_TABLES = (message_table(), queue_table(), slot_table())
_ASKED = "whether every message is sound"
_PART = 20_000  # rows read at a time: some tens of milliseconds
_PAGE = 100  # of these, whose payloads are read
_SAMPLE = 10  # broken rows that are named
_SAID = {
    "status": "the status is available, claimed or consumed, and the row has what goes with it",
    "claimed": "a claimed message has a token, a claimant and an expiry, the others have none",
    "consumed": "a consumed message has a consumer and a time, the others have none",
    "attempts": "attempts are not negative, max_attempts are positive",
    "queue": "every message is in a queue and came from one",
    "attempted": "what is claimed or consumed was attempted",
    "attempts_bounded": "no message was claimed more often than max_attempts, dead letters aside",
    "exhausted_is_dead": "a message whose attempts are used up is a dead letter",
    "in_line": "what has no time from which on it can be claimed stands in a line of its queue",
    "order_of_times": "created, then claimed, then consumed; a lease ends after it began",
    auditing.IN_THE_PAST: "nothing was created, claimed or consumed in the future",
    auditing.READABLE: "payload, headers and failures are what xclaim writes, and Python reads it",
    "unique_keys": "a unique key is one message of its queue",
    "tokens": "a token is one claim",
    "turns": "of an ordering key one message at most can be claimed or is",
    "lines": "where messages stand in line for an ordering key, one has the turn",
    "columns": "the tables have the columns of the schema",
    "checks": "the CHECK constraints are there, and hold for all rows",
    "indexes": "the indexes are there, and valid",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise: how many rows (or parts of the schema) were checked, how many break it.

    ``examples`` name the first of those, as in ``message 7 in 'orders'``. ``remedy`` is the SQL
    that mends one, by its ``:id``; None where nothing is broken, or a person has to look.
    """

    name: str
    promise: str
    checked: int
    broken: int
    examples: list[str]
    remedy: str | None = None


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
    timeout: timedelta | None = None,
) -> Audit:
    """Check every promise, of all messages, of one queue, or of so many of the newest.

    Raise SchemaVersionError where there is no xclaim schema, HiddenRowsError where row-level
    security hides messages from the role, ObservationTimeoutError when it takes longer than
    ``timeout``, if there is one. Nothing is written.
    """
    missing_files.refuse(engine)
    schema = schema_on(engine, schema)
    reading = _Reading(engine, schema, None if timeout is None else _Clock(timeout))
    with reading.connection() as connection:
        check_names(connection, schema=schema)
        if read_revision(connection, schema) is None:
            raise mismatch(None, schema, connection)
    reading.refuse_hidden_rows()
    if newest is not None:
        arguments.whole_number("newest", newest, 1, arguments.MAX_LIMIT)
    first = reading.first(newest)
    rows, checks = _check_rows(
        reading, None if queue is None else arguments.queue_name(queue), first
    )
    for name, build in (
        ("unique_keys", auditing.repeated_keys),
        ("tokens", auditing.repeated_tokens),
        ("turns", auditing.repeated_turns),
        ("lines", auditing.lines_without_a_leader),
    ):
        found = reading.named(_of_queue(build, queue), {"first_id": first, "queue_name": queue})
        checks.append(_check(reading, name, rows.total, len(found), found))
    checks += _check_schema(reading)
    reading.refuse_hidden_rows()  # also if they were hidden in the meantime
    is_whole = queue is None and newest is None
    return Audit(
        checks=checks,
        rows={"available": rows.available, "claimed": rows.claimed, "consumed": rows.consumed},
        gone=max(rows.last - rows.given, 0) if is_whole else None,
    )


@dataclass(slots=True)
class _Rows:
    total: int = 0
    given: int = 0  # ids that a push may have given
    available: int = 0
    claimed: int = 0
    consumed: int = 0
    last: int = 0


class _Clock:
    """How much time is left."""

    def __init__(self, timeout: timedelta) -> None:
        self._seconds = timeout.total_seconds()
        self._ends_at = time.monotonic() + self._seconds

    def left(self) -> timedelta:
        """Return it; raise ObservationTimeoutError if it is none."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise self.error()
        return timedelta(seconds=left)

    def error(self) -> ObservationTimeoutError:
        """Return what is raised when it is over."""
        return ObservationTimeoutError(_ASKED, self._seconds)


@dataclass(frozen=True, slots=True)
class _Reading:
    engine: Engine
    schema: str | None
    clock: _Clock | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Yield a connection that cannot write, in a short transaction."""
        if self.clock is not None:
            with self._limited(self.clock) as connection:
                yield connection
            return
        options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}
        if self.engine.dialect.name == POSTGRESQL.name:
            options = {"isolation_level": "READ COMMITTED", "postgresql_readonly": True}
        with self.engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def _limited(self, clock: _Clock) -> Iterator[Connection]:
        left = clock.left()
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                with limiting(connection, self.schema, left, _ASKED):
                    yield connection
            except DBAPIError as error:
                if is_ended(error):
                    raise clock.error() from error
                raise

    @property
    def table(self) -> str:
        """The table of messages, as SQL names it."""
        return qualified(TABLE_NAME, self.schema)

    def rows(self, build: Callable[..., statements.Statement], parameters: dict[str, Any]) -> Any:
        with self.connection() as connection:
            return execute(connection, self.schema, build, parameters)

    def named(self, build: Callable[..., statements.Statement], parameters: dict[str, Any]) -> Any:
        """Return rows with an id and a queue, also of those that PostgreSQL cannot send."""
        try:
            return self.rows(build, parameters)
        except DBAPIError as error:
            if not is_unsendable(error):
                raise
        # Which they are, and of each what can be sent: each a short look of its own, as all else.
        found = self.rows(partial(ids_of, build), parameters)
        named = self.described([row.id for row in found])
        return [named[row.id] for row in found if row.id in named]

    def described(self, ids: Sequence[int]) -> dict[int, Any]:
        """Return the messages with these ids, without their JSON."""
        wanted = dialect_of(self.engine.dialect.name).row_parameters(id=list(ids))
        rows = self.rows(statements.described, wanted)
        return {row.id: SimpleNamespace(**decoded(row)) for row in rows}

    def refuse_hidden_rows(self) -> None:
        with self.connection() as connection:
            refuse_hidden_rows(connection, self.schema, "an audit")

    def first(self, newest: int | None) -> int:
        """Return the id from which on the rows are checked."""
        if newest is None:
            return arguments.LOWEST_ID
        found = self.rows(auditing.nth_newest, {"message_limit": newest})
        return int(found[0].id) + 1 if found else arguments.LOWEST_ID


def _check_rows(reading: _Reading, queue: str | None, first: int) -> tuple[_Rows, list[Check]]:
    rows, broken, examples = _Rows(), dict[str, int](), dict[str, list[Any]]()
    parameters: dict[str, Any] = {"message_limit": _PART}
    if queue is not None:
        parameters["queue_name"] = queue
    while first <= arguments.HIGHEST_ID:
        parameters["first_id"] = first
        (part,) = reading.rows(_of_queue(auditing.audit_rows, queue), parameters)
        found = part._asdict()
        for name in _SAID.keys() & found.keys():
            broken[name] = broken.get(name, 0) + found[name]
            if found[name] and name not in examples:
                build = _of_queue(auditing.broken_rows, queue, promise=name)
                examples[name] = reading.named(build, parameters)
        if part.last is None:
            break
        unreadable = _unreadable(reading, queue, first, part.last)
        broken[auditing.READABLE] += len(unreadable)
        examples[auditing.READABLE] = [*examples.get(auditing.READABLE, ()), *unreadable[:_SAMPLE]]
        rows.total += part.rows
        rows.given += part.given
        rows.available += part.rows_available
        rows.claimed += part.rows_claimed
        rows.consumed += part.rows_consumed
        rows.last, first = part.last, part.last + 1
    checks = [
        _check(reading, name, rows.total, broken[name], examples.get(name, []))
        for name in _SAID
        if name in broken
    ]
    return rows, checks


def _unreadable(reading: _Reading, queue: str | None, first: int, last: int) -> list[Any]:
    """Return the rows of a part that cannot be sent, or have more digits or levels than we read."""
    try:
        return _unread(reading, queue, first, last)
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
    parameters: dict[str, Any] = {"first_id": first, "last_id": last}
    if queue is not None:
        parameters["queue_name"] = queue
    rows = reading.rows(_of_queue(auditing.ids_between, queue), parameters)
    ids = [row.id for row in rows]
    if len(ids) == 1:
        return list(reading.described(ids).values())
    found: list[Any] = []
    size = max(1, isqrt(len(ids)))  # to fail takes longer than to answer
    for begin in range(0, len(ids), size):
        end = ids[begin : begin + size][-1]
        found += _unreadable(reading, queue, first, end)
        first = end + 1
    return found


def _unread(reading: _Reading, queue: str | None, first: int, last: int) -> list[Any]:
    found: list[Any] = []
    parameters: dict[str, Any] = {"last_id": last, "message_limit": _PAGE}
    if queue is not None:
        parameters["queue_name"] = queue
    while first <= last:
        parameters["first_id"] = first
        page = reading.rows(_of_queue(auditing.perhaps_unreadable, queue), parameters)
        found += [row for row in page if not all(map(_is_read, (row.payload, row.headers)))]
        if len(page) < _PAGE:
            break
        first = page[-1].id + 1
    return found


def _is_read(json: str | bytes) -> bool:
    try:
        decode_strictly(json)
    except (ValueError, RecursionError):
        return False
    return True


def _of_queue(
    build: Callable[..., statements.Statement], queue: str | None, **options: str
) -> Callable[..., statements.Statement]:
    def built(table: Any, dialect: Any) -> statements.Statement:
        return build(table, dialect, of_queue=queue is not None, **options)

    return built


def _check(reading: _Reading, name: str, checked: int, broken: int, rows: Any) -> Check:
    first = sorted(rows, key=lambda row: row.id)[:_SAMPLE]
    named = [f"message {row.id} in {row.queue!r}" for row in first]
    return Check(
        name=name,
        promise=_SAID[name],
        checked=checked,
        broken=broken,
        examples=named,
        remedy=auditing.remedy(name, reading.table) if broken else None,
    )


def _check_schema(reading: _Reading) -> list[Check]:
    with reading.connection() as connection:
        wanted = {
            "columns": {_named(table.name, column.name) for table in _TABLES for column in table.c},
            "checks": {*CHECKS, *QUEUE_CHECKS},
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
    names = [table.name for table in _TABLES]
    return {_named(name, each) for name in names for each in _columns_of(connection, schema, name)}


def _columns_of(connection: Connection, schema: str | None, table: str) -> list[str]:
    if connection.dialect.name == SQLITE.name:
        inspector = inspect(connection)
        found = inspector.get_columns(table) if inspector.has_table(table) else []
        return [column["name"] for column in found]
    rows = run(connection, diagnosing.columns(table), {"schema": schema})
    return [row.attname for row in rows]


def _named(table: str, column: str) -> str:
    """Return the name of a column; of another table than that of messages with its table."""
    return column if table == TABLE_NAME else f"{table}.{column}"


def sound_checks(connection: Connection, schema: str | None) -> set[str]:
    """Return the names of the CHECK constraints that hold for all rows."""
    return {name for table in _TABLES for name in _sound_checks_of(connection, schema, table.name)}


def _sound_checks_of(connection: Connection, schema: str | None, table: str) -> list[str]:
    if connection.dialect.name == SQLITE.name:
        inspector = inspect(connection)
        found = inspector.get_check_constraints(table) if inspector.has_table(table) else []
        return [str(check["name"]) for check in found]
    rows = run(connection, diagnosing.valid_checks(table), {"schema": schema})
    return [row.conname for row in rows]


def sound_indexes(connection: Connection, schema: str | None) -> set[str]:
    """Return the names of the indexes that are whole and in use."""
    if connection.dialect.name == SQLITE.name:
        found = inspect(connection).get_indexes(TABLE_NAME)
        return {str(index["name"]) for index in found}
    rows = run(connection, diagnosing.indexes(), {"schema": schema})
    return {row.name for row in rows if row.is_valid}
