"""Connections that were ended while nobody used them, as after ``idle_session_timeout``.

A server, a pooler or a balancer says so by itself, and what it said waits at the socket: to look
costs no round trip. So a verb does, where its connection has rested, and gets a new one. It has
sent nothing yet, so that nothing can be done twice. What was ended without a word is not found.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

LONG = 5.0  # seconds: nobody ends what has rested for less, and a busy verb need not look
_LAST_WORD = 1.0  # seconds that a server may take to close after it has said why
_PAUSE = 0.01  # seconds between two looks meanwhile
_SINCE = "xclaim_rests_since"


def watch(engine: Engine, pause: Callable[[float], None]) -> None:
    """Let the pool of an engine on PostgreSQL hand out no connection that ended as it rested.

    ``pause`` waits as code does that uses the engine: an event loop goes on meanwhile.
    """

    @event.listens_for(engine, "checkin")
    def note(_: Any, record: Any) -> None:
        record.info[_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def look(_: Any, record: Any, __: Any) -> None:
        since = record.info.get(_SINCE)
        if since is None or time.monotonic() - since < LONG:
            return
        if has_ended(record.driver_connection, pause):
            raise DisconnectionError("the connection was ended while it rested")


def has_ended(driver: Any, pause: Callable[[float], None] = time.sleep) -> bool:
    """Return whether the other side has ended a connection of psycopg's that nobody uses.

    Where it has said something it is waited for, a second at most: also a server that goes on
    talking, of a setting that was changed say, is there.
    """
    pgconn = getattr(driver, "pgconn", None)
    if pgconn is None:  # a file's
        return False
    from psycopg import Error  # which is optional

    try:
        if not _has_something(pgconn.socket):
            return False
        ends_at = time.monotonic() + _LAST_WORD
        while time.monotonic() < ends_at:
            if _has_something(pgconn.socket):
                pgconn.consume_input()
            else:
                pause(_PAUSE)
    except (Error, OSError, ValueError):  # of a socket that is closed
        return True
    return False


def _has_something(descriptor: int) -> bool:
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    looked = select.poll()
    looked.register(descriptor, select.POLLIN)
    return bool(looked.poll(0))
