"""Limits and other transactions: what one that is open keeps from others, and what it is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError

import xclaim
from xclaim import InvalidArgumentError, Queue, verbs
from xclaim.consuming.waiting import Patience
from xclaim.operations import ordering


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = xclaim.create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = xclaim.create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("limits", [{"concurrency": 3}, {"rate": 3, "burst": 3}])
def test_an_open_transaction_keeps_the_slots_of_what_it_has_claimed_alone(
    postgresql: Engine, limits: dict[str, int]
) -> None:
    queue = Queue("orders", postgresql)
    queue.limit(**limits)  # type: ignore[arg-type]
    queue.push(1)

    with postgresql.begin() as connection:
        assert len(Queue("orders", connection).claim_many(3)) == 1
        queue.push_many([2, 3, 4])

        assert [claim.payload for claim in queue.claim_many(3)] == [2, 3]


def test_an_open_transaction_that_has_claimed_nothing_keeps_no_slot(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql)
    queue.limit(concurrency=1)
    queue.push(1, delay=timedelta(hours=1))

    with postgresql.begin() as connection:
        assert Queue("orders", connection).claim() is None
        queue.push(2)

        assert queue.claim() is not None


def test_a_limit_that_is_rolled_back_was_none(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql)
    queue.push(1)

    with pytest.raises(RuntimeError), postgresql.begin() as connection:
        Queue("orders", connection).limit(concurrency=1)
        assert Queue("orders", connection).claim() is not None
        raise RuntimeError

    assert queue.claim() is not None


def test_on_sqlite_nobody_claims_between_the_look_for_room_and_the_claim(sqlite_url: str) -> None:
    own = create_engine(make_url(sqlite_url), connect_args={"timeout": 0.05})
    with Queue("orders", sqlite_url) as queue:
        queue.push_many([1, 2])
        queue.limit(concurrency=1)
        refused: list[object] = []

        @event.listens_for(own, "after_cursor_execute")
        def claim_too(*given: object) -> None:
            if "room" in str(given[2]) and not refused:
                other = create_engine(make_url(sqlite_url), connect_args={"timeout": 0.05})
                try:
                    refused.append(Queue("orders", other).claim())
                except OperationalError as error:
                    refused.append(error)
                other.dispose()

        with own.begin() as connection:
            assert Queue("orders", connection).claim() is not None

        assert [type(each) for each in refused] == [OperationalError]
        assert queue.counts().claimed == 1
    own.dispose()


def test_pushes_without_a_limit_count_for_the_next_that_has_one(engine: Engine) -> None:
    queue = Queue("orders", engine)

    queue.push(0, max_backlog=2)
    queue.push_many([1, 2, 3])

    with pytest.raises(xclaim.QueueFullError):
        queue.push(4, max_backlog=2)


def test_what_stands_in_line_counts_as_soon_as_that_is_enabled(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql)
    queue.limit_backlog(max_backlog=3)
    queue.push(0)
    ordering.enable(postgresql)

    pushed = 0
    with pytest.raises(xclaim.QueueFullError):
        for _ in range(9):
            queue.push(1, ordering_key="a")
            pushed += 1

    assert pushed == 2


def test_a_rate_per_no_time_names_the_time(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="per must be longer than 0, not 0:00:00"):
        Queue("orders", engine).limit(rate=1, per=timedelta(0))


def test_a_time_that_was_written_as_infinity_stops_no_look(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql)
    queue.push_many([1, 2])
    queue.limit(rate=1)
    with postgresql.begin() as connection:
        connection.exec_driver_sql("UPDATE xclaim_slot SET taken_at = 'infinity'")

    assert queue.claim() is None
    assert queue.newest_available_at() is None
    assert verbs.due_in(postgresql, None, "orders") is None


def test_a_rate_waits_for_a_clock_that_was_set_back_unless_its_slots_are_emptied(
    engine: Engine,
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "guides" / "limits.md").read_text()
    (remedy,) = re.findall("`(UPDATE xclaim_slot .+?)`", page)
    queue = Queue("api-calls", engine)
    queue.push_many([1, 2, 3])
    queue.limit(rate=1_000, burst=2)
    queue.claim_many(2)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE xclaim_slot SET taken_at = '2999-01-01 00:00:00.000'")
    assert queue.claim() is None

    with engine.begin() as connection:
        connection.exec_driver_sql(remedy)

    assert queue.claim() is not None


def test_a_claim_that_waits_for_a_rate_knows_how_long(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2, 3])
    queue.limit(rate=10, per=timedelta(hours=1))
    queue.claim()
    before = verbs.due_in(engine, None, "orders")

    queue.claim()
    when_empty = verbs.due_in(engine, None, "orders")
    queue.limit(concurrency=1, rate=10, per=timedelta(hours=1))
    queue.claim()

    assert before is None
    assert when_empty is not None
    assert 180 < when_empty < 361
    assert verbs.due_in(engine, None, "orders") is None  # nobody knows when the other ends


def test_nobody_waits_for_a_rate_that_has_ended(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2])
    queue.limit(rate=1, per=timedelta(days=1))
    queue.claim()
    assert queue.claim() is None
    assert verbs.due_in(engine, None, "orders") is not None

    queue.limit()
    assert queue.claim() is not None
    assert queue.claim() is None

    assert verbs.due_in(engine, None, "orders") is None


def test_who_waits_for_a_rate_looks_when_it_is_due_and_less_often_if_in_vain() -> None:
    patience = Patience(timedelta(hours=1), ["postgresql"])

    pauses = [patience.pause(0.3) or 0.0 for _ in range(40)]

    assert pauses[0] == 0.3
    assert pauses == sorted(pauses)
    assert pauses[-1] == 2.0
    assert Patience(timedelta(hours=1), ["postgresql"]).pause(3_000.0) == 2.0  # it may change
