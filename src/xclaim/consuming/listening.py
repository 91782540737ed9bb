"""Wait for messages, with one listening connection per pool, in a thread or an asyncio task.

The connection is made as the pool makes its own, and then leaves the pool. When it fails it is made
anew; until then waiters only look now and then. It ends a few seconds after the last waiter left.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Pool
from sqlalchemy.exc import SQLAlchemyError

from xclaim import arguments, verbs
from xclaim.connections.runner import Wake
from xclaim.consuming.waiting import Bell, Bells, Patience
from xclaim.sql.dialects import CHANNEL, POSTGRESQL

if TYPE_CHECKING:
    from xclaim.connections.concurrency import Concurrency, Event, Started

T = TypeVar("T")

_LONG = timedelta(days=1)
_LINGER = 5.0  # seconds that a connection outlives its last waiter: workers wait again and again
_RECONNECT_AFTER = (1.0, 5.0)  # seconds, at random: not all workers at once after a restart
_LISTEN = f"LISTEN {CHANNEL}"
_FAILED = (
    "the connection that listens for pushes failed and is made anew; until then waiting claims "
    "only look now and then"
)
_logger = logging.getLogger("xclaim")


def claim_waiting(
    concurrency: Concurrency,
    wakes: Sequence[Wake],
    *,
    wait: timedelta,
    claim: Callable[[], T],
    poll: Callable[[], T],
) -> T | None:
    """Claim; then poll, now and then and when woken, until there is something or ``wait`` is over.

    What is looked for may differ; if it does not, there is a look at the end of the wait, too.
    Where a claim has found that a rate lets none begin before a certain time, it looks then.
    ``wakes``: the queues whose pushes wake, each with its engine. A cancellation or an interrupt
    ends the wait.
    """
    patience = Patience(wait, {wake.engine.dialect.name for wake in wakes})
    if found := claim():
        return found
    with _waiter(concurrency, wakes) as (wake_up, bell):
        while (pause := patience.pause(_due_in(wakes))) is not None:
            if woken := wake_up.wait(pause):
                concurrency.sleep(min(bell.vain_looks.gap(), patience.left()))
                wake_up.clear()
                if not bell.vain_looks.are_many():
                    patience.wake()
            elif not bell.is_first(wake_up):
                continue
            found = poll()
            bell.vain_looks.note(woken=woken, found=bool(found))
            if found:
                wake_up.set()  # there may be more: the next waiter's turn
                return found
            if bell.vain_looks.are_many() and bell.was_notified_just_now():
                wake_up.set()  # in its time, for what was pushed since
    return poll() if claim is poll else None


def _due_in(wakes: Sequence[Wake]) -> float | None:
    """Return in how many seconds a rate lets a claim begin; None if that is not all there is."""
    dues = [verbs.due_in(wake.engine, wake.schema, wake.queue) for wake in wakes]
    known = [due for due in dues if due is not None]
    return min(known) if len(known) == len(dues) else None


def messages_waiting(
    concurrency: Concurrency, engine: Engine, queue: str, look: Callable[[], list[T]]
) -> list[T]:
    """Return what ``look`` finds as soon as it finds something; nothing is claimed by that."""
    while True:
        wakes = [Wake(engine, queue)]
        if found := claim_waiting(concurrency, wakes, wait=_LONG, claim=look, poll=look):
            return found


def pushed_queues(
    concurrency: Concurrency, engine: Engine, every: timedelta
) -> Generator[str | None, None, None]:
    """Yield the queue of each wake-up, over one connection, for ever; None: look at every queue.

    None comes first, each ``every``, whatever other queues send meanwhile, and when the connection
    was lost: what was pushed meanwhile sent its wake-ups to nobody. SQLite sends none.
    """
    pause = arguments.seconds("every", every)
    while True:
        yield None
        if engine.dialect.name != POSTGRESQL.name:
            concurrency.sleep(pause)
            continue
        try:
            with _listening(engine) as driver:
                yield None
                due_at = time.monotonic() + pause
                while True:
                    left = max(0.0, due_at - time.monotonic())
                    names = dict.fromkeys(concurrency.notifications(driver, left))
                    yield from names  # of a flood each queue once
                    if not names or time.monotonic() >= due_at:
                        yield None
                        due_at = time.monotonic() + pause
        except (SQLAlchemyError, _driver_error()):
            _logger.warning(_FAILED, exc_info=True)
            concurrency.sleep(random.uniform(*_RECONNECT_AFTER))  # noqa: S311


class _Waiters:
    """The waiters behind one pool, and what listens for them."""

    def __init__(self) -> None:
        self.bells: Bells[Event] = Bells()
        self.listener: Started | None = None


_waiting: WeakKeyDictionary[Any, WeakKeyDictionary[Pool, _Waiters]] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def _waiter(concurrency: Concurrency, wakes: Sequence[Wake]) -> Iterator[tuple[Event, Bell[Event]]]:
    wake_up = concurrency.event()
    with _lock:
        of_scope = _waiting.setdefault(concurrency.scope(), WeakKeyDictionary())
        there = [of_scope.setdefault(engine.pool, _Waiters()) for engine, *_ in wakes]
        bell = there[0].bells[wakes[0].queue]
        for waiters, (_, queue, _) in zip(there, wakes, strict=True):
            waiters.bells.setdefault(queue, bell)  # the parts of a queue have one bell
    try:
        with _lock:  # or the listener could end between the two
            bell.join(wake_up)
            for waiters, (engine, *_) in zip(there, wakes, strict=True):
                if engine.dialect.name == POSTGRESQL.name:
                    _keep_listening(concurrency, engine, waiters)
        yield wake_up, bell
    finally:
        bell.leave(wake_up)


def _keep_listening(concurrency: Concurrency, engine: Engine, waiters: _Waiters) -> None:
    if (
        waiters.listener is None or not waiters.listener.is_running()
    ):  # a forked child has no threads
        waiters.listener = concurrency.start(
            lambda: _listen(concurrency, engine, waiters), "xclaim-listen"
        )


def _listen(concurrency: Concurrency, engine: Engine, waiters: _Waiters) -> None:
    while not _is_over(waiters):
        try:
            _listen_once(concurrency, engine, waiters.bells)
        except (SQLAlchemyError, _driver_error()):
            _logger.warning(_FAILED, exc_info=True)
            concurrency.sleep(random.uniform(*_RECONNECT_AFTER))  # noqa: S311


def _is_over(waiters: _Waiters) -> bool:
    with _lock:
        if waiters.bells.are_needed():
            return False
        waiters.listener = None
        return True


def _listen_once(concurrency: Concurrency, engine: Engine, bells: Bells[Event]) -> None:
    with _listening(engine) as driver:
        bells.notify_all()  # what was pushed before sent its wake-ups to nobody
        while bells.are_needed():
            for queue in concurrency.notifications(driver, _LINGER):
                bells.notify(queue)


@contextmanager
def _listening(engine: Engine) -> Iterator[Any]:
    fairy = engine.raw_connection()
    connection: Any = fairy.dbapi_connection
    driver = fairy.driver_connection
    fairy.detach()
    try:
        connection.autocommit = True
        connection.execute(_LISTEN)
        yield driver
    finally:
        connection.close()


def _driver_error() -> type[Exception]:
    import psycopg  # whoever listens has it; the others need not

    return psycopg.Error


def _forget_in_child() -> None:
    global _lock  # noqa: PLW0603  (a thread of the parent may have held it)
    _lock = threading.Lock()
    _waiting.clear()


os.register_at_fork(after_in_child=_forget_in_child)
