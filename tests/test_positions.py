"""A claim starts where the last one ended: only a hint, which hides nothing for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, text

from tests.eventually import until
from tests.retrying import AT_ONCE
from tests.still_clock import StillClock
from xclaim import Claim, ClaimLostError, Queue, create_engine
from xclaim.sql import full_names, statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table
from xclaim.sql.statements import Start
from xclaim.verbs import hints
from xclaim.verbs.hints import recall, start_of

BACKLOG = 4_000


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let claims look back so often that a small backlog does for these tests."""
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 0.05)


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url, pool_size=10)
    yield engine
    engine.dispose()


@pytest.fixture
def other_engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine, retry=AT_ONCE)


@pytest.fixture
def other(other_engine: Engine) -> Queue:
    """The queue as another process sees it, whose changes ours is not told."""
    return Queue("orders", other_engine)


def one_at_a_time(queue: Queue) -> Iterator[Claim]:
    while (claimed := queue.claim()) is not None:
        yield claimed
        queue.ack(claimed)


def in_batches(queue: Queue) -> Iterator[Claim]:
    while claims := queue.claim_many(10):
        yield from claims
        queue.ack_many(claims)


MODES: dict[str, Callable[[Queue], Any]] = {
    "one at a time": one_at_a_time,
    "in batches": in_batches,
    "stream of 1": lambda queue: queue.stream(batch=1),
    "stream of 10": lambda queue: queue.stream(batch=10),
}


@pytest.fixture(params=MODES)
def claims(request: pytest.FixtureRequest, queue: Queue) -> Iterator[Iterator[Claim]]:
    """What a worker claims from a backlog, whose position is behind the first few."""
    queue.push_many([0] * BACKLOG)
    claims = MODES[request.param](queue)
    for _ in range(25):
        next(claims)
    yield claims
    claims.close()


def is_claimed_before_the_backlog_ends(claims: Iterator[Claim], message_id: int) -> bool:
    for claimed in claims:
        if claimed.message.id == message_id:
            return next(claims, None) is not None
    return False


def pages_of_a_claim(engine: Engine, start: Start, place: Mapping[str, Any]) -> int:
    """Return how many pages a claim touches that starts there; it is rolled back."""
    statement = statements.claim(message_table(), POSTGRESQL, start=start)
    parameters = {
        "queue_name": "orders",
        "claimant": "me",
        "key": None,
        "lease_seconds": 60.0,
        "token_secret": b"of this statement",
    }
    with engine.connect() as connection:
        cursor = connection.connection.cursor()
        explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
        cursor.execute(
            f"{explain}{statement.compile(dialect=full_names.dialect())}", {**parameters, **place}
        )
        plan = cursor.fetchall()[0][0][0]["Plan"]
        connection.rollback()
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_an_old_snapshot_does_not_slow_a_claim_down(
    fresh_postgresql_url: str, engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 60.0)
    queue.push_many([0] * BACKLOG)
    with closing(psycopg.connect(fresh_postgresql_url.replace("+psycopg", ""))) as snapshot:
        snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        snapshot.execute("SELECT count(*) FROM xclaim_message")
        for _ in range(30):
            queue.ack_many(queue.claim_many(100))

        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            start, place = start_of(connection, recall(connection, None, "orders"))
        behind = pages_of_a_claim(engine, start, place)
        from_the_head = pages_of_a_claim(engine, Start.HEAD, {})

    assert start is Start.POSITION
    assert behind * 4 < from_the_head


def test_a_higher_priority_of_another_process_comes_soon(
    claims: Iterator[Claim], other: Queue
) -> None:
    urgent = other.push("urgent", priority=5)

    assert is_claimed_before_the_backlog_ends(claims, urgent.id)


def test_what_another_process_releases_comes_soon(claims: Iterator[Claim], other: Queue) -> None:
    held = other.claim()
    assert held is not None
    next(claims)

    other.release(held)

    assert is_claimed_before_the_backlog_ends(claims, held.message.id)


def test_a_delayed_message_that_became_due_comes_soon(
    claims: Iterator[Claim], other: Queue, other_engine: Engine
) -> None:
    delayed = other.push("delayed", delay=timedelta(days=1))

    with other_engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET available_at = '2020-01-01' WHERE id = :id"),
            {"id": delayed.id},
        )

    assert is_claimed_before_the_backlog_ends(claims, delayed.id)


