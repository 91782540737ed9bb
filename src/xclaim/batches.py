"""The claims a stream holds: which to keep alive, which to ack, which to hand back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from datetime import timedelta
from threading import Lock

from xclaim.message import Claim

_ACK_EVERY = 1.0  # seconds: how much finished work a crash may repeat at most


class Batch:
    """Claims taken ahead. A claim is waiting, then current, then finished, then acked.

    Locked, because the keep-alive thread asks what is held while the consumer moves on.
    """

    def __init__(self) -> None:
        self._waiting: deque[Claim] = deque()
        self._current: Claim | None = None
        self._finished: list[Claim] = []
        self._acked_at = time.monotonic()
        self._lock = Lock()

    def fill(self, claims: Iterable[Claim]) -> None:
        """Add claims that were just taken."""
        with self._lock:
            self._waiting.extend(claims)

    def advance(self) -> Claim | None:
        """Finish the current claim and return the next one, None if none is waiting."""
        with self._lock:
            if self._current is not None:
                self._finished.append(self._current)
            self._current = self._waiting.popleft() if self._waiting else None
            return self._current

    def held(self) -> list[Claim]:
        """Return every claim that is not settled yet."""
        with self._lock:
            current = [] if self._current is None else [self._current]
            return [*self._finished, *current, *self._waiting]

    def forget(self, lost: Iterable[Claim]) -> None:
        """Leave out claims that others have taken; the current one is left to its ack to report."""
        tokens = {claim.token for claim in lost}
        with self._lock:
            self._waiting = deque(claim for claim in self._waiting if claim.token not in tokens)

    def is_ack_due(self) -> bool:
        """Return whether finished claims have waited long enough, or nothing else is left."""
        with self._lock:
            is_over = not self._waiting and self._current is None
            return bool(self._finished) and (
                is_over or time.monotonic() - self._acked_at >= _ACK_EVERY
            )

    def take_finished(self) -> list[Claim]:
        """Return the finished claims, which the caller acks now."""
        with self._lock:
            finished, self._finished = self._finished, []
            self._acked_at = time.monotonic()
            return finished

    def take_unfinished(self) -> tuple[list[Claim], list[Claim]]:
        """Return the current claim, if any, and the waiting ones, which the caller releases now."""
        with self._lock:
            current = [] if self._current is None else [self._current]
            waiting = list(self._waiting)
            self._current = None
            self._waiting.clear()
            return current, waiting


def lease_of_batch(lease: timedelta) -> timedelta:
    """Return how long the keep-alive of a stream may go on without the consumer moving on."""
    return max(lease * 12, timedelta(hours=12))
