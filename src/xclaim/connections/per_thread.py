"""Connections that stay out of the pool between two verbs: half of what a verb adds to its SQL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from xclaim.connections import calls, forks

T = TypeVar("T")

_MOST = 32  # a third of what the pool of a queue has; the others are for transactions
_MOMENT = 1.0  # seconds


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
        mine = self._of_this_thread()
        # It is busy where a handler of a signal, say, runs a verb in the middle of another.
        if mine is None or mine.held.is_busy:
            with self._engine.connect() as connection:
                return verb(connection)
        with mine.held.lock:
            if mine.held.is_open:
                return mine.held.run(verb)
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
            # Another thread has it for as long as it takes to give it back, because it is ending.
            if held.lock.acquire(timeout=_MOMENT):
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
        self._all: set[_Held] = set()

    def _taken_away(self) -> list[_Held]:
        with self._lock:
            all_, self._mine = list(self._all), threading.local()
        return all_

    def _of_this_thread(self) -> _OfAThread | None:
        mine: _OfAThread | None = getattr(self._mine, "own", None)
        if mine is None and self._places.acquire(blocking=False):
            with forks.opening(self._engine):
                mine = self._new(self._mine)
        return mine

    def _new(self, local: Any) -> _OfAThread:
        own = _OfAThread(_Held(self._engine, self._places, self._all))
        with self._lock:
            if local is self._mine:  # else it was closed meanwhile, and this is for one verb
                local.own = own
        return own


class _OfAThread:
    """What a thread has of its connection: when it is gone, the connection is given back."""

    def __init__(self, held: _Held) -> None:
        self.held = held
        self._process_id = os.getpid()

    def __del__(self) -> None:
        """Give the connection and the place back when the thread, or the queue, is gone."""
        if self._process_id == os.getpid():
            self.held.close()


class _Held:
    """A connection, one of ``all_`` until it is given back to the pool."""

    def __init__(
        self, engine: Engine, places: threading.BoundedSemaphore, all_: set[_Held]
    ) -> None:
        self.lock = threading.RLock()
        self.is_open = False
        self.is_busy = False
        self._places = places
        self._all = all_
        try:
            self.connection = engine.connect()
        except BaseException:
            self._places.release()
            raise
        self.is_open = True
        all_.add(self)

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
            self._all.discard(self)
