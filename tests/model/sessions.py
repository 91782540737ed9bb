"""Real sessions that stop between their steps: BEGIN and a verb, then COMMIT or a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a verb returned or raised."""

    value: Any = None
    error: Exception | None = None


class Session:
    """One connection, and at most one transaction on it.

    ``pid`` is the process of PostgreSQL behind it, if there is one.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self.pid: int | None = None

    def perform(self, verb: Callable[[Connection], object]) -> Outcome:
        """Begin a transaction and do one verb in it."""
        if self._connection is None:
            self._connection = self._engine.connect()
            driver: Any = self._connection.connection.driver_connection
            self.pid = driver.info.backend_pid if hasattr(driver, "info") else None
        self._connection.begin()
        try:
            return Outcome(value=verb(self._connection))
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what came of the verb)
            return Outcome(error=error)

    def commit(self) -> None:
        """Commit; if the database has aborted the transaction, that rolls it back."""
        assert self._connection is not None
        self._connection.commit()

    def crash(self) -> None:
        """Close the connection in the middle of its transaction."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = self.pid = None

    def roll_back(self) -> None:
        """Do what the database does for a connection that is lost, and keep the connection."""
        assert self._connection is not None
        self._connection.rollback()
