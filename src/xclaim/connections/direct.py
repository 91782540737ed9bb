"""Run a statement: by the driver itself, where the outcome is the same, at a part of the cost.

SQLAlchemy keeps the pool, the transactions and the text of the statement; only its execution is
left out, which for a claim takes about as long as the database does. PostgreSQL's statements go
through libpq's narrow door if it is open, or else have a cursor of psycopg. Not left out is
SQLAlchemy in joined transactions, where that door is shut with asyncio, and on engines whose user
listens to, logs or translates the statements. To those PostgreSQL's statements are given as the
text they are sent as: their own compiler would write short names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Connection, Dialect, TextClause
from sqlalchemy.util import await_only

from xclaim.connections import libpq, pysqlite, settings
from xclaim.connections.autocommit import (
    AT_ONCE,
    needs_transaction,
    new_transaction,
)
from xclaim.connections.endings import ENDS_AT
from xclaim.connections.engine import DEFAULT_ISOLATION_LEVEL, is_said_autocommit
from xclaim.connections.missing_files import MAKES_NO_FILE
from xclaim.connections.placeholders import by_place
from xclaim.sql import full_names
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.revision import COMMANDS
from xclaim.sql.statements import Statement

# What else there may be is of no concern to a statement.
_PLAIN = frozenset({"isolation_level", DEFAULT_ISOLATION_LEVEL, COMMANDS, ENDS_AT, MAKES_NO_FILE})
_EVENTS = ("before_cursor_execute", "after_cursor_execute", "before_execute", "after_execute")


def is_direct(connection: Connection) -> bool:
    """Return whether a statement may go past SQLAlchemy on this connection."""
    return _is_past_sqlalchemy(connection.engine, connection.get_execution_options())


def _is_past_sqlalchemy(engine: Any, options: Mapping[str, Any]) -> bool:
    return (
        is_said_autocommit(options)
        and options.keys() <= _PLAIN
        and not engine.logger.isEnabledFor(logging.INFO)  # which `echo` does, too
        # The flag is quick to read, and False on nearly all engines: then no event is asked for.
        and not (engine._has_events and _is_listened_to(engine))  # noqa: SLF001
    )


def _is_listened_to(engine: Any) -> bool:
    heard = engine.dispatch
    return any(_listeners(heard.__class__)(heard))


@cache
def _listeners(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    """Return what gives the listeners to statements, of an engine and of that it is made of.

    To ask SQLAlchemy's own collections takes a call for each, or four if the engine has options of
    its own. Ours listen to the beginnings of SQLite, and so each verb there would ask.
    """
    places = ["{}.listeners", "{}.parent_listeners"]
    if hasattr(kind, "parent"):  # an engine with options: its own, and those of what it is made of
        own = ["{}.local.listeners", "{}.local.parent_listeners"]
        places = [*own, *(f"parent.{place}" for place in places)]
    return attrgetter(*(place.format(name) for name in _EVENTS for place in places))


def run(
    connection: Connection,
    statement: Any,
    parameters: Mapping[str, Any],
    *,
    named: bool = True,
    prepare: bool | None = None,
) -> Sequence[Any]:
    """Run the statement and return its rows as tuples, with names or quicker without.

    Times are in the time zone of the session. ``prepare`` False plans a statement of PostgreSQL
    anew this time, None leaves that to psycopg. Raise what SQLAlchemy raises, and
    InvalidArgumentError for a session of PostgreSQL in which it could not be read.
    """
    if connection.dialect.name != POSTGRESQL.name:
        return _on_sqlite(connection, statement, parameters, named=named)
    door = libpq.door_of(connection)
    settings.check(door.driver)
    if needs_transaction(connection, door.driver):
        with new_transaction(connection):
            return _on_postgresql(
                connection, door, statement, parameters, named=named, prepare=prepare
            )
    return _on_postgresql(connection, door, statement, parameters, named=named, prepare=prepare)


def _on_postgresql(
    connection: Connection,
    door: libpq.Door,
    statement: Any,
    parameters: Mapping[str, Any],
    *,
    named: bool,
    prepare: bool | None,
) -> Sequence[Any]:
    sent = _sent(statement)
    if sent.constants:
        parameters = {**sent.constants, **parameters}
    if not _is_past_sqlalchemy(connection.engine, connection.get_execution_options()):
        return _by_sqlalchemy(connection, sent, parameters)
    try:
        values = sent.raw.values(parameters) if door.is_open(sent.raw.text) else None
        if values is not None:
            return door.rows(door.run(sent.raw.text, values, prepare=prepare), named=named)
        if not connection.dialect.is_async:
            driver = door.driver
            its_own, make_cursor, make_row = _psycopg(named)
            if driver.cursor_factory is its_own:  # not one that traces, or binds in the client
                cursor = make_cursor(driver, row_factory=make_row)
                values = [parameters[name] for name in sent.raw.names]
                return cursor.execute(sent.raw.text, values, prepare=prepare).fetchall()  # type: ignore[no-any-return]
    except BaseException as error:  # noqa: BLE001  (raised again, as SQLAlchemy would)
        _raise(connection, error, sent.text, parameters)
    return _by_sqlalchemy(connection, sent, parameters)


def _by_sqlalchemy(
    connection: Connection, sent: _Sent, parameters: Mapping[str, Any]
) -> Sequence[Any]:
    return connection.exec_driver_sql(sent.text, dict(parameters), execution_options=AT_ONCE).all()


def _on_sqlite(
    connection: Connection, statement: Any, parameters: Mapping[str, Any], *, named: bool
) -> Sequence[Any]:
    if not is_direct(connection):
        return connection.execute(statement, parameters).all()
    sent, pooled = pysqlite.sent(statement), connection.connection
    try:
        if connection.dialect.is_async:
            driver = pooled.driver_connection
            return await_only(sent.run_in_its_thread(driver, parameters, named=named))
        return sent.run(pooled.dbapi_connection, parameters, named=named)
    except BaseException as error:  # noqa: BLE001  (raised again, as SQLAlchemy would)
        _raise(connection, error, sent.text, parameters)


def _raise(
    connection: Connection, error: BaseException, text: str, parameters: Mapping[str, Any]
) -> NoReturn:
    # It also drops connections that are lost, or were interrupted in the middle of a result.
    connection._handle_dbapi_exception(error, text, dict(parameters), None, None)  # noqa: SLF001


class _Sent(NamedTuple):
    """A statement as it is sent: for SQLAlchemy, and for psycopg which then need not parse it.

    ``raw`` has its parameters as the server does, by their places.
    """

    text: str
    constants: Mapping[str, Any]
    raw: libpq.Raw


@lru_cache(512)
def _sent(statement: Any) -> _Sent:
    text, constants = _text(statement, full_names.dialect())
    raw, names = by_place(text, "$")
    return _Sent(text, constants, libpq.Raw(raw.encode(), names))


@lru_cache
def _psycopg(named: bool) -> tuple[Any, Any, Any]:  # noqa: FBT001  (a key of the cache)
    from psycopg import Cursor, RawCursor  # psycopg is optional
    from psycopg.rows import namedtuple_row, tuple_row

    return Cursor, RawCursor, namedtuple_row if named else tuple_row


@lru_cache(512)
def _text(statement: Any, dialect: Dialect) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=dialect)
    constants = {name: value for name, value in compiled.params.items() if value is not None}
    return str(compiled), constants


def compile_for_postgresql(ahead: Iterable[Statement | TextClause]) -> None:
    """Compile statements ahead of their first use: about 5 ms each, once in a process."""
    for statement in ahead:
        _sent(statement)
