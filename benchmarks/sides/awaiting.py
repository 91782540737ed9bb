"""The laps with AsyncQueue, each part of a lap in one run of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from benchmarks.contenders.contender import Payload
from benchmarks.sides.laps import BATCH
from xclaim import AsyncQueue


class AwaitingRunner:
    """An asyncio queue made from a URL, and its laps."""

    def __init__(self, url: str, consume: str) -> None:
        self._loop = asyncio.Runner()
        self._queue = AsyncQueue("orders", url)
        self._consume: Callable[[], Coroutine[Any, Any, list[int]]] = getattr(self, f"_{consume}")

    def push(self, payloads: Sequence[Payload]) -> int:
        """Push the payloads one by one, and return how many messages came back."""
        return self._loop.run(self._push(payloads))

    def push_many(self, chunks: Sequence[Sequence[Payload]]) -> int:
        """Push chunk by chunk, and return how many messages came back."""
        return self._loop.run(self._push_many(chunks))

    def consume(self) -> list[int]:
        """Consume all there is, and return the numbers of the payloads."""
        return self._loop.run(self._consume())

    def counts(self) -> Any:
        """Count the queue's messages by state."""
        return self._loop.run(self._queue.counts())

    def close(self) -> None:
        """Close the queue and the loop."""
        self._loop.run(self._queue.close())
        self._loop.close()

    async def _push(self, payloads: Sequence[Payload]) -> int:
        return len([await self._queue.push(payload) for payload in payloads])

    async def _push_many(self, chunks: Sequence[Sequence[Payload]]) -> int:
        return sum([len(await self._queue.push_many(chunk)) for chunk in chunks])

    async def _one_by_one(self) -> list[int]:
        consumed = []
        while (claim := await self._queue.claim()) is not None:
            consumed.append(claim.payload["n"])
            await self._queue.ack(claim)
        return consumed

    async def _in_batches(self) -> list[int]:
        consumed = []
        while claims := await self._queue.claim_many(BATCH):
            consumed += [claim.payload["n"] for claim in claims]
            await self._queue.ack_many(claims)
        return consumed

    async def _by_stream(self) -> list[int]:
        return [claim.payload["n"] async for claim in self._queue.stream(batch=BATCH)]
