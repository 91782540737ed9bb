"""xclaim itself: Queue as the README shows it, its stream, and AsyncQueue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.contenders.contender import QUEUE, Payload
from xclaim import AsyncQueue, Queue
from xclaim.connections.tasks import bridged
from xclaim.operations.migrate import upgrade

UNCONSUMED = "SELECT count(*) FROM xclaim_message WHERE status <> 'consumed'"


def _connect(queue: Queue[Any] | AsyncQueue[Any]) -> None:
    """Connect as the others do when they are opened: a queue does when it is first used.

    Without a verb, which would read the catalog of its table for the connection.
    """
    for engine in queue._queue.runner.engines:  # noqa: SLF001  (no verb does only this)
        engine.connect().close()


class XclaimSession:
    """A Queue made from the URL."""

    def __init__(self, url: str) -> None:
        self._queue = Queue(QUEUE, url)
        _connect(self._queue)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Push one at a time."""
        for payload in payloads:
            self._queue.push(payload)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Push in one call."""
        self._queue.push_many(payloads)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim, then ack: one by one, or batch by batch."""
        return self._consume_one(limit) if batch == 1 else self._consume_many(limit, batch)

    def close(self) -> None:
        """Close the queue's engine."""
        self._queue.close()

    def _consume_one(self, limit: int) -> list[int]:
        consumed: list[int] = []
        while len(consumed) < limit and (claim := self._queue.claim()) is not None:
            self._queue.ack(claim)
            consumed.append(claim.payload["n"])
        return consumed

    def _consume_many(self, limit: int, batch: int) -> list[int]:
        consumed: list[int] = []
        while len(consumed) < limit:
            claims = self._queue.claim_many(min(batch, limit - len(consumed)))
            if not claims:
                break
            self._queue.ack_many(claims)
            consumed += [claim.payload["n"] for claim in claims]
        return consumed


class XclaimStreamSession(XclaimSession):
    """The same, consuming by ``stream``: the ack and the next claim are one commit."""

    def consume(self, limit: int, batch: int) -> list[int]:
        """Take ``limit`` messages from the stream."""
        consumed: list[int] = []
        stream = self._queue.stream(batch=batch)
        # One more than counts is asked for, or the last one would be released instead of acked,
        # and the other worker would have it too.
        for claim in stream:
            if len(consumed) == limit:
                self._queue.release(claim, count=False)  # it has not failed
                break
            consumed.append(claim.payload["n"])
        stream.close()  # type: ignore[attr-defined]  # a generator, typed as an iterator
        return consumed


class XclaimAsyncSession:
    """An AsyncQueue made from the URL, and the loop that it lives in."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._queue = AsyncQueue(QUEUE, url)
        self._runner.run(bridged(_connect, self._queue))

    def push(self, payloads: Sequence[Payload]) -> None:
        """Push one at a time."""
        self._runner.run(self._push(payloads))

    async def _push(self, payloads: Sequence[Payload]) -> None:
        for payload in payloads:
            await self._queue.push(payload)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Push in one call."""
        self._runner.run(self._push_many(payloads))

    async def _push_many(self, payloads: Sequence[Payload]) -> None:
        await self._queue.push_many(payloads)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim, then ack, in one run of the loop."""
        consume = self._consume_one(limit) if batch == 1 else self._consume_many(limit, batch)
        return self._runner.run(consume)

    async def _consume_one(self, limit: int) -> list[int]:
        consumed: list[int] = []
        while len(consumed) < limit and (claim := await self._queue.claim()) is not None:
            await self._queue.ack(claim)
            consumed.append(claim.payload["n"])
        return consumed

    async def _consume_many(self, limit: int, batch: int) -> list[int]:
        consumed: list[int] = []
        while len(consumed) < limit:
            claims = await self._queue.claim_many(min(batch, limit - len(consumed)))
            if not claims:
                break
            await self._queue.ack_many(claims)
            consumed += [claim.payload["n"] for claim in claims]
        return consumed

    def close(self) -> None:
        """Close the queue's engine and the loop."""
        self._runner.run(self._queue.close())
        self._runner.close()


class Xclaim:
    """xclaim on PostgreSQL."""

    name = "xclaim"
    package = "xclaim"
    database = "postgresql"
    note = "Queue.claim and Queue.ack, in batches claim_many and ack_many. Keeps consumed rows."
    unconsumed = UNCONSUMED

    def install(self, url: str) -> None:
        """Run the migrations."""
        upgrade(url)

    def open(self, url: str) -> XclaimSession:
        """Make a queue from the URL."""
        return XclaimSession(url)


class XclaimStream(Xclaim):
    """xclaim on PostgreSQL, by stream."""

    name = "xclaim stream"
    note = "Queue.stream: acks what is finished and claims the next batch in one commit."

    def open(self, url: str) -> XclaimStreamSession:
        """Make a queue from the URL."""
        return XclaimStreamSession(url)


class XclaimAsync:
    """xclaim on PostgreSQL, from asyncio."""

    name = "xclaim async"
    package = "xclaim"
    database = "postgresql"
    note = "AsyncQueue with the same calls, on asyncio's own loop."
    unconsumed = UNCONSUMED

    def install(self, url: str) -> None:
        """Run the migrations."""
        upgrade(url)

    def open(self, url: str) -> XclaimAsyncSession:
        """Make a queue from the URL."""
        return XclaimAsyncSession(url)


class XclaimSqlite(Xclaim):
    """xclaim on SQLite."""

    name = "xclaim"
    database = "sqlite"
