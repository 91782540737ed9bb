"""What failed, for tests of other things: a Retry without a pause, a count whatever the pause."""

from __future__ import annotations

from datetime import timedelta

from xclaim import Queue, Retry

AT_ONCE = Retry(first=timedelta(0))


def waiting(queue: Queue) -> int:
    """Return how many can be claimed, now or after a pause, which ends early on a slow machine."""
    counts = queue.counts()
    return counts.available + counts.delayed
