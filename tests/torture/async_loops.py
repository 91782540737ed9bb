"""Each way of consuming that AsyncQueue offers; a loop returns how many messages it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from functools import wraps
from typing import Any

from tests.torture.consumer import (
    BATCH,
    RETRY,
    TURN,
    WAIT,
    Consumer,
    PoisonError,
    WorkFailedError,
)
from tests.torture.logs import Event
from xclaim import AsyncQueue

AsyncLoop = Callable[[Consumer, AsyncQueue], Coroutine[Any, Any, int]]


async def async_claim_and_ack(worker: Consumer, queue: AsyncQueue) -> int:
    for seen in range(TURN):
        claimed = await queue.claim(wait=WAIT if seen == 0 else None, **worker.ask())
        if claimed is None:
            return seen
        worker.take([claimed])
        try:
            await worker.work_in_a_task(claimed)
        except WorkFailedError as error:
            with worker.failing(claimed):
                await queue.release(claimed, error=error)
            continue
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
                    await worker.work_in_a_task(claimed)
                    worker.log.settle(Event.ACKING, held)
    return TURN


async def async_consume_many(worker: Consumer, queue: AsyncQueue) -> int:
    with worker.settling() as held:
        async with queue.consume_many(BATCH, **worker.ask()) as claims:
            with worker.holding(claims, held):
                for each in claims:
                    try:
                        await worker.work_in_a_task(each)
                    except PoisonError as error:
                        held.remove(each)
                        with worker.failing(each):  # and the others are acked
                            await queue.release(each, error=error)
                worker.log.settle(Event.ACKING, held)
            return len(claims)
    return 1  # the work failed


async def transact_async(worker: Consumer, queue: AsyncQueue) -> int:
    for seen in range(TURN):
        with worker.settling() as held:
            async with queue.transact(**worker.ask()) as (claimed, connection):
                if claimed is None:
                    return seen
                with worker.holding([claimed], held):
                    await connection.run_sync(worker.write_effect, claimed)
                    await worker.work_in_a_task(claimed)
                    worker.log.settle(Event.ACKING, held)
    return TURN


async def async_stream(worker: Consumer, queue: AsyncQueue) -> int:
    seen, enough = 0, worker.random.randint(1, 6 * TURN)
    claims: Any = queue.stream(batch=BATCH, **worker.ask())  # a generator
    with worker.settling() as held:
        async with aclosing(claims):
            async for claimed in claims:
                worker.finish(held)
                worker.see([claimed])
                seen += 1
                try:
                    with worker.giving_back([claimed]):
                        await worker.work_in_a_task(claimed)
                        if seen == enough:
                            raise WorkFailedError
                except PoisonError as error:
                    with worker.failing(claimed):
                        await queue.release(claimed, error=error)
                    continue
                except WorkFailedError:
                    break
                held.append(claimed)
                worker.log.settle(Event.ACKING, [claimed])
    return seen


TASK_LOOPS: tuple[AsyncLoop, ...] = (
    async_claim_and_ack,
    async_consume,
    async_consume_many,
    transact_async,
    async_stream,
)


def _in_an_event_loop(loop: AsyncLoop) -> Callable[[Consumer], int]:
    """Return the loop for blocking callers: with an event loop and a queue of its own each time."""

    async def with_queue(worker: Consumer) -> int:
        async with AsyncQueue(worker.queue.name, worker.url, retry=RETRY) as queue:
            return await loop(worker, queue)

    @wraps(loop)
    def run(worker: Consumer) -> int:
        return asyncio.run(with_queue(worker))

    return run


ASYNC_LOOPS: tuple[Callable[[Consumer], int], ...] = tuple(map(_in_an_event_loop, TASK_LOOPS))
