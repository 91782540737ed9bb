"""Behind pgbouncer in transaction mode: every verb, waiting by polling, migrations.

Each statement may run on another connection of the server, so nothing may depend on a session.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text

from tests.databases import temporary_database
from tests.eventually import PATIENCE
from tests.looks import patient_observer
from tests.pgbouncer import Bouncer, needs_pgbouncer
from xclaim import AsyncQueue, ClaimLostError, Queue, create_engine
from xclaim.errors import ObservationTimeoutError
from xclaim.observing.asking import asking
from xclaim.operations import migrate

pytestmark = needs_pgbouncer


@pytest.fixture
def bouncer_url(fresh_postgresql_url: str, tmp_path: Path) -> Iterator[str]:
    """The database through pgbouncer, without prepared statements, which 1.18 does not know."""
    with Bouncer(fresh_postgresql_url, tmp_path) as url:
        yield url


@pytest.fixture
def engine(bouncer_url: str) -> Iterator[Engine]:
    engine = create_engine(bouncer_url, pool_size=10)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine)


def test_statements_of_one_connection_run_on_several_of_the_server(bouncer_url: str) -> None:
    url = bouncer_url.replace("+psycopg", "").partition("?")[0]
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as one:
        ask = "SELECT pg_backend_pid()"
        with psycopg.connect(url, prepare_threshold=None) as other:
            (first,) = one.execute(ask).fetchone() or ()
            (held,) = other.execute(ask).fetchone() or ()  # in a transaction from now on
            (second,) = one.execute(ask).fetchone() or ()

    assert held == first
    assert second != first


def test_every_verb_works(queue: Queue) -> None:
    queue.push_many([{"n": number} for number in range(6)])
    queue.push({"n": 6}, unique_key="key", max_attempts=1)
    queue.push({"n": 6}, unique_key="key")

    first, second, third = queue.claim_many(3)
    queue.ack(first)
    queue.release(second)
    queue.extend(third)
    queue.ack_many([third])
    with queue.consume() as consumed:
        assert consumed is not None
    with queue.transact() as (claimed, connection):
        assert claimed is not None
        connection.exec_driver_sql("SELECT 1")
    streamed = [each.payload["n"] for each in queue.stream(batch=1)]

    assert streamed == [4, 5, 6]
    assert queue.peek(1) == []
    assert queue.counts().consumed == 7
    assert (queue.expire(), queue.redrive(), queue.prune(older_than=timedelta(0))) == (0, 0, 7)
    with pytest.raises(ClaimLostError):
        queue.ack(first)


def test_a_queue_made_from_the_url_works_as_well(bouncer_url: str) -> None:
    with Queue("orders", bouncer_url, notify=True) as queue:
        queue.push_many(range(250))

        payloads = [claimed.payload for claimed in queue.stream(batch=20)]

        assert payloads == list(range(250))
        assert queue.counts().consumed == 250


def test_asyncio_works_as_well(bouncer_url: str) -> None:
    async def work() -> list[int]:
        async with AsyncQueue("orders", bouncer_url) as queue:
            await queue.push_many(range(25))
            return [claimed.payload async for claimed in queue.stream(batch=10)]

    assert asyncio.run(work()) == list(range(25))


def test_a_wait_polls_where_no_wake_up_arrives(queue: Queue) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(queue.claim, wait=timedelta(seconds=PATIENCE))
        time.sleep(0.2)

        pushed = queue.push(1)

        claimed = waiting.result(PATIENCE)
    assert claimed is not None
    assert claimed.message.id == pushed.id


def test_eight_threads_consume_each_message_once(engine: Engine) -> None:
    pushed = Queue("orders", engine).push_many(range(400))

    def work(_number: int) -> list[int]:
        queue, consumed = Queue("orders", engine), []
        while (claimed := queue.claim()) is not None:
            queue.ack(claimed)
            consumed.append(claimed.message.id)
        return consumed

    with ThreadPoolExecutor(8) as pool:
        consumed = [id_ for ids in pool.map(work, range(8)) for id_ in ids]

    assert sorted(consumed) == [message.id for message in pushed]


def test_looks_are_ended_and_leave_nothing_on_the_server(engine: Engine, queue: Queue) -> None:
    queue.push(1)
    with (
        pytest.raises(ObservationTimeoutError),
        asking(engine, None, timedelta(milliseconds=50), "how late it is") as question,
    ):
        question.run(text("SELECT pg_sleep(60)"))
    observer = patient_observer(engine)

    found = [observer.queues() for _ in range(8)]
    with engine.connect() as connection:
        timeout = connection.execute(text("SHOW statement_timeout")).scalar()

    assert [queues[0].available.at_least for queues in found] == [1] * 8
    assert observer.rights("orders").refusals == {}
    assert timeout == "0"


def test_migrations_run_through_it(postgresql_server: str, tmp_path: Path) -> None:
    with temporary_database(postgresql_server) as empty, Bouncer(empty, tmp_path) as url:
        migrate.upgrade(url)

        migrate.check(create_engine(url))
