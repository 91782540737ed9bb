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
    extend: Callable[[], object], *, lease: timedelta, lease_limit: timedelta
) -> Iterator[None]:
    """Call ``extend`` every third of the lease while the block runs.

    It stops when the claim is lost, and when the next lease would pass ``lease_limit`` from now:
    an orphan cannot hold a message for ever. A database error is logged and tried again.
    """
    stopped = threading.Event()
    pause, give_up_at = _schedule(lease, lease_limit)

    def run() -> None:
        while time.monotonic() < give_up_at and not stopped.wait(pause):
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
    extend: Callable[[], Awaitable[object]], *, lease: timedelta, lease_limit: timedelta
) -> AsyncIterator[None]:
    """Do what ``keep_alive`` does, from an asyncio task."""
    stopped = asyncio.Event()
    pause, give_up_at = _schedule(lease, lease_limit)

    async def run() -> None:
        while time.monotonic() < give_up_at and not await _is_set_within(stopped, pause):
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


def _schedule(lease: timedelta, lease_limit: timedelta) -> tuple[float, float]:
    limit = check_lease_limit(lease, lease_limit)
    pause = max(lease.total_seconds() / _EXTENDS_PER_LEASE, _SHORTEST_PAUSE)
    return pause, time.monotonic() + limit - lease.total_seconds()


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
