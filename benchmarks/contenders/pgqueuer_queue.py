"""PgQueuer: the queries its QueueManager sends, without the manager's concurrent tasks."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import uvloop
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.ports.repository import EntrypointExecutionParameter

from benchmarks.contenders.contender import QUEUE, Payload

_HEARTBEAT_TIMEOUT = timedelta(seconds=30)  # its default


async def _connect(url: str) -> tuple[Any, Any]:
    # Its driver refuses a connection that is not in autocommit.
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    return connection, Queries.from_psycopg_connection(connection)


async def _install(url: str) -> None:
    connection, queries = await _connect(url)
    async with connection:
        await queries.install()


def _encode(payload: Payload) -> bytes:
    return json.dumps(payload).encode()


class _Session:
    """An event loop and a connection."""

    def __init__(self, url: str) -> None:
        # `pgq run` runs its workers on uvloop.
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._manager_id = uuid.uuid4()
        self._entrypoints = {QUEUE: EntrypointExecutionParameter(concurrency_limit=0)}
        self._connection, self._queries = self._runner.run(_connect(url))

    def push(self, payloads: Sequence[Payload]) -> None:
        """Enqueue each by a call of its own."""
        self._runner.run(self._push(payloads))

    async def _push(self, payloads: Sequence[Payload]) -> None:
        for payload in payloads:
            await self._queries.enqueue(QUEUE, _encode(payload))

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Enqueue all by one call with lists."""
        self._runner.run(self._push_many(payloads))

    async def _push_many(self, payloads: Sequence[Payload]) -> None:
        size = len(payloads)
        await self._queries.enqueue([QUEUE] * size, [_encode(p) for p in payloads], [0] * size)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Dequeue ``batch`` jobs, then log them as successful, in one run of the loop."""
        return self._runner.run(self._consume(limit, batch))

    async def _consume(self, limit: int, batch: int) -> list[int]:
        done: list[int] = []
        while len(done) < limit:
            jobs = await self._queries.dequeue(
                batch_size=min(batch, limit - len(done)),
                entrypoints=self._entrypoints,
                queue_manager_id=self._manager_id,
                global_concurrency_limit=None,
                heartbeat_timeout=_HEARTBEAT_TIMEOUT,
            )
            if not jobs:
                break
            await self._queries.log_jobs([(job, "successful", None) for job in jobs])
            done += [json.loads(job.payload)["n"] for job in jobs]
        return done

    def close(self) -> None:
        """Close the connection and the loop."""
        self._runner.run(self._connection.close())
        self._runner.close()


class Pgqueuer:
    """PgQueuer on its psycopg driver."""

    name = "pgqueuer"
    package: str | None = "pgqueuer"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM pgqueuer"
    note = (
        "Queries.enqueue, dequeue and log_jobs as its QueueManager calls them, on psycopg and"
        " uvloop; its manager buffers acks for up to 0.1 s, here they are sent after each dequeue."
        " An ack deletes the row and writes log rows without the payload. No fencing."
    )

    def install(self, url: str) -> None:
        """Create its tables, all of them logged, which is its default."""
        asyncio.run(_install(url))

    def open(self, url: str) -> _Session:
        """Start a loop and connect."""
        return _Session(url)
