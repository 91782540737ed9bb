"""Anybody who can connect may NOTIFY, anything and as often as he likes: waiters go on as ever."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine

from tests.eventually import PATIENCE, until
from tests.listeners import listens
from xclaim import AsyncQueue, Claim, Queue, create_engine
from xclaim.connections.concurrency import NO_QUEUE, THREADS
from xclaim.connections.events import add_listener, remove_listener
from xclaim.connections.tasks import TASKS, bridged
from xclaim.consuming import waiting
from xclaim.consuming.listening import pushed_queues
from xclaim.consuming.waiting import Bell, Patience, VainLooks
from xclaim.verb import VerbEvent
from xclaim.verbs import LOOK_BACK_EVERY

LONG = timedelta(seconds=PATIENCE + 60)


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url, pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture
def stranger(engine: Engine) -> Iterator[psycopg.Connection]:
    """Return a connection of a role that has no rights on the table at all."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        name = f"stranger_{connection.info.backend_pid}"
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
        yield connection
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(random, "uniform", lambda least, _most: least)
    return clock


@contextmanager
def notifying(
    connection: psycopg.Connection, payloads: Callable[[int], str]
) -> Iterator[threading.Event]:
    """Send notifications as fast as it goes while the block runs."""
    is_over, has_begun = threading.Event(), threading.Event()

    def notify() -> None:
        for number in itertools.count():
            if is_over.is_set():
                return
            connection.execute("SELECT pg_notify('xclaim', %s)", [payloads(number)])
            has_begun.set()

    thread = threading.Thread(target=notify)
    thread.start()
    try:
        assert has_begun.wait(PATIENCE)
        yield has_begun
    finally:
        is_over.set()
        thread.join()


@contextmanager
def looks() -> Iterator[list[float]]:
    """Yield when the queue was looked at."""
    seen: list[float] = []

    def note(event: VerbEvent) -> None:
        if event.verb in ("poll", "claim_many"):
            seen.append(time.monotonic())

    add_listener(note)
    try:
        yield seen
    finally:
        remove_listener(note)


def test_the_first_wake_up_causes_a_look_at_once(clock: Clock) -> None:
    assert VainLooks().gap() == 0.0
    assert clock.now == 1_000.0


def test_after_a_wake_up_there_is_a_look_as_soon_as_one_is_everywhere(clock: Clock) -> None:
    patience = Patience(timedelta(hours=1), ["postgresql"])
    woken_at = clock.now

    patience.wake()
    looks = []
    for _ in range(6):
        clock.now += patience.pause() or 0.0
        looks.append(clock.now - woken_at)

    assert LOOK_BACK_EVERY in [pytest.approx(look) for look in looks]
    assert looks == sorted(looks)


def test_wake_ups_in_vain_come_to_a_look_a_second(clock: Clock) -> None:
    vain = VainLooks()
    gaps = []

    for _ in range(50):
        gaps.append(vain.gap())
        clock.now += vain.gap()
        vain.note(woken=True, found=False)

    assert gaps[0] == 0.0
    assert all(one <= later + 1e-6 for one, later in itertools.pairwise(gaps))
    assert gaps[12:] == pytest.approx([1.0] * 38)
    assert sum(gaps[:12]) < 4


def test_a_wake_up_that_finds_something_forgets_those_in_vain(clock: Clock) -> None:
    vain = VainLooks()
    for _ in range(50):
        vain.note(woken=True, found=False)
    assert vain.are_many()
    assert vain.gap() == pytest.approx(1.0)

    vain.note(woken=False, found=True)

    assert vain.are_none()

    assert vain.gap() == 0.0
    assert clock.now == 1_000.0


def test_a_wake_up_that_comes_seldom_is_never_late(clock: Clock) -> None:
    vain = VainLooks()
    for _ in range(50):
        vain.note(woken=True, found=False)

    clock.now += 1.0

    assert vain.gap() == 0.0


def test_looks_without_a_wake_up_delay_none(clock: Clock) -> None:
    vain = VainLooks()

    for _ in range(50):
        vain.note(woken=False, found=False)

    assert vain.gap() == 0.0
    assert clock.now == 1_000.0


def test_of_many_waiters_a_flood_in_vain_wakes_one() -> None:
    bell: Bell[Any] = Bell()
    events = [threading.Event() for _ in range(10)]
    for event in events:
        bell.join(event)
    bell.vain_looks.note(woken=True, found=False)

    for _ in range(1_000):
        bell.notify()

    assert sum(event.is_set() for event in events) == 1


def test_of_many_waiters_each_honest_notification_wakes_one() -> None:
    bell: Bell[Any] = Bell()
    events = [threading.Event() for _ in range(10)]
    for event in events:
        bell.join(event)

    for _ in range(3):
        bell.notify()

    assert sum(event.is_set() for event in events) == 3


@pytest.mark.usefixtures("only_wake_ups")
def test_a_flood_of_notifications_costs_a_look_per_second(
    engine: Engine, stranger: psycopg.Connection
) -> None:
    queue = Queue("orders", engine)
    seconds = 4

    with notifying(stranger, lambda _: "orders"), looks() as seen:
        began = time.monotonic()
        assert queue.claim(wait=timedelta(seconds=seconds)) is None
        took = time.monotonic() - began

    # The first look, one soon after it, the first wake-ups in vain, and the one at the end.
    assert len(seen) <= took + 18


