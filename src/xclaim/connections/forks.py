"""A child of a fork uses no connection of its parent.

Two processes on one socket read each other's answers. So in a child the engines that a queue uses
have new pools, and the sockets of the old connections lead nowhere: also one that a block was using
at the time of the fork can do no harm, and closing it says nothing to the server.

SQLite keeps account of its locks in the process, and a child would believe that it has those of its
parent: rows would be lost, and the file corrupted. So its files are closed before a fork. One that
cannot be, because a transaction is using it, cannot be opened in the child.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event

from xclaim.connections.concurrency import SIGNALS
from xclaim.errors import DatabaseUrlError


class Kept(Protocol):
    """Connections that are kept out of a pool."""

    def close_files(self) -> None:
        """Close files before a fork: no other thread is in a verb."""

    def forget(self) -> None:
        """Use them no more: they are those of the parent."""


_engines: WeakSet[Engine] = WeakSet()
_drivers: WeakSet[Any] = WeakSet()
_kept: WeakSet[Any] = WeakSet()
_of_the_parent: list[Any] = []  # never freed in a child: that would use the sockets
_files: dict[str, set[int]] = {}  # the connections by which each is open, by id
_inherited: set[str] = set()
_gate = threading.RLock()  # nobody opens a file while a thread forks
_turn = threading.RLock()  # one thread forks at a time
_verbs = threading.Condition()
_in_verbs: dict[int, int] = {}  # how many verbs, one within another, each thread is in
_forking: int | None = None  # the thread that waits for their end
_patience = 40.0  # seconds: longer than SQLite lets a verb wait for the file
_MORE = 10.0  # seconds: to do what it has waited for
_MOST_PATIENCE = 120.0  # seconds: a fork that hangs is worse than a child without the file
_GLANCE = 0.1  # seconds between two looks for a signal
_AFTER_THE_FORK = 0.05  # seconds


def protect(engine: Engine) -> None:
    """Give the engine a new pool in each child of a fork, and close its file before."""
    if engine in _engines:
        return
    _engines.add(engine)
    if engine.dialect.name == "sqlite":
        _watch_file(engine, str(Path(engine.url.database or "").absolute()))
        return

    @event.listens_for(engine, "connect")
    @event.listens_for(engine, "checkout")  # one that was opened before the engine came here
    def note(_: Any, record: Any, *__: Any) -> None:
        if hasattr(record.driver_connection, "pgconn"):
            _drivers.add(record.driver_connection)


def let_verbs_wait(seconds: float) -> None:
    """Let a fork wait for verbs that may wait for a file for so long, two minutes at most."""
    global _patience  # noqa: PLW0603
    _patience = min(max(_patience, seconds + _MORE), _MOST_PATIENCE)


def forget_file(connection: Any) -> None:
    """Note that a connection is closed of which the pool does not know."""
    for opened in _files.values():
        opened.discard(id(connection))


def keep(kept: Kept) -> None:
    """Let these connections, too, be closed before a fork, or be forgotten in its child."""
    _kept.add(kept)


def in_a_verb(engine: Engine) -> AbstractContextManager[None]:
    """Let a fork wait for the end of the block, which uses a file for a moment."""
    if engine.dialect.name != "sqlite" or engine.dialect.is_async:  # a wait would stop the loop
        return _NOT_WATCHED
    return _InAVerb()


class _InAVerb:
    """Counts a verb without a lock, which each verb would have to take.

    A verb is counted and then looks for a fork; a fork says so and then looks for verbs. So one of
    them sees the other. Only a verb that has seen a fork takes the lock, to wait or to wake it.
    """

    __slots__ = ("_before", "_is_in", "_me")

    def __enter__(self) -> None:
        self._me = me = threading.get_ident()
        self._before = before = _in_verbs.get(me, 0)
        self._is_in = True
        _in_verbs[me] = before + 1
        if not before and _forking not in (None, me):
            self._wait()

    def __exit__(self, *_: object) -> None:
        self._leave()

    def __del__(self) -> None:
        """Leave it if a signal struck before ``__exit__`` could."""
        if getattr(self, "_is_in", False):
            self._leave()

    def _leave(self) -> None:
        if self._before:
            _in_verbs[self._me] = self._before
        else:
            _in_verbs.pop(self._me, None)
        self._is_in = False
        if _forking is not None:
            with _verbs:
                _verbs.notify_all()

    def _wait(self) -> None:
        with _verbs:
            _in_verbs.pop(self._me, None)
            _verbs.notify_all()
            _verbs.wait_for(lambda: _forking is None)
            _in_verbs[self._me] = 1


_NOT_WATCHED = nullcontext()


@contextmanager
def opening(engine: Engine) -> Iterator[None]:
    """Let nobody fork while the block opens a file; other databases have no part in it."""
    if engine.dialect.name != "sqlite":
        yield
        return
    with _gate:
        yield


def _watch_file(engine: Engine, file: str) -> None:
    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _: Any, given: Any, options: Any) -> Any:
        if file in _inherited:
            raise DatabaseUrlError(
                f"the SQLite file {file} was in use when this process was forked, and must not be "
                "opened here: fork before a transaction or an AsyncQueue uses it, or start the "
                "process with multiprocessing's spawn"
            )
        if dialect.is_async:  # its await would keep the gate
            return None
        with opening(engine):
            connection = dialect.connect(*given, **options)
            try:
                _files.setdefault(file, set()).add(id(connection))
                return connection
            except BaseException:  # of a signal's handler
                forget_file(connection)
                raise

    @event.listens_for(engine, "connect")
    def note(connection: Any, __: Any) -> None:
        _files.setdefault(file, set()).add(id(connection))

    @event.listens_for(engine, "close")
    def note_end(connection: Any, __: Any) -> None:
        _files.get(file, set()).discard(id(connection))


class _Signals:
    """Those that arrive while a fork is prepared, and would be lost: Python only prints an error.

    They end its wait, and are sent again after it.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self.noted: list[int] = []

    def put_aside(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            for number in SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, lambda number, _: self.noted.append(number))
        except BaseException:  # of one that arrived meanwhile: nothing was begun yet
            self.give_back()
            raise

    def give_back(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def send_again(self) -> None:
        def send() -> None:
            time.sleep(_AFTER_THE_FORK)
            for number in self.noted:
                os.kill(os.getpid(), number)

        if self.noted:
            threading.Thread(target=send, daemon=True).start()


_signals = _Signals()


def _before() -> None:
    global _forking, _signals  # noqa: PLW0603  (a fork is of the whole process)
    signals = _Signals()
    signals.put_aside()  # first: from here on nothing raises
    _turn.acquire()
    _signals = signals
    with _verbs:
        _forking = me = threading.get_ident()
        ends_at = time.monotonic() + _patience
        while _in_verbs.keys() - {me} and not _signals.noted and time.monotonic() < ends_at:
            _verbs.wait(_GLANCE)
    _gate.acquire()
    for kept in list(_kept):
        kept.close_files()
    for engine in list(_engines):
        if engine.dialect.name == "sqlite" and not engine.dialect.is_async:
            engine.dispose()


def _in_the_parent() -> None:
    global _forking  # noqa: PLW0603
    if _forking != threading.get_ident():  # it was forked before this could be prepared
        return
    with _verbs:
        _forking = None
        _verbs.notify_all()
    signals = _signals
    _gate.release()
    _turn.release()
    signals.give_back()
    signals.send_again()


def _in_the_child() -> None:
    global _gate, _turn, _verbs, _forking
    _gate, _turn, _verbs, _forking = (
        threading.RLock(),
        threading.RLock(),
        threading.Condition(),
        None,
    )
    _signals.give_back()
    for other in set(_in_verbs) - {threading.get_ident()}:
        del _in_verbs[other]
    _inherited.update(file for file, opened in _files.items() if opened)
    _files.clear()
    _of_the_parent.extend(_drivers)
    for driver in list(_drivers):
        with suppress(Exception):  # it is closed already
            _lead_nowhere(driver.pgconn.socket)
    _drivers.clear()
    for engine in list(_engines):
        _of_the_parent.append(engine.pool)
        engine.dispose(close=False)
        _initialize_again(engine)
    for kept in list(_kept):
        _of_the_parent.append(dict(vars(kept)))
        kept.forget()


def _initialize_again(engine: Engine) -> None:
    """Let the first connection ask once more what SQLAlchemy has to know of the server.

    SQLAlchemy asks once for an engine, and a thread of the parent may have been in the middle of
    it: then the child would never know.
    """
    lock, known = threading.Lock(), False

    @event.listens_for(engine, "engine_connect")
    def initialize(connection: Connection) -> None:
        nonlocal known
        if known:
            return
        with lock:
            if not known:
                engine.dialect.initialize(connection)
                connection.rollback()  # of what was only read
                known = True


def _lead_nowhere(descriptor: int) -> None:
    mine, other = socket.socketpair()
    with mine, other:
        os.dup2(mine.fileno(), descriptor, inheritable=False)


os.register_at_fork(before=_before, after_in_parent=_in_the_parent, after_in_child=_in_the_child)
