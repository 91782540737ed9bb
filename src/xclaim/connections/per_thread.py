"""Connections that stay out of the pool between two verbs: half of what a verb adds to its SQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Engine

T = TypeVar("T")

_MOST = 5  # as many as the pool keeps open anyway


class HeldConnections:
    """A connection for each thread, for the first few threads that ask; others use the pool.

    Of an engine in autocommit: a held connection is idle, not in a transaction. A thread that ends
    gives its own back.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._mine = threading.local()
        self._places = threading.BoundedSemaphore(_MOST)
        self._all: WeakSet[_Held] = WeakSet()
        self._process_id = os.getpid()

    def run(self, verb: Callable[..., T], *args: Any, **options: Any) -> T:
        """Run a verb on the thread's connection, or on one from the pool."""
        held = self._held()
        if held is None:
            with self._engine.connect() as connection:
                return verb(connection, *args, **options)
        try:
            return verb(held.connection, *args, **options)
        finally:
            if held.connection.in_transaction():  # SQLAlchemy's idea of one, in autocommit
                held.connection.rollback()

    def close(self) -> None:
        """Give all connections back."""
        for held in tuple(self._all):
            held.connection.close()
        self._mine = threading.local()

    def _held(self) -> _Held | None:
        if self._process_id != os.getpid():  # a forked child must not share our sockets
            return None
        held: _Held | None = getattr(self._mine, "held", None)
        if held is None and self._places.acquire(blocking=False):
            held = _Held(self._engine, self._places)
            self._mine.held = held
            self._all.add(held)
        return held


class _Held:
    def __init__(self, engine: Engine, places: threading.BoundedSemaphore) -> None:
        self._places = places
        try:
            self.connection = engine.connect()
        except BaseException:
            self._places.release()
            raise
        self._has_place = True

    def __del__(self) -> None:
        """Give the connection and the place back when the thread, or the queue, is gone."""
        if getattr(self, "_has_place", False):
            self.connection.close()
            self._places.release()