@pytest.mark.usefixtures("only_wake_ups")
@pytest.mark.parametrize("waiters", [1, 8])
def test_what_is_pushed_in_a_flood_is_found_within_moments(
    engine: Engine, stranger: psycopg.Connection, waiters: int
) -> None:
    with ThreadPoolExecutor(waiters) as pool, notifying(stranger, lambda _: "orders"):
        waiting_for = [
            pool.submit(Queue("orders", engine).claim, wait=LONG) for _ in range(waiters)
        ]
        until(lambda: listens(engine))

        Queue("orders", engine, notify=True).push_many(list(range(waiters)))

        claimed = [future.result(PATIENCE) for future in waiting_for]
    assert sorted(claim.payload for claim in claimed if claim) == list(range(waiters))


@pytest.mark.usefixtures("only_wake_ups")
def test_an_asyncio_waiter_survives_a_flood(
    fresh_postgresql_url: str, engine: Engine, stranger: psycopg.Connection
) -> None:
    async def work() -> Claim | None:
        async with AsyncQueue("orders", fresh_postgresql_url) as queue:
            claim = asyncio.create_task(queue.claim(wait=LONG))
            await asyncio.to_thread(until, lambda: listens(engine))
            await asyncio.to_thread(Queue("orders", engine, notify=True).push, 1)
            return await claim

    with notifying(stranger, lambda _: "orders"):
        claimed = asyncio.run(work())

    assert claimed is not None


@pytest.mark.usefixtures("only_wake_ups")
def test_an_asyncio_flood_costs_a_look_per_second(
    fresh_postgresql_url: str, stranger: psycopg.Connection
) -> None:
    async def work() -> float:
        async with AsyncQueue("orders", fresh_postgresql_url) as queue:
            began = time.monotonic()
            assert await queue.claim(wait=timedelta(seconds=4)) is None
            return time.monotonic() - began

    with notifying(stranger, lambda _: "orders"), looks() as seen:
        took = asyncio.run(work())

    assert len(seen) <= took + 18


GARBAGE = ["", "x" * 7_999, "orders\x1b[2J", "\u202eorders", "orders.dead", "'; DROP TABLE x; --"]


@pytest.mark.usefixtures("only_wake_ups")
@pytest.mark.parametrize("garbage", GARBAGE, ids=ascii)
def test_a_notification_of_garbage_wakes_nobody_and_breaks_nothing(
    engine: Engine, stranger: psycopg.Connection, garbage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor(1) as pool, looks() as seen:
        waiting_for = pool.submit(Queue("orders", engine).claim, wait=LONG)
        until(lambda: listens(engine))
        until(lambda: len(seen) >= 2)
        for _ in range(200):
            stranger.execute("SELECT pg_notify('xclaim', %s)", [garbage])
        seen_before = len(seen)
        Queue("orders", engine, notify=True).push(1)

        assert waiting_for.result(PATIENCE) is not None
    assert len(seen) <= seen_before + 2
    assert caplog.text == ""


class NoText:
    """A driver in a database of SQL_ASCII, where a notification may be any bytes."""

    def notifies(self, **_: Any) -> Iterator[Any]:
        yield from ()
        raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range")


class AsyncNoText:
    async def notifies(self, **_: Any) -> Any:
        for each in NoText().notifies():
            yield each


def test_a_notification_that_is_no_text_is_of_no_queue() -> None:
    assert THREADS.notifications(NoText(), 1.0) == [NO_QUEUE]


def test_nor_is_it_with_asyncio() -> None:
    found = asyncio.run(bridged(lambda: TASKS.notifications(AsyncNoText(), 1.0)))

    assert found == [NO_QUEUE]


def test_a_flood_of_one_queue_is_one_wake_up_of_a_stream(
    engine: Engine, stranger: psycopg.Connection
) -> None:
    stream = pushed_queues(THREADS, engine, timedelta(minutes=5))
    assert [next(stream), next(stream)] == [None, None]

    with stranger.transaction():
        for number in range(100):
            stranger.execute("SELECT pg_notify('xclaim', %s)", [f"orders {number % 2}"])

    assert sorted(str(next(stream)) for _ in range(2)) == ["orders 0", "orders 1"]
    stream.close()


def test_wake_ups_of_other_queues_do_not_put_off_the_look_at_all(
    engine: Engine, stranger: psycopg.Connection
) -> None:
    stream = pushed_queues(THREADS, engine, timedelta(seconds=0.2))
    assert [next(stream), next(stream)] == [None, None]

    def woken() -> str | None:
        stranger.execute("SELECT pg_notify('xclaim', 'another')")
        stranger.commit()
        return next(stream)

    until(lambda: woken() is None)  # though there is always one that has been sent
    stream.close()


def test_the_last_look_of_a_wait_is_not_put_off_beyond_its_end() -> None:
    assert Patience(timedelta(0), {"postgresql"}).left() == 0
    assert 0 < Patience(timedelta(seconds=5), {"postgresql"}).left() <= 5
