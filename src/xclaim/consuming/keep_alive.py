"""Keep the lease of a claim alive from a thread, or an asyncio task, while work goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from xclaim import arguments
from xclaim.errors import ClaimLostError, InvalidArgumentError

LEASE_LIMIT = timedelta(hours=12)  # as SQS: the longest a message can stay invisible
_EXTENDS_PER_LEASE = 3  # two extensions may fail before a lease runs out
_SHORTEST_PAUSE = 0.05  # seconds: a lease of zero must not become a busy loop

_logger = logging.getLogger("xclaim")


def check_lease_limit(lease: timedelta, lease_limit: timedelta) -> float:
    """Return the limit in seconds. Raise InvalidArgumentError if it is shorter than the lease."""
    limit = arguments.seconds("lease_limit", lease_limit)
    if limit < arguments.seconds("lease", lease):
        raise InvalidArgumentError(
            f"lease_limit {lease_limit} is shorter than the lease {lease}: make it longer"
        )
    return limit


@contextmanager
def keep_alive(
    extend: Callable[[], object],
    *,
    lease: timedelta,
    lease_limit: timedelta,
    claimed_at: Callable[[], float] | None = None,
) -> Iterator[None]:
    """Call ``extend`` every third of the lease while the block runs.

    It stops when the claim is lost, and rests while the next lease would pass ``lease_limit`` after
    ``claimed_at`` (by the monotonic clock; by default now): an orphan cannot hold a message for
    ever. A database error is logged and tried again.
    """
    stopped = threading.Event()
    pause, may_extend = _schedule(lease, lease_limit, claimed_at)

    def run() -> None:
        while not stopped.wait(pause):
            if not may_extend():
                continue
            try:
                extend()
            except ClaimLostError:
                return
            except SQLAlchemyError:
                _logger.warning("extending the lease failed, trying again", exc_info=True)

    thread = threading.Thread(target=run, name="xclaim-keep-alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@asynccontextmanager
async def keep_alive_async(
    extend: Callable[[], Awaitable[object]],
    *,
    lease: timedelta,
    lease_limit: timedelta,
    claimed_at: Callable[[], float] | None = None,
) -> AsyncIterator[None]:
    """Do what ``keep_alive`` does, from an asyncio task."""
    stopped = asyncio.Event()
    pause, may_extend = _schedule(lease, lease_limit, claimed_at)

    async def run() -> None:
        while not await is_set_within(stopped, pause):
            if not may_extend():
                continue
            try:
                await extend()
            except ClaimLostError:
                return
            except SQLAlchemyError:
                _logger.warning("extending the lease failed, trying again", exc_info=True)

    task = asyncio.create_task(run(), name="xclaim-keep-alive")
    try:
        yield
    finally:
        stopped.set()  # not cancelled: that could break a connection in the middle of an extend
        await task


def _schedule(
    lease: timedelta, lease_limit: timedelta, claimed_at: Callable[[], float] | None
) -> tuple[float, Callable[[], bool]]:
    longest = check_lease_limit(lease, lease_limit) - lease.total_seconds()
    now = time.monotonic()

    def may_extend() -> bool:
        began = now if claimed_at is None else claimed_at()
        return time.monotonic() < began + longest

    return max(lease.total_seconds() / _EXTENDS_PER_LEASE, _SHORTEST_PAUSE), may_extend


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Return whether the event is set, waiting for it so many seconds at most."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
