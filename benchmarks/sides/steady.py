"""A worker's process of ``benchmarks.steady``, a replica: some workers on one queue from a URL."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.messages import in_chunks
from benchmarks.sides.laps import QUEUE
from benchmarks.sides.migrating import upgrade
from benchmarks.sides.process import NotConsumedError, serve
from xclaim import AsyncQueue, Claim, Queue, Retry

_QUEUE = "orders"
_WAIT = timedelta(seconds=1)
Consumed = list[tuple[int, float]]  # the number of each, and the seconds from its push to its claim


def prepare(url: str) -> None:
    """Make the schema in an empty database."""
    upgrade(url)


def work(facade: str, url: str, workers: int, stop: str) -> dict[str, Any]:
    """Wait for messages, claim and ack one after another, until that file is there and no more."""
    consumed: Consumed = []
    used = time.process_time()
    if facade == QUEUE:
        _threads(url, workers, stop, consumed)
    else:
        asyncio.run(_tasks(url, workers, stop, consumed))
    return {"consumed": consumed, "processor": time.process_time() - used}


def _is_over(stop: str) -> bool:
    return Path(stop).exists()


def _note(claim: Claim, consumed: Consumed) -> None:
    payload: Any = claim.payload
    consumed.append((payload["n"], time.time() - payload["at"]))


def _threads(url: str, workers: int, stop: str, consumed: Consumed) -> None:
    with Queue(_QUEUE, url) as queue, ThreadPoolExecutor(workers) as pool:

        def work() -> None:
            while (claim := queue.claim(wait=_WAIT)) is not None or not _is_over(stop):
                if claim is not None:
                    _note(claim, consumed)
                    queue.ack(claim)

        for working in [pool.submit(work) for _ in range(workers)]:
            working.result()


async def _tasks(url: str, workers: int, stop: str, consumed: Consumed) -> None:
    async with AsyncQueue(_QUEUE, url) as queue, asyncio.TaskGroup() as group:

        async def work() -> None:
            while (claim := await queue.claim(wait=_WAIT)) is not None or not _is_over(stop):
                if claim is not None:
                    _note(claim, consumed)
                    await queue.ack(claim)

        for _ in range(workers):
            group.create_task(work())


def lapse(url: str, count: int) -> None:
    """Push messages and claim them all for no time at all, as workers do that have died."""
    with Queue(_QUEUE, url) as queue:
        for chunk in in_chunks(count, 1_000):
            queue.push_many(chunk)
        left = count
        while left > 0:  # not by a claim that finds nothing, which would give some back
            left -= len(queue.claim_many(min(left, 1_000), lease=timedelta(hours=1)))


def outlive(url: str, claims: int) -> dict[str, Any]:
    """Claim and ack what lapsed, one after another; return how long each claim took.

    Without a pause: else what was given back could be claimed only seconds later.
    """
    seconds: list[float] = []
    consumed: list[int] = []
    with Queue(_QUEUE, url, retry=Retry(first=timedelta(0))) as queue:
        while len(seconds) < claims:
            began = time.perf_counter()
            claim = queue.claim(wait=_WAIT)
            seconds.append(time.perf_counter() - began)
            if claim is None:
                break
            payload: Any = claim.payload
            consumed.append(payload["n"])
            queue.ack(claim)
    if len(set(consumed)) != claims:
        raise NotConsumedError(f"{len(set(consumed))} messages in {len(consumed)} claims")
    return {"seconds": seconds}


if __name__ == "__main__":
    logging.getLogger("xclaim").setLevel(logging.ERROR)  # not that a database is gone at the end
    serve({"prepare": prepare, "work": work, "lapse": lapse, "outlive": outlive})
