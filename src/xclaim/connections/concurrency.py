"""What differs between blocking code and asyncio: who waits, and how a call is finished.

All logic is written once, as blocking code. ``Threads`` runs it as it is; ``Tasks`` runs it in a
greenlet of SQLAlchemy's, in which each wait is an await. Cancellation is handled here and nowhere
else: a call that has sent a statement is finished before the cancellation goes on, within ``BOUND``
seconds, and whoever called sees both what was done and the cancellation.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # those of signal take 9 us, for enumerations
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from xclaim.connections import calls
from xclaim.connections.calls import Call, is_in_a_call
from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from types import FrameType

T = TypeVar("T")

NO_QUEUE = ""  # no queue has this name


class Event(Protocol):
    """What can be waited for, by code that blocks."""

    def is_set(self) -> bool:
        """Return whether it was set since it was cleared."""

    def set(self) -> None:
        """Wake who waits for it."""

    def clear(self) -> None:
        """Forget that it was set."""

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds at most; return whether it is set."""


class Started(Protocol):
    """Something that runs beside the caller."""

    def is_running(self) -> bool:
        """Return whether it still runs."""

    def end_within(self, seconds: float) -> None:
        """Wait for its end; break its connection after so many seconds."""


class Concurrency(Protocol):
    """How code waits, runs beside other code, and is finished."""

    def sleep(self, seconds: float) -> None:
        """Wait. This, and an event's ``wait``, is where code can be cancelled."""

    def event(self) -> Event:
        """Return a new event."""

    def start(self, run: Callable[[], object], name: str) -> Started:
        """Run something beside the caller."""

    def finish(
        self, call: Callable[[], T], *, within: float | None = None, is_owed: bool = False
    ) -> T:
        """Run the call to its end, also when the caller is cancelled or interrupted meanwhile.

        That is raised afterwards, but before the first statement at once, unless the call
        ``is_owed``. ``within``: it has so many seconds, interrupted or not; a call in another one
        is a part of that.
        """

    def attempt(self, call: Callable[[], T]) -> T:
        """Run one attempt of a call that is repeated while the database is away.

        Raise TimeoutError after ``BOUND`` seconds: a server that has gone silent is not away.
        """

    def read(self, call: Callable[[], T]) -> T:
        """Run a call that changes nothing."""

    def offload(self, work: Callable[[], T]) -> T:
        """Run what blocks for reasons of its own, a storage say."""

    def notifications(self, driver: Any, seconds: float) -> list[str]:
        """Return the payloads of the notifications that arrive, the first within the seconds.

        Anybody may send any bytes: ``NO_QUEUE`` stands for what is no text, and what came with it.
        """

    def scope(self) -> object:
        """Return what those have in common that can wake each other."""

    def is_cancelled(self) -> bool:
        """Return whether the caller was cancelled a moment ago, as far as that can be known."""


class Threads:
    """Blocking code. An interrupt is what a signal handler raises in the main thread: Ctrl-C."""

    sleep = staticmethod(time.sleep)

    def event(self) -> Event:
        """Return an event of threads."""
        return threading.Event()

    def start(self, run: Callable[[], object], name: str) -> Started:
        """Start a thread, which does not keep the process alive."""
        return _Thread(run, name)

    def finish(
        self, call: Callable[[], T], *, within: float | None = None, is_owed: bool = False
    ) -> T:
        """Run the call; signals that arrive while it cannot be left are handled after it."""
        if is_in_a_call():
            return call()
        record = Call(within, is_owed=is_owed)
        if threading.get_ident() == _main_thread:
            return _Signals(record).handled_after(call, within)
        with record:
            return _watched(record, call, within)

    def attempt(self, call: Callable[[], T]) -> T:
        """Run the call, and break its connection from a thread."""
        with calls.attempt() as record:
            return _watched(record, call, calls.BOUND)

    def read(self, call: Callable[[], T]) -> T:
        """Run the call as it is: an interrupt makes psycopg cancel it."""
        return call()

    def offload(self, work: Callable[[], T]) -> T:
        """Run it here."""
        return work()

    def notifications(self, driver: Any, seconds: float) -> list[str]:
        """Return what has arrived when one arrives."""
        try:
            return [found.payload for found in driver.notifies(timeout=seconds, stop_after=1)]
        except UnicodeDecodeError:  # in a database of SQL_ASCII
            return [NO_QUEUE]

    def scope(self) -> object:
        """Return the process."""
        return self

    def is_cancelled(self) -> bool:
        """Return False: an interrupt is an exception, and over when it was raised."""
        return False


def _watched(record: Call, call: Callable[[], T], within: float | None) -> T:
    if within is None:
        return call()
    watch = _Watch(record)
    try:
        watch.end_within(within)
        return call()
    finally:
        watch.cancel()


