"""Keep the lease of claims alive beside the code that works on them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from xclaim import arguments
from xclaim.connections import calls
from xclaim.errors import ClaimLostError, InvalidArgumentError, XclaimError

if TYPE_CHECKING:
    from xclaim.connections.concurrency import Concurrency, Started

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


class KeepAlive:
    """Calls ``extend`` every third of the lease, from a thread or an asyncio task, until its end.

    It stops when the claim is lost, and rests while the next lease would pass ``lease_limit`` after
    ``claimed_at`` (by the monotonic clock; by default now): an orphan cannot hold a message for
    ever. Any other error that verbs raise is logged and tried again.
    """

    def __init__(
        self,
        concurrency: Concurrency,
        extend: Callable[[], object],
        *,
        lease: timedelta,
        lease_limit: timedelta,
        claimed_at: Callable[[], float] | None = None,
    ) -> None:
        self._concurrency = concurrency
        self._extend = extend
        self._longest = check_lease_limit(lease, lease_limit) - lease.total_seconds()
        self._pause = max(lease.total_seconds() / _EXTENDS_PER_LEASE, _SHORTEST_PAUSE)
        now = time.monotonic()
        self._claimed_at = claimed_at or (lambda: now)
        self._ended = concurrency.event()
        self._started: Started | None = None

    def start(self) -> None:
        """Begin. What is interrupted in the middle of this is ended by ``end`` as well."""
        self._started = self._concurrency.start(self._run, "xclaim-keep-alive")

    def end(self) -> None:
        """End it. Wait for an extension under way, but leave time to settle what was held."""
        self._ended.set()
        if self._started is not None:
            self._started.end_within(min(calls.BOUND, calls.time_left()) / 2)

    def _run(self) -> None:
        while not self._ended.wait(self._pause):
            if time.monotonic() >= self._claimed_at() + self._longest:
                continue
            try:
                self._extend()
            except ClaimLostError:
                return
            except (SQLAlchemyError, XclaimError):  # of a schema that is being changed, say
                if not self._ended.is_set():
                    _logger.warning("extending the lease failed, trying again", exc_info=True)
