"""When a waiter looks for messages again, and who is woken when some were pushed.

Looking is what finds messages; a wake-up only makes it sooner. So nothing is lost when a wake-up
is: while the listening connection is down, behind a pooler that passes none on, or when a producer
sends none.
"""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from xclaim import arguments
from xclaim.verbs import NOTIFY_EVERY

if TYPE_CHECKING:
    from xclaim.connections.concurrency import Event

_FIRST_PAUSE = 0.05  # seconds until the second look
_LONGEST_PAUSE = {"postgresql": 2.0, "sqlite": 0.25}  # seconds between two looks in a long wait
_JITTER = 0.25  # of a pause: waiters who began together do not stay together


AnyEvent = TypeVar("AnyEvent", bound="Event")


class Patience:
    """The pauses of one wait: short at first and after a wake-up, then longer and longer."""

    def __init__(self, wait: timedelta, dialect_name: str) -> None:
        self._ends_at = time.monotonic() + arguments.seconds("wait", wait)
        self._longest = _LONGEST_PAUSE[dialect_name]
        self._pause = _FIRST_PAUSE
        # A wake-up sent just before this wait began may have stood for a push just after it.
        self._is_soon = True

    def pause(self) -> float | None:
        """Return the seconds until the next look; None when the wait is over."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            return None
        if self._is_soon:
            self._is_soon = False
            return min(NOTIFY_EVERY * random.uniform(1, 1 + _JITTER), left)  # noqa: S311
        pause = self._pause * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
        self._pause = min(self._pause * 2, self._longest)
        return min(pause, left)

    def wake(self) -> None:
        """Look soon again: pushes right after the one that woke us did not send a wake-up."""
        self._pause = _FIRST_PAUSE
        self._is_soon = True


class Bell(Generic[AnyEvent]):
    """The waiters of one queue in this process, in the order in which they came.

    A wake-up is for one of them, and who finds something rings for the next: a hundred waiters do
    not all ask for one message. For the same reason only the first looks without a wake-up.
    """

    def __init__(self) -> None:
        self._waiters: list[AnyEvent] = []

    def join(self, event: AnyEvent) -> None:
        """Let the event be set when it is its turn."""
        self._waiters.append(event)

    def leave(self, event: AnyEvent) -> None:
        """Let it be set no more; a wake-up that it has not made use of goes to the next."""
        if event in self._waiters:
            self._waiters.remove(event)
        if event.is_set():
            self.ring()

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

    def ring(self, queue: str) -> None:
        """Wake one waiter of the queue, if there is one."""
        if queue in self:
            self[queue].ring()

    def ring_all(self) -> None:
        """Wake one waiter of each queue."""
        for bell in tuple(self.values()):
            bell.ring()

    def are_needed(self) -> bool:
        """Return whether anybody waits."""
        return any(bell.is_needed() for bell in tuple(self.values()))
