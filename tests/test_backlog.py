"""A limited backlog: how often it is asked for, who else pushes, and who may not know of it."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import ProgrammingError

from tests.eventually import PATIENCE
from xclaim import AsyncQueue, Place, Places, Queue, QueueFullError, create_engine
from xclaim.connections import direct
from xclaim.verbs import backlog, pushing

LONG = timedelta(seconds=30)
PRODUCER = """
import sys, time
from xclaim import Queue, QueueFullError
with Queue("race", sys.argv[1]) as queue:
    print("ready", flush=True)
    sys.stdin.readline()
    pushed, ends_at = 0, time.monotonic() + 3
    while time.monotonic() < ends_at:
        try:
            queue.push(pushed)
            pushed += 1
        except QueueFullError:
            time.sleep(0.01)
print(pushed)
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are sent from now on."""
    texts: list[str] = []
    run = direct.run

    def noted(connection: Any, statement: Any, *given: Any, **options: Any) -> Any:
        texts.append(str(statement))
        return run(connection, statement, *given, **options)

    monkeypatch.setattr(direct, "run", noted)
    return texts


def counts_in(texts: list[str]) -> int:
    return sum("max_backlog" in each and "INSERT" not in each for each in texts)


def test_a_queue_without_a_limit_pays_no_statement(
    engine: Engine, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_ASKED_EVERY", PATIENCE)
    queue = Queue("orders", engine)

    for number in range(5):
        queue.push(number)
        queue.push(number, unique_key=str(number))
    queue.push_many(range(3))

    assert len(sent) == 11
    assert all(each.startswith(("INSERT", "WITH")) for each in sent)
    assert sum("xclaim_queue" in each for each in sent) == 1


def test_messages_are_counted_once_a_second(
    engine: Engine, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_ASKED_EVERY", PATIENCE)  # a machine may be slow
    queue = Queue("orders", engine)
    queue.limit_backlog(max_backlog=100)
    sent.clear()

    for number in range(20):
        queue.push(number)

    assert counts_in(sent) == 1
    # The push that finds out, the count, and on PostgreSQL whether messages stand in line.
    assert len(sent) <= 21 + 2


def test_a_full_queue_is_counted_ten_times_a_second(engine: Engine, sent: list[str]) -> None:
    queue = Queue("orders", engine)
    queue.push(1)
    queue.limit_backlog(max_backlog=1)
    sent.clear()
    began = time.monotonic()

    for _ in range(50):
        with pytest.raises(QueueFullError):
            queue.push("more")

    assert counts_in(sent) <= 1 + 10 * (time.monotonic() - began)


def test_room_that_others_make_is_noticed_sooner_than_in_a_second(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_ASKED_EVERY", 3600.0)
    queue = Queue("orders", engine)
    queue.push(1)
    queue.limit_backlog(max_backlog=1)
    with pytest.raises(QueueFullError):
        queue.push(2)

    assert queue.claim() is not None
    ends_at = time.monotonic() + PATIENCE
    while queue.push(2, on_full="skip") is None:
        assert time.monotonic() < ends_at

    assert queue.counts().available == 1


def test_a_new_limit_of_others_is_heeded_within_a_second(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(backlog, "time", SimpleNamespace(monotonic=lambda: now))
    queue, others = Queue("orders", engine), create_engine(database_url)
    queue.push(1)

    Queue("orders", others).limit_backlog(max_backlog=1)
    now += 1

    with pytest.raises(QueueFullError):
        queue.push("more")
    others.dispose()


def test_threads_of_a_process_keep_the_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue("orders", engine)
    queue.limit_backlog(max_backlog=50)

    def push(number: int) -> bool:
        return queue.push(number, on_full="skip") is not None

    with ThreadPoolExecutor(8) as threads:
        pushed = sum(threads.map(push, range(200)))

    # What is pushed while it is counted is added to the count, which may have it: on a slow machine
    # the last count may say so, and the next one finds the room.
    assert pushed == queue.counts().available <= 50
    monkeypatch.setattr(backlog, "_ASKED_EVERY", 0.0)
    while push(0):
        pushed += 1
    assert pushed == queue.counts().available == 50


def test_a_push_that_fails_gives_its_room_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue("orders", engine)
    queue.limit_backlog(max_backlog=2)
    queue.push(1)

    with monkeypatch.context() as broken, pytest.raises(ZeroDivisionError):
        broken.setattr(pushing, "_push", lambda *_, **__: 1 / 0)
        queue.push(2)

    queue.push(2)
    assert queue.counts().available == 2


def test_producers_exceed_a_limit_by_what_they_push_in_a_second(
    database_url: str, engine: Engine
) -> None:
    Queue("race", engine).limit_backlog(max_backlog=100)
    command = [sys.executable, "-c", PRODUCER, database_url]
    producers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for each in producers:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"

    answers = [each.communicate("\n", timeout=PATIENCE)[0] for each in producers]

    available = Queue("race", engine).counts().available
    assert sum(map(int, answers)) == available
    assert 100 <= available <= 4 * 100  # each counted once before the others had pushed


def test_a_wait_is_cancelled_at_once(database_url: str, engine: Engine) -> None:
    Queue("orders", engine).limit_backlog(max_backlog=1, on_full="wait")

    async def cancelled() -> float:
        async with AsyncQueue("orders", database_url) as queue:
            await queue.push(1)
            waits = asyncio.create_task(queue.push(2, wait=LONG))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            return time.monotonic() - began

    assert asyncio.run(cancelled()) < 5
    assert Queue("orders", engine).counts().available == 1


def test_those_who_wait_share_the_room(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "_ASKED_EVERY", 0.1)
    queue = Queue("orders", engine)
    queue.limit_backlog(max_backlog=2, on_full="wait")
    ended = threading.Event()

    def consume() -> None:
        while not ended.wait(0.05):
            with queue.consume():
                pass

    consumer = threading.Thread(target=consume)
    consumer.start()
    with ThreadPoolExecutor(4) as threads:
        pushed = list(threads.map(lambda number: queue.push(number, wait=LONG), range(12)))
    ended.set()
    consumer.join()

    assert len({message.id for message in pushed}) == 12


def test_each_part_of_a_split_queue_has_the_limit(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_ASKED_EVERY", 0.0)
    place = Place(name="one", queues=["*"], url=database_url)
    with Queue("orders", Places([place], parts={"orders": 2})) as queue:
        queue.limit_backlog(max_backlog=2)

        for number in range(4):
            queue.push(number)
        with pytest.raises(QueueFullError, match=r"'orders[.][01]' is full"):
            queue.push(4)
        assert queue.push(4, on_full="skip") is None
        assert queue.backlog().waiting == 4
        assert queue.backlog().max_backlog == 4
        keys = [str(number) for number in range(10)]
        assert queue.push_many(keys, unique_keys=keys, on_full="skip") == [None] * 10


def test_a_role_that_may_not_read_the_settings_is_refused(postgresql_url: str) -> None:
    engine, role = create_engine(postgresql_url), f"xclaim_test_by_hand_{secrets.token_hex(4)}"
    with engine.connect() as connection:
        with pytest.raises(ProgrammingError, match="xclaim_queue"):
            connection.execute(text(f"CREATE ROLE {role}"))
            connection.execute(text(f"GRANT SELECT, INSERT ON xclaim_message TO {role}"))
            connection.execute(text(f"SET LOCAL ROLE {role}"))
            Queue("orders", connection).push(1)
        connection.rollback()
    engine.dispose()
