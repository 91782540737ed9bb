"""Lapsed claims are given back, whatever else lies before them in their queue.

On PostgreSQL, where a transaction locks rows: SQLite has one writer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.contract.facades import queue_by
from tests.retrying import AT_ONCE
from xclaim import Claim, Queue, create_engine
from xclaim.verbs.taking import _SWEEP_SIZE
from xclaim.verbs.upkeep import BATCH


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, fresh_postgresql_url: str) -> Iterator[Queue[Any]]:
    with queue_by(request.param, fresh_postgresql_url, retry=AT_ONCE) as queue:
        yield queue


def lapsed(engine: Engine, count: int) -> list[Claim]:
    """Return claims whose leases have ended, one after another."""
    queue = Queue("orders", engine)
    queue.push_many(list(range(count)))
    claims = queue.claim_many(count)
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE xclaim_message SET claim_expires_at = claimed_at - interval '1 hour'"
                " + id * interval '1 ms'"
            )
        )
    return claims


def test_a_claim_finds_them_behind_those_that_a_transaction_settles(
    engine: Engine, queue: Queue[Any]
) -> None:
    claims = lapsed(engine, _SWEEP_SIZE + 10)

    with engine.begin() as connection:
        Queue("orders", connection).ack_many(claims[:_SWEEP_SIZE])
        claimed = queue.claim_many(100)

    assert [each.message.id for each in claimed] == [
        each.message.id for each in claims[_SWEEP_SIZE:]
    ]


def test_all_expire_but_those_that_a_transaction_settles(engine: Engine, queue: Queue[Any]) -> None:
    claims = lapsed(engine, BATCH + 10)

    with engine.begin() as connection:
        Queue("orders", connection).ack_many(claims[:BATCH])
        expired = queue.expire()

    assert expired == 10
    assert queue.counts().consumed == BATCH


def test_one_that_is_extended_meanwhile_is_left_alone(engine: Engine, queue: Queue[Any]) -> None:
    first, second = lapsed(engine, 2)

    queue.extend(first, lease=timedelta(hours=1))

    assert queue.expire() == 1
    queue.ack(first)
    assert queue.counts().available == 1
    assert second.message.payload == 1


def test_the_first_are_given_back_first(engine: Engine, queue: Queue[Any]) -> None:
    claims = lapsed(engine, 20)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET claim_expires_at = claimed_at - id * interval '1 s'")
        )

    assert queue.expire(limit=5) == 5

    back = "SELECT id FROM xclaim_message WHERE status = 'available' ORDER BY id"
    with engine.connect() as connection:
        ids = connection.execute(text(back)).scalars().all()
    assert ids == [each.message.id for each in claims[-5:]]
