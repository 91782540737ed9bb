"""A queue made from a URL: connections for its workers, and an end that waits for their verbs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.exc import SQLAlchemyError

from tests.eventually import PATIENCE, until
from tests.proxy import Proxy
from xclaim import AsyncQueue, Queue
from xclaim.connections import calls

pytestmark = pytest.mark.slow

WORKERS = 30
CLOSED_BESIDE_THREADS = """
import sys, threading, time
from xclaim import Queue
from sqlalchemy.exc import SQLAlchemyError

for _ in range(3):
    queue, is_over = Queue("orders", sys.argv[1]), threading.Event()

    def work():
        while not is_over.is_set():
            try:
                queue.peek(50)
                queue.push(1)
                queue.claim_many(10)
            except SQLAlchemyError:
                pass

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        time.sleep(0.02)
        queue.close()
    is_over.set()
    for thread in threads:
        thread.join()
    queue.close()
print("whole")
"""


def test_closing_beside_verbs_of_other_threads_does_no_harm(database_url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CLOSED_BESIDE_THREADS, database_url],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stdout) == (0, "whole\n"), result.stderr


def test_closing_waits_for_the_verb_of_another_thread(database_url: str) -> None:
    queue, begun, may_end = Queue("orders", database_url), threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        begun.set()
        assert may_end.wait(PATIENCE)

    engine: Any = queue._queue._runner.bind
    event.listen(engine, "before_cursor_execute", slow)
    working = threading.Thread(target=queue.push, args=(1,))
    working.start()
    assert begun.wait(PATIENCE)
    closing = threading.Thread(target=queue.close)
    closing.start()
    closing.join(0.3)
    was_waiting = closing.is_alive()
    may_end.set()
    closing.join(PATIENCE)
    working.join(PATIENCE)

    assert was_waiting
    assert not closing.is_alive()
    assert not working.is_alive()
    with Queue("orders", database_url) as other:
        assert other.counts().available == 1


def test_closing_ends_a_verb_that_a_silent_server_never_answers(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BOUND", 1.0)
    url = make_url(fresh_postgresql_url)
    errors: list[BaseException] = []

    def claim() -> None:
        try:
            while True:
                queue.claim()
        except SQLAlchemyError as error:
            errors.append(error)

    with Proxy("127.0.0.1", url.port or 5432) as proxy:
        through = url.set(host="127.0.0.1", port=proxy.port)
        queue = Queue("orders", through.render_as_string(hide_password=False))
        working = threading.Thread(target=claim, daemon=True)
        working.start()
        until(lambda: queue._queue._per_thread is not None and queue._queue._per_thread._all)
        proxy.silence_all()
        queue.close()
        working.join(PATIENCE)

    assert not working.is_alive()
    assert errors


def test_an_async_queue_is_closed_beside_its_tasks(database_url: str) -> None:
    async def run() -> list[Any]:
        queue = AsyncQueue("orders", database_url)
        pushes = [asyncio.create_task(queue.push(number)) for number in range(20)]
        await asyncio.sleep(0.01)
        await queue.close()
        results = await asyncio.gather(*pushes, return_exceptions=True)
        await queue.close()
        return results

    results = asyncio.run(run())

    with Queue("orders", database_url) as queue:
        pushed = sum(not isinstance(each, BaseException) for each in results)
        assert queue.counts().available == pushed


def connects_of(queue: Any) -> list[Any]:
    """Return a list that grows with each new connection of the queue's engine."""
    made: list[Any] = []
    event.listen(queue._queue.bind, "connect", lambda *found: made.append(found))
    return made


def test_threads_keep_their_connections(database_url: str) -> None:
    barrier = threading.Barrier(WORKERS)

    def work(queue: Queue) -> None:
        for _ in range(10):
            barrier.wait(PATIENCE)
            queue.peek()

    with Queue("orders", database_url) as queue, ThreadPoolExecutor(WORKERS) as workers:
        made = connects_of(queue)
        list(workers.map(work, [queue] * WORKERS))

        assert len(made) <= WORKERS


def test_tasks_keep_their_connections(database_url: str) -> None:
    async def run() -> tuple[int, int]:
        async with AsyncQueue("orders", database_url) as queue:
            made = connects_of(queue)
            for _ in range(3):
                await asyncio.gather(*[queue.peek() for _ in range(WORKERS)])
            at_first = len(made)
            for _ in range(10):
                await asyncio.gather(*[queue.peek() for _ in range(WORKERS)])
            return at_first, len(made)

    at_first, in_the_end = asyncio.run(run())

    assert at_first <= WORKERS
    assert in_the_end <= WORKERS  # none was closed and opened again


@pytest.mark.parametrize("threads", [1, 4])
def test_a_queue_can_be_used_again_after_it_was_closed(database_url: str, threads: int) -> None:
    def work(queue: Queue) -> int:
        return queue.push(1).id

    ids: list[int] = []
    use: Callable[[Queue], int] = work
    with Queue("orders", database_url) as queue:
        for _ in range(3):
            with ThreadPoolExecutor(threads) as workers:
                ids += workers.map(use, [queue] * threads)
            queue.close()

    assert len(set(ids)) == 3 * threads
