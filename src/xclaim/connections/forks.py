"""A child of a fork uses no connection of its parent.

Two processes on one socket read each other's answers. So in a child the engines that xclaim made
have new pools, and the sockets of the old ones lead nowhere: also one that a block was using at the
time of the fork can do no harm, and closing it says nothing to the server.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Engine, event

T = TypeVar("T")

_engines: WeakSet[Engine] = WeakSet()
_drivers: WeakSet[Any] = WeakSet()
_others: WeakKeyDictionary[Any, Callable[[Any], object]] = WeakKeyDictionary()
_of_the_parent: list[Any] = []  # never freed in a child: that would use the sockets


def protect(engine: Engine) -> None:
    """Give the engine a new pool in each child of a fork."""
    if engine in _engines:
        return
    _engines.add(engine)

    @event.listens_for(engine, "connect")
    def note(_: Any, record: Any) -> None:
        driver = record.driver_connection
        if hasattr(driver, "pgconn"):  # SQLite has no sockets, and locks of each process's own
            _drivers.add(driver)


def after_in_child(owner: T, forget: Callable[[T], object]) -> None:
    """Call ``forget(owner)`` in each child of a fork, while the owner lives."""
    _others[owner] = forget


def _break_with_parent() -> None:
    _of_the_parent.extend(_drivers)
    for driver in list(_drivers):
        with suppress(Exception):  # it is closed already
            _lead_nowhere(driver.pgconn.socket)
    _drivers.clear()
    for engine in list(_engines):
        _of_the_parent.append(engine.pool)
        engine.dispose(close=False)
    for owner, forget in list(_others.items()):
        _of_the_parent.append(dict(vars(owner)))
        forget(owner)


def _lead_nowhere(descriptor: int) -> None:
    mine, other = socket.socketpair()
    with mine, other:
        os.dup2(mine.fileno(), descriptor)


os.register_at_fork(after_in_child=_break_with_parent)
