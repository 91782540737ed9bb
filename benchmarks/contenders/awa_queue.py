"""Awa: COPY to enqueue, and its worker runtime, started and shut down by each consume."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import awa

from benchmarks.contenders.contender import QUEUE, Payload

_IDLE = 0.05  # seconds without a job after which the queue is looked at
_POLL_INTERVAL = 10  # milliseconds, instead of 200, which each start and each pause would wait


@dataclass
class _Work:
    """The arguments of a job, whose class tells the worker which handler to call."""

    n: int
    text: str


class _Run:
    """A handler that takes ``limit`` jobs, and puts back those claimed beyond."""

    def __init__(self, limit: int) -> None:
        self.done: list[int] = []
        self._limit = limit
        self._full = asyncio.Event()

    async def handle(self, job: Any) -> Any:
        """Note the job as done, which acks it, or snooze it."""
        if len(self.done) >= self._limit:
            return awa.Snooze(0)
        self.done.append(job.args.n)
        if len(self.done) == self._limit:
            self._full.set()
        return None

    async def finish(self, client: Any) -> None:
        """Wait for ``limit`` jobs or an empty queue, which the runtime does not report."""
        while True:
            before = len(self.done)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), _IDLE)
                return
            if len(self.done) == before and await _is_empty(client):
                return


async def _is_empty(client: Any) -> bool:
    # Its queue_stats() counts exactly, and takes seconds while a worker runs.
    health = (await client.health_check()).queues[QUEUE]
    if health.available or health.in_flight:
        return False
    return not await client.list_jobs(state="scheduled", queue=QUEUE, limit=1)  # the snoozed


class _Session:
    """A client to enqueue with, and a loop in which each consume runs a worker of its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = awa.Client(url)
        self._runner = asyncio.Runner()

    def push(self, payloads: Sequence[Payload]) -> None:
        """Insert each by a call of its own."""
        for payload in payloads:
            self._client.insert(_Work(**payload), queue=QUEUE)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Enqueue all by one COPY."""
        self._client.enqueue_many_copy([_Work(**p) for p in payloads], queue=QUEUE)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Run a worker with ``batch`` jobs in flight."""
        return self._runner.run(self._consume(limit, batch))

    async def _consume(self, limit: int, batch: int) -> list[int]:
        run = _Run(limit)
        async with awa.AsyncClient(self._url) as client:
            client.task(_Work, queue=QUEUE)(run.handle)
            await client.start([(QUEUE, min(batch, limit))], poll_interval_ms=_POLL_INTERVAL)
            try:
                await run.finish(client)
            finally:
                await client.shutdown()  # waits until what is done is also acked
        return run.done

    def close(self) -> None:
        """Close the client and the loop."""
        self._client.close()
        self._runner.close()


class Awa:
    """Awa on its queue storage, the engine that its documentation recommends."""

    name = "awa"
    package: str | None = "awa-pg"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM awa.jobs WHERE state <> 'completed'"
    note = (
        "insert and enqueue_many_copy; claims are not offered to Python, so each consume starts its"
        " worker runtime (Rust, several connections), `batch` jobs in flight, and shuts it down;"
        " it claims and acks in batches of its own. Fenced by run lease; keeps history for a time."
    )

    def install(self, url: str) -> None:
        """Migrate, and activate the queue storage."""
        with awa.Client(url) as client:
            client.migrate()
            client.install_queue_storage()

    def open(self, url: str) -> _Session:
        """Connect."""
        return _Session(url)