# Those that programs and Airflow handle by raising: Ctrl-C, being stopped, a timeout.
_NUMBERS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGALRM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT")
    if hasattr(signal, name)
)


_MOMENT = 0.2  # seconds
_main_thread = threading.main_thread().ident  # to ask for it anew would take two calls, each time


class _Watch:
    """Breaks the connection of a call that does not end in its time, from a thread."""

    __slots__ = ("_ended", "_record")

    def __init__(self, record: Call) -> None:
        self._record = record
        self._ended: threading.Event | None = None

    def end_within(self, seconds: float) -> None:
        """Let the call end within so many seconds from now; who said so first counts."""
        if self._ended is None:
            self._ended = threading.Event()
            self._record.end_within(seconds)
            watch = (self._record, self._ended, seconds)
            threading.Thread(target=_drop_after, args=watch, daemon=True).start()

    def cancel(self) -> None:
        if self._ended is not None:
            self._ended.set()


_aside: list[_Signals] = []  # what the main thread has put aside, one within another


class _Signals:
    """The signals that arrive during a call. A handler may raise, and then at any instruction."""

    __slots__ = ("_handlers", "_is_within", "_noted", "_record", "_watch", "thread")

    def __init__(self, record: Call) -> None:
        self.thread = threading.get_ident()
        self._record = record
        self._watch = _Watch(record)
        self._is_within = False
        self._handlers: dict[int, Any] = {}
        self._noted: list[tuple[int, FrameType | None]] = []

    def handled_after(self, call: Callable[[], T], within: float | None) -> T:
        _aside.append(self)
        try:
            for number in _NUMBERS:
                handler = _signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _signal.signal(number, self._note)
            if within is not None:
                self._watch.end_within(within)
            with self._record:  # no signal strikes between the two, see _note
                self._is_within = True
                try:
                    return call()
                finally:
                    self._is_within = False
        finally:
            try:
                for each in self._handlers.items():
                    _signal.signal(*each)
            except BaseException:  # of a handler that is back already; the others must be, too
                self._give_back()
                raise
            finally:
                _aside.remove(self)
                self._watch.cancel()
                if self._noted:
                    self._handle()

    def give_back_in_child(self) -> None:
        """Give the handlers back in the child of a fork that another thread has made."""
        self._give_back()

    def _handle(self) -> None:
        while self._noted:
            number, frame = self._noted.pop(0)
            try:
                self._handlers[number](number, frame)
            finally:  # one that raises must not hide the next
                self._handle()

    def _give_back(self) -> None:
        left = list(self._handlers.items())
        while left:
            with suppress(BaseException):
                _signal.signal(*left[-1])
                left.pop()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._is_within and self._record.can_be_left():  # connecting may take long
            self._handlers[number](number, frame)
            return
        self._noted.append((number, frame))
        self._watch.end_within(calls.BOUND)


def _in_the_child() -> None:
    global _main_thread  # noqa: PLW0603
    _main_thread = threading.main_thread().ident  # whichever has forked
    if _aside and _aside[0].thread != threading.get_ident():  # which would have given them back
        _aside[0].give_back_in_child()
        _aside.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_the_child)


def _drop_after(record: Call, ended: threading.Event, seconds: float) -> None:
    while not ended.wait(seconds):
        record.drop()
        seconds = _MOMENT  # once is not enough where the call was between two connections


class _Thread:
    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._record = Call(is_whole=False)
        self._thread = threading.Thread(target=self._run, args=(run,), name=name, daemon=True)
        self._thread.start()

    def _run(self, run: Callable[[], object]) -> None:
        with self._record:
            run()

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def end_within(self, seconds: float) -> None:
        if self._thread is threading.current_thread():  # which collects what was abandoned
            return
        # One that waits for a connection has begun nothing, and ends when it has one.
        self._thread.join(seconds if self._record.is_using() else min(seconds, _MOMENT))
        if self._record.is_using() and self._thread.is_alive():
            self._record.drop()
            self._thread.join(1.0)


THREADS = Threads()


def within_asyncio(concurrency: Concurrency) -> Concurrency:
    """Return how the verbs of a queue wait whose driver is for asyncio.

    Blocking code may use it within ``run_sync`` of SQLAlchemy, where each wait is an await. Raise
    InvalidArgumentError elsewhere.
    """
    from sqlalchemy.util.concurrency import in_greenlet

    from xclaim.connections.tasks import TASKS

    if concurrency is TASKS or in_greenlet():
        return TASKS
    raise InvalidArgumentError(
        "this engine is for asyncio: use AsyncQueue, or in blocking code an engine of "
        "xclaim.create_engine (postgresql+psycopg:// or sqlite:///)"
    )
