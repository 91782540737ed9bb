"""A cancelled call of AsyncQueue has done all or nothing, wherever the cancellation struck."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import pytest
from sqlalchemy.util import await_only

from tests.cancelling.calls import (
    CLAIMING,
    FAILING,
    LONGEST,
    OTHERS,
    attempts_counted,
    check_failing,
    filled,
    moment,
)
from tests.eventually import PATIENCE, until
from tests.retrying import AT_ONCE
from xclaim import AsyncQueue, Claim, ClaimLostError, Queue
from xclaim.connections.concurrency import Event
from xclaim.connections.runner import Runner
from xclaim.consuming import waiting
from xclaim.consuming.holding import Holding
from xclaim.consuming.waiting import Bell
from xclaim.verb import Verb
from xclaim.verbs import RELEASE

pytestmark = pytest.mark.slow

TIMES = 30

Call = Callable[[AsyncQueue, Claim], Awaitable[int]]
Cancelling = Callable[[Awaitable[int], float], Awaitable[int]]


async def by_cancel(call: Awaitable[int], after: float) -> int:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(after)
    task.cancel()
    with suppress(asyncio.CancelledError):
        return await task
    return 0


async def by_two_cancels(call: Awaitable[int], after: float) -> int:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(after)
    task.cancel()
    await asyncio.sleep(after / 10)
    task.cancel()
    with suppress(asyncio.CancelledError):
        return await task
    return 0


async def by_timeout(call: Awaitable[int], after: float) -> int:
    got = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(after):
            got = await call
    return got


async def by_wait_for(call: Awaitable[int], after: float) -> int:
    with suppress(TimeoutError):
        return await asyncio.wait_for(call, after)
    return 0


async def by_task_group(call: Awaitable[int], after: float) -> int:
    got = 0

    async def run() -> None:
        nonlocal got
        got = await call

    async def fail() -> None:
        await asyncio.sleep(after)
        raise ZeroDivisionError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run())
            group.create_task(fail())
    except* ZeroDivisionError:
        pass
    return got


async def by_anyio(call: Awaitable[int], after: float) -> int:
    with anyio.move_on_after(after):
        return await call
    return 0


WAYS: dict[str, Cancelling] = {
    "cancel": by_cancel,
    "two cancels": by_two_cancels,
    "timeout": by_timeout,
    "wait_for": by_wait_for,
    "TaskGroup": by_task_group,
    "anyio": by_anyio,
}


def is_locked(url: str) -> bool:
    if not url.startswith("sqlite"):
        return False
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def is_held(queue: Queue, claim: Claim) -> bool:
    """Return whether nobody has taken the claim over."""
    message = queue.get(claim.message.id)
    return message is not None and message.claimed_by == claim.claimed_by


async def cancelled(
    url: str, call: Call, held: Claim, way: Cancelling, drawn: random.Random
) -> int:
    """Cancel the call many times; return how many claims its callers had from it."""
    got = 0
    async with AsyncQueue("orders", url) as queue:
        await queue.counts()
        for _ in range(TIMES):
            with suppress(ClaimLostError):  # the claim that it settles is settled after the first
                got += await way(call(queue, held), moment(drawn))
            assert not is_locked(url)
    return got


async def to_its_end(url: str, call: Call, held: Claim) -> None:
    """Let the call do all it does."""
    async with AsyncQueue("orders", url) as queue:
        await call(queue, held)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CLAIMING)
def test_what_a_cancelled_call_claimed_is_handed_back(
    database_url: str, name: str, way: str
) -> None:
    drawn = random.Random(f"{name} {way}")
    with filled(database_url, 20 * TIMES + 1) as (queue, held):
        got = asyncio.run(cancelled(database_url, CLAIMING[name], held, WAYS[way], drawn))

        kept = is_held(queue, held)  # until it is resumed
        assert queue.counts().claimed == got + kept
        if name not in ("resume", "transact"):  # whose block may have begun
            assert not attempts_counted(queue)


@pytest.mark.parametrize("name", OTHERS)
def test_no_cancelled_call_leaves_anything_behind(database_url: str, name: str) -> None:
    with filled(database_url, 100) as (queue, held):
        asyncio.run(cancelled(database_url, OTHERS[name], held, by_cancel, random.Random(name)))

        counts = queue.counts()
        assert counts.claimed <= 1
        assert (counts.available + counts.claimed) % 20 == 102 % 20  # whole batches


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FAILING)
def test_who_is_cancelled_while_one_message_is_failed_holds_none_and_counts_no_attempt_twice(
    database_url: str, name: str, way: str
) -> None:
    drawn = random.Random(f"fails {name} {way}")
    with filled(database_url, 20 * TIMES) as (queue, held):
        asyncio.run(cancelled(database_url, FAILING[name], held, WAYS[way], drawn))
        # On a loaded machine each of them may be cancelled before anything has failed.
        asyncio.run(to_its_end(database_url, FAILING[name], held))

        assert queue.counts().claimed == 1
        check_failing(database_url)


@pytest.mark.parametrize("name", ["stream", "consume_many", "consume", "transact"])
def test_who_is_cancelled_while_one_message_is_failed_may_go_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run_once, tasks = Runner.run_once, list[asyncio.Task[None]]()

    def run_and_cancel(runner: Runner, verb: Verb[Any], *given: Any, **options: Any) -> Any:
        result = run_once(runner, verb, *given, **options)
        if verb is RELEASE:
            tasks[0].cancel()  # after its statement
            await_only(asyncio.sleep(0.01))
        return result

    async def fail(queue: AsyncQueue, claim: Claim) -> None:
        with pytest.raises(asyncio.CancelledError):
            await queue.release(claim, error="bad", delay=timedelta(hours=1))
        tasks[0].uncancel()

    async def run() -> None:
        async with AsyncQueue("orders", database_url) as queue:
            tasks.append(asyncio.create_task(GOING_ON[name](queue, partial(fail, queue))))
            await tasks[0]

    with filled(database_url, 2) as (queue, held):
        queue.release(held, count=False)
        monkeypatch.setattr(Runner, "run_once", run_and_cancel)

        asyncio.run(run())

        counts = queue.counts()
        assert (counts.delayed, counts.claimed) == (1, 0)
        assert counts.consumed == (0 if name in {"consume", "transact"} else 3)


Fail = Callable[[Claim], Awaitable[None]]


async def _stream_and_fail_the_first(queue: AsyncQueue, fail: Fail) -> None:
    is_first = True
    async for claim in queue.stream():
        if is_first:
            await fail(claim)
        is_first = False


async def _fail_the_first_of_a_batch(queue: AsyncQueue, fail: Fail) -> None:
    async with queue.consume_many(10) as claims:
        await fail(claims[0])


async def _fail_in_a_block(queue: AsyncQueue, fail: Fail) -> None:
    async with queue.consume() as claim:
        assert claim is not None
        await fail(claim)


async def _fail_in_a_transaction(queue: AsyncQueue, fail: Fail) -> None:
    async with queue.transact() as (claim, _):
        assert claim is not None
        await fail(claim)


GOING_ON = {
    "stream": _stream_and_fail_the_first,
    "consume_many": _fail_the_first_of_a_batch,
    "consume": _fail_in_a_block,
    "transact": _fail_in_a_transaction,
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_cancelled_stream_has_finished_is_acked(database_url: str, way: str) -> None:
    drawn = random.Random(way)
    finished: list[int] = []

    async def work(queue: AsyncQueue) -> int:
        async with aclosing(queue.stream(batch=20)) as claims:  # type: ignore[type-var]
            previous: int | None = None
            async for claim in claims:
                if previous is not None:
                    finished.append(previous)  # it asked for the next one
                previous = claim.message.id
                await asyncio.sleep(0)
        return 0

    async def run() -> None:
        async with AsyncQueue("orders", database_url) as queue:
            for _ in range(TIMES):
                await WAYS[way](work(queue), moment(drawn, 3 * LONGEST))

    with filled(database_url, 1_500) as (queue, _):
        asyncio.run(run())

        consumed = queue.counts().consumed
        assert queue.counts().claimed == 1
        assert len(set(finished)) == len(finished) <= consumed


@pytest.mark.parametrize("name", ["consume", "transact", "stream"])
def test_a_block_that_is_cancelled_releases_its_message(database_url: str, name: str) -> None:
    async def work(queue: AsyncQueue, begun: asyncio.Event) -> None:
        if name == "stream":
            async with aclosing(queue.stream()) as claims:  # type: ignore[type-var]
                async for _ in claims:
                    begun.set()
                    await asyncio.sleep(60)
        else:
            async with getattr(queue, name)():
                begun.set()
                await asyncio.sleep(60)

    async def run() -> None:
        async with AsyncQueue("orders", database_url, retry=AT_ONCE) as queue:
            begun = asyncio.Event()
            task = asyncio.create_task(work(queue, begun))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with filled(database_url, 1) as (queue, held):
        queue.release(held, count=False)

        asyncio.run(run())

        counts = queue.counts()
        assert (counts.available, counts.claimed) == (3, 0)
        assert len(attempts_counted(queue)) == 1  # the one that was begun


def test_a_stream_that_is_left_and_then_cancelled_winds_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wind_up = Holding._wind_up

    async def leave(queue: AsyncQueue) -> None:
        async with aclosing(queue.stream()) as claims:  # type: ignore[type-var]
            async for _ in claims:
                break

    async def run() -> None:
        def cancel_and_wind_up(holding: Holding, error: BaseException) -> bool:
            task.cancel()  # before the first statement
            await_only(asyncio.sleep(0.01))
            return wind_up(holding, error)

        monkeypatch.setattr(Holding, "_wind_up", cancel_and_wind_up)
        async with AsyncQueue("orders", database_url) as queue:
            task = asyncio.create_task(leave(queue))
            with pytest.raises(asyncio.CancelledError):
                await task

    with filled(database_url, 20) as (queue, _):
        asyncio.run(run())

        assert queue.counts().claimed == 1


def test_a_cancelled_task_of_asyncio_run_hands_back(database_url: str) -> None:
    # asyncio.run() cancels what is left when its main coroutine has returned.
    async def main(drawn: random.Random) -> None:
        queue = AsyncQueue("orders", database_url)
        await queue.counts()
        left: list[asyncio.Task[Any]] = [
            asyncio.create_task(queue.claim_many(20)) for _ in range(3)
        ]
        await asyncio.sleep(moment(drawn))
        for task in left:
            task.add_done_callback(note)

    got = 0

    def note(task: asyncio.Task[Any]) -> None:
        nonlocal got
        if not task.cancelled() and task.exception() is None:
            got += len(task.result())

    with filled(database_url, 2_000) as (queue, _):
        for number in range(TIMES):
            asyncio.run(main(random.Random(number)))

        assert queue.counts().claimed == got + 1


def test_cancelled_on_a_connection_of_the_caller_the_transaction_goes_on(
    database_url: str,
) -> None:
    from xclaim import create_async_engine

    async def run() -> None:
        engine = create_async_engine(database_url)
        async with engine.begin() as connection:
            queue = AsyncQueue("orders", connection)
            for number in range(10):
                await by_cancel(queue.claim_many(5), number / 1_000)  # type: ignore[arg-type]
            await queue.push("the last")
        await engine.dispose()

    with filled(database_url, 100) as (queue, _):
        asyncio.run(run())

        counts = queue.counts()
        assert counts.available + counts.claimed == 103


def test_a_wait_that_is_cancelled_gives_its_turn_to_the_next(database_url: str) -> None:
    async def run() -> int:
        async with AsyncQueue("empty", database_url, notify=True) as queue:
            first = asyncio.create_task(queue.claim(wait=timedelta(minutes=1)))
            second = asyncio.create_task(queue.claim(wait=timedelta(minutes=1)))
            await asyncio.sleep(0.3)
            first.cancel()
            await queue.push(1)
            claimed = await second
            return 0 if claimed is None else claimed.message.attempts

    assert asyncio.run(run()) == 1


@pytest.mark.usefixtures("only_wake_ups")
def test_a_wake_up_of_a_wait_that_is_cancelled_goes_to_the_next(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite has no listener: nobody is woken but by the test, and by who leaves.
    join, joined, long = Bell.join, list[Event](), timedelta(seconds=2 * PATIENCE)

    def join_and_tell(bell: Bell[Event], event: Event) -> None:
        join(bell, event)
        joined.append(event)

    async def run() -> Any:
        async with AsyncQueue("empty", sqlite_url) as queue:
            first = asyncio.create_task(queue.claim(wait=long))
            await asyncio.to_thread(until, lambda: len(joined) == 1)
            second = asyncio.create_task(queue.claim(wait=long))
            await asyncio.to_thread(until, lambda: len(joined) == 2)
            await queue.push("hello")
            joined[0].set()
            first.cancel()  # before it looks
            claimed = await asyncio.wait_for(second, PATIENCE)
            return None if claimed is None else claimed.payload

    monkeypatch.setattr(waiting, "NOTIFY_EVERY", 2 * PATIENCE)  # until the first look
    monkeypatch.setattr(Bell, "join", join_and_tell)

    assert asyncio.run(run()) == "hello"
