"""Connections that stay out of the pool between two verbs: half of what a verb adds to its SQL."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from xclaim.connections import calls, forks, resting
from xclaim.connections.busy_files import (
    PatientConnection,
    commit_each_statement,
    patient,
    pooled,
)

T = TypeVar("T")

_MOST_PARTS = 3  # of the places of a pool a third; the others are for transactions
_MOMENT = 1.0  # seconds


class PerThread:
    """A connection for each thread, for the first threads that ask; others use the pool.

    Of an engine in autocommit: a held connection is idle, not in a transaction. A thread that ends
    gives its own back.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        pool: Any = engine.pool
        self._most: int = pool.size() // _MOST_PARTS
        self.forget()
        forks.keep(self)

    def run(self, verb: Callable[[Connection], T]) -> T:
        """Run a verb on the thread's connection, or on one from the pool."""
        mine: _OfAThread | None = getattr(self._mine, "own", None)
        if mine is None or not mine.held.is_open:
            mine = self._new(self._mine)
        # It is busy where a handler of a signal, say, runs a verb in the middle of another.
        if mine is None or mine.held.is_busy:
            with pooled(self._engine) as connection:
                return verb(connection)
        held = mine.held
        with held.lock:
            is_fresh = time.monotonic() - held.used_at < resting.LONG
            if held.is_open and (is_fresh or not held.has_ended()):
                return held.run(verb)
        return self.run(verb)  # it was closed a moment ago, or while it rested

    def close(self) -> None:
        """Give all connections back, each when the verb that uses it has ended."""
        all_, own = self._taken_away()
        for held in all_:
            held.close()
        del own  # what is left to them is nothing, which no interrupt can disturb

    def close_files(self) -> None:
        """Give back before a fork what no verb is using."""
        if self._engine.dialect.name != "sqlite":
            return
        all_, own = self._taken_away()
        for held in all_:
            # Another thread has it for as long as it takes to give it back, because it is ending.
            if held.lock.acquire(timeout=_MOMENT):
                try:
                    if not held.is_busy:
                        held.give_back()
                finally:
                    held.lock.release()
        del own

    def forget(self) -> None:
        """Use them no more: they are those of the parent of this process."""
        self._mine = threading.local()
        self._lock = threading.RLock()  # a handler of a signal may run a verb, too
        self._all: set[_Held] = set()

    def _taken_away(self) -> tuple[list[_Held], object]:
        """Return all connections, and what their threads have of them, which is to be kept."""
        with self._lock:
            taken = list(self._all), self._mine
            self._mine = threading.local()
        return taken

    def _new(self, local: Any) -> _OfAThread | None:
        if len(self._all) >= self._most:
            return None
        own = _OfAThread(_Held(self._all))  # so whatever raises, somebody gives it back
        with self._lock:
            if len(self._all) >= self._most:
                return None
            self._all.add(own.held)
        own.held.connect(self._engine)
        with self._lock:
            if local is self._mine:  # else it was closed meanwhile, and this is for one verb
                local.own = own
        return own


class _OfAThread:
    """What a thread has of its connection: when it is gone, the connection is given back."""

    _process_id = 0

    def __init__(self, held: _Held) -> None:
        self.held = held
        self._process_id = os.getpid()

    def __del__(self) -> None:
        """Give the connection and its place back when the thread, or the queue, is gone."""
        if self._process_id == os.getpid():
            self.held.close()


class _Held:
    """A connection, one of ``all_`` until it is given back to the pool."""

    connection: Connection

    def __init__(self, all_: set[_Held]) -> None:
        self.lock = threading.RLock()
        self.is_open = False
        self.is_busy = False
        self._all = all_
        self._driver: PatientConnection | None = None
        self.used_at = time.monotonic()

    def connect(self, engine: Engine) -> None:
        """Take a connection from the pool, for verbs only."""
        connection = engine.connect()  # not locked: it may take long
        commit_each_statement(connection)
        with self.lock:
            self.connection = connection
            self.is_open = True
            self._driver = patient(connection)
            if self._driver is not None:
                self._driver.keep_for_verbs()

    def has_ended(self) -> bool:
        """Return whether the connection was ended while it rested; it is given back then."""
        self.is_busy = True  # for a handler of a signal that runs a verb meanwhile
        try:
            has_ended = resting.has_ended(self.connection.connection.driver_connection)
            if has_ended:
                self.connection.invalidate()
                self.give_back()
            return has_ended
        finally:
            self.is_busy = False

    def run(self, verb: Callable[[Connection], T]) -> T:
        self.is_busy = True
        try:
            return verb(self.connection)
        finally:
            try:
                if self.connection.in_transaction():  # SQLAlchemy's idea of one, in autocommit
                    self.connection.rollback()
            finally:
                self.is_busy = False
                self.used_at = time.monotonic()
                if self.connection.invalidated:  # the next verb takes one that is prepared for it
                    self.give_back()

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
        """Give the connection back, if it has one, and the place of one."""
        try:
            if self.is_open:
                self.is_open = False
                try:
                    if self._driver is not None:
                        with suppress(sqlite3.Error):  # it was closed
                            self._driver.wait_as_usual()
                finally:
                    self.connection.close()
        finally:
            self._all.discard(self)
