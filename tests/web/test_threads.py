"""Pages are made in threads, of which there are fewer than connections of an engine."""

from __future__ import annotations

import asyncio
from threading import Barrier, Lock

from tests.eventually import PATIENCE
from xclaim.web.routes import THREADS, in_thread


def test_no_more_pages_are_made_at_once_than_there_are_threads() -> None:
    lock, now, peak = Lock(), 0, 0
    all_threads = Barrier(THREADS)

    def work() -> None:
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
        all_threads.wait(PATIENCE)  # all that there may be are at work here, and no other
        with lock:
            now -= 1

    async def ask() -> None:
        await asyncio.gather(*(in_thread(work) for _ in range(THREADS * 3)))

    asyncio.run(ask())

    assert peak == THREADS
