"""Try again while the database is away: for what loops or waits, not for single verbs."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from xclaim import arguments
from xclaim.connections import events
from xclaim.connections.calls import time_left
from xclaim.connections.engine import READ_ONLY
from xclaim.verb import ReturnEvent

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim.connections.concurrency import Concurrency

T = TypeVar("T")

RECONNECT = timedelta(minutes=2)  # a restart takes seconds, a failover up to a minute or two
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds
_JITTER = 0.5  # of a pause: a thousand workers do not all come back in the same instant
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_CONNECTION_EXCEPTION = "08"
_AWAY = {
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    READ_ONLY,  # a primary has become a standby
}
# Of a server that is there and may do the same in a moment.
_PASSING = {
    "53300",  # too_many_connections
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
}
# Worth another try where something must be settled before its caller is gone.
_PASSING_IN_A_HURRY = {
    "55P03",  # lock_not_available: lock_timeout
    "57014",  # query_canceled: statement_timeout
}
_logger = logging.getLogger("xclaim")


class Reconnecting:
    """The attempts of one loop: whether to ask the database again, when, and until when.

    ``limit`` is how long it may be away at a time. A failed attempt to connect counts as that only
    if ``has_connected`` says that this went well before: libpq does not tell a server that is
    starting from a wrong password.
    """

    def __init__(
        self, limit: timedelta, has_connected: Callable[[], bool], concurrency: Concurrency
    ) -> None:
        self._concurrency = concurrency
        self._limit = arguments.seconds("reconnect", limit)
        self._has_connected = has_connected
        self._away_since: float | None = None
        self._pause = _FIRST_PAUSE

    def run(self, call: Callable[[], T], *, again: Callable[[], T] | None = None) -> T:
        """Return what the call returns. ``again`` is called instead after the first failure.

        Raise at once what will not pass by itself, and the last error when the limit is reached,
        or the end of the call that this is a part of.
        """
        while True:
            try:
                result = call()
            except DBAPIError as error:
                pause = self._pause_after(error)
                if pause is None:
                    raise
                self._concurrency.sleep(pause)
                call = again or call
            else:
                self._note_return()
                return result

    def _pause_after(self, error: DBAPIError) -> float | None:
        in_a_hurry = math.isfinite(time_left())
        if not is_passing(error, has_connected=self._has_connected(), in_a_hurry=in_a_hurry):
            return None
        now = time.monotonic()
        if self._away_since is None:
            self._away_since, self._pause = now, _FIRST_PAUSE
        left = min(self._limit - (now - self._away_since), time_left())
        if left <= 0:
            return None
        pause = min(self._pause * random.uniform(1 - _JITTER, 1 + _JITTER), left)  # noqa: S311
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        _logger.warning(
            "the database is away (%s), asking again in %.1f s, for %.0f s more",
            shown(error),
            pause,
            left,
        )
        return pause

    def _note_return(self) -> None:
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            _logger.warning("the database is back after %.1f s", away)
            self._away_since = None
            events.RETURNS.emit(ReturnEvent(seconds=away))


def is_passing(error: DBAPIError, *, has_connected: bool, in_a_hurry: bool = False) -> bool:
    """Return whether the same may go well in a moment: the connection or the server was lost."""
    state = getattr(error.orig, "sqlstate", None)
    if state in _PASSING or (in_a_hurry and state in _PASSING_IN_A_HURRY):
        return True
    return is_lost(error, has_connected=has_connected)


def is_lost(error: DBAPIError, *, has_connected: bool = True) -> bool:
    """Return whether the server is away, or the connection to it was lost.

    That a server could not be reached counts only if it was before, ``has_connected``.
    """
    if error.connection_invalidated:
        return True
    state = getattr(
        error.orig, "sqlstate", ""
    )  # None where psycopg could not connect; not SQLite's
    if state is None:  # of the driver itself: it could not connect, or it was given something wrong
        return has_connected and isinstance(error, OperationalError | InterfaceError)
    return state.startswith(_CONNECTION_EXCEPTION) or state in _AWAY


def has_connected(engines: Sequence[Engine]) -> Callable[[], bool]:
    """Return what tells whether one of the engines has ever reached its server; of none, no."""
    dialects = [engine.dialect for engine in engines]
    return lambda: any(getattr(each, "server_version_info", None) is not None for each in dialects)


def shown(error: DBAPIError) -> str:
    """Return the first line of an error of the database, without the statement."""
    # Not the error itself: it would show the statement with its payloads.
    lines = str(error.orig).strip().splitlines()
    return arguments.visible(lines[0]) if lines else type(error.orig).__name__
