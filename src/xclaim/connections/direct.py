"""Run a statement by the driver itself, where the outcome is the same, at half the cost.

SQLAlchemy keeps the pool, the transactions and the text of the statement; only its execution is
left out, which for a claim takes about as long as the database does. Not left out are joined
transactions, asyncio, and engines whose user listens to, logs or translates the statements.
"""

from __future__ import annotations

import logging
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Dialect, Uuid, make_url

from xclaim.connections.engine import DEFAULT_ISOLATION_LEVEL
from xclaim.payloads import plain_json
from xclaim.sql.dialects import POSTGRESQL, Json, UtcTimestamp
from xclaim.sql.schema import message_table
from xclaim.sql.statements import Statement

_PLAIN_AUTOCOMMIT = (
    {"isolation_level": "AUTOCOMMIT"},
    {DEFAULT_ISOLATION_LEVEL: "AUTOCOMMIT"},
)
_logger = logging.getLogger("sqlalchemy.engine.Engine")


def is_direct(connection: Connection) -> bool:
    """Return whether a statement may go past SQLAlchemy on this connection."""
    engine: Any = connection.engine
    return (
        not connection.dialect.is_async
        and connection.get_execution_options() in _PLAIN_AUTOCOMMIT
        and not engine.echo
        and not _logger.isEnabledFor(logging.INFO)
        # The flag is quick to read, and False on nearly all engines: then no event is asked for.
        and not (engine._has_events and _is_listened_to(engine))  # noqa: SLF001
    )


def _is_listened_to(engine: Any) -> bool:
    heard = engine.dispatch
    return bool(
        heard.before_cursor_execute
        or heard.after_cursor_execute
        or heard.before_execute
        or heard.after_execute
    )


def execute(
    connection: Connection,
    statement: Statement,
    parameters: Mapping[str, Any],
    *,
    named: bool = True,
    prepare: bool | None = None,
) -> Sequence[Any]:
    """Run the statement and return its rows as tuples, with names or quicker without.

    Raise what SQLAlchemy would raise. Times are in the time zone of the session. ``prepare`` False
    plans a statement of PostgreSQL anew this time, None leaves that to psycopg.
    """
    is_postgresql = connection.dialect.name == POSTGRESQL.name
    text, constants = _text(statement, _postgresql() if is_postgresql else _sqlite())
    driver: Any = connection.connection.driver_connection
    try:
        if is_postgresql:
            return _by_psycopg(driver, text, parameters, named=named, prepare=prepare)
        return _by_sqlite3(driver, text, {**constants, **parameters})
    except BaseException as error:  # noqa: BLE001  (raised again, as SQLAlchemy would)
        # It also drops connections that are lost, or were interrupted in the middle of a result.
        connection._handle_dbapi_exception(error, text, dict(parameters), None, None)  # noqa: SLF001


def _by_psycopg(
    driver: Any,
    text: str,
    parameters: Mapping[str, Any],
    *,
    named: bool,
    prepare: bool | None,
) -> Sequence[Any]:
    cursor = driver.cursor(row_factory=_row_factory(named))
    return cursor.execute(text, parameters, prepare=prepare).fetchall()  # type: ignore[no-any-return]


@lru_cache
def _row_factory(named: bool) -> Any:  # noqa: FBT001  (a key of the cache)
    from psycopg.rows import namedtuple_row, tuple_row  # psycopg is optional

    return namedtuple_row if named else tuple_row


def _by_sqlite3(driver: Any, text: str, parameters: dict[str, Any]) -> Sequence[Any]:
    for name, value in parameters.items():
        if isinstance(value, UUID):
            parameters[name] = value.hex
    cursor = driver.execute(text, parameters)
    read = _readers.get(text)
    if read is None:
        read = _readers[text] = _reader([column[0] for column in cursor.description or ()])
    return [read(row) for row in cursor.fetchall()]


@lru_cache(512)
def _text(statement: Statement, dialect: Dialect) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=dialect)
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), constants


def compile_for_postgresql(ahead: Iterable[Statement]) -> None:
    """Compile statements ahead of their first use: about 5 ms each, once in a process."""
    for statement in ahead:
        _text(statement, _postgresql())


# One for all engines, whose own would each compile everything anew; the text is the same.
@lru_cache
def _postgresql() -> Dialect:
    return make_url("postgresql+psycopg://").get_dialect()()


@lru_cache
def _sqlite() -> Dialect:
    sqlite: Callable[..., Dialect] = make_url("sqlite://").get_dialect()
    return sqlite(paramstyle="named")


def _reader(names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """Return what makes a named tuple of a row of SQLite, where everything is text or a number."""
    row_type: Any = namedtuple("Row", names)  # type: ignore[misc]  # known only here
    types = {column.name: column.type for column in message_table().columns}
    readers = [
        (index, _READERS[type(types[name])])
        for index, name in enumerate(names)
        if name in types and type(types[name]) in _READERS
    ]

    def read(row: Sequence[Any]) -> Any:
        values = list(row)
        for index, from_text in readers:
            if values[index] is not None:
                values[index] = from_text(values[index])
        return row_type._make(values)

    return read


def _time(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")  # twice as quick as replace(tzinfo=UTC)


# By the text of their statement; as many as there are texts.
_readers: dict[str, Callable[[Sequence[Any]], Any]] = {}
_READERS: dict[type, Callable[[str], Any]] = {
    Json: plain_json.decode,
    UtcTimestamp: _time,
    Uuid: UUID,
}
