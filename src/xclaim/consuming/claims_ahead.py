"""The claims that a loop holds: which to keep alive, which to ack, which to hand back."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from threading import RLock
from typing import TYPE_CHECKING

from xclaim.claims import Claim

if TYPE_CHECKING:
    from uuid import UUID

    from xclaim.errors import PayloadReadError

_ACK_EVERY = 1.0  # seconds of finished work that a crash may repeat at most


class ClaimsAhead:
    """Claims taken ahead: each is waiting, then current, then finished, then settled.

    A claim stays here until it is settled for certain, so that whoever winds up finds it.
    Locked, because the keep-alive thread asks what is held while the consumer moves on.
    """

    def __init__(self) -> None:
        self._waiting: deque[Claim] = deque()
        self._current: list[Claim] = []
        self._finished: list[Claim] = []
        self._unreadable: list[tuple[Claim, PayloadReadError]] = []  # nobody is handed these
        self._tokens: set[UUID] = set()  # of all of these
        self._acked_at = self._filled_at = time.monotonic()
        self._lock = RLock()  # also if it is collected in the middle of this

    def fill(self, claims: Iterable[Claim]) -> None:
        """Add claims, which now wait for the consumer."""
        with self._lock:
            added = list(claims)
            self._tokens.update(claim.token for claim in added)
            self._waiting.extend(added)
            self._filled_at = time.monotonic()

    def filled_at(self) -> float:
        """Return when claims were last added, by the monotonic clock."""
        return self._filled_at

    def advance(self, is_ready: Callable[[Claim], bool]) -> Claim | None:
        """Note that the consumer is done with what is current, and return the next claim.

        None if none is left, the next one is not ready, or an ack is due before that.
        """
        with self._lock:
            # A claim is in two places for a moment: an interrupt in between must not lose it.
            self._finished += self._current
            self._current = []
            if not self._waiting or self.is_ack_due() or not is_ready(self._waiting[0]):
                return None
            self._current = [self._waiting[0]]
            return self._waiting.popleft()

    def is_ack_due(self) -> bool:
        """Return whether finished work should not wait longer for its ack."""
        return bool(self._finished) and time.monotonic() - self._acked_at >= _ACK_EVERY

    def first(self) -> Claim | None:
        """Return the claim that the consumer is handed next; None if none waits."""
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def set_aside(self, claim: Claim, error: PayloadReadError) -> None:
        """Note that the claim was not handed out, since its message cannot be read."""
        with self._lock:
            self._unreadable.append((claim, error))
            self._current = [each for each in self._current if each is not claim]
            self._waiting = deque(each for each in self._waiting if each is not claim)

    def waiting_behind(self, settled: Iterable[Claim]) -> list[Claim]:
        """Return the claims that wait behind one of these in the line of an ordering key: by id."""
        first: dict[str | None, float] = {}
        for claim in settled:
            first[_line_of(claim)] = min(first.get(_line_of(claim), math.inf), claim.message.id)
        first.pop(None, None)
        with self._lock:
            return [
                each
                for each in self._waiting
                if each.message.id > first.get(_line_of(each), math.inf)
            ]

    def unreadable(self) -> list[tuple[Claim, PayloadReadError]]:
        """Return the claims that were set aside, each with why it cannot be read."""
        with self._lock:
            return list(self._unreadable)

    def start_all(self) -> list[Claim]:
        """Make all waiting claims current and return them."""
        with self._lock:
            self._current = list(self._waiting)
            self._waiting.clear()
            return list(self._current)

    def finish_current(self) -> None:
        """Note that the consumer is done with what is current."""
        with self._lock:
            self._finished += self._current
            self._current = []

    def finish(self, done: Iterable[Claim]) -> None:
        """Note that the consumer is done with these of what is current."""
        tokens = {claim.token for claim in done}
        with self._lock:
            self._finished += [each for each in self._current if each.token in tokens]
            self._current = [each for each in self._current if each.token not in tokens]

    def stop_at(self, handed_out: Claim | None) -> None:
        """Note the end of a stream: the consumer is done with the claim that it was handed.

        Another one that is current already was not handed out, and waits again.
        """
        with self._lock:
            done = [each for each in self._current if each is handed_out]
            self._waiting.extendleft(each for each in self._current if each is not handed_out)
            self._finished += done
            self._current = []

    def has_waiting(self) -> bool:
        """Return whether a claim waits for the consumer."""
        return bool(self._waiting)

    def finished(self) -> list[Claim]:
        """Return the claims that the consumer is done with, and that may not be acked yet."""
        with self._lock:
            return list(self._finished)

    def current(self) -> list[Claim]:
        """Return the claims in work."""
        with self._lock:
            return list(self._current)

    def waiting(self) -> list[Claim]:
        """Return the claims that were never begun."""
        with self._lock:
            return list(self._waiting)

    def settle(self, claims: Iterable[Claim]) -> None:
        """Drop claims that were acked or given back, or are lost."""
        tokens = {claim.token for claim in claims}
        with self._lock:
            self._finished = [each for each in self._finished if each.token not in tokens]
            self._waiting = deque(each for each in self._waiting if each.token not in tokens)
            self._current = [each for each in self._current if each.token not in tokens]
            self._unreadable = [each for each in self._unreadable if each[0].token not in tokens]
            self._tokens -= tokens
            self._acked_at = time.monotonic()

    def has(self, claim: Claim) -> bool:
        """Return whether the claim is not settled yet."""
        return claim.token in self._tokens

    def held(self) -> list[Claim]:
        """Return every claim that is not settled yet."""
        with self._lock:
            aside = [claim for claim, _ in self._unreadable]
            return [*self._finished, *self._current, *aside, *self._waiting]

    def forget(self, lost: Iterable[Claim]) -> None:
        """Drop waiting claims that others have taken. Of work begun, the ack reports the loss."""
        # By token: the message may have been claimed here again meanwhile, and that claim lives.
        tokens = {claim.token for claim in lost}
        with self._lock:
            gone = {claim.token for claim in self._waiting} & tokens
            self._waiting = deque(claim for claim in self._waiting if claim.token not in gone)
            self._tokens -= gone


def _line_of(claim: Claim) -> str | None:
    # What was redriven from another queue keeps its key, and stands in no line.
    is_in_line = claim.message.queue == claim.message.origin_queue
    return claim.message.ordering_key if is_in_line else None
