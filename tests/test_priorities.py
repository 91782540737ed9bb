"""Many priorities: the order holds, and what is only delayed costs little, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from benchmarks import priority_cost
from benchmarks.measuring import WrongResultError
from xclaim import Queue, create_engine
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL, SQLITE
from xclaim.sql.schema import message_table
from xclaim.sql.statements import Start
from xclaim.sql.statements.order import _LEVELS
from xclaim.verbs import hints

HOUR = timedelta(hours=1)
MANY = _LEVELS * 3


@pytest.fixture(params=["sqlite_url", "fresh_postgresql_url"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine)


@pytest.fixture
def other(url: str) -> Iterator[Queue]:
    """The queue as another process sees it, whose changes ours is not told."""
    with Queue("orders", url) as other:
        yield other


def fill(queue: Queue, *, delay: timedelta | None = None) -> None:
    for priority in range(MANY):
        queue.push_many([priority, priority], priority=priority, delay=delay)


@pytest.mark.parametrize("size", [1, 7, MANY])
def test_the_order_holds_over_many_priorities(queue: Queue, size: int) -> None:
    fill(queue)
    expected = [priority for priority in range(MANY - 1, -1, -1) for _ in range(2)]
    assert [message.payload for message in queue.peek(2 * MANY)] == expected

    claimed = []
    while claims := queue.claim_many(size):
        claimed += [claim.payload for claim in claims]
        queue.ack_many(claims)

    assert claimed == expected


def test_what_waits_below_many_priorities_of_delayed_messages_is_claimed(queue: Queue) -> None:
    fill(queue, delay=HOUR)
    queue.push_many(["low", "lower"], priority=-1)
    queue.push("lowest", priority=-2)
    queue.push("between", priority=_LEVELS // 2)

    claims = queue.claim_many(10)

    assert [claim.payload for claim in claims] == ["between", "low", "lower", "lowest"]
    assert queue.claim() is None


def test_an_earlier_attempt_is_resumed_below_many_priorities(queue: Queue) -> None:
    fill(queue, delay=HOUR)
    queue.push_many([1, 2], priority=-1)

    first = queue.claim(claim_key="task", claimed_by="try 1")
    again = queue.claim(claim_key="task", claimed_by="try 2")

    assert first is not None
    assert again is not None
    assert again.message.id == first.message.id


def test_a_claim_begins_where_the_last_one_ended(
    queue: Queue, other: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 3_600)
    queue.push_many([1, 2, 3])
    first = queue.claim()
    other.push("urgent", priority=9)

    claims = [queue.claim() for _ in range(4)]

    assert first is not None
    assert [claim and claim.payload for claim in claims] == [2, 3, "urgent", None]


def test_a_higher_priority_of_another_process_comes_with_the_next_look_back(
    queue: Queue, other: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 0)
    monkeypatch.setattr(hints, "_LOOK_BACK_SELDOM", 0)
    queue.push_many([1, 2, 3])
    first = queue.claim()
    other.push("urgent", priority=9)

    claims = [queue.claim() for _ in range(3)]

    assert first is not None
    assert [claim and claim.payload for claim in claims] == ["urgent", 2, 3]


def test_with_few_priorities_the_rest_of_the_index_is_not_read(
    fresh_postgresql_url: str,
) -> None:
    engine = create_engine(fresh_postgresql_url)
    Queue("orders", engine).push_many([1] * 100, delay=HOUR)
    statement = statements.claim(message_table(), POSTGRESQL, start=Start.HEAD)
    parameters = {"queue_name": "orders", "claimant": "me", "key": None, "lease_seconds": 60.0}
    parameters |= POSTGRESQL.token_parameters()
    with engine.connect() as connection:
        text = f"EXPLAIN (ANALYZE) {statement.compile(dialect=engine.dialect)}"
        plan = connection.exec_driver_sql(text, parameters).scalars().all()
    engine.dispose()

    (rest,) = [line for line in plan if "Subquery Scan on behind" in line]
    assert "never executed" in rest or "rows=0" in rest


@pytest.mark.parametrize("start", [Start.HEAD, Start.POSITION])
def test_sqlite_reads_the_claim_index_in_its_order(sqlite_url: str, start: Start) -> None:
    engine = create_engine(sqlite_url)
    compiled = statements.claim(message_table(), SQLITE, start=start).compile(
        dialect=engine.dialect
    )
    with engine.connect() as connection:
        query = f"EXPLAIN QUERY PLAN {compiled}"
        values = {name: compiled.params[name] for name in compiled.params}
        plan = connection.exec_driver_sql(
            query, tuple(values[name] for name in compiled.positiontup or ())
        ).all()
    engine.dispose()

    steps = [str(row[-1]) for row in plan]
    searched = [step for step in steps if "waiting" in step or "other" in step]
    assert searched
    assert all("ix_xclaim_message_claim" in step for step in searched)
    assert not any("TEMP B-TREE" in step for step in steps)


def test_the_cost_of_priorities_is_not_measured_with_other_messages(queue: Queue) -> None:
    queue.push({"is_good": False})

    with pytest.raises(WrongResultError, match="instead of a good message"):
        priority_cost._claim(queue, looks_back=False)
    with pytest.raises(WrongResultError, match="good messages"):
        priority_cost._check(queue, priority_cost.ONE, rounds=1)
