"""Wait for messages, with one listening connection per pool: a thread, or an asyncio task.

The connection is made as the pool makes its own, and then leaves the pool. When it fails it is made
anew; until then waiters only look now and then. It ends a few seconds after the last waiter left.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, Pool
from sqlalchemy.exc import SQLAlchemyError

from xclaim import arguments
from xclaim.consuming.keep_alive import is_set_within
from xclaim.consuming.waiting import Bell, Bells, Patience
from xclaim.message import Claim
from xclaim.sql.dialects import CHANNEL, POSTGRESQL

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    Loop = asyncio.AbstractEventLoop

T = TypeVar("T")

_LONG = timedelta(days=1)
_LINGER = 5.0  # seconds that a connection outlives its last waiter: workers wait again and again
_RECONNECT_AFTER = (1.0, 5.0)  # seconds, at random: not all workers at once after a restart
_LISTEN = f"LISTEN {CHANNEL}"
_FAILED = (
    "the connection that listens for pushes failed and is made anew; until then waiting claims "
    "only look now and then"
)

_bells: WeakKeyDictionary[Pool, Bells[threading.Event]] = WeakKeyDictionary()
_async_bells: WeakKeyDictionary[Loop, WeakKeyDictionary[Pool, Bells[asyncio.Event]]]
_async_bells = WeakKeyDictionary()
_listeners: dict[Pool, threading.Thread] = {}
_async_listeners: dict[tuple[Loop, Pool], asyncio.Task[None]] = {}
_lock = threading.Lock()
_logger = logging.getLogger("xclaim")


def claim_waiting(
    engine: Engine,
    queue: str,
    wait: timedelta,
    claim: Callable[[], list[Claim]],
    poll: Callable[[], list[Claim]],
) -> list[Claim]:
    """Claim; then poll, now and then and when woken, until there is something or ``wait`` is over.

    An exception, also an interrupt, ends the wait; nothing has been claimed then.
    """
    patience = Patience(wait, engine.dialect.name)
    if claims := claim():
        return claims
    with _waiter(engine, queue) as (wake_up, bell):
        while (pause := patience.pause()) is not None:
            if wake_up.wait(pause):
                patience.wake()
                wake_up.clear()
            elif not bell.is_first(wake_up):
                continue
            if claims := poll():
                wake_up.set()  # there may be more: the next waiter's turn
                return claims
    return []


async def claim_waiting_async(
    engine: AsyncEngine,
    queue: str,
    wait: timedelta,
    claim: Callable[[], Awaitable[list[T]]],
    poll: Callable[[], Awaitable[list[T]]],
) -> list[T]:
    """Do what ``claim_waiting`` does, in the running event loop; what is looked for may differ."""
    patience = Patience(wait, engine.dialect.name)
    if claims := await claim():
        return claims
    with _async_waiter(engine, queue) as (wake_up, bell):
        while (pause := patience.pause()) is not None:
            if await is_set_within(wake_up, pause):
                patience.wake()
                wake_up.clear()
            elif not bell.is_first(wake_up):
                continue
            if claims := await poll():
                wake_up.set()  # there may be more: the next waiter's turn
                return claims
    return []


async def messages_waiting(
    engine: AsyncEngine, queue: str, look: Callable[[], Awaitable[list[T]]]
) -> list[T]:
    """Return what ``look`` finds as soon as it finds something; nothing is claimed by that."""
    while True:
        if found := await claim_waiting_async(engine, queue, _LONG, look, look):
            return found


async def pushed_queues(engine: AsyncEngine, every: timedelta) -> AsyncIterator[str | None]:
    """Yield the queue of each wake-up, over one connection, for ever; None: look at every queue.

    None comes first, after ``every`` without a wake-up, and when the connection was lost: what was
    pushed meanwhile sent its wake-ups to nobody. SQLite sends none.
    """
    pause = arguments.seconds("every", every)
    while True:
        yield None
        if engine.dialect.name != POSTGRESQL.name:
            await asyncio.sleep(pause)
            continue
        try:
            async with _listening(engine) as connection:
                yield None
                while True:
                    is_quiet = True
                    async for notification in connection.notifies(timeout=pause, stop_after=1):
                        is_quiet = False
                        yield notification.payload
                    if is_quiet:
                        yield None
        except (SQLAlchemyError, _driver_error()):
            _logger.warning(_FAILED, exc_info=True)
            await asyncio.sleep(random.uniform(*_RECONNECT_AFTER))  # noqa: S311


@contextmanager
def _waiter(engine: Engine, queue: str) -> Iterator[tuple[threading.Event, Bell[threading.Event]]]:
    wake_up = threading.Event()
    with _lock:  # or the listener could end between the two
        bells = _bells.setdefault(engine.pool, Bells())
        bell = bells[queue]
        bell.join(wake_up)
        if engine.dialect.name == POSTGRESQL.name:
            _keep_listening(engine, bells)
    try:
        yield wake_up, bell
    finally:
        bell.leave(wake_up)


def _keep_listening(engine: Engine, bells: Bells[threading.Event]) -> None:
    thread = _listeners.get(engine.pool)
    if thread is None or not thread.is_alive():  # a forked child has no threads
        thread = threading.Thread(
            target=_listen, args=(engine, bells), name="xclaim-listen", daemon=True
        )
        _listeners[engine.pool] = thread
        thread.start()


def _listen(engine: Engine, bells: Bells[threading.Event]) -> None:
    pool = engine.pool  # a disposed engine gets another one
    while not _is_over(pool, bells):
        try:
            _listen_once(engine, bells)
        except (SQLAlchemyError, _driver_error()):
            _logger.warning(_FAILED, exc_info=True)
            time.sleep(random.uniform(*_RECONNECT_AFTER))  # noqa: S311


def _is_over(pool: Pool, bells: Bells[threading.Event]) -> bool:
    with _lock:
        if bells.are_needed():
            return False
        if _listeners.get(pool) is threading.current_thread():
            del _listeners[pool]
        return True


def _listen_once(engine: Engine, bells: Bells[threading.Event]) -> None:
    fairy = engine.raw_connection()
    connection: Any = fairy.driver_connection
    fairy.detach()
    try:
        connection.autocommit = True
        connection.execute(_LISTEN)
        bells.ring_all()  # what was pushed before sent its wake-ups to nobody
        while bells.are_needed():
            for notification in connection.notifies(timeout=_LINGER):
                bells.ring(notification.payload)
    finally:
        connection.close()


@contextmanager
def _async_waiter(
    engine: AsyncEngine, queue: str
) -> Iterator[tuple[asyncio.Event, Bell[asyncio.Event]]]:
    loop, wake_up = asyncio.get_running_loop(), asyncio.Event()
    bells = _async_bells.setdefault(loop, WeakKeyDictionary()).setdefault(engine.pool, Bells())
    bell = bells[queue]
    bell.join(wake_up)
    if engine.dialect.name == POSTGRESQL.name and (loop, engine.pool) not in _async_listeners:
        _async_listeners[loop, engine.pool] = loop.create_task(
            _listen_async(engine, bells), name="xclaim-listen"
        )
    try:
        yield wake_up, bell
    finally:
        bell.leave(wake_up)


async def _listen_async(engine: AsyncEngine, bells: Bells[asyncio.Event]) -> None:
    key = (asyncio.get_running_loop(), engine.pool)  # a disposed engine gets another pool
    try:
        while bells.are_needed():
            try:
                await _listen_once_async(engine, bells)
            except (SQLAlchemyError, _driver_error()):
                _logger.warning(_FAILED, exc_info=True)
                await asyncio.sleep(random.uniform(*_RECONNECT_AFTER))  # noqa: S311
    finally:  # also when the loop ends, which cancels its tasks
        del _async_listeners[key]


async def _listen_once_async(engine: AsyncEngine, bells: Bells[asyncio.Event]) -> None:
    async with _listening(engine) as connection:
        bells.ring_all()
        while bells.are_needed():
            async for notification in connection.notifies(timeout=_LINGER):
                bells.ring(notification.payload)


@asynccontextmanager
async def _listening(engine: AsyncEngine) -> AsyncIterator[Any]:
    fairy = await engine.raw_connection()
    connection: Any = fairy.driver_connection
    fairy.detach()
    try:
        await connection.set_autocommit(True)
        await connection.execute(_LISTEN)
        yield connection
    finally:
        await connection.close()


def _driver_error() -> type[Exception]:
    import psycopg  # an optional world: whoever listens has it

    return psycopg.Error
