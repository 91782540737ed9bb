"""Chancy: pushing on its sync pool, and what its worker does for each batch of jobs."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from chancy import Chancy as App
from chancy import Job, QueuedJob, Worker
from chancy import Queue as ChancyQueue

from benchmarks.contenders.contender import QUEUE, Payload


def _app(url: str) -> Any:
    # Without plugins: what they do, pruning and metrics and recovery, the other peers do not
    # either while they are measured.
    return App(
        url,
        no_default_plugins=True,
        min_connection_pool_size=1,
        max_connection_pool_size=1,
        log=logging.getLogger("chancy"),  # its own writes a line for each job
    )


async def _install(url: str) -> None:
    async with _app(url) as app:
        await app.migrate()
        await app.declare(ChancyQueue(QUEUE))


def _job(payload: Payload) -> Any:
    return Job(func="bench.work", queue=QUEUE, kwargs=payload)


def _succeeded(job: Any) -> Any:
    """Return the job as its executor hands it to the worker."""
    return dataclasses.replace(
        job,
        state=QueuedJob.State.SUCCEEDED,
        completed_at=datetime.now(tz=UTC),
        attempts=job.attempts + 1,
    )


class _Session:
    """A loop with a worker, and an app to push with, whose pool the first push opens."""

    def __init__(self, url: str) -> None:
        self._app = _app(url)
        self._runner = asyncio.Runner()
        self._runner.run(self._app.pool.open(wait=True))
        self._worker = Worker(self._app, register_signal_handlers=False)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Push each by a call of its own."""
        for payload in payloads:
            self._app.sync_push(_job(payload))

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Push all by one call, which sends a statement for each, in one transaction."""
        deque(self._app.sync_push_many([_job(payload) for payload in payloads]), maxlen=0)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Fetch ``batch`` jobs, then update them as succeeded, in one run of the loop."""
        return self._runner.run(self._consume(self._worker, limit, batch))

    async def _consume(self, worker: Any, limit: int, batch: int) -> list[int]:
        done: list[int] = []
        queue = ChancyQueue(QUEUE)
        while len(done) < limit:
            async with self._app.pool.connection() as connection:
                size = min(batch, limit - len(done))
                jobs = await worker.fetch_jobs(queue, connection, up_to=size)
            if not jobs:
                break
            for job in jobs:
                await worker.queue_update(_succeeded(job))
            await worker.flush()
            done += [job.kwargs["n"] for job in jobs]
        return done

    def close(self) -> None:
        """Close what was opened."""
        self._app.sync_pool.close()
        self._runner.run(self._app.pool.close())
        self._runner.close()


class Chancy:
    """Chancy without plugins."""

    name = "chancy"
    package: str | None = "chancy"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM chancy_jobs WHERE state <> 'succeeded'"
    note = (
        "sync_push and sync_push_many, which notify; its worker's fetch_jobs, queue_update and"
        " flush, without plugins. Its worker buffers acks for up to a second, here they are sent"
        " after each fetch. Fenced by a claim id, as xclaim is. Keeps finished jobs for a time."
    )

    def install(self, url: str) -> None:
        """Migrate, and declare the queue."""
        asyncio.run(_install(url))

    def open(self, url: str) -> _Session:
        """Connect."""
        return _Session(url)
