"""Connections that stay out of the pool between two verbs: half of what a verb adds to its SQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine

from xclaim.connections import calls, forks

T = TypeVar("T")

_MOST = 32  # half of what the pool of a queue has; the others are for transactions and listeners


class PerThread:
    """A connection for each thread, for the first threads that ask; others use the pool.

    Of an engine in autocommit: a held connection is idle, not in a transaction. A thread that ends
    gives its own back.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._forget()
        forks.after_in_child(self, PerThread._forget)

    def run(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb on the thread's connection, or on one from the pool."""
        held = self._held()
        if held is None:
            with self._engine.connect() as connection:
                return verb(connection)
        with held.lock:
            try:
                return verb(held.connection)
            finally:
                if held.connection.in_transaction():  # SQLAlchemy's idea of one, in autocommit
                    held.connection.rollback()

    def close(self) -> None:
        """Give all connections back, each when the verb that uses it has ended."""
        with self._lock:
            all_, self._mine = tuple(self._all), threading.local()
        for held in all_:
            held.close()

    def _held(self) -> _Held | None:
        held: _Held | None = getattr(self._mine, "held", None)
        if held is None and self._places.acquire(blocking=False):
            mine = self._mine
            held = _Held(self._engine, self._places)
            with self._lock:
                self._all.add(held)
                if mine is self._mine:  # else it was closed meanwhile, and this is for one verb
                    mine.held = held
        return held

    def _forget(self) -> None:
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST)
        self._all: WeakSet[_Held] = WeakSet()


class _Held:
    def __init__(self, engine: Engine, places: threading.BoundedSemaphore) -> None:
        self.lock = threading.RLock()
        self._places = places
        self._process_id = os.getpid()
        try:
            self.connection = engine.connect()
        except BaseException:
            self._places.release()
            raise
        self._has_place = True

    def close(self) -> None:
        """Give the connection back when its verb has ended, which is made to end in the end."""
        if not self.lock.acquire(timeout=calls.BOUND):
            calls.break_off(self.connection)
            self.lock.acquire()
        try:
            if self._has_place:
                self._has_place = False
                self.connection.close()
                self._places.release()
        finally:
            self.lock.release()

    def __del__(self) -> None:
        """Give the connection and the place back when the thread, or the queue, is gone."""
        if getattr(self, "_has_place", False) and self._process_id == os.getpid():
            self.close()
