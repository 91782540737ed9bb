"""Run a statement and read its rows as values; a missing or old schema becomes a clear error."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, text
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.connections import direct
from xclaim.connections.autocommit import is_autocommit, is_in_transaction
from xclaim.connections.encodings import check_names, check_sent
from xclaim.connections.endings import is_over
from xclaim.connections.engine import READ_ONLY
from xclaim.errors import InvalidArgumentError, SchemaVersionError
from xclaim.message import Draft, Message, finished, status_of
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, Dialect, dialect_of, time_of
from xclaim.sql.revision import is_whole, mismatch, qualified, read_revision
from xclaim.sql.schema import REVISION, TABLE_NAME, message_table, translated

Build = Callable[[Table, Dialect], statements.Statement]

_NO_HEADERS = ("{}", b"{}")
_NO_TABLE = {"42P01", "3F000"}  # PostgreSQL: undefined table, undefined schema
_NO_COLUMN = "42703"
_DEADLOCK = "40P01"
_TRIES = 4  # of a statement that is ended by a deadlock; each takes the server's deadlock_timeout
# At once it might take the lock again that the other one was about to get. The server waits, so
# that an event loop does not.
_STEP_ASIDE = text(
    "SELECT 1 AS waited FROM pg_catalog.pg_sleep(CAST(:seconds AS pg_catalog.float8))"
)
_ASIDE = 0.1  # seconds, and so many more before each further try
# The innermost is the first; words around it are in the language of the server.
_FUNCTION = re.compile(r"(?P<name>\w+)\([\w\s,\[\]]*\)")
_SQLITE_ERROR = 1  # "no such table" and "no such column" are of these, without codes of their own


def resolve_schema(schema: str | None, dialect_name: str) -> str | None:
    """Return the PostgreSQL schema to use: the argument, else XCLAIM_SCHEMA, else the search path.

    Raise InvalidArgumentError on SQLite, which has none, and for a name PostgreSQL would cut.
    """
    chosen = schema if schema is not None else os.environ.get("XCLAIM_SCHEMA") or None
    if chosen is None:
        return None
    arguments.schema_name(chosen)
    if dialect_name == SQLITE.name:
        raise InvalidArgumentError(
            f"schema {chosen!r} cannot be used, SQLite has no schemas: unset XCLAIM_SCHEMA and "
            "use a file of its own"
        )
    return chosen


def schema_on(bind: Engine | Connection, schema: str | None) -> str | None:
    """Return the schema to use on this engine or connection, as its ``schema_translate_map`` says.

    Raise as ``resolve_schema`` does, and on a connection for a name that its database cannot hold.
    """
    resolved = translated(bind, resolve_schema(schema, bind.dialect.name))
    if isinstance(bind, Connection):
        check_names(bind, schema=resolved)
    return resolved


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

    They are tuples, with names unless ``named`` is False: those without may be unread on SQLite,
    and ``as_utc``, ``text_of`` and ``token_of`` read them. ``prepare`` False: psycopg does not
    prepare it this time. ``schema`` is resolved and translated already. What was ended by a
    deadlock, and was a transaction of its own, is sent again. Raise InvalidArgumentError for a text
    that the database cannot hold, because it is not in UTF-8.
    """
    check_sent(connection, schema, parameters)
    statement = build(message_table(schema), dialect_of(connection.dialect.name))
    tries = 0
    while True:
        tries += 1
        try:
            return direct.run(connection, statement, parameters, named=named, prepare=prepare)
        except DBAPIError as error:
            if tries < _TRIES and _was_undone_by_a_deadlock(connection, error):
                _step_aside(connection, _ASIDE * tries)
                if not is_over(connection):
                    continue
            found = schema_error(connection, schema, error)
            if found is None:
                _drop_if_read_only(connection, error)
                raise
            raise found from error


def is_allowed(connection: Connection, schema: str | None, build: Build) -> bool:
    """Return what a statement says of a right of the role on the table; SQLite has none."""
    if connection.dialect.name == SQLITE.name:
        return True
    rows = execute(connection, schema, build, {"message_table": qualified(TABLE_NAME, schema)})
    return bool(rows[0].is_allowed)


