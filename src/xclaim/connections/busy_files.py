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

T = TypeVar("T")

TURN = 0.5  # seconds
PAUSE = 0.01  # seconds, where SQLite itself does not wait


def is_busy(error: BaseException | None) -> bool:
    """Return whether another connection has the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


class _Turns(Enum):
    NONE = "none"  # SQLite waits by itself, as for anybody
    EACH = "each"  # each statement is a verb's; between two nothing is different
    ALL = "all"  # the connection has verbs only


class PatientConnection(sqlite3.Connection):
    """A connection that can let verbs wait in turns, for as long in all as its busy timeout says.

    For statements that do nothing or all: not on a connection in a transaction, and never for
    ``executemany``.
    """

    _turns = _Turns.NONE
    _timeout = 0.0  # seconds, while SQLite itself waits for less
    _is_interrupted = False

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that waits in the same way."""
        return super().cursor(factory or _PatientCursor)

    def execute(self, *arguments: Any) -> Any:
        """Run a statement on a new cursor."""
        if self._turns is _Turns.NONE:
            return super().execute(*arguments)
        return self.in_turns(super().execute, *arguments)

    def interrupt(self) -> None:
        """End what runs or waits on the connection, from any thread."""
        self._is_interrupted = True
        super().interrupt()

    def run_verbs(self) -> None:
        """Let statements wait in turns from now on; between two nothing is different."""
        if self._turns is _Turns.NONE:
            self._turns = _Turns.EACH

    def run_verbs_only(self) -> None:
        """Let statements wait in turns; nobody else uses the connection meanwhile."""
        self._turns = _Turns.EACH
        # Without WAL it is the commit that waits, when the rows are fetched.
        if self.query("journal_mode") == "wal":
            self._turns = _Turns.ALL
            self._timeout = self.set_timeout(TURN)

    def run_others(self) -> None:
        """Let SQLite wait by itself again."""
        if self._turns is _Turns.ALL:
            self._restore_timeout()
        self._turns = _Turns.NONE

    def in_turns(self, send: Callable[..., T], *arguments: Any) -> T:
        """Send a statement until the file is free, the time is over, or an interrupt came."""
        self._is_interrupted = False
        if self._turns is _Turns.NONE:
            return send(*arguments)
        if self._turns is _Turns.ALL:
            return self._sent(send, arguments)
        self._timeout = self.set_timeout(TURN)
        try:
            return self._sent(send, arguments)
        finally:
            self._restore_timeout()

    def _sent(self, send: Callable[..., T], arguments: Any) -> T:
        try:
            return send(*arguments)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            first = error
        ends_at = time.monotonic() + self._timeout - min(self._timeout, TURN)  # one turn is over
        while time.monotonic() < ends_at and not self._is_interrupted:
            sent = time.monotonic()
            try:
                return send(*arguments)
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            if time.monotonic() - sent < PAUSE:  # SQLite did not wait
                time.sleep(PAUSE)
        raise first

    def set_timeout(self, seconds: float) -> float:
        """Let SQLite wait for so long by itself, if it waited for longer; return the time before.

        A user may have set another one, by a PRAGMA.
        """
        before = float(self.query("busy_timeout")) / 1000
        self.query(f"busy_timeout = {min(before, seconds) * 1000:.0f}")
        return before

    def _restore_timeout(self) -> None:
        self.query(f"busy_timeout = {self._timeout * 1000:.0f}")

    def query(self, pragma: str) -> Any:
        """Return what a PRAGMA returns."""
        return super().execute(f"PRAGMA {pragma}").fetchone()[0]


class _PatientCursor(sqlite3.Cursor):
    connection: PatientConnection

    def execute(self, *arguments: Any) -> Any:
        return self.connection.in_turns(super().execute, *arguments)


def patient(connection: Connection) -> PatientConnection | None:
    """Return the driver's connection if it is one of these, behind aiosqlite or not."""
    if connection.dialect.name != "sqlite":
        return None
    driver: Any = connection.connection.driver_connection
    driver = getattr(driver, "_conn", driver)
    return driver if isinstance(driver, PatientConnection) else None


@contextmanager
def for_a_verb(connection: Connection) -> Iterator[None]:
    """Let the statements of the block wait in turns, if the connection can."""
    driver = patient(connection)
    if driver is None:
        yield
        return
    driver.run_verbs()
    try:
        yield
    finally:
        driver.run_others()


@contextmanager
def pooled(engine: Engine) -> Iterator[Connection]:
    """Yield a connection from the pool for a verb."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            yield connection
            return
        with for_a_verb(connection):
            yield connection
