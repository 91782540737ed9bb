"""A call that is finished whatever happens around it: until when, and on which connection."""

from __future__ import annotations

import os
import socket
import time
from asyncio import CancelledError
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any, Self

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

BOUND = 10.0  # seconds for what is still to be done when a call is cancelled or interrupted
_current: ContextVar[Call | None] = ContextVar("xclaim_call", default=None)


class Call:
    """What is known of one call while it runs, and the current call of a ``with`` block.

    ``has_begun``: a statement was sent, so that leaving now would leave its outcome unknown.
    ``is_whole``: what is called within it is a part of it. ``is_abandoned``: its caller could wait
    no longer, and nobody hears of its result.
    """

    __slots__ = (
        "_connection",
        "_ends_at",
        "_is_cancelled",
        "_parent",
        "_token",
        "has_begun",
        "is_abandoned",
        "is_whole",
    )

    def __init__(self, within: float | None = None, *, is_whole: bool = True) -> None:
        self.has_begun = False
        self.is_whole = is_whole
        self.is_abandoned = False
        self._is_cancelled = False
        self._token: Token[Call | None]
        self._parent = _current.get()
        self._connection: Any = None
        self._ends_at = float("inf")
        if within is not None:
            self.end_within(within)

    def __enter__(self) -> Self:
        """Make it the current call."""
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it."""
        _current.reset(self._token)

    def begin(self, connection: Connection) -> None:
        """Note the connection that the call uses from now on.

        Raise CancelledError if the call was cancelled before it sent anything.
        """
        if self._is_cancelled and not self.has_begun:
            raise CancelledError
        self.has_begun = True
        self._connection = connection
        if self._parent is not None:
            self._parent.begin(connection)

    def cancel(self) -> None:
        """Let the call end soon: before its first statement, or within ``BOUND`` seconds."""
        self._is_cancelled = True
        self.end_within(BOUND)

    def end_within(self, seconds: float) -> None:
        """Let the call end within so many seconds, unless it ends sooner anyway."""
        self._ends_at = min(self._ends_at, time.monotonic() + seconds)

    def time_left(self) -> float:
        """Return how many seconds are left for the call, infinity without an end."""
        return max(0.0, self._ends_at - time.monotonic())

    def drop(self) -> None:
        """Break the connection under the statement that does not end."""
        if self._connection is not None:
            break_off(self._connection)


def break_off(connection: Connection) -> None:
    """Let the statement that runs on the connection fail, if it does not end by itself.

    From any thread: nothing of the driver is used, whose connections are for one at a time.
    """
    with suppress(SQLAlchemyError, AttributeError, OSError, ValueError):
        driver: Any = connection.connection.driver_connection
        if not hasattr(driver, "pgconn"):
            getattr(driver, "_conn", driver).interrupt()  # SQLite, behind aiosqlite or not
            return
        # A server that has gone silent answers neither a cancel nor a close. Of the socket only a
        # copy is closed, because the driver still counts on its own.
        with socket.socket(fileno=os.dup(driver.pgconn.socket)) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def current_call() -> Call | None:
    """Return the call that this code is a part of, None outside of one."""
    return _current.get()


def is_in_a_call() -> bool:
    """Return whether a call around this one is finished already whatever happens."""
    call = _current.get()
    return call is not None and call.is_whole


def time_left() -> float:
    """Return how many seconds the current call has left, infinity if nobody is in a hurry."""
    call = _current.get()
    return float("inf") if call is None else call.time_left()