def as_message(row: Any) -> Message:
    """Return a row that has the columns of a message, by their names, as one."""
    return finished(
        Draft(
            id=row.id,
            queue=row.queue,
            origin_queue=row.origin_queue,
            status=status_of(row.status),
            priority=row.priority,
            stored=(row.payload,),
            headers=headers_of(row.headers),
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
            ordering_key=row.ordering_key,
        )
    )


def headers_of(text: str | bytes | None) -> Any:
    """Return the headers that a row has, unparsed, as ``Message`` takes them."""
    return {} if text is None or text in _NO_HEADERS else (text,)


def as_utc(time: Any) -> Any:
    """Return the time in UTC: psycopg gives it in the zone of the session, SQLite as text."""
    if time is None or (isinstance(time, datetime) and time.tzinfo is UTC):
        return time
    return time.astimezone(UTC) if isinstance(time, datetime) else time_of(time)


def schema_error(
    connection: Connection, schema: str | None, error: DBAPIError
) -> SchemaVersionError | None:
    """Return what is said instead of a database's error for a missing or old schema, else None."""
    state = getattr(error.orig, "sqlstate", None)
    if state in {*_NO_TABLE, _NO_COLUMN} and (name := _function_of(error)) is not None:
        is_ours = name.startswith("xclaim_")  # else a trigger of somebody's, who has to mend it
        return mismatch(REVISION, schema, connection, function=name) if is_ours else None
    # In a caller's transaction, which the failed statement aborted, nothing can be asked.
    can_be_asked = is_autocommit(connection)
    if state in _NO_TABLE:  # of which there are two
        found = read_revision(connection, schema) if can_be_asked else None
        return mismatch(found, schema, connection)
    if state == _NO_COLUMN:
        found = read_revision(connection, schema) if can_be_asked else "unknown"
        return mismatch(found, schema, connection)
    if getattr(error.orig, "sqlite_errorcode", None) == _SQLITE_ERROR:
        return _schema_error_on_sqlite(connection)
    return None


def _function_of(error: DBAPIError) -> str | None:
    """Return the name of the function of the database in which the error was raised."""
    context = getattr(getattr(error.orig, "diag", None), "context", None)
    found = _FUNCTION.search(context or "")
    return None if found is None else found["name"]


def _schema_error_on_sqlite(connection: Connection) -> SchemaVersionError | None:
    """Return what is missing; None if nothing is, and it is another error, as of some value."""
    if is_whole(connection):
        return None
    return mismatch(read_revision(connection, None), None, connection)


def _was_undone_by_a_deadlock(connection: Connection, error: DBAPIError) -> bool:
    """Return whether all that was undone is the statement, and there is time to send it again.

    Two verbs that lock several rows in different orders can wait for each other. PostgreSQL ends
    one of them, and the other one goes on. In a transaction, of a verb or of the caller, what was
    sent before is undone, too.
    """
    if getattr(error.orig, "sqlstate", None) != _DEADLOCK or connection.invalidated:
        return False
    is_alone = is_autocommit(connection) and not is_in_transaction(connection)
    return is_alone and not is_over(connection)


def _step_aside(connection: Connection, seconds: float) -> None:
    """Wait for about so long; several that are in each other's way do not come back together.

    Where the session has not so much time for a statement it is sent again sooner.
    """
    about = {"seconds": random.uniform(seconds / 2, seconds)}  # noqa: S311  (no secret)
    try:
        direct.run(connection, _STEP_ASIDE, about)
    except DBAPIError:
        if connection.invalidated:
            raise


def _drop_if_read_only(connection: Connection, error: DBAPIError) -> None:
    """Let the next verb connect anew, to whichever server is primary by then.

    Our own engines drop all their connections then; of another's this one, where no transaction of
    the caller is on it.
    """
    is_read_only = getattr(error.orig, "sqlstate", None) == READ_ONLY
    if is_read_only and is_autocommit(connection) and not connection.invalidated:
        connection.invalidate(error)
