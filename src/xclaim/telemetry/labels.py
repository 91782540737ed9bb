"""Labels of metrics: few enough of them, whatever queues are called."""

from __future__ import annotations

from threading import Lock

from xclaim.arguments import DEAD_LETTER_SUFFIX

OTHER = "other"  # stands for all queues beyond the limit


class QueueLabels:
    """The names of queues that are labels: the first ``limit`` of them, and ``other``.

    Each label is a time series of each metric, in every process, and whoever makes up names of
    queues must not be able to make up so many. A queue and its dead-letter queue count as one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._lock = Lock()

    def label(self, queue: str) -> str:
        """Return the label of a queue."""
        if queue in self._known:
            return queue
        name = queue.removesuffix(DEAD_LETTER_SUFFIX) or queue
        with self._lock:
            if name not in self._known:
                if len(self._known) >= self._limit:
                    return OTHER
                self._known.add(name)
        return queue