def test_a_message_that_was_committed_late_comes_soon(queue: Queue, other_engine: Engine) -> None:
    with other_engine.begin() as connection:
        late = Queue("orders", connection).push("late")
        queue.push_many([0] * BACKLOG)
        claims = one_at_a_time(queue)
        for _ in range(25):
            next(claims)

    assert is_claimed_before_the_backlog_ends(claims, late.id)


def test_the_next_claim_sees_what_this_process_did(engine: Engine, queue: Queue) -> None:
    queue.push_many([0] * 100)
    first, *_ = queue.claim_many(30)
    another_queue_object = Queue("orders", engine)

    queue.release(first)
    after_release = queue.claim()
    urgent = another_queue_object.push("urgent", priority=5)
    after_push = queue.claim()

    assert after_release is not None
    assert after_release.message.id == first.message.id
    assert after_push is not None
    assert after_push.message.id == urgent.id


def test_the_next_claim_sees_what_was_redriven_and_expired(queue: Queue) -> None:
    dead = queue.push("dead", max_attempts=1, priority=5)
    held = queue.claim()
    assert held is not None
    queue.release(held)
    queue.push("lapsed", priority=4)
    queue.claim(lease=timedelta(0))
    queue.push_many([0] * 100)
    queue.claim_many(10)

    queue.expire()
    lapsed = queue.claim()
    queue.redrive()
    redriven = queue.claim()

    assert lapsed is not None
    assert lapsed.payload == "lapsed"
    assert redriven is not None
    assert redriven.message.id == dead.id


def test_a_claim_that_was_rolled_back_can_be_claimed_at_once(engine: Engine, queue: Queue) -> None:
    queue.push_many([0] * 100)
    queue.claim_many(10)

    with engine.connect() as connection:
        undone = Queue("orders", connection).claim()
        connection.rollback()
    again = queue.claim()

    assert undone is not None
    assert again is not None
    assert again.message.id == undone.message.id


@pytest.mark.parametrize("limit", [2, 50, 1_000])
def test_a_claim_gets_all_it_asks_for_also_from_before_the_position(
    queue: Queue, other: Queue, limit: int
) -> None:
    queue.push_many([0] * 100)
    held = other.claim_many(30)
    queue.claim_many(20)

    for claim in held[:20]:
        other.release(claim)
    claimed = [queue.claim_many(limit) for _ in range(70 // limit + 1)]

    assert [len(claims) for claims in claimed] == [min(limit, 70)] * (70 // limit) + [
        70 - 70 // limit * min(limit, 70)
    ]


def test_threads_of_one_engine_consume_each_message_once(engine: Engine) -> None:
    pushed = Queue("orders", engine).push_many([0] * 2_000)

    def work(mode: str) -> list[int]:
        return [claimed.message.id for claimed in MODES[mode](Queue("orders", engine))]

    with ThreadPoolExecutor(len(MODES)) as pool:
        consumed = [id_ for ids in pool.map(work, MODES) for id_ in ids]

    assert sorted(consumed) == [message.id for message in pushed]


def test_threads_of_one_queue_consume_each_message_once(fresh_postgresql_url: str) -> None:
    with Queue("orders", fresh_postgresql_url) as queue, ThreadPoolExecutor(8) as pool:
        pushed = queue.push_many([0] * 1_000)

        threads = [
            pool.submit(lambda: [each.message.id for each in one_at_a_time(queue)])
            for _ in range(8)
        ]
        consumed = [id_ for thread in threads for id_ in thread.result()]

    assert sorted(consumed) == [message.id for message in pushed]


def test_a_pause_of_another_process_is_heeded_within_the_time_of_a_position(
    engine: Engine, queue: Queue, other: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.push_many([0] * BACKLOG)
    claims = one_at_a_time(queue)
    for _ in range(25):
        next(claims)
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 600.0)

    other.pause()
    behind = queue.claim()  # nobody has told this process
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 0.0)
    recall_of(engine)._look_back_due = 0.0
    from_the_head = queue.claim()
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 600.0)

    assert behind is not None
    assert from_the_head is None
    assert queue.claim() is None
    assert recall_of(engine).position() is None


def recall_of(engine: Engine) -> hints.Hints:
    with engine.connect() as connection:
        return recall(connection, None, "orders")


