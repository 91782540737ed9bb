"""asyncio: blocking code in a greenlet of SQLAlchemy's, where each wait is an await.

A call that is to be finished runs in a task of its own, because a cancellation goes to the task
that waits: once, twice, or, in a cancelled scope of anyio, at each await.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn

from xclaim import arguments
from xclaim.connections import calls
from xclaim.connections.calls import Call, is_in_a_call
from xclaim.connections.concurrency import NO_QUEUE, Event, Started

T = TypeVar("T")

_END: Any = object()
_MOMENT = 0.5  # seconds to connect to a server that is there, before a cancellation ends that
_GRACE = 1.0  # seconds for a statement to notice that its connection was broken
_logger = logging.getLogger("xclaim")


class Tasks:
    """Code in a greenlet of a task of the running event loop."""

    def sleep(self, seconds: float) -> None:
        """Await a sleep."""
        await_only(asyncio.sleep(seconds))

    def event(self) -> Event:
        """Return an event of the event loop."""
        return _Event()

    def start(self, run: Callable[[], object], name: str) -> Started:
        """Start a task."""
        return _Task(run, name)

    def finish(
        self, call: Callable[[], T], *, within: float | None = None, is_owed: bool = False
    ) -> T:
        """Run the call to its end, and raise a cancellation after it."""
        if is_in_a_call():
            return call()
        return await_only(_finished(call, Call(within, is_owed=is_owed), within))

    def read(self, call: Callable[[], T]) -> T:
        """Finish it as well: a SQLite file would stay locked by what was left in the middle."""
        return self.finish(call)

    def attempt(self, call: Callable[[], T]) -> T:
        """Run the call, and break its connection from the event loop."""
        with calls.attempt() as record:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(record.time_left(), record.drop)
            try:
                return call()
            finally:
                timer.cancel()

    def offload(self, work: Callable[[], T]) -> T:
        """Run it in a thread, so that the event loop goes on."""
        return await_only(asyncio.to_thread(work))

    def notifications(self, driver: Any, seconds: float) -> list[str]:
        """Return what has arrived when one arrives."""
        return await_only(_notifications(driver, seconds))

    def scope(self) -> object:
        """Return the running event loop."""
        return asyncio.get_running_loop()

    def is_cancelled(self) -> bool:
        """Return whether the running task has a cancellation to carry out."""
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0


TASKS = Tasks()


async def bridged(function: Callable[..., T], *args: Any, **options: Any) -> T:
    """Run blocking code, whose waits are awaits of this task."""
    return await greenlet_spawn(function, *args, **options)


def awaited(function: Callable[[], Awaitable[T]]) -> Callable[[], T]:
    """Return the function as one that blocks: for blocking code that calls back."""
    return lambda: await_only(function())


@asynccontextmanager
async def async_block(block: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a block of blocking code, whose waits are awaits of this task."""
    value = await bridged(block.__enter__)
    try:
        yield value
    except BaseException as error:
        if not await bridged(block.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await bridged(block.__exit__, None, None, None)


async def iterated(items: Generator[T, None, None]) -> AsyncIterator[T]:
    """Yield what a blocking generator yields, whose waits are awaits of this task."""
    try:
        while (item := await bridged(next, items, _END)) is not _END:
            yield item
    finally:
        await bridged(items.close)


async def _finished(call: Callable[[], T], record: Call, within: float | None) -> T:
    task = asyncio.get_running_loop().create_task(_run(record, call), name="xclaim-call")
    # asyncio.run() cancels all tasks it knows of at its end. This one ends with who waits for it.
    asyncio._unregister_task(task)  # noqa: SLF001  (documented: Extending asyncio)
    cancelled: CancelledError | None = None
    if within is None:
        try:
            await _ended(task, None)
        except CancelledError as error:
            cancelled = error
            record.cancel()
    if within is not None or cancelled is not None:
        cancelled = await _wound_up(task, record) or cancelled
    if cancelled is not None:
        failed = task.exception() if task.done() and not task.cancelled() else None
        if failed is not None:
            cancelled.add_note(f"xclaim: {type(failed).__name__}: {failed}")
        raise cancelled
    if within is not None and (not task.done() or task.cancelled()):
        raise TimeoutError(f"the database did not answer within {within:.0f} s")
    return task.result()


async def _run(record: Call, call: Callable[[], T]) -> T:
    with record:
        return await greenlet_spawn(call)


async def _wound_up(task: asyncio.Task[Any], record: Call) -> CancelledError | None:
    """Wait for the task within its time, then break its connection; return a cancellation."""
    cancelled = await _ended_within(task, min(_MOMENT, record.time_left()))
    if record.can_be_left():  # it waits for a connection, and may do so for long
        task.cancel()
    cancelled = await _ended_within(task, record.time_left()) or cancelled
    if not task.done():
        if not record.has_begun:  # it waits for a connection
            task.cancel()
        record.drop()
        cancelled = await _ended_within(task, _GRACE) or cancelled
    if not task.done():
        record.is_abandoned = True
        task.add_done_callback(_note_late_end)
    return cancelled


async def _ended_within(task: asyncio.Task[Any], seconds: float) -> CancelledError | None:
    loop, cancelled = asyncio.get_running_loop(), None
    ends_at = loop.time() + seconds
    while not task.done() and (left := ends_at - loop.time()) > 0:
        try:
            await _ended(task, left)
        except CancelledError as error:
            cancelled = error
    return cancelled


async def _ended(task: asyncio.Task[Any], seconds: float | None) -> None:
    """Wait for the end of the task, without cancelling it when this is cancelled."""
    loop = asyncio.get_running_loop()
    waiter = loop.create_future()

    def wake(_: object = None) -> None:
        if not waiter.done():
            waiter.set_result(None)

    timer = None if seconds is None else loop.call_later(seconds, wake)
    task.add_done_callback(wake)
    try:
        await waiter
    finally:
        task.remove_done_callback(wake)
        if timer is not None:
            timer.cancel()


def _note_late_end(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    how = arguments.visible(str(error)) if error else "well"
    _logger.info("a call ended after its caller was cancelled and had gone: %s", how)


class _Event:
    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.is_set = self._event.is_set
        self.set = self._event.set
        self.clear = self._event.clear

    def wait(self, timeout: float) -> bool:
        return await_only(is_set_within(self._event, timeout))


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Return whether the event is set, waiting for it so many seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # wait_for of Python 3.11 may swallow a cancellation
            await event.wait()
    return event.is_set()


class _Task:
    def __init__(self, run: Callable[[], object], name: str) -> None:
        self._record = Call(is_whole=False)
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(_run(self._record, run), name=name)

    def is_running(self) -> bool:
        return not self._task.done()

    def end_within(self, seconds: float) -> None:
        await_only(self._end_within(seconds))

    async def _end_within(self, seconds: float) -> None:
        cancelled = None
        if self._record.is_using():
            cancelled = await _ended_within(self._task, seconds)
        if not self._task.done() and self._record.is_using():
            self._record.drop()
            cancelled = await _ended_within(self._task, _GRACE) or cancelled
        if not self._task.done():
            self._task.cancel()  # it waits for its turn, or for a connection
            cancelled = await _ended_within(self._task, _GRACE) or cancelled
        if self._task.done() and not self._task.cancelled():
            self._task.exception()
        if cancelled is not None:
            raise cancelled


async def _notifications(driver: Any, seconds: float) -> list[str]:
    found = driver.notifies(timeout=seconds, stop_after=1)
    try:
        return [notification.payload async for notification in found]
    except UnicodeDecodeError:  # in a database of SQL_ASCII
        return [NO_QUEUE]
