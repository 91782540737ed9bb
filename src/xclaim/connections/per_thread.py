"""Connections that stay out of the pool between two verbs: half of what a verb adds to its SQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine

from xclaim.connections import calls, forks

T = TypeVar("T")

_MOST = 32  # a third of what the pool of a queue has; the others are for transactions


class PerThread:
    """A connection for each thread, for the first threads that ask; others use the pool.

    Of an engine in autocommit: a held connection is idle, not in a transaction. A thread that ends
    gives its own back.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.forget()
        forks.keep(self)

    def run(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb on the thread's connection, or on one from the pool."""
        held = self._held()
        # It is busy where a handler of a signal, say, runs a verb in the middle of another.
        if held is None or held.is_busy:
            with self._engine.connect() as connection:
                return verb(connection)
        with held.lock:
            if held.is_open:
                return held.run(verb)
        return self.run(verb)  # it was closed a moment ago

    def close(self) -> None:
        """Give all connections back, each when the verb that uses it has ended."""
        for held in self._taken_away():
            held.close()

    def close_files(self) -> None:
        """Give back before a fork what no verb is using."""
        if self._engine.dialect.name != "sqlite":
            return
        for held in self._taken_away():
            if held.lock.acquire(blocking=False):
                try:
                    if not held.is_busy:
                        held.give_back()
                finally:
                    held.lock.release()

    def forget(self) -> None:
        """Use them no more: they are those of the parent of this process."""
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST)
        self._all: WeakSet[_Held] = WeakSet()

    def _taken_away(self) -> list[_Held]:
        with self._lock:
            all_, self._mine = list(self._all), threading.local()
        return all_

    def _held(self) -> _Held | None:
        held: _Held | None = getattr(self._mine, "held", None)
        if held is None and self._places.acquire(blocking=False):
            with forks.opening(self._engine):
                held = self._new(self._mine)
        return held

    def _new(self, mine: Any) -> _Held:
        held = _Held(self._engine, self._places)
        with self._lock:
            self._all.add(held)
            if mine is self._mine:  # else it was closed meanwhile, and this is for one verb
                mine.held = held
        return held


class _Held:
    def __init__(self, engine: Engine, places: threading.BoundedSemaphore) -> None:
        self.lock = threading.RLock()
        self.is_open = False
        self.is_busy = False
        self._places = places
        self._process_id = os.getpid()
        try:
            self.connection = engine.connect()
        except BaseException:
            self._places.release()
            raise
        self.is_open = True

    def run(self, verb: Callable[[Connection], T]) -> T:
        self.is_busy = True
        try:
            return verb(self.connection)
        finally:
            if self.connection.in_transaction():  # SQLAlchemy's idea of one, in autocommit
                self.connection.rollback()
            self.is_busy = False

    def close(self) -> None:
        """Give the connection back when its verb has ended, which is made to end in the end."""
        if not self.lock.acquire(timeout=calls.BOUND):
            calls.break_off(self.connection)
            self.lock.acquire()
        try:
            self.give_back()
        finally:
            self.lock.release()

    def give_back(self) -> None:
        if self.is_open:
            self.is_open = False
            self.connection.close()
            self._places.release()

    def __del__(self) -> None:
        """Give the connection and the place back when the thread, or the queue, is gone."""
        if self.is_open and self._process_id == os.getpid():
            self.close()
