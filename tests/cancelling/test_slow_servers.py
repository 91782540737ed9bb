"""An ack that a server refuses or never answers: what was finished is acked, and nobody waits long.

Of PostgreSQL: SQLite has no server, and no timeouts but its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from tests.cancelling.striking import ctrl_c_beside
from tests.contract.facades import Blocking
from tests.eventually import PATIENCE, until
from tests.proxy import Proxy
from xclaim import AsyncQueue, Queue, create_engine
from xclaim.connections import calls
from xclaim.connections.concurrency import _Signals
from xclaim.connections.events import add_listener, remove_listener
from xclaim.verb import VerbEvent

pytestmark = pytest.mark.slow

SETTINGS = ["lock_timeout", "statement_timeout"]


@pytest.fixture(params=["Queue", "AsyncQueue"])
def open_queue(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Queue]]:
    """Return what opens a queue of either facade."""
    runner, opened = asyncio.Runner(), []

    def open_one(url: str) -> Queue:
        if request.param == "Queue":
            queue = Queue("orders", url)
        else:
            queue = cast(Queue, Blocking(AsyncQueue("orders", url), runner.run))
        opened.append(queue)
        return queue

    yield open_one
    for queue in opened:
        queue.close()
    runner.close()


def with_setting(url: str, name: str, value: str) -> str:
    driver = make_url(url).set(drivername="postgresql")
    with psycopg.connect(driver.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE \"{driver.database}\" SET {name} = '{value}'")
    return url


@contextmanager
def table_locked(url: str) -> Iterator[Callable[[], None]]:
    """Lock all writers out until the block ends, or until what it is given is called."""
    driver = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(driver) as connection:
        connection.execute("SET lock_timeout = 0; SET statement_timeout = 0")
        connection.execute("LOCK TABLE xclaim_message IN SHARE ROW EXCLUSIVE MODE")
        yield connection.rollback


@contextmanager
def table_locked_until_two_failed(url: str) -> Iterator[None]:
    """Lock all writers out until two verbs have failed: the ack, and the next attempt at it."""
    failed: list[VerbEvent] = []

    def note(event: VerbEvent) -> None:
        if event.error is not None:
            failed.append(event)
        if len(failed) == 2:
            unlock()

    with table_locked(url) as unlock:
        add_listener(note)
        try:
            yield
        finally:
            remove_listener(note)


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_a_stream_finished_before_a_timeout_is_acked(
    fresh_postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
    open_queue: Callable[[str], Queue],
    setting: str,
) -> None:
    monkeypatch.setattr(calls, "BOUND", PATIENCE)
    url = with_setting(fresh_postgresql_url, setting, "500ms")
    queue, finished = open_queue(url), 0
    queue.push_many(list(range(10)))

    with ExitStack() as lock, pytest.raises(OperationalError):
        for _ in queue.stream(batch=5):
            finished += 1
            if finished == 5:
                lock.enter_context(table_locked_until_two_failed(url))

    counts = queue.counts()
    assert (counts.consumed, counts.claimed, counts.available) == (5, 0, 5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_block_whose_ack_timed_out_is_acked_all_the_same(
    fresh_postgresql_url: str,
    monkeypatch: pytest.MonkeyPatch,
    open_queue: Callable[[str], Queue],
    setting: str,
) -> None:
    monkeypatch.setattr(calls, "BOUND", PATIENCE)
    url = with_setting(fresh_postgresql_url, setting, "500ms")
    queue = open_queue(url)
    queue.push(1)

    with ExitStack() as lock, queue.consume() as claimed:
        lock.enter_context(table_locked_until_two_failed(url))

    assert claimed is not None
    assert queue.counts().consumed == 1


@pytest.fixture
def proxied(fresh_postgresql_url: str) -> Iterator[tuple[Proxy, str]]:
    url = make_url(fresh_postgresql_url)
    with Proxy("127.0.0.1", url.port or 5432) as proxy:
        through = url.set(port=proxy.port, host="127.0.0.1")
        through = through.update_query_dict({"connect_timeout": "2"})  # the least libpq takes
        yield proxy, through.render_as_string(hide_password=False)


async def _plain(queue: AsyncQueue) -> None:
    while True:
        await queue.claim()
        await asyncio.sleep(0.01)


async def _waiting(queue: AsyncQueue) -> None:
    while True:
        await queue.claim(wait=timedelta(minutes=10))


async def _consuming(queue: AsyncQueue) -> None:
    async with queue.consume(lease=timedelta(seconds=1)):
        await asyncio.sleep(3_600)


async def _transacting(queue: AsyncQueue) -> None:
    async with queue.transact(lease=timedelta(seconds=1)) as (_, connection):
        while True:
            await connection.exec_driver_sql("SELECT 1")
            await asyncio.sleep(0.01)


async def _streaming(queue: AsyncQueue) -> None:
    async with aclosing(queue.stream(lease=timedelta(seconds=1))) as claims:  # type: ignore[type-var]
        async for _ in claims:
            await asyncio.sleep(3_600)


@pytest.mark.parametrize("work", [_plain, _waiting, _consuming, _transacting, _streaming])
def test_a_cancellation_ends_although_the_server_is_silent(
    proxied: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch, work: Any
) -> None:
    monkeypatch.setattr(calls, "BOUND", 2.0)
    proxy, url = proxied

    async def run() -> float:
        queue = AsyncQueue("orders", url)
        await queue.push_many([1, 2, 3])
        task = asyncio.create_task(work(queue))
        await asyncio.sleep(1)
        proxy.silence_all()
        await asyncio.sleep(1.5)  # the keep-alive and the claim hang by now
        began = time.monotonic()
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        assert task.done()
        return time.monotonic() - began

    assert asyncio.run(run()) < 40  # a new connection may be tried for 10 s, on a slow machine


def test_a_cancellation_drops_the_connection_to_a_silent_server(
    proxied: tuple[Proxy, str], fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BOUND", 1.0)
    proxy, url = proxied
    asyncio_one = make_url(url).update_query_dict({"application_name": "asyncio one"})
    watching = create_engine(fresh_postgresql_url)

    def sessions() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'asyncio one'"
        with watching.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())

    async def run() -> None:
        queue = AsyncQueue("orders", asyncio_one.render_as_string(hide_password=False))
        await queue.push(1)
        assert sessions() == 1
        proxy.silence_all()
        claiming = asyncio.create_task(queue.claim())
        await asyncio.sleep(0.5)  # it is sent, and nobody answers
        claiming.cancel()
        await asyncio.wait([claiming], timeout=PATIENCE)

        until(lambda: sessions() == 0)  # and the queue was not closed

    asyncio.run(run())
    watching.dispose()


async def _leave(queue: AsyncQueue, silence: Callable[[], None]) -> None:
    async for _ in queue.stream(batch=2):  # not closed here, but with the event loop
        silence()
        break


async def _leave_by_closing(queue: AsyncQueue, silence: Callable[[], None]) -> None:
    async with aclosing(queue.stream(batch=2)) as claims:  # type: ignore[type-var]
        async for _ in claims:
            silence()
            break


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("leave", [_leave, _leave_by_closing])
def test_a_stream_is_left_although_the_server_is_silent(
    proxied: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch, leave: Any
) -> None:
    monkeypatch.setattr(calls, "BOUND", 2.0)
    proxy, url = proxied

    async def run() -> None:
        queue = AsyncQueue("orders", url)
        await queue.push_many([1, 2, 3])
        with suppress(TimeoutError):  # which says that its messages come back with their lease
            await leave(queue, proxy.silence_all)

    began = time.monotonic()
    asyncio.run(run())

    assert time.monotonic() - began < PATIENCE


def _claim_here(queue: Queue, silence: Callable[[], None]) -> None:
    queue.claim()
    silence()
    queue.claim()


def _wait_here(queue: Queue, silence: Callable[[], None]) -> None:
    silence()
    queue.claim(wait=timedelta(minutes=10))


def _consume_here(queue: Queue, silence: Callable[[], None]) -> None:
    with queue.consume(lease=timedelta(seconds=1)):
        silence()
        time.sleep(3_600)


def _transact_here(queue: Queue, silence: Callable[[], None]) -> None:
    with queue.transact(lease=timedelta(seconds=1)) as (_, connection):
        connection.exec_driver_sql("SELECT 1")
        silence()
        time.sleep(3_600)


def _stream_here(queue: Queue, silence: Callable[[], None]) -> None:
    for _ in queue.stream(lease=timedelta(seconds=1)):
        silence()
        time.sleep(3_600)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a stream
@pytest.mark.parametrize("is_pinged", [False, True])
@pytest.mark.parametrize(
    "work", [_claim_here, _wait_here, _consume_here, _transact_here, _stream_here]
)
def test_ctrl_c_ends_although_the_server_is_silent(
    proxied: tuple[Proxy, str], monkeypatch: pytest.MonkeyPatch, work: Any, is_pinged: bool
) -> None:
    monkeypatch.setattr(calls, "BOUND", 2.0)
    proxy, url = proxied
    # As Airflow's hook makes its engine; a queue made from a URL does not ping.
    bind = create_engine(url, pool_pre_ping=True) if is_pinged else url
    queue = Queue("orders", bind)
    queue.push_many([1, 2, 3])

    def silence() -> None:
        proxy.silence_all()
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work(queue, silence)

    assert time.monotonic() - began < PATIENCE  # a new connection may be tried for 10 s


def test_close_ends_although_the_server_is_silent(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    queue = Queue("orders", url)
    queue.claim()
    proxy.silence_all()

    closing = threading.Thread(target=queue.close)
    closing.start()
    closing.join(PATIENCE)

    assert not closing.is_alive()


def waits_for_a_lock(url: str) -> bool:
    """Return whether a session of the database waits for a lock."""
    driver = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(driver) as connection:
        (count,) = connection.execute(query).fetchone() or (0,)
    return bool(count)


def test_a_second_ctrl_c_finds_the_connection_whole(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BOUND", PATIENCE)
    note, noted = _Signals._note, list[int]()

    def note_and_tell(signals: _Signals, number: int, frame: FrameType | None) -> None:
        note(signals, number, frame)
        noted.append(number)

    def strike_twice(ctrl_c: Callable[[], None]) -> None:
        try:
            until(lambda: waits_for_a_lock(fresh_postgresql_url))
            ctrl_c()
            until(lambda: len(noted) == 1)
            ctrl_c()
            until(lambda: len(noted) == 2)
        finally:
            unlock()

    monkeypatch.setattr(_Signals, "_note", note_and_tell)
    with Queue("orders", fresh_postgresql_url) as queue:
        queue.push(1)

        with (
            table_locked(fresh_postgresql_url) as unlock,
            ctrl_c_beside(strike_twice),
            pytest.raises(KeyboardInterrupt),
        ):
            queue.claim()

        assert queue.counts().claimed == 0
        assert queue.claim() is not None
