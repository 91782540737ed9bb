"""The claims a stream holds: which to keep alive, which to ack, which to hand back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from threading import Lock

from xclaim.message import Claim

_ACK_EVERY = 1.0  # seconds of finished work that a crash may repeat at most


class Batch:
    """Claims taken ahead: each is waiting, then current, then finished, then acked.

    Locked, because the keep-alive thread asks what is held while the consumer moves on.
    """

    def __init__(self) -> None:
        self._waiting: deque[Claim] = deque()
        self._current: Claim | None = None
        self._finished: list[Claim] = []
        self._acked_at = self._filled_at = time.monotonic()
        self._lock = Lock()

    def fill(self, claims: Iterable[Claim]) -> None:
        """Add claims, which now wait for the consumer."""
        with self._lock:
            self._waiting.extend(claims)
            self._filled_at = time.monotonic()

    def filled_at(self) -> float:
        """Return when claims were last added, by the monotonic clock."""
        return self._filled_at

    def start_next(self) -> Claim | None:
        """Make the next waiting claim the current one and return it; None if none is left."""
        with self._lock:
            self._current = self._waiting.popleft() if self._waiting else None
            return self._current

    def finish_current(self) -> None:
        """Note that the consumer is done with the current claim."""
        with self._lock:
            if self._current is not None:
                self._finished.append(self._current)
            self._current = None

    def is_ack_due(self) -> bool:
        """Return whether to ack before the batch is through, which acks all that is finished."""
        return bool(self._waiting) and time.monotonic() - self._acked_at >= _ACK_EVERY

    def take_finished(self) -> list[Claim]:
        """Return the finished claims, which the caller acks."""
        with self._lock:
            finished, self._finished = self._finished, []
            self._acked_at = time.monotonic()
            return finished

    def take_current(self) -> list[Claim]:
        """Return the current claim, if any, which the caller releases as a counted attempt."""
        with self._lock:
            current, self._current = self._current, None
            return [] if current is None else [current]

    def take_waiting(self) -> list[Claim]:
        """Return the claims that were never begun, which the caller hands back uncounted."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            return waiting

    def held(self) -> list[Claim]:
        """Return every claim that is not settled yet."""
        with self._lock:
            current = [] if self._current is None else [self._current]
            return [*self._finished, *current, *self._waiting]

    def forget(self, lost: Iterable[Claim]) -> None:
        """Drop waiting claims that others have taken. Of work begun, the ack reports the loss."""
        ids = {claim.message.id for claim in lost}
        with self._lock:
            self._waiting = deque(claim for claim in self._waiting if claim.message.id not in ids)
