"""The lease is kept alive while work goes on, and not for ever."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event

import pytest
from sqlalchemy.exc import OperationalError

from tests.eventually import PATIENCE, until
from xclaim import ClaimLostError, Queue, SchemaVersionError
from xclaim.connections.concurrency import THREADS, Concurrency
from xclaim.connections.tasks import TASKS, bridged
from xclaim.consuming.claims_ahead import ClaimsAhead
from xclaim.consuming.keep_alive import KeepAlive
from xclaim.operations import migrate

SHORT = timedelta(milliseconds=60)  # extended every 50 ms, the shortest pause there is
LONG = timedelta(hours=1)


@contextmanager
def keep_alive(
    extend: Callable[[], object],
    *,
    lease: timedelta,
    lease_limit: timedelta,
    concurrency: Concurrency = THREADS,
) -> Iterator[Callable[[], bool]]:
    """Keep alive during the block; what it is given says whether that still runs."""
    kept = KeepAlive(concurrency, extend, lease=lease, lease_limit=lease_limit)
    kept.start()
    try:
        yield lambda: kept._started is not None and kept._started.is_running()
    finally:
        kept.end()


def test_it_extends_while_the_block_runs_and_stops_with_it() -> None:
    extended = Event()

    with keep_alive(extended.set, lease=SHORT, lease_limit=LONG) as is_running:
        assert extended.wait(PATIENCE)

    until(lambda: not is_running())


def test_it_stops_at_the_limit() -> None:
    extended = Event()

    with keep_alive(extended.set, lease=SHORT, lease_limit=SHORT):
        assert not extended.wait(0.2)


def test_it_stops_when_the_claim_is_lost() -> None:
    calls: list[int] = []

    def extend() -> None:
        calls.append(1)
        raise ClaimLostError([])

    with keep_alive(extend, lease=SHORT, lease_limit=LONG) as is_running:
        until(lambda: not is_running())

    assert len(calls) == 1


@pytest.mark.parametrize(
    "failure",
    [
        OperationalError("UPDATE", {}, Exception("server is restarting")),
        SchemaVersionError(found=None, expected="0001"),
    ],
    ids=["of the database", "of a schema that is changed meanwhile"],
)
def test_it_survives_an_error_and_says_so(
    caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    recovered = Event()
    failures = [failure]

    def extend() -> None:
        if failures:
            raise failures.pop()
        recovered.set()

    with (
        caplog.at_level(logging.WARNING, "xclaim"),
        keep_alive(extend, lease=SHORT, lease_limit=LONG),
    ):
        assert recovered.wait(PATIENCE)

    assert "extending the lease failed" in caplog.text


def test_an_asyncio_task_survives_errors_too() -> None:
    failures = [
        SchemaVersionError(found=None, expected="0001"),
        OperationalError("UPDATE", {}, Exception("server is restarting")),
    ]
    extended: list[int] = []

    def extend() -> None:
        if failures:
            raise failures.pop()
        extended.append(1)

    def block() -> None:
        with keep_alive(extend, lease=SHORT, lease_limit=LONG, concurrency=TASKS) as is_running:
            until = time.monotonic() + PATIENCE
            while not extended and is_running() and time.monotonic() < until:
                TASKS.sleep(0.01)

    asyncio.run(bridged(block))

    assert extended


def test_what_was_lost_is_forgotten_and_not_a_new_claim_of_the_same_message(
    sqlite_url: str,
) -> None:
    with Queue("orders", sqlite_url) as queue:
        queue.push(1)
        lost = queue.claim()
        assert lost is not None
        queue.release(lost, count=False)
        again = queue.claim()
    assert again is not None
    held = ClaimsAhead()
    held.fill([again])

    held.forget([lost])
    is_held_still = held.held() == [again] and held.has(again) and held.has_waiting()
    held.forget([again])

    assert is_held_still
    assert held.held() == []
    assert not held.has(again)


def test_an_asyncio_task_does_the_same() -> None:
    calls: list[int] = []

    def extend() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise ClaimLostError([])

    def block() -> None:
        with keep_alive(extend, lease=SHORT, lease_limit=LONG, concurrency=TASKS):
            until = time.monotonic() + PATIENCE
            while len(calls) < 2 and time.monotonic() < until:
                TASKS.sleep(0.01)
            TASKS.sleep(0.2)

    asyncio.run(bridged(block))

    assert len(calls) == 2


def test_a_message_in_work_is_not_given_to_others(database_url: str) -> None:
    migrate.upgrade(database_url)
    lease = timedelta(seconds=3)

    with Queue("orders", database_url) as queue:
        queue.push(1)
        with queue.consume(lease=lease) as claimed:
            assert claimed is not None
            expiries: set[datetime | None] = set()
            while len(expiries) < 4:  # three extensions: longer than the lease
                message = queue.get(claimed.message.id)
                assert message is not None
                expiries.add(message.claim_expires_at)
                assert queue.claim() is None
        assert queue.counts().consumed == 1
