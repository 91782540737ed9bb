"""Connections of SQLite on which a verb's wait for a busy file can be ended.

SQLite ends a statement that runs when it is interrupted, but not one that waits for the file. So a
verb lets it wait for a short turn, and sends the statement, which has done nothing yet, again. What
users run on such a connection waits as on any other.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from xclaim.connections import private_files
from xclaim.connections.endings import seconds_left

T = TypeVar("T")

TURN = 0.5  # seconds
PAUSE = 0.01  # seconds, where SQLite itself does not wait


def is_busy(error: BaseException | None) -> bool:
    """Return whether another connection has the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class Turns(Enum):
    """Whether statements wait in turns."""

    NONE = "none"  # SQLite waits by itself, as for anybody
    EACH = "each"  # each statement is a verb's; between two nothing is different
    ALL = "all"  # the connection has verbs only


class PatientConnection(sqlite3.Connection):
    """A connection that can let verbs wait in turns, until its busy timeout and a turn are over.

    What a verb sends does nothing or all when the file is busy: its statements commit themselves,
    and the transactions among them begin with IMMEDIATE, after which nothing has to wait.
    """

    turns = Turns.NONE
    _timeout = 0.0  # seconds, while SQLite itself waits for less
    _is_interrupted = False

    def __init__(self, database: Any, *arguments: Any, **options: Any) -> None:
        private_files.make(database, is_uri=bool(options.get("uri", False)))
        super().__init__(database, *arguments, **options)

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that waits in the same way."""
        return super().cursor(factory or _PatientCursor)

    def execute(self, *arguments: Any) -> Any:
        """Run a statement on a new cursor."""
        if self.turns is Turns.NONE:
            return super().execute(*arguments)
        return self.send(super().execute, *arguments)

    def interrupt(self) -> None:
        """End what runs or waits on the connection, from any thread."""
        self._is_interrupted = True
        super().interrupt()

    def keep_for_verbs(self) -> None:
        """Let statements wait in turns; nobody else uses the connection meanwhile."""
        self.turns = Turns.EACH
        # Without WAL it is the commit that waits, when the rows are fetched.
        if self._pragma("journal_mode") == "wal":
            self._timeout = self._said_timeout()
            self.turns = Turns.ALL  # so whatever raises now, the timeout comes back
            self._shorten_timeout()

    def wait_as_usual(self) -> None:
        """Let SQLite wait by itself again."""
        if self.turns is Turns.ALL:
            self._restore_timeout()
        self.turns = Turns.NONE

    def send(self, send: Callable[..., T], *arguments: Any) -> T:
        """Send a statement, in turns if they are wanted, until an interrupt came.

        Where it raises anything else than an error of the driver's, SQLAlchemy drops the
        connection, with whatever timeout it has.
        """
        self._is_interrupted = False
        if self.turns is Turns.NONE:
            return send(*arguments)
        if self.turns is Turns.ALL:
            return self._in_turns(send, arguments)
        self._timeout = self._said_timeout()
        try:
            self._shorten_timeout()
            return self._in_turns(send, arguments)
        finally:
            self._restore_timeout()

    def _in_turns(self, send: Callable[..., T], arguments: Any) -> T:
        began = time.monotonic()
        while True:
            sent = time.monotonic()
            try:
                return send(*arguments)
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                is_over = self._is_interrupted or now - began >= self._timeout
                if is_over or not is_busy(error):
                    raise
            if now - sent < PAUSE:
                time.sleep(PAUSE)

    def _said_timeout(self) -> float:
        return float(self._pragma("busy_timeout")) / 1000  # a user may have set another one

    def _shorten_timeout(self) -> None:
        self._pragma(f"busy_timeout = {min(self._timeout, TURN) * 1000:.0f}")

    def _restore_timeout(self) -> None:
        self._pragma(f"busy_timeout = {self._timeout * 1000:.0f}")

    def _pragma(self, text: str) -> Any:
        return super().execute(f"PRAGMA {text}").fetchone()[0]


class _PatientCursor(sqlite3.Cursor):
    connection: PatientConnection

    def execute(self, *arguments: Any) -> Any:
        return self.connection.send(super().execute, *arguments)


def patient(connection: Connection) -> PatientConnection | None:
    """Return the driver's connection if it is one of these, behind aiosqlite or not."""
    if connection.dialect.name != "sqlite":
        return None
    driver: Any = connection.connection.driver_connection
    driver = getattr(driver, "_conn", driver)
    return driver if isinstance(driver, PatientConnection) else None


def is_closed(driver: Any) -> bool:
    """Return whether a connection of aiosqlite is closed: what is asked of it is a ValueError."""
    return getattr(driver, "_connection", driver) is None


@contextmanager
def for_a_verb(connection: Connection) -> Iterator[None]:
    """Let the statements of the block wait in turns, if the connection can."""
    driver = patient(connection)
    if driver is None:
        yield
        return
    driver.turns = Turns.EACH
    try:
        yield
    finally:
        driver.turns = Turns.NONE  # at once: no signal strikes before it


@contextmanager
def pooled(engine: Engine) -> Iterator[Connection]:
    """Yield a connection from the pool for a verb, on which each statement is committed."""
    with engine.connect() as connection, _waiting_no_longer(connection), for_a_verb(connection):
        commit_each_statement(connection)
        yield connection


@contextmanager
def _waiting_no_longer(connection: Connection) -> Iterator[None]:
    """Let the block wait for a busy file for as long as its statements may take."""
    seconds = seconds_left(connection)
    if seconds is None or connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    (usual,) = driver.execute("PRAGMA busy_timeout").fetchone()
    driver.execute(f"PRAGMA busy_timeout = {min(usual, round(seconds * 1_000))}")
    try:
        yield
    finally:
        if not connection.invalidated:
            driver.execute(f"PRAGMA busy_timeout = {usual}")


def commit_each_statement(connection: Connection) -> None:
    """Let the driver do so, whatever SQLAlchemy was told.

    A level that an engine's own options or listeners set comes after that of the verbs; and with
    one that somebody else had set and gave back, Python's driver of SQLite opens transactions.
    """
    if not _commits_by_itself(connection):
        connection.execution_options(isolation_level="AUTOCOMMIT")


def _commits_by_itself(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        return driver.isolation_level is None
    return bool(driver.autocommit)
