"""Waiting claims: woken by a push, found by looking, and nothing lost when either fails."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from itertools import takewhile
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, make_url, text

from tests.eventually import PATIENCE, until
from tests.listeners import listens
from tests.proxy import Proxy
from xclaim import (
    AsyncQueue,
    Claim,
    InvalidArgumentError,
    Queue,
    create_async_engine,
    create_engine,
)
from xclaim.consuming import listening

LONG = timedelta(seconds=PATIENCE + 60)
SHORT = timedelta(milliseconds=100)
WAITER = """
import sys
from datetime import timedelta
from xclaim import Queue
with Queue("orders", sys.argv[1]) as queue:
    print("waiting", flush=True)
    queue.claim(wait=timedelta(minutes=10))
"""


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url, pool_size=20)
    yield engine
    engine.dispose()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as pool:
        yield pool


def heard_until_now(listener: psycopg.Connection, engine: Engine) -> list[str]:
    """Return what the listener was told; notifications arrive in the order of their commits."""
    with engine.begin() as connection:
        connection.execute(text("NOTIFY xclaim, 'until now'"))
    heard = (each.payload for each in listener.notifies(timeout=PATIENCE))
    return list(takewhile(lambda payload: payload != "until now", heard))


@pytest.fixture(params=["sqlite", "postgresql"])
def any_engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    names = {"sqlite": "sqlite_url", "postgresql": "fresh_postgresql_url"}
    engine = create_engine(request.getfixturevalue(names[request.param]))
    yield engine
    engine.dispose()


def test_a_waiting_claim_gets_what_is_pushed_meanwhile(
    any_engine: Engine, pool: ThreadPoolExecutor
) -> None:
    queue = Queue("orders", any_engine)
    waiting = pool.submit(queue.claim, wait=LONG)

    pushed = queue.push(1)

    claimed = waiting.result(PATIENCE)
    assert claimed is not None
    assert claimed.message.id == pushed.id


def test_a_wait_that_is_over_returns_nothing(any_engine: Engine) -> None:
    queue = Queue("orders", any_engine)

    assert queue.claim(wait=SHORT) is None
    assert queue.claim(wait=timedelta(0)) is None
    assert queue.claim_many(5, wait=SHORT) == []
    assert list(queue.stream(wait=SHORT)) == []


def test_a_stream_that_waits_gets_what_is_pushed_while_it_runs(any_engine: Engine) -> None:
    queue = Queue("orders", any_engine)
    queue.push(0)
    payloads = []

    for claimed in queue.stream(wait=timedelta(seconds=1)):
        payloads.append(claimed.payload)
        if claimed.payload < 3:
            queue.push(claimed.payload + 1)

    assert payloads == [0, 1, 2, 3]
    assert queue.counts().consumed == 4


@pytest.mark.usefixtures("only_wake_ups")
def test_an_asyncio_wait_gets_what_is_pushed_meanwhile(
    fresh_postgresql_url: str, engine: Engine
) -> None:
    async def work() -> Claim | None:
        async with AsyncQueue("orders", fresh_postgresql_url) as queue:
            claim = asyncio.create_task(queue.claim(wait=LONG))
            await asyncio.to_thread(until, lambda: listens(engine))
            await asyncio.to_thread(Queue("orders", engine, notify=True).push, 1)
            return await claim

    claimed = asyncio.run(work())

    assert claimed is not None
    assert claimed.payload == 1


@pytest.mark.parametrize("bad", [5, -SHORT, timedelta(days=10_000)])
def test_a_wait_must_be_a_duration(any_engine: Engine, bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="wait must"):
        Queue("orders", any_engine).claim(wait=bad)


def test_a_queue_in_a_transaction_does_not_wait(any_engine: Engine) -> None:
    with (
        any_engine.begin() as connection,
        pytest.raises(InvalidArgumentError, match="wait needs a queue bound to an engine"),
    ):
        Queue("orders", connection).claim(wait=SHORT)


@pytest.mark.usefixtures("only_wake_ups")
@pytest.mark.parametrize(
    "verb", ["push", "push_many", "push_once", "release", "hand_back", "redrive"]
)
def test_what_becomes_available_wakes_a_waiter(
    engine: Engine, pool: ThreadPoolExecutor, verb: str
) -> None:
    producer = Queue("orders", engine, notify=True)
    held = None
    stream: Any = producer.stream()
    if verb == "release":
        producer.push(1)
        held = producer.claim()
    if verb == "hand_back":
        producer.push_many([1, 2])
        next(stream)  # and has claimed both
    if verb == "redrive":
        producer.push(1, max_attempts=1)
        last = producer.claim()
        assert last is not None
        producer.release(last)
    waiting = pool.submit(Queue("orders", engine).claim, wait=LONG)
    until(lambda: listens(engine))
    verbs: dict[str, Callable[[], object]] = {
        "push": lambda: producer.push(1),
        "push_many": lambda: producer.push_many([1, 2]),
        "push_once": lambda: producer.push(1, unique_key="key"),
        "release": lambda: held is not None and producer.release(held),
        "hand_back": stream.close,  # which fails the first one, and hands back the other
        "redrive": producer.redrive,
    }

    verbs[verb]()

    assert waiting.result(PATIENCE) is not None


@pytest.mark.usefixtures("only_wake_ups")
def test_a_push_in_a_transaction_wakes_at_its_commit(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    waiting = pool.submit(Queue("orders", engine).claim, wait=LONG)
    until(lambda: listens(engine))

    with engine.begin() as connection:
        Queue("orders", connection, notify=True).push(1)
        time.sleep(0.1)
        assert not waiting.done()

    assert waiting.result(PATIENCE) is not None


@pytest.mark.usefixtures("only_wake_ups")
def test_each_of_many_waiters_gets_one_of_many_messages(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    queue = Queue("orders", engine)
    waiting = [pool.submit(queue.claim, wait=LONG) for _ in range(10)]
    until(lambda: listens(engine))

    Queue("orders", engine, notify=True).push_many(list(range(10)))

    claimed = [future.result(PATIENCE) for future in waiting]
    assert sorted(claim.payload for claim in claimed if claim) == list(range(10))


@pytest.mark.usefixtures("only_wake_ups")
def test_pushes_right_after_each_other_send_few_notifications_and_all_are_found(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    producer = Queue("orders", engine, notify=True)
    with closing(psycopg.connect(url, autocommit=True)) as listener:
        listener.execute("LISTEN xclaim")
        waiting = pool.submit(lambda: [Queue("orders", engine).claim(wait=LONG) for _ in range(50)])
        # The listener of the test, and the one of the waiter.
        until(lambda: len(listens(engine)) == 2)

        began = time.monotonic()
        for number in range(50):
            producer.push(number)
        took = time.monotonic() - began

        assert all(waiting.result(PATIENCE))
        heard = heard_until_now(listener, engine)
    assert 1 <= len(heard) <= 2 + took / 0.02
    assert set(heard) == {"orders"}


def test_a_queue_without_notify_and_a_delayed_push_wake_nobody(engine: Engine) -> None:
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(url, autocommit=True)) as listener:
        listener.execute("LISTEN xclaim")

        Queue("orders", engine).push(1)
        Queue("orders", engine, notify=True).push(1, delay=LONG)

        assert heard_until_now(listener, engine) == []


@pytest.mark.usefixtures("only_wake_ups")
def test_a_listening_connection_that_is_terminated_is_made_anew(
    engine: Engine,
    pool: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(listening, "_RECONNECT_AFTER", (0.01, 0.02))
    waiting = pool.submit(Queue("orders", engine).claim, wait=LONG)
    until(lambda: listens(engine))
    (first,) = listens(engine)

    with caplog.at_level(logging.WARNING, logger="xclaim"), engine.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": first})
        until(lambda: set(listens(engine)) - {first})
        Queue("orders", engine, notify=True).push(1)

        assert waiting.result(PATIENCE) is not None
    assert "the connection that listens for pushes failed" in caplog.text


def test_polling_goes_on_when_the_listening_connection_dies_without_a_word(
    engine: Engine, pool: ThreadPoolExecutor
) -> None:
    url = make_url(engine.url)
    with Proxy(str(url.host), int(url.port or 5432)) as proxy:
        through = create_engine(url.set(host="127.0.0.1", port=proxy.port), pool_size=5)
        waiting = pool.submit(Queue("orders", through).claim, wait=LONG)
        until(lambda: listens(engine))

        proxy.silence_those_that_sent(b"LISTEN xclaim")
        Queue("orders", engine, notify=True).push(1)

        assert waiting.result(PATIENCE) is not None
        through.dispose()


def test_the_listening_connection_ends_after_the_last_waiter(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_LINGER", 0.05)
    before = {*threading.enumerate()}  # other tests' may be still there

    assert Queue("orders", engine).claim(wait=SHORT) is None

    until(lambda: not listens(engine))
    until(
        lambda: (
            not [each for each in {*threading.enumerate()} - before if each.name == "xclaim-listen"]
        )
    )


def test_an_interrupted_wait_has_claimed_nothing(engine: Engine, fresh_postgresql_url: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITER, fresh_postgresql_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    until(lambda: listens(engine))

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    queue = Queue("orders", engine)
    queue.push(1)

    assert "KeyboardInterrupt" in errors
    assert queue.counts().available == 1


def test_a_cancelled_asyncio_wait_hands_back_what_it_was_claiming(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1)

    async def cancel_while_claiming() -> None:
        async_engine = create_async_engine(engine.url)
        with engine.begin() as connection:
            # Nobody can claim before this transaction ends: the claim is under way when cancelled.
            connection.execute(text("LOCK TABLE xclaim_message IN SHARE ROW EXCLUSIVE MODE"))
            claim = asyncio.create_task(AsyncQueue("orders", async_engine).claim(wait=LONG))
            await asyncio.sleep(0.3)
            claim.cancel()
            await asyncio.sleep(0.1)
        with pytest.raises(asyncio.CancelledError):
            await claim
        await async_engine.dispose()

    asyncio.run(cancel_while_claiming())

    message = queue.peek(1)[0]
    assert queue.counts().available == 1
    assert message.attempts == 0
