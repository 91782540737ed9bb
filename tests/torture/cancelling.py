"""Tasks of one event loop on one AsyncQueue, each cancelled at a random moment and begun again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tests.torture.async_loops import TASK_LOOPS
from tests.torture.consumer import REST, RETRY, Consumer
from tests.torture.winding_up import look_back
from xclaim import AsyncQueue

Work = Coroutine[Any, Any, int]
Way = Callable[[Consumer, Work], Awaitable[int]]

_TASKS = 3
_BEGINNINGS = 4  # of each task, before another loop has its turn
_LATEST = 0.25  # seconds: about as long as a turn takes


def in_cancelled_tasks(worker: Consumer) -> int:
    """Consume in tasks that are cancelled; return how many messages the others saw."""
    return asyncio.run(_in_tasks(worker))


async def _in_tasks(worker: Consumer) -> int:
    async with AsyncQueue(worker.queue.name, worker.url, retry=RETRY) as queue:
        tasks = [_again_and_again(worker.as_task(number), queue) for number in range(_TASKS)]
        return sum(await asyncio.gather(*tasks))


async def _again_and_again(worker: Consumer, queue: AsyncQueue) -> int:
    seen = 0
    for _ in range(_BEGINNINGS):
        loop, way = worker.random.choice(TASK_LOOPS), worker.random.choice(_WAYS)
        worker.begin_turn(loop.__name__)
        try:
            seen += await way(worker, loop(worker, queue))
        except Exception as error:  # noqa: BLE001  (the log says whether it was expected)
            worker.log.note(error)
            await asyncio.sleep(worker.random.uniform(*REST))
        await asyncio.to_thread(look_back, worker)
    return seen


async def _cancelled(worker: Consumer, work: Work) -> int:
    task = asyncio.create_task(work)
    await asyncio.wait([task], timeout=worker.random.uniform(0, _LATEST))
    if not task.done():
        worker.cut_short("task cancelled")
        task.cancel()
    return await _end_of(task)


async def _cancelled_twice(worker: Consumer, work: Work) -> int:
    task = asyncio.create_task(work)
    await asyncio.wait([task], timeout=worker.random.uniform(0, _LATEST))
    if not task.done():
        worker.cut_short("task cancelled twice")
        task.cancel()
        await asyncio.wait([task], timeout=worker.random.expovariate(100))
        task.cancel()
    return await _end_of(task)


async def _timed_out(worker: Consumer, work: Work) -> int:
    scope = asyncio.timeout(worker.random.uniform(0, _LATEST))
    try:
        async with scope:
            return await work
    except TimeoutError:
        if not scope.expired():
            raise
        worker.cut_short("task timed out")
        return 0


async def _end_of(task: asyncio.Task[int]) -> int:
    await asyncio.wait([task])
    return 0 if task.cancelled() else task.result()


_WAYS: tuple[Way, ...] = (_cancelled, _cancelled_twice, _timed_out)
