"""Statements that are transactions of their own, and several that are one.

A statement in autocommit runs at the level that the server, the database or the role sets. Verbs
are made for READ COMMITTED: where another is set each is put into a transaction that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xclaim.connections.endings import ENDS_AT, seconds_left
from xclaim.connections.engine import (
    IS_STRICTER,
    is_as_strict_as_needed,
    is_said_autocommit,
)
from xclaim.sql.dialects import SQLITE

# PostgreSQL has cursors, which an engine may choose for its results, for queries only.
AT_ONCE: dict[str, Any] = {"stream_results": False, "yield_per": None}
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_LIMITS = "; SET LOCAL statement_timeout = {all}; SET LOCAL lock_timeout = {half}"
_IDLE = 0  # of libpq's states of a transaction


def is_autocommit(connection: Connection) -> bool:
    """Return whether each statement on the connection is a transaction of its own."""
    return is_said_autocommit(connection.get_execution_options())


@contextmanager
def one_transaction(connection: Connection) -> Iterator[None]:
    """Let the statements of the block commit together, also under autocommit.

    In a caller's transaction they join it.
    """
    if not is_autocommit(connection):
        yield
        return
    with new_transaction(connection):
        yield


@contextmanager
def new_transaction(connection: Connection) -> Iterator[None]:
    """Let the block be a transaction, at READ COMMITTED, on a connection in autocommit."""
    is_sqlite = connection.dialect.name == SQLITE.name
    begin = "BEGIN IMMEDIATE" if is_sqlite else _BEGIN + _limits(connection)
    connection.exec_driver_sql(begin, execution_options=AT_ONCE)
    try:
        yield
    except BaseException:
        if not connection.invalidated:
            connection.exec_driver_sql("ROLLBACK", execution_options=AT_ONCE)
        raise
    connection.exec_driver_sql("COMMIT", execution_options=AT_ONCE)


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Let an error of the database in the block end no transaction, be there one or not.

    On PostgreSQL: of the caller, or of a verb on a connection in autocommit.
    """
    driver: Any = connection.connection.driver_connection
    if not driver.autocommit:
        with connection.begin_nested():
            yield
        return
    if not is_in_transaction(connection):
        yield
        return
    connection.exec_driver_sql("SAVEPOINT xclaim", execution_options=AT_ONCE)
    try:
        yield
    except DBAPIError:
        if not connection.invalidated:
            connection.exec_driver_sql("ROLLBACK TO SAVEPOINT xclaim", execution_options=AT_ONCE)
        raise
    connection.exec_driver_sql("RELEASE SAVEPOINT xclaim", execution_options=AT_ONCE)


def _limits(connection: Connection) -> str:
    seconds = seconds_left(connection)
    if seconds is None:
        return ""
    return _LIMITS.format(all=round(seconds * 1_000), half=round(seconds * 500))


def needs_transaction(connection: Connection, driver: Any) -> bool:
    """Return whether a statement would run at a stricter level than READ COMMITTED by itself.

    Or for longer than it may. Of a connection to PostgreSQL, and the driver's. In a transaction of
    the caller the level is the caller's.
    """
    is_stricter = connection.connection.info.get(IS_STRICTER)
    is_limited = ENDS_AT in connection.get_execution_options()
    if (is_stricter is False and not is_limited) or not driver.autocommit:
        return False
    if driver.pgconn.transaction_status != _IDLE:
        return False
    if is_limited:
        return True
    if is_stricter is None:
        is_stricter = connection.info[IS_STRICTER] = _is_stricter(connection)
    return bool(is_stricter)


def is_in_transaction(connection: Connection) -> bool:
    """Return whether a connection to PostgreSQL is in a transaction, be it one that has failed."""
    driver: Any = connection.connection.driver_connection
    return bool(driver.pgconn.transaction_status != _IDLE)


def _is_stricter(connection: Connection) -> bool:
    """Return whether an engine that is not ours has such a session, asking only where it hides."""
    dialect: Any = connection.dialect
    level = getattr(dialect, "default_isolation_level", None)
    if level is None or dialect._on_connect_isolation_level not in (None, "AUTOCOMMIT"):  # noqa: SLF001
        level = connection.exec_driver_sql("SHOW default_transaction_isolation").scalar_one()
    return not is_as_strict_as_needed(level)
