"""A side's process of ``benchmarks.against``: runs laps, and checks what they consumed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from benchmarks.messages import in_chunks, payloads
from benchmarks.sides.awaiting import AwaitingRunner
from benchmarks.sides.blocking import BlockingRunner
from benchmarks.sides.laps import ASYNC_QUEUE, PUSH, QUEUE, Lap, named
from benchmarks.sides.migrating import upgrade
from benchmarks.sides.process import NotConsumedError, serve

_Runner = BlockingRunner | AwaitingRunner
_RUNNERS: dict[str, Callable[[str, str], _Runner]] = {
    QUEUE: BlockingRunner,
    ASYNC_QUEUE: AwaitingRunner,
}


class Laps:
    """The lap that is being run, and how many of its messages were pushed so far."""

    def __init__(self) -> None:
        self._lap: Lap
        self._runner: _Runner
        self._pushed = 0

    def open(self, facade: str, lap: str, url: str) -> None:
        """Make the schema in an empty database, and a queue."""
        upgrade(url)
        self._lap, self._pushed = named(lap), 0
        self._runner = _RUNNERS[facade](url, lap)

    def run(self, part: str) -> tuple[float, float]:
        """Push the messages, or consume them; return the seconds and the processor's seconds."""
        return self._push() if part == PUSH else self._take()

    def close(self) -> None:
        """Close the queue. Raise NotConsumedError if the table has other than consumed messages."""
        counts = self._runner.counts()
        self._runner.close()
        if (counts.available, counts.claimed, counts.consumed) != (0, 0, self._pushed):
            raise NotConsumedError(f"of {self._pushed} messages the table says {counts}")

    def _push(self) -> tuple[float, float]:
        lap = self._lap
        returned, *taken = _measured(self._pushing(self._lap))
        if returned != lap.messages:
            raise NotConsumedError(f"{returned} of {lap.messages} messages were pushed")
        self._pushed += lap.messages
        return taken[0], taken[1]

    def _pushing(self, lap: Lap) -> Callable[[], int]:
        """Return what pushes the next payloads, which are made already."""
        if lap.together == 1:
            ones = payloads(lap.messages, self._pushed)
            return lambda: self._runner.push(ones)
        chunks = list(in_chunks(lap.messages, lap.together, self._pushed))
        return lambda: self._runner.push_many(chunks)

    def _take(self) -> tuple[float, float]:
        consumed, *taken = _measured(self._runner.consume)
        wanted = range(self._pushed - self._lap.messages, self._pushed)
        if sorted(consumed) != list(wanted):
            raise NotConsumedError(
                f"{len(set(consumed))} of {len(wanted)} messages were consumed, "
                f"{len(consumed) - len(set(consumed))} of them twice"
            )
        return taken[0], taken[1]


def _measured(work: Callable[[], Any]) -> tuple[Any, float, float]:
    gc.collect()
    gc.disable()  # a collection takes as long as a lap's messages, and is nobody's
    try:
        began, used = time.perf_counter(), time.process_time()
        result = work()
        return result, time.perf_counter() - began, time.process_time() - used
    finally:
        gc.enable()


if __name__ == "__main__":
    laps = Laps()
    serve({"open": laps.open, "run": laps.run, "close": laps.close})
