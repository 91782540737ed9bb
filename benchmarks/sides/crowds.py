"""A side's process of ``benchmarks.concurrency``: many workers on one queue made from a URL."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any

from benchmarks.messages import in_chunks
from benchmarks.sides.laps import ASYNC_QUEUE, QUEUE
from benchmarks.sides.migrating import upgrade
from benchmarks.sides.process import NotConsumedError, serve
from xclaim import AsyncQueue, Queue

_QUEUE = "orders"


@dataclass(slots=True)
class Crowd:
    """What its workers did, together."""

    consumed: list[int] = field(default_factory=list)
    claims: list[float] = field(default_factory=list)  # seconds that each took

    def threads(self, url: str, workers: int, seconds: float) -> None:
        """Let threads claim and ack on one Queue, for so many seconds."""
        ready = Barrier(workers)
        with Queue(_QUEUE, url) as queue, ThreadPoolExecutor(workers) as pool:

            def work() -> None:
                ready.wait()
                end = time.perf_counter() + seconds
                while (began := time.perf_counter()) < end and (claim := queue.claim()) is not None:
                    self.claims.append(time.perf_counter() - began)
                    queue.ack(claim)
                    self.consumed.append(claim.payload["n"])

            for working in [pool.submit(work) for _ in range(workers)]:
                working.result()

    def tasks(self, url: str, workers: int, seconds: float) -> None:
        """Let tasks claim and ack on one AsyncQueue, for so many seconds."""
        asyncio.run(self._tasks(url, workers, seconds))

    async def _tasks(self, url: str, workers: int, seconds: float) -> None:
        async with AsyncQueue(_QUEUE, url) as queue, asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._task(queue, time.perf_counter() + seconds))

    async def _task(self, queue: AsyncQueue[Any], end: float) -> None:
        while (began := time.perf_counter()) < end and (claim := await queue.claim()) is not None:
            self.claims.append(time.perf_counter() - began)
            await queue.ack(claim)
            self.consumed.append(claim.payload["n"])


_WAYS: dict[str, Callable[[Crowd, str, int, float], None]] = {
    QUEUE: Crowd.threads,
    ASYNC_QUEUE: Crowd.tasks,
}


def fill(url: str, count: int) -> None:
    """Make the schema in an empty database, and push so many messages."""
    upgrade(url)
    with Queue(_QUEUE, url) as queue:
        for chunk in in_chunks(count, 1_000):
            queue.push_many(chunk)


def work(facade: str, url: str, workers: int, seconds: float) -> dict[str, Any]:
    """Let a crowd work, and return what it reached."""
    crowd, began = Crowd(), time.time()
    used = time.process_time()
    _WAYS[facade](crowd, url, workers, seconds)
    used, took = time.process_time() - used, time.time() - began
    *_, highest = quantiles = statistics.quantiles(crowd.claims, n=20)
    return {
        "began": began,
        "consumed": crowd.consumed,
        "messages/s": len(crowd.consumed) / took,
        "claim p50 ms": quantiles[9] * 1e3,
        "claim p95 ms": highest * 1e3,
        "processor us": used * 1e6 / len(crowd.consumed),
    }


def check(url: str, count: int, consumed: list[int]) -> None:
    """Consume the rest. Raise NotConsumedError unless each message was consumed, and once."""
    with Queue(_QUEUE, url) as queue:
        rest = [claim.payload["n"] for claim in queue.stream(batch=1_000)]
        counts = queue.counts()
    if sorted(consumed + rest) != list(range(count)):
        raise NotConsumedError(
            f"of {count} messages {len(consumed)} were consumed by the crowd and {len(rest)} later"
        )
    if (counts.available, counts.claimed, counts.consumed) != (0, 0, count):
        raise NotConsumedError(f"of {count} messages the table says {counts}")


if __name__ == "__main__":
    serve({"fill": fill, "work": work, "check": check})
