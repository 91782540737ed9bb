"""The connections under the verbs: run by the driver, held by threads, lost and made anew."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.contract.facades import queue_by
from tests.eventually import PATIENCE, until
from tests.still_clock import StillClock
from xclaim import AsyncQueue, Queue, create_async_engine, create_engine
from xclaim.connections import calls, resting

FORKS = """
import os, sys
from xclaim import Queue
with Queue("orders", sys.argv[1]) as queue:
    queue.push("before")
    child = os.fork()
    for number in range(50):
        queue.push("child" if child == 0 else "parent")
    if child == 0:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert queue.counts().available == 101, queue.counts()
"""


@pytest.fixture
def administrator(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture(params=["URL", "engine"])
def queue(request: pytest.FixtureRequest, fresh_postgresql_url: str) -> Iterator[Queue]:
    """A queue that owns its engine, whose connections threads hold, and one that does not."""
    if request.param == "URL":
        with Queue("orders", fresh_postgresql_url) as queue:
            yield queue
        return
    engine = create_engine(fresh_postgresql_url)
    yield Queue("orders", engine)
    engine.dispose()


def terminate_others(administrator: Engine) -> int:
    query = (
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with administrator.connect() as connection:
        return int(connection.scalar(text(query)) or 0)


def connections(administrator: Engine) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with administrator.connect() as connection:
        return int(connection.scalar(text(query)) or 0)


VERBS: dict[str, Callable[[Queue], object]] = {
    "push": lambda queue: queue.push(2),
    "claim": lambda queue: queue.claim(),
    "counts": lambda queue: queue.counts(),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_lost_connection_is_reported_once_and_made_anew(
    queue: Queue, administrator: Engine, verb: Callable[[Queue], object]
) -> None:
    queue.push(1)
    assert terminate_others(administrator) == 1

    with pytest.raises(OperationalError) as raised:
        verb(queue)

    assert raised.value.connection_invalidated
    assert verb(queue)


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_connection_that_was_ended_while_it_rested_is_made_anew(
    queue: Queue,
    administrator: Engine,
    verb: Callable[[Queue], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue.push(1)
    assert terminate_others(administrator) == 1
    monkeypatch.setattr(resting, "LONG", 0.0)

    assert verb(queue)
    assert connections(administrator) == 1


@pytest.mark.parametrize("facade", ["Queue", "AsyncQueue"])
def test_a_server_that_ends_sessions_at_rest_fails_no_verb(
    fresh_postgresql_url: str,
    administrator: Engine,
    facade: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resting, "LONG", 0.0)
    database = make_url(fresh_postgresql_url).database
    with administrator.connect() as connection:  # which does not heed it
        connection.execute(text(f"ALTER DATABASE {database} SET idle_session_timeout = '1s'"))

    with queue_by(facade, fresh_postgresql_url) as queue:
        for number in range(2):
            queue.push(number)
            until(lambda: connections(administrator) == 0)

        assert queue.counts().available == 2


@pytest.mark.parametrize("facade", ["Queue", "AsyncQueue"])
def test_a_transaction_does_not_begin_on_a_session_that_was_ended(
    fresh_postgresql_url: str,
    administrator: Engine,
    facade: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with queue_by(facade, fresh_postgresql_url) as queue:
        queue.push_many([1, 2])
        with queue.transact() as (_, connection):
            connection.execute(text("SELECT 1"))
        assert terminate_others(administrator)
        monkeypatch.setattr(resting, "LONG", 0.0)

        with queue.transact() as (claimed, connection):
            assert claimed is not None
            connection.execute(text("SELECT 1"))

        assert queue.counts().consumed == 2


def test_what_a_server_says_meanwhile_is_no_end(fresh_postgresql_url: str) -> None:
    url = make_url(fresh_postgresql_url).set(drivername="postgresql")
    address = url.render_as_string(hide_password=False)
    with (
        psycopg.connect(address, autocommit=True) as at_rest,
        psycopg.connect(address, autocommit=True) as other,
    ):
        at_rest.execute("LISTEN something")
        other.execute("NOTIFY something")
        until(lambda: resting._has_something(at_rest.pgconn.socket))

        has_ended = resting.has_ended(at_rest)

        assert not has_ended
        assert at_rest.execute("SELECT 1").fetchone() == (1,)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    """The clock of connections at rest, which are looked at whenever they are used."""
    clock = StillClock()
    monkeypatch.setattr(resting, "time", clock)
    monkeypatch.setattr(resting, "LONG", 0.0)
    return clock


def test_a_server_that_goes_on_talking_is_not_listened_to_for_long(
    clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resting, "_has_something", lambda *_: True)
    words: list[float] = []

    def hear() -> None:
        words.append(clock.now)
        clock.now += 0.3

    talking = SimpleNamespace(pgconn=SimpleNamespace(socket=0, consume_input=hear))

    assert not resting.has_ended(talking)
    assert len(words) < 10


@asynccontextmanager
async def engine_whose_server_has_said_something(
    url: str, administrator: Engine
) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        await connection.execute(text("LISTEN something"))
        await connection.commit()
        driver: Any = (await connection.get_raw_connection()).driver_connection
    with administrator.connect() as other:
        other.execute(text("NOTIFY something"))
    until(lambda: resting._has_something(driver.pgconn.socket))
    yield engine
    await engine.dispose()


def test_an_event_loop_goes_on_while_a_server_may_have_more_to_say(
    fresh_postgresql_url: str, administrator: Engine, clock: StillClock
) -> None:
    async def story() -> bool:
        said = engine_whose_server_has_said_something(fresh_postgresql_url, administrator)
        async with said as engine:
            push = asyncio.create_task(AsyncQueue("orders", engine).push(1))
            for _ in range(20):
                await asyncio.sleep(0.01)
            waits = not push.done()
            clock.now += 1
            assert (await push).payload == 1
        return waits

    assert asyncio.run(story())


@pytest.mark.usefixtures("clock")
def test_who_is_cancelled_meanwhile_takes_no_connection_along(
    fresh_postgresql_url: str, administrator: Engine
) -> None:
    async def story() -> int:
        said = engine_whose_server_has_said_something(fresh_postgresql_url, administrator)
        async with said as engine:
            queue: AsyncQueue[int] = AsyncQueue("orders", engine)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await queue.push(1)
            pool: Any = engine.pool
            assert pool.checkedout() == 0
            await queue.push(2)
            return (await queue.counts()).available

    assert asyncio.run(story()) == 1


def test_an_error_of_the_database_is_sqlalchemys(queue: Queue, administrator: Engine) -> None:
    with administrator.connect() as connection:
        connection.execute(text("ALTER TABLE xclaim_message ADD CHECK (priority < 5)"))

    with pytest.raises(DBAPIError, match="violates check constraint"):
        queue.push(1, priority=5)

    assert queue.push(1).payload == 1


def test_an_interrupted_verb_leaves_no_broken_connection(
    queue: Queue, administrator: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BOUND", 1.0)
    queue.push(1)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    with administrator.connect() as locking:
        locking.exec_driver_sql("BEGIN")
        locking.exec_driver_sql("LOCK TABLE xclaim_message IN ACCESS EXCLUSIVE MODE")
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            queue.claim()
        locking.exec_driver_sql("ROLLBACK")
    signal.signal(signal.SIGALRM, before)

    claimed = queue.claim()

    assert claimed is not None
    assert claimed.message.attempts == 1


def test_who_listens_to_statements_hears_them(database_url: str) -> None:
    engine = create_engine(database_url)
    heard: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        heard.append(statement)

    queue = Queue("orders", engine)
    queue.push({"id": 1})
    claimed = queue.claim()

    engine.dispose()
    assert claimed is not None
    assert claimed.payload == {"id": 1}
    assert len([statement for statement in heard if "INSERT" in statement]) == 1
    assert len([statement for statement in heard if "'claimed'" in statement]) >= 1


@pytest.mark.parametrize("name", ["before_cursor_execute", "after_cursor_execute"])
@pytest.mark.parametrize("place", ["engine", "class", "original", "options", "the queue's own"])
def test_who_comes_later_and_leaves_hears_what_is_sent_meanwhile(
    database_url: str, place: str, name: str
) -> None:
    engine = create_engine(database_url)
    optional = engine.execution_options(isolation_level="AUTOCOMMIT")
    heard: list[Any] = []
    queue = Queue("orders", optional if place in ("original", "options") else engine)
    own: Any = queue._queue.runner.bind
    target = {"class": Engine, "options": optional, "the queue's own": own}.get(place, engine)
    queue.push(1)

    def hear(*of: Any) -> None:
        heard.append(of)

    event.listen(target, name, hear)
    queue.push(2)
    event.remove(target, name, hear)
    while_there = len(heard)
    queue.push(3)

    engine.dispose()
    assert while_there >= 1
    assert len(heard) == while_there


def test_who_logs_statements_reads_them(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"), Queue("orders", database_url) as queue:
        queue.push(1)

    assert "INSERT INTO xclaim_message" in caplog.text


@pytest.mark.parametrize("logged", [False, True])
def test_the_driver_and_sqlalchemy_read_the_same(
    database_url: str, caplog: pytest.LogCaptureFixture, *, logged: bool
) -> None:
    payload = {"text": "é", "number": 1.5, "list": [1, None, True], "none": None}
    with Queue("orders", database_url) as queue:
        pushed = queue.push(payload, unique_key="key", headers={"trace": "x"}, max_attempts=3)
        with caplog.at_level(logging.INFO if logged else logging.WARNING, "sqlalchemy.engine"):
            found = queue.get(pushed.id)
            claimed = queue.claim(claimed_by="me", claim_key="task")
            assert claimed is not None
            now = queue.get(pushed.id)

    assert found == pushed
    assert claimed.message == now
    assert claimed.message.headers == {"trace": "x"}
    assert str(claimed.message.created_at.tzinfo) == "UTC"


def test_threads_that_end_give_their_connections_back(
    fresh_postgresql_url: str, administrator: Engine
) -> None:
    with Queue("orders", fresh_postgresql_url) as queue:
        for _ in range(20):
            thread = threading.Thread(target=queue.push, args=[1])
            thread.start()
            thread.join()

        until(lambda: connections(administrator) <= 5)
        assert queue.counts().available == 20


def test_more_threads_than_places_work_at_once(fresh_postgresql_url: str) -> None:
    few = make_url(fresh_postgresql_url).update_query_dict({"pool_size": "6"})
    together = threading.Barrier(12)

    def work(queue: Queue) -> None:
        queue.push(1)
        together.wait(PATIENCE)
        queue.push(2)

    with Queue("orders", few) as queue:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(work, [queue] * 12))

        assert queue.counts().available == 24


def test_a_closed_queue_holds_no_connection_of_any_thread(
    fresh_postgresql_url: str, administrator: Engine
) -> None:
    with ThreadPoolExecutor(4) as pool:  # its threads live longer than the queue
        with Queue("orders", fresh_postgresql_url) as queue:
            list(pool.map(queue.push, range(8)))
            assert connections(administrator) >= 1

        until(lambda: connections(administrator) == 0)


def test_a_forked_child_does_not_share_a_held_connection(fresh_postgresql_url: str) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, fresh_postgresql_url],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ,
    )

    assert result.returncode == 0, result.stderr
