"""Oban: enqueueing, and what its producer does for each batch of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import uvloop
from oban import Job, schema
from oban._executor import AckAction
from oban._query import Query
from psycopg_pool import AsyncConnectionPool

from benchmarks.contenders.contender import QUEUE, Payload

_WORKER = "bench.Work"


async def _open(url: str) -> AsyncConnectionPool:
    # In autocommit a push of one is not wrapped in BEGIN and COMMIT. Fetching and acking open
    # transactions of their own.
    pool = AsyncConnectionPool(url, min_size=1, max_size=1, kwargs={"autocommit": True}, open=False)
    await pool.open(wait=True)
    return pool


async def _install(url: str) -> None:
    async with await _open(url) as pool:
        await schema.install(pool)


def _job(payload: Payload) -> Any:
    return Job(_WORKER, queue=QUEUE, args=payload)


class _Session:
    """An event loop and a pool of one connection."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)  # it depends on uvloop
        self._pool = self._runner.run(_open(url))
        self._query = Query(self._pool)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Insert each by a call of its own."""
        self._runner.run(self._push(payloads))

    async def _push(self, payloads: Sequence[Payload]) -> None:
        for payload in payloads:
            await self._query.insert_jobs([_job(payload)])

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Insert all by one call, which sends a statement for each, in one transaction."""
        self._runner.run(self._push_many(payloads))

    async def _push_many(self, payloads: Sequence[Payload]) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            await self._query.insert_jobs([_job(payload) for payload in payloads], connection)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Fetch and ack ``batch`` jobs at a time, in one run of the loop."""
        return self._runner.run(self._consume(limit, batch))

    async def _consume(self, limit: int, batch: int) -> list[int]:
        done: list[int] = []
        while len(done) < limit:
            size = min(batch, limit - len(done))
            jobs = await self._query.fetch_jobs(size, QUEUE, "bench", "bench")
            if not jobs:
                break
            await self._query.ack_jobs([AckAction(job, "completed") for job in jobs])
            done += [job.args["n"] for job in jobs]
        return done

    def close(self) -> None:
        """Close the pool and the loop."""
        self._runner.run(self._pool.close())
        self._runner.close()


class Oban:
    """Oban for Python."""

    name = "oban"
    package: str | None = "oban"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM oban_jobs WHERE state <> 'completed'"
    note = (
        "insert_jobs, fetch_jobs and ack_jobs of its queries, as its producer calls them, on"
        " uvloop; it sends a statement for each job that is pushed or acked, and a notification"
        " with each push. Fenced by the time of the attempt. Keeps completed jobs for a time."
    )

    def install(self, url: str) -> None:
        """Install its schema."""
        asyncio.run(_install(url))

    def open(self, url: str) -> _Session:
        """Start a loop and connect."""
        return _Session(url)
