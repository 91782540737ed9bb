"""Each way of consuming that AsyncQueue offers; a loop returns how many messages it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from functools import wraps
from typing import Any

from tests.torture.consumer import BATCH, EFFECT, TURN, Consumer, WorkFailedError
from tests.torture.logs import Event
from xclaim import AsyncQueue


async def async_claim_and_ack(worker: Consumer, queue: AsyncQueue) -> int:
    for seen in range(TURN):
        claimed = await queue.claim(**worker.ask())
        if claimed is None:
            return seen
        worker.see([claimed])
        await asyncio.sleep(worker.pause())
        with worker.settling() as held:
            held.append(claimed)
            worker.log.settle(Event.ACKING, held)
            await queue.ack(claimed)
    return TURN


async def async_consume(worker: Consumer, queue: AsyncQueue) -> int:
    for seen in range(TURN):
        with worker.settling() as held:
            async with queue.consume(**worker.ask()) as claimed:
                if claimed is None:
                    return seen
                with worker.holding([claimed], held):
                    await asyncio.sleep(worker.pause())
                    worker.maybe_fail()
                    worker.log.settle(Event.ACKING, held)
    return TURN


async def transact_async(worker: Consumer, queue: AsyncQueue) -> int:
    for seen in range(TURN):
        with worker.settling() as held:
            async with queue.transact(**worker.ask()) as (claimed, connection):
                if claimed is None:
                    return seen
                with worker.holding([claimed], held):
                    effect = {"message_id": claimed.message.id, "claimed_by": claimed.claimed_by}
                    await connection.execute(EFFECT, effect)
                    await asyncio.sleep(worker.pause())
                    worker.maybe_fail()
                    worker.log.settle(Event.ACKING, held)
    return TURN


async def async_stream(worker: Consumer, queue: AsyncQueue) -> int:
    seen, enough = 0, worker.random.randint(1, 6 * TURN)
    claims: Any = queue.stream(batch=BATCH, **worker.ask())  # a generator
    with worker.settling() as held:
        async with aclosing(claims):
            async for claimed in claims:
                worker.see([claimed])
                seen += 1
                try:
                    await asyncio.sleep(worker.pause())
                    worker.maybe_fail()
                    if seen == enough:
                        raise WorkFailedError
                except WorkFailedError:
                    worker.log.settle(Event.RELEASING, [claimed])
                    break
                held.append(claimed)
                worker.log.settle(Event.ACKING, [claimed])
    return seen


def _in_an_event_loop(
    loop: Callable[[Consumer, AsyncQueue], Coroutine[Any, Any, int]],
) -> Callable[[Consumer], int]:
    """Return the loop for blocking callers: with an event loop and a queue of its own each time."""

    async def with_queue(worker: Consumer) -> int:
        async with AsyncQueue(worker.queue.name, worker.url) as queue:
            return await loop(worker, queue)

    @wraps(loop)
    def run(worker: Consumer) -> int:
        return asyncio.run(with_queue(worker))

    return run


ASYNC_LOOPS: tuple[Callable[[Consumer], int], ...] = tuple(
    map(_in_an_event_loop, (async_claim_and_ack, async_consume, transact_async, async_stream))
)
