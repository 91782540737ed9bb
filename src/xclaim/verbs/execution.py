"""Run a statement and read its rows as values; a missing or old schema becomes a clear error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.connections import direct
from xclaim.connections.engine import DEFAULT_ISOLATION_LEVEL
from xclaim.errors import InvalidArgumentError, SchemaVersionError
from xclaim.message import Draft, Message, Status, finished
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, Dialect, dialect_of
from xclaim.sql.revision import has_message_table, mismatch, read_revision
from xclaim.sql.schema import message_table

Build = Callable[[Table, Dialect], statements.Statement]

_NO_TABLE = {"42P01", "3F000"}  # PostgreSQL: undefined table, undefined schema
_NO_COLUMN = "42703"
_SQLITE_ERROR = 1  # also "no such table" and "no such column", which have no code of their own


def resolve_schema(schema: str | None, dialect_name: str) -> str | None:
    """Return the PostgreSQL schema to use: the argument, else XCLAIM_SCHEMA, else the search path.

    Raise InvalidArgumentError on SQLite, which has none, and for a name PostgreSQL would cut.
    """
    chosen = schema if schema is not None else os.environ.get("XCLAIM_SCHEMA") or None
    if chosen is None:
        return None
    arguments.key("schema", chosen)
    if dialect_name == SQLITE.name:
        raise InvalidArgumentError(
            f"schema {chosen!r} cannot be used, SQLite has no schemas: unset XCLAIM_SCHEMA and "
            "use a file of its own"
        )
    if len(chosen.encode()) > arguments.MAX_IDENTIFIER_BYTES:
        raise InvalidArgumentError(
            f"schema {chosen!r} is longer than the {arguments.MAX_IDENTIFIER_BYTES} bytes "
            "PostgreSQL keeps"
        )
    return chosen


def execute(
    connection: Connection,
    schema: str | None,
    build: Build,
    parameters: Mapping[str, Any],
    *,
    named: bool = True,
    prepare: bool | None = None,
) -> Sequence[Any]:
    """Build the statement for this connection's database, run it and return all its rows.

    They are tuples, with names unless ``named`` is False. ``prepare`` False: psycopg does not
    prepare it this time. ``schema`` is resolved already.
    """
    statement = build(message_table(schema), dialect_of(connection.dialect.name))
    try:
        if direct.is_direct(connection):
            return direct.execute(connection, statement, parameters, named=named, prepare=prepare)
        return connection.execute(statement, parameters).all()
    except DBAPIError as error:
        schema_error = _schema_error(connection, schema, error)
        if schema_error is None:
            raise
        raise schema_error from error


@contextmanager
def one_transaction(connection: Connection) -> Iterator[None]:
    """Let the statements of the block commit together, also under autocommit.

    In a caller's transaction they join it.
    """
    if not is_autocommit(connection):
        yield
        return
    is_sqlite = connection.dialect.name == SQLITE.name
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
    try:
        yield
    except BaseException:
        if not connection.invalidated:
            connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")


def is_autocommit(connection: Connection) -> bool:
    """Return whether each statement on the connection is a transaction of its own."""
    options = connection.get_execution_options()
    return options.get("isolation_level", options.get(DEFAULT_ISOLATION_LEVEL)) == "AUTOCOMMIT"


def as_message(row: Any) -> Message:
    """Return a row that has the columns of a message, by their names, as one."""
    return finished(
        Draft(
            id=row.id,
            queue=row.queue,
            origin_queue=row.origin_queue,
            status=Status(row.status),
            priority=row.priority,
            stored=row.payload,
            headers=row.headers,
            unique_key=row.unique_key,
            attempts=row.attempts,
            max_attempts=row.max_attempts,
            created_at=as_utc(row.created_at),
            available_at=as_utc(row.available_at),
            claimed_at=as_utc(row.claimed_at),
            claim_expires_at=as_utc(row.claim_expires_at),
            consumed_at=as_utc(row.consumed_at),
            claimed_by=row.claimed_by,
            consumed_by=row.consumed_by,
            claim_key=row.claim_key,
            last_error=row.last_error,
            last_error_class=row.last_error_class,
            codec=row.codec,
        )
    )


def as_utc(time: Any) -> Any:
    """Return the time in UTC: psycopg gives it in the time zone of the session."""
    return time if time is None or time.tzinfo is UTC else time.astimezone(UTC)


def _schema_error(
    connection: Connection, schema: str | None, error: DBAPIError
) -> SchemaVersionError | None:
    state = getattr(error.orig, "sqlstate", None)
    if state in _NO_TABLE:
        return mismatch(None, schema)
    if state == _NO_COLUMN:
        # In a caller's transaction, which the failed statement aborted, nothing can be asked.
        asked = is_autocommit(connection)
        return mismatch(read_revision(connection, schema) if asked else "unknown", schema)
    if getattr(error.orig, "sqlite_errorcode", None) == _SQLITE_ERROR:
        has_table = has_message_table(connection, schema)
        return mismatch(read_revision(connection, schema) if has_table else None, schema)
    return None
