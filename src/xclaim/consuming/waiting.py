"""When a waiter looks for messages again, and who is woken when some were pushed.

Looking is what finds messages; a wake-up only makes it sooner. So nothing is lost when a wake-up
is: while the listening connection is down, behind a pooler that passes none on, or when a producer
sends none.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from xclaim import arguments
from xclaim.verbs import LOOK_BACK_EVERY, NOTIFY_EVERY

if TYPE_CHECKING:
    from xclaim.connections.concurrency import Event

_FIRST_PAUSE = 0.05  # seconds until the second look
_LONGEST_PAUSE = {"postgresql": 2.0, "sqlite": 0.25}  # seconds between two looks in a long wait
_JITTER = 0.25  # of a pause: waiters who began together do not stay together
# Seconds between two looks that wake-ups cause and that find nothing, see ``VainLooks``.
_FIRST_GAP, _GROWTH, _LONGEST_GAP = NOTIFY_EVERY, 1.5, 1.0
_SHORTEST_GAP = 0.01  # seconds between two looks for what a rate lets begin
_FEW, _MOST_COUNTED = 8, 20


AnyEvent = TypeVar("AnyEvent", bound="Event")


class Patience:
    """The pauses of one wait: short at first and after a wake-up, then longer and longer."""

    def __init__(self, wait: timedelta, dialect_names: Iterable[str]) -> None:
        self._ends_at = time.monotonic() + arguments.seconds("wait", wait)
        self._longest = min(_LONGEST_PAUSE[name] for name in dialect_names)
        self._pause = _FIRST_PAUSE
        self._gap = _SHORTEST_GAP
        # A wake-up sent just before this wait began may have stood for a push just after it.
        self._is_soon = True
        self._looks_back_at = -math.inf

    def left(self) -> float:
        """Return the seconds until the wait is over."""
        return max(0.0, self._ends_at - time.monotonic())

    def pause(self, due_in: float | None = None) -> float | None:
        """Return the seconds until the next look; None when the wait is over.

        ``due_in``: nothing can be claimed before so many seconds are over, and then perhaps. Who
        finds that others were quicker leaves more and more of these moments out: else all workers
        that wait would look at each of them.
        """
        left = self.left()
        if not left:
            return None
        if due_in is not None:
            gap, self._gap = self._gap, min(self._gap * _GROWTH, self._longest)
            return min(max(due_in, gap), self._longest, left)
        if self._is_soon:
            self._is_soon = False
            return min(NOTIFY_EVERY * random.uniform(1, 1 + _JITTER), left)  # noqa: S311
        pause = self._pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
        self._pause = min(self._pause * 2, self._longest)
        until_then = self._looks_back_at - time.monotonic()
        return min(pause, left, until_then) if until_then > 0 else min(pause, left)

    def wake(self) -> None:
        """Look soon again: pushes right after the one that woke us did not send a wake-up.

        And as soon as a look is everywhere for certain: what woke us may be at an old place.
        """
        self._pause = _FIRST_PAUSE
        self._is_soon = True
        self._looks_back_at = time.monotonic() + LOOK_BACK_EVERY


class VainLooks:
    """How soon a wake-up may cause a look: anybody who can connect may NOTIFY, for nothing.

    The first wake-up does at once. The more of them find nothing, one after another, the longer is
    the time from one such look to the next, up to a second; a look that finds something forgets
    them. So wake-ups that are rare are never late, and a stranger costs a look per second.
    """

    def __init__(self) -> None:
        self._count = 0
        self._looked_at = -math.inf

    def are_none(self) -> bool:
        """Return whether the last wake-up was not in vain."""
        return not self._count

    def are_many(self) -> bool:
        """Return whether there were more than others are likely to cause who were quicker."""
        return self._count > _FEW

    def gap(self) -> float:
        """Return the seconds until a wake-up may cause a look."""
        if self.are_none():
            return 0.0
        gap = min(_FIRST_GAP * _GROWTH ** (self._count - 1), _LONGEST_GAP)
        jittered = gap * random.uniform(1, 1 + _JITTER)  # noqa: S311
        return max(0.0, self._looked_at + jittered - time.monotonic())

    def note(self, *, woken: bool, found: bool) -> None:
        """Note a look, whether a wake-up caused it, and whether there was something."""
        if woken:
            self._looked_at = time.monotonic()
            self._count = min(self._count + 1, _MOST_COUNTED)
        if found:
            self._count = 0


class Bell(Generic[AnyEvent]):
    """The waiters of one queue in this process, in the order in which they came.

    A wake-up is for one of them, and who finds something rings for the next: a hundred waiters do
    not all ask for one message. For the same reason only the first looks without a wake-up.
    """

    def __init__(self) -> None:
        self.vain_looks = VainLooks()
        self._waiters: list[AnyEvent] = []
        self._notified_at = -math.inf

    def join(self, event: AnyEvent) -> None:
        """Let the event be set when it is its turn."""
        self._waiters.append(event)

    def leave(self, event: AnyEvent) -> None:
        """Let it be set no more; a wake-up that it has not made use of goes to the next."""
        if event in self._waiters:
            self._waiters.remove(event)
        if event.is_set():
            self.ring()

    def notify(self) -> None:
        """Wake one for a notification.

        None if notifications were in vain, and one is about to look: that look is for this one too.
        """
        self._notified_at = time.monotonic()
        if self.vain_looks.are_none() or not any(event.is_set() for event in self._waiters):
            self.ring()

    def was_notified_just_now(self) -> bool:
        """Return whether there may be pushes after the last notification that sent none."""
        return time.monotonic() - self._notified_at <= NOTIFY_EVERY * (1 + _JITTER)

    def ring(self) -> None:
        """Wake the first that is not awake yet."""
        for event in tuple(self._waiters):
            if not event.is_set():
                event.set()
                return

    def is_first(self, event: AnyEvent) -> bool:
        """Return whether nobody has waited longer."""
        return self._waiters[:1] == [event]

    def is_needed(self) -> bool:
        """Return whether anybody waits."""
        return bool(self._waiters)


class Bells(dict[str, Bell[AnyEvent]]):
    """The bells of all queues behind one pool of connections, by name."""

    def __missing__(self, queue: str) -> Bell[AnyEvent]:
        """Return the bell of a queue nobody has waited for yet."""
        return self.setdefault(queue, Bell())

    def notify(self, queue: str) -> None:
        """Wake one waiter of the queue, if there is one. The name may be any text."""
        if queue in self:
            self[queue].notify()

    def notify_all(self) -> None:
        """Wake one waiter of each queue."""
        for bell in tuple(self.values()):
            bell.notify()

    def are_needed(self) -> bool:
        """Return whether anybody waits."""
        return any(bell.is_needed() for bell in tuple(self.values()))
