"""A call that is finished whatever happens around it: until when, and on which connection."""

from __future__ import annotations

import os
import socket
import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_NEVER = float("inf")
BOUND = 10.0  # seconds for what is still to be done when a call is cancelled or interrupted
_current: ContextVar[Call | None] = ContextVar("xclaim_call", default=None)


class Call:
    """What is known of one call while it runs, and the current call of a ``with`` block.

    ``has_begun``: a statement was sent, so that leaving now would leave its outcome unknown.
    ``is_whole``: what is called within it is a part of it. ``is_owed``: it settles what nobody else
    would. ``is_beside``: what is called now is of others, who would keep an interrupt for
    themselves. ``is_abandoned``: its caller could wait no longer, and nobody hears of its result.
    """

    __slots__ = (
        "_connection",
        "_ends_at",
        "_is_cancelled",
        "_parent",
        "_token",
        "has_begun",
        "is_abandoned",
        "is_beside",
        "is_owed",
        "is_whole",
    )

    def __init__(
        self, within: float | None = None, *, is_whole: bool = True, is_owed: bool = False
    ) -> None:
        self.has_begun = False
        self.is_whole = is_whole
        self.is_owed = is_owed
        self.is_beside = False
        self.is_abandoned = False
        self._is_cancelled = False
        self._token: Token[Call | None]
        self._parent = _current.get()
        self._connection: Any = None
        self._ends_at = _NEVER
        if within is not None:
            self.end_within(within)

    def __enter__(self) -> Self:
        """Make it the current call."""
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave it, and what it used to others."""
        self._connection = None
        if self._parent is not None:
            self._parent.use(None)
        _current.reset(self._token)

    def can_be_left(self) -> bool:
        """Return whether nothing is lost by leaving the call now."""
        return not (self.has_begun or self.is_owed or self.is_beside)

    def begin(self, connection: Connection) -> None:
        """Note the connection that the call uses from now on.

        Raise CancelledError if the call was cancelled while it could be left, TimeoutError if its
        time is over: nobody would break a statement that is sent now.
        """
        if self._is_cancelled and self.can_be_left():
            raise CancelledError
        if self._ends_at != _NEVER and self.time_left() <= 0:
            raise TimeoutError("no time is left for this: the database did not answer")
        self.has_begun = True
        self._connection = connection
        if self._parent is not None:
            self._parent.begin(connection)

    def cancel(self) -> None:
        """Let the call end soon: before its first statement, or within ``BOUND`` seconds.

        If it is owed it has them from its beginning.
        """
        self._is_cancelled = True
        self.end_within(BOUND)

    def end_within(self, seconds: float) -> None:
        """Let the call end within so many seconds, unless it ends sooner anyway."""
        self._ends_at = min(self._ends_at, time.monotonic() + seconds)

    def time_left(self) -> float:
        """Return how many seconds are left for the call, infinity without an end."""
        return max(0.0, self._ends_at - time.monotonic())

    def use(self, driver: Any) -> None:
        """Note the driver's connection that is about to be used, a ping before a statement say."""
        self._connection = driver
        if self._parent is not None:
            self._parent.use(driver)

    def is_using(self) -> bool:
        """Return whether it has a connection now."""
        return self._connection is not None

    def drop(self) -> None:
        """Break the connection under the statement that does not end."""
        used = self._connection
        if used is not None:
            break_off(used)


def break_off(used: Any) -> None:
    """Let the statement that runs on the connection fail, if it does not end by itself.

    From any thread: nothing of the driver is used, whose connections are for one at a time.
    """
    with suppress(Exception):  # it is closed already, or was never opened
        driver = used
        if isinstance(used, Connection):
            if used.closed or used.invalidated:  # to ask it for its driver would connect anew
                return
            driver = used.connection.driver_connection
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


@contextmanager
def attempt() -> Iterator[Call]:
    """Let the block have ``BOUND`` seconds. Raise TimeoutError if it had to be broken then."""
    record = Call(BOUND)
    try:
        with record:
            yield record
    except DBAPIError as error:
        if record.time_left() > 0:
            raise
        raise TimeoutError(f"the database did not answer within {BOUND:.0f} s") from error


class _OutsideOfCalls:  # a generator would take thrice as long, for each verb that is listened to
    __slots__ = ("_call", "_token")

    def __enter__(self) -> None:
        self._call = _current.get()
        if self._call is not None:
            self._call.is_beside = True
        self._token = _current.set(None)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)
        if self._call is not None:
            self._call.is_beside = False


def outside_of_calls() -> AbstractContextManager[None]:
    """Let the block be a part of no call; an interrupt in it is raised when that ends."""
    return _OutsideOfCalls()


def begin(connection: Connection) -> None:
    """Note the connection that the current call uses from now on, if there is a call."""
    call = _current.get()
    if call is not None:
        call.begin(connection)


def time_left() -> float:
    """Return how many seconds the current call has left, infinity if nobody is in a hurry."""
    call = _current.get()
    return float("inf") if call is None else call.time_left()
