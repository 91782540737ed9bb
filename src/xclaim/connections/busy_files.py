"""Connections of SQLite whose wait for a busy file can be ended.

SQLite ends a statement that runs when it is interrupted, but not one that waits for the file. So it
is let wait for a short turn, and the statement, which has done nothing yet, is sent again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_TURN = 0.5  # seconds


def is_busy(error: BaseException | None) -> bool:
    """Return whether another connection has the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def wait_of(driver: Any) -> float:
    """Return how many seconds a connection waits for the file."""
    if isinstance(driver, PatientConnection):
        return driver.timeout
    [milliseconds] = driver.execute("PRAGMA busy_timeout").fetchone()
    return float(milliseconds) / 1000


class PatientConnection(sqlite3.Connection):
    """Waits for the file for ``timeout`` seconds as any connection does, or until interrupted."""

    def __init__(self, database: Any, *, timeout: float = 5.0, **options: Any) -> None:
        self.timeout = timeout
        self.is_interrupted = False
        super().__init__(database, timeout=min(timeout, _TURN), **options)

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor that waits in the same way."""
        return super().cursor(factory or _PatientCursor)

    # What has the same name in sqlite3.Connection makes a cursor of its own kind.

    def execute(self, *arguments: Any) -> Any:
        """Run a statement on a new cursor."""
        self.is_interrupted = False
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            return self.repeated(error, super().execute, *arguments)

    def executemany(self, *arguments: Any) -> Any:
        """Run a statement several times on a new cursor."""
        return self.cursor().executemany(*arguments)

    def executescript(self, *arguments: Any) -> Any:
        """Run several statements on a new cursor."""
        return self.cursor().executescript(*arguments)

    def commit(self) -> None:
        """Commit; of a file without WAL that is what has to wait for its readers."""
        self.is_interrupted = False
        try:
            super().commit()
        except sqlite3.OperationalError as error:
            self.repeated(error, super().commit)

    def interrupt(self) -> None:
        """End what runs or waits on the connection, from any thread."""
        self.is_interrupted = True
        super().interrupt()

    def repeated(
        self, error: sqlite3.OperationalError, send: Callable[..., T], *arguments: Any
    ) -> T:
        """Send a statement again that met a busy file, until that is free or the time is over.

        Raise the error if it is another one, or if the statement was interrupted.
        """
        ends_at = time.monotonic() + self.timeout - min(self.timeout, _TURN)  # one turn is over
        while is_busy(error) and not self.is_interrupted and time.monotonic() < ends_at:
            sent = time.monotonic()
            try:
                return send(*arguments)
            except sqlite3.OperationalError as again:
                error = again
            if time.monotonic() - sent < _TURN / 2:  # SQLite knows that to wait is in vain
                break
        raise error

    @contextmanager
    def waiting_at_a_stretch(self) -> Iterator[None]:
        """Let SQLite wait by itself for what must not be sent again, because a part is done."""
        self._let_wait(self.timeout)
        try:
            yield
        finally:
            self._let_wait(min(self.timeout, _TURN))

    def _let_wait(self, seconds: float) -> None:
        super().execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


class _PatientCursor(sqlite3.Cursor):
    connection: PatientConnection

    def execute(self, *arguments: Any) -> Any:
        self.connection.is_interrupted = False
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            return self.connection.repeated(error, super().execute, *arguments)

    def executemany(self, *arguments: Any) -> Any:
        with self.connection.waiting_at_a_stretch():
            return super().executemany(*arguments)

    def executescript(self, *arguments: Any) -> Any:
        with self.connection.waiting_at_a_stretch():
            return super().executescript(*arguments)
