"""Processes at a queue with limits, one of them killed every 0.15 s.

What each has told shows how many messages were certainly claimed at once; a trigger of the test
writes down when each claim began, also those of processes that were killed before they could tell.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine, text

from tests.eventually import PATIENCE
from tests.ordering import history
from tests.ordering.limit_racer import race
from tests.ordering.racer import LEASE, QUEUE, RETRY, STOP
from xclaim import Queue, create_engine

pytestmark = pytest.mark.slow

_KILL_EVERY = 0.15  # seconds
_AT_WORK = 500  # bytes of a log: whoever is killed has claimed something
_PROCESSES, _SECONDS = 6, 4
_CONSUMED = text("SELECT count(*) FROM xclaim_message WHERE status = 'consumed'")
_CLAIMED = text("SELECT count(*) FROM xclaim_message WHERE status = 'claimed'")
_BEGUN = text("SELECT claimed_at FROM begun ORDER BY claimed_at")
_NOTES = {
    "postgresql": """
        CREATE TABLE begun (claimed_at timestamptz);
        CREATE FUNCTION note_begun() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO begun VALUES (NEW.claimed_at); RETURN NULL; END';
        CREATE TRIGGER begins AFTER UPDATE OF status ON xclaim_message FOR EACH ROW
            WHEN (OLD.status = 'available' AND NEW.status = 'claimed')
            EXECUTE FUNCTION note_begun()
    """,
    "sqlite": """
        CREATE TABLE begun (claimed_at text);
        CREATE TRIGGER begins AFTER UPDATE OF status ON xclaim_message
            WHEN OLD.status = 'available' AND NEW.status = 'claimed'
        BEGIN INSERT INTO begun VALUES (NEW.claimed_at) ; END
    """,
}


class _Crowd:
    """Processes at work, of which one after the other is killed and replaced."""

    def __init__(self, url: str, folder: Path, count: int) -> None:
        self._url, self._folder = url, folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.ordering.limit_racer"])
        self._random, self._started = Random(1), 0
        self.kills = 0
        self._running = [self._start() for _ in range(count)]

    def kill_one(self) -> None:
        """Kill one that is at work, if there is any."""
        at_work = [each for each in self._running if self._is_at_work(each)]
        if not at_work:
            return
        process = self._random.choice(at_work)
        process.kill()
        process.join()
        self.kills += 1
        self._running[self._running.index(process)] = self._start()

    def _is_at_work(self, process: BaseProcess) -> bool:
        log = self._folder / f"{process.name}.jsonl"
        return log.exists() and log.stat().st_size >= _AT_WORK

    def stop(self) -> None:
        """Let each finish what it does."""
        (self._folder / STOP).touch()
        for process in self._running:
            process.join(PATIENCE)
            assert process.exitcode == 0

    def _start(self) -> BaseProcess:
        self._started += 1
        name = f"racer-{self._started}"
        given = (name, self._url, self._folder, self._started)
        process = self._context.Process(target=race, args=given, name=name, daemon=True)
        process.start()
        return process


def _raced(url: str, folder: Path, *, at_once: int) -> tuple[int, int]:
    """Race; return how many were killed, and how many were claimed at once as the table had it.

    Until so many were, and until enough was done and killed to tell something: the machine may be
    slow.
    """
    engine = create_engine(url)
    crowd = _Crowd(url, folder, _PROCESSES)
    most = consumed = 0
    try:
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end or crowd.kills < 8 or most < at_once or consumed < 20:
            assert time.monotonic() < end + PATIENCE
            time.sleep(_KILL_EVERY)
            crowd.kill_one()
            with engine.connect() as connection:
                most = max(most, connection.scalar(_CLAIMED) or 0)
                consumed = connection.scalar(_CONSUMED) or 0
    finally:
        crowd.stop()
        engine.dispose()
    return crowd.kills, most


def _prepared(url: str) -> Engine:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in _NOTES[engine.dialect.name].split(";\n"):
            connection.exec_driver_sql(statement)
    queue = Queue(QUEUE, engine, retry=RETRY)
    queue.push_many(range(3_000))
    queue.push_many(range(300), max_attempts=2, priority=1)
    return engine


def _most_at_once(told: history.History) -> int:
    """Return how many claims were certainly held at once."""
    held = [each for each in told.claims.values() if each.until > each.from_]
    changes = sorted([*[(each.until, -1) for each in held], *[(each.from_, 1) for each in held]])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _drained(engine: Engine) -> None:
    """Take all that is left, without limits: nothing is stuck, and nothing was lost."""
    queue = Queue(QUEUE, engine, retry=RETRY)
    queue.limit()
    time.sleep(LEASE.total_seconds() * 1.5)
    queue.expire()
    queue.redrive()
    while claims := queue.claim_many(500):
        queue.ack_many(claims)
    counts = queue.counts()
    assert (counts.consumed, counts.available, counts.claimed) == (3_300, 0, 0)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_more_are_claimed_at_once_whoever_is_killed(
    database_url: str, tmp_path: Path, concurrency: int
) -> None:
    engine = _prepared(database_url)
    Queue(QUEUE, engine).limit(concurrency=concurrency)

    kills, seen = _raced(database_url, tmp_path, at_once=min(2, concurrency))

    told = history.read(tmp_path)
    acked = Counter(held.message_id for held in told.acks())
    assert told.unexpected == []
    assert kills >= 8
    assert len(acked) > 10
    assert max(acked.values()) == 1
    assert _most_at_once(told) <= concurrency
    assert seen <= concurrency
    _drained(engine)
    engine.dispose()


@pytest.mark.parametrize("burst", [1, 5])
def test_no_more_claims_begin_in_any_time_whoever_is_killed(
    database_url: str, tmp_path: Path, burst: int
) -> None:
    engine = _prepared(database_url)
    Queue(QUEUE, engine).limit(rate=50, burst=burst, concurrency=8)

    kills, seen = _raced(database_url, tmp_path, at_once=1)

    told = history.read(tmp_path)
    with engine.connect() as connection:
        begun = [_time(row.claimed_at) for row in connection.execute(_BEGUN)]
    spacing = timedelta(seconds=burst / 50)
    gaps = [later - earlier for earlier, later in zip(begun, begun[burst:], strict=False)]
    assert told.unexpected == []
    assert kills >= 8
    assert len(begun) > 20
    assert min(gaps) >= spacing
    assert seen <= 8
    _drained(engine)
    engine.dispose()


def test_a_limit_that_changes_all_the_time_is_never_passed(
    fresh_postgresql_url: str, tmp_path: Path
) -> None:
    engine = _prepared(fresh_postgresql_url)
    queue = Queue(QUEUE, engine)
    queue.limit(concurrency=6)
    crowd = _Crowd(fresh_postgresql_url, tmp_path, 6)

    for number in range(12):
        queue.limit(concurrency=2 if number % 2 else 6)
        time.sleep(LEASE.total_seconds())
        crowd.kill_one()
    crowd.stop()

    told = history.read(tmp_path)
    assert told.unexpected == []
    assert _most_at_once(told) <= 6
    _drained(engine)
    engine.dispose()


def _time(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
