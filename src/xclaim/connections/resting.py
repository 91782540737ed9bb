"""Connections that were ended while nobody used them, as after ``idle_session_timeout``.

A server, a pooler or a balancer says so by itself, and what it said waits at the socket: to look
costs no round trip. So a verb does, where its connection has rested, and gets a new one. It has
sent nothing yet, so that nothing can be done twice. What was ended without a word is not found.
"""

from __future__ import annotations

import select
import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

LONG = 5.0  # seconds: nobody ends what has rested for less, and a busy verb need not look
_MOST = 100  # times that something has come: a server that goes on talking is there
_LAST_WORD = 1.0  # seconds that a server may take to close after it has said why
_SINCE = "xclaim_rests_since"


def watch(engine: Engine) -> None:
    """Let the pool of an engine on PostgreSQL hand out no connection that ended as it rested."""

    @event.listens_for(engine, "checkin")
    def note(_: Any, record: Any) -> None:
        record.info[_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def look(_: Any, record: Any, __: Any) -> None:
        since = record.info.get(_SINCE)
        if since is None or time.monotonic() - since < LONG:
            return
        if has_ended(record.driver_connection):
            raise DisconnectionError("the connection was ended while it rested")


def has_ended(driver: Any) -> bool:
    """Return whether the other side has ended a connection of psycopg's that nobody uses."""
    pgconn = getattr(driver, "pgconn", None)
    if pgconn is None:  # a file's
        return False
    from psycopg import Error  # which is optional

    patience = 0.0
    try:
        for _ in range(_MOST):
            if not _has_something(pgconn.socket, patience):
                return False
            pgconn.consume_input()  # also what is no end: a setting that was changed, say
            patience = _LAST_WORD
    except (Error, OSError, ValueError):  # of a socket that is closed
        return True
    return False


def _has_something(descriptor: int, seconds: float) -> bool:
    if not hasattr(select, "poll"):  # on Windows
        return bool(select.select([descriptor], [], [], seconds)[0])
    looked = select.poll()
    looked.register(descriptor, select.POLLIN)
    return bool(looked.poll(seconds * 1000))