def test_a_claim_that_began_behind_a_position_brings_none_back_to_a_paused_queue(
    engine: Engine, queue: Queue, other: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 600.0)
    queue.push_many([0] * 10)
    taken = queue.claim_many(2)
    of_queue = recall_of(engine)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        start, _ = start_of(connection, of_queue)
        other.pause()
        of_queue.remember(connection, [], Start.HEAD)  # another thread's claim, which asks

        of_queue.remember(connection, taken, start)

    assert start is Start.POSITION
    assert queue.claim() is None


def test_what_is_taken_back_by_its_claim_key_keeps_no_position_of_a_paused_queue(
    engine: Engine, queue: Queue, other: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.push_many([0] * 10)
    held = queue.claim(claim_key="of a task", claimed_by="first attempt")
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 600.0)
    queue.claim()
    behind = recall_of(engine).position()
    other.pause()
    monkeypatch.setattr(recall_of(engine), "_looked_back_at", float("-inf"))

    again = queue.claim(claim_key="of a task", claimed_by="second attempt")

    assert behind is not None
    assert held is not None
    assert again is not None
    assert again.message.id == held.message.id
    assert queue.claim() is None


@pytest.mark.parametrize("claim_key", [None, "the same"])
def test_threads_that_claim_all_the_time_are_handed_nothing_after_a_pause(
    queue: Queue, other: Queue, claim_key: str | None
) -> None:
    ids = {message.id for message in queue.push_many([0] * BACKLOG)}
    consumed: list[int] = []
    is_over = threading.Event()

    def work(number: int) -> None:
        while not is_over.is_set():
            claimed = queue.claim(claimed_by=f"worker {number}", claim_key=claim_key)
            if claimed is None:
                time.sleep(0.001)
                continue
            try:
                queue.ack(claimed)
            except ClaimLostError:  # another of the same key has taken it back
                continue
            consumed.append(claimed.message.id)

    with ThreadPoolExecutor(8) as pool:
        workers = [pool.submit(work, number) for number in range(8)]
        try:
            until(lambda: len(consumed) > 100)
            other.pause()
            until(lambda: is_quiet(other))
            before = other.counts()
            for _ in range(200):  # the workers claim all the time
                assert queue.claim() is None
            after = other.counts()
            other.unpause()
            until(lambda: len(consumed) >= BACKLOG)
        finally:
            is_over.set()
        for worker in workers:
            worker.result()

    assert before.available > 0
    assert after == before
    assert sorted(consumed) == sorted(ids)
    assert other.counts().consumed == BACKLOG


def is_quiet(queue: Queue) -> bool:
    """Return whether nothing was handed out for as long as a position holds, many times over."""
    before = queue.counts()
    time.sleep(10 * hints.LOOK_BACK_EVERY)
    return before.claimed == 0 and queue.counts() == before


def test_looks_back_that_take_long_are_rarer_but_not_as_rare_as_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = StillClock()
    monkeypatch.setattr(hints, "time", clock)
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 0.25)
    remembered = hints.Hints()
    remembered._position = hints.Position(0, datetime(2026, 1, 1, tzinfo=UTC), 7)

    def pause_after(*looks: float) -> float:
        remembered.note_claim_behind(0.01)
        for seconds in looks:
            remembered.look_back()
            remembered.note_look_back(seconds)
        began = clock.now
        while remembered.position() is not None:
            clock.now += 1 / 64
        return clock.now - began

    assert pause_after(3.0, 3.0) == 0.25  # of too few: the first ones connect, and make plans
    assert pause_after(0.01) == 0.25
    assert pause_after(3.0, 3.0) == 0.25  # as the quickest says: others waited for a processor
    assert pause_after(0.06, 3.0, 3.0) == 0.5  # by what it takes beyond a claim behind
    assert 0.9 <= pause_after(3.0, 3.0, 3.0) < 1.0
    assert pause_after(0.01) == 0.25


def test_each_claim_is_timed_as_what_it_was(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 600.0)
    queue.push_many([0] * 10)
    remembered = recall_of(engine)
    for _ in range(3):
        remembered._looked_back_at = float("-inf")
        queue.claim()
        queue.claim()  # behind the position of the one before

    assert (len(remembered._looks_back), len(remembered._behind)) == (3, 3)


def test_a_claim_in_a_transaction_is_no_look_back(engine: Engine) -> None:
    with engine.begin() as connection:
        bound = Queue("orders", connection)
        bound.push_many([0] * 3)
        assert bound.claim() is not None

    assert not recall_of(engine)._looks_back
