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
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event

from xclaim.errors import DatabaseUrlError

T = TypeVar("T")
V = TypeVar("V")


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
_AFTER_THE_FORK = 0.1  # seconds: until the hooks of other modules are through as well
_ATTEMPTS = 3  # of what has to be done after a fork, when each is interrupted
_is_interrupted = False  # by Ctrl-C, which arrives once more after the fork


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


def awaited(engine: Engine, run: Callable[[V], T]) -> Callable[[V], T]:
    """Return what runs verbs on the engine so that a fork waits for their end, if one has to."""
    if engine.dialect.name != "sqlite" or engine.dialect.is_async:  # a wait would stop the loop
        return run
    return partial(_run_verb, run)


def _run_verb(run: Callable[[V], T], verb: V) -> T:
    """Run a verb, which uses a file for a moment, so that a fork waits for its end.

    Without a lock, which each verb would have to take: a verb is counted and then looks for a fork,
    a fork says so and then looks for verbs, so one of them sees the other. The count is put back by
    one instruction at once, before which no signal can strike.
    """
    me = threading.get_ident()
    before = _in_verbs.get(me, 0)
    try:
        _in_verbs[me] = before + 1
        if not before and _forking not in (None, me):
            _wait_for_the_fork(me)
        return run(verb)
    finally:
        if before:
            _in_verbs[me] = before
        else:
            _in_verbs.pop(me, None)
        if _forking is not None:
            with _verbs:
                _verbs.notify_all()


def _wait_for_the_fork(me: int) -> None:
    with _verbs:
        _in_verbs.pop(me, None)
        _verbs.notify_all()
        _verbs.wait_for(lambda: _forking is None)
        _in_verbs[me] = 1


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
        with _gate:
            connection = dialect.connect(*given, **options)
            _note_file(file, connection)
            return connection

    @event.listens_for(engine, "connect")
    def note(connection: Any, __: Any) -> None:
        _note_file(file, connection)

    @event.listens_for(engine, "close")
    def note_end(connection: Any, __: Any) -> None:
        _files.get(file, set()).discard(id(connection))


def _note_file(file: str, connection: Any) -> None:
    opened, number = _files.setdefault(file, set()), id(connection)
    if number in opened:
        return
    opened.add(number)
    with suppress(TypeError):  # of a connection that is not ours, of which only its pool knows
        # An opening that was interrupted is closed by nobody who says so.
        weakref.finalize(connection, opened.discard, number).atexit = False


def _before() -> None:
    global _is_interrupted  # noqa: PLW0603
    steps = iter((_turn.acquire, _wait_for_verbs, _gate.acquire, _close_files))
    while True:
        try:
            for prepare in steps:
                prepare()
            return
        except KeyboardInterrupt:  # Python would print it, and go on
            _is_interrupted = True


def _close_files() -> None:
    for kept in list(_kept):
        kept.close_files()
    for engine in list(_engines):
        if engine.dialect.name == "sqlite" and not engine.dialect.is_async:
            engine.dispose()


def _wait_for_verbs() -> None:
    global _forking  # noqa: PLW0603  (a fork is of the whole process)
    with _verbs:
        _forking = me = threading.get_ident()
        _verbs.wait_for(lambda: not _in_verbs.keys() - {me}, _patience)


def _in_the_parent() -> None:
    _to_the_end(_let_others_go_on)


def _let_others_go_on() -> None:
    """End the fork; as often as this is done."""
    global _forking  # noqa: PLW0603
    if _forking == threading.get_ident():
        _forking = None
    for taken in (_gate, _turn):
        with suppress(RuntimeError):  # it was interrupted before it had this
            taken.release()
    with _verbs:
        _verbs.notify_all()


def _in_the_child() -> None:
    global _is_interrupted  # noqa: PLW0603
    _is_interrupted = False  # that was the parent; but Ctrl-C reaches a child as well
    _to_the_end(_leave_the_parent)


def _to_the_end(finish: Callable[[], object]) -> None:
    """Do what has to be done, also when handlers of signals raise meanwhile."""
    global _is_interrupted  # noqa: PLW0603
    raised: BaseException | None = None
    for _ in range(_ATTEMPTS):
        try:
            finish()
            break
        except KeyboardInterrupt:
            _is_interrupted = True
        except BaseException as error:  # noqa: BLE001  (Python prints it below)
            raised = error
    if _is_interrupted:
        _is_interrupted = False
        _interrupt_again()
    if raised is not None:
        raise raised


def _leave_the_parent() -> None:
    """Use nothing of the parent; as often as this is done."""
    global _gate, _turn, _verbs, _forking
    _gate, _turn, _verbs, _forking = (
        threading.RLock(),
        threading.RLock(),
        threading.Condition(),
        None,
    )
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


def _interrupt_again() -> None:
    """Let Ctrl-C arrive once more, when the fork is over: what its hooks raise is only printed."""

    def interrupt() -> None:
        if callable(signal.getsignal(signal.SIGINT)):  # not if it would end the process by now
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Timer(_AFTER_THE_FORK, interrupt).start()


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
