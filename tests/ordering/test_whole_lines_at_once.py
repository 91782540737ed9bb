"""Batches of one key while others settle a part of them: nobody waits, and no line is stuck."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.ordering.draining import drained
from tests.people import People, people
from tests.retrying import AT_ONCE
from xclaim import Claim, Queue
from xclaim.operations import ordering
from xclaim.operations.audit import audit

HOUR = timedelta(hours=1)
_DUE_NOW = text(
    "UPDATE xclaim_message SET due_at = created_at WHERE awaited_ids IS NOT NULL"
    " AND due_at IS NOT NULL AND available_at IS NOT NULL"
)
_IN_HOURS = text(
    "SELECT extract(epoch FROM available_at - now()) / 3600 FROM xclaim_message"
    " WHERE status = 'available'"
)
_SKIPPED = text("SELECT FROM xclaim_message WHERE id = :id FOR NO KEY UPDATE")


@pytest.fixture
def queue(postgresql: Engine) -> Queue:
    return Queue("orders", postgresql, retry=AT_ONCE)


@pytest.fixture
def impatient(postgresql: Engine) -> Iterator[Engine]:
    """An engine whose statements wait for nobody."""
    options = {"options": "-c lock_timeout=300ms"}
    engine = create_engine(postgresql.url, connect_args=options)
    yield engine
    engine.dispose()


def batch_of(queue: Queue, *payloads: object, size: int, **options: Any) -> list[Claim]:
    queue.push_many(payloads, ordering_keys=["k"] * len(payloads), **options)
    return queue.claim_many(size, whole_lines=True, lease=HOUR)


@contextmanager
def settling(engine: Engine, *claims: Claim) -> Iterator[Connection]:
    """Ack in a transaction that goes on."""
    with engine.begin() as connection:
        Queue("orders", connection).ack_many(claims)
        yield connection


def owed_is_due(engine: Engine) -> None:
    with engine.begin() as connection:
        assert connection.execute(_DUE_NOW).rowcount == 1


def test_what_is_given_back_beside_one_that_is_being_acked_comes_back(
    queue: Queue, postgresql: Engine, impatient: Engine
) -> None:
    first, second = batch_of(queue, 1, 2, 3, size=2)

    with settling(postgresql, second):
        Queue("orders", impatient).release(first, count=False)
        owed_is_due(postgresql)
        assert queue.claim() is None
    owed_is_due(postgresql)

    assert drained(queue) == [1, 3]


def test_what_rests_beside_one_that_is_being_acked_rests_no_longer_than_it_should(
    queue: Queue, postgresql: Engine, impatient: Engine
) -> None:
    first, second = batch_of(queue, 1, 2, size=2)

    with settling(postgresql, second):
        Queue("orders", impatient).release(first, delay=HOUR)
    owed_is_due(postgresql)
    assert queue.claim() is None

    assert queue.counts().delayed == 1
    with postgresql.connect() as connection:
        assert 0.9 < connection.execute(_IN_HOURS).scalar_one() <= 1


def test_what_rests_is_tried_at_once_when_nobody_settles_its_batch_any_more(
    queue: Queue, postgresql: Engine
) -> None:
    first, second, third = batch_of(queue, 1, 2, 3, 4, size=3)

    with settling(postgresql, second, third):
        released = queue.release(first, delay=HOUR)
    owed = queue.get(first.message.id)

    assert owed is not None
    # It says when it is due, and not for how long it is put off meanwhile.
    assert released.available_at is not None
    assert owed.available_at is not None
    assert owed.available_at - released.available_at > HOUR
    with postgresql.connect() as connection:
        due = text("SELECT due_at - now() < interval '1 minute' FROM xclaim_message WHERE id = :id")
        assert connection.scalar(due, {"id": owed.id})


def test_an_expire_waits_for_nobody_who_settles_a_part_of_a_batch(
    queue: Queue, postgresql: Engine, impatient: Engine
) -> None:
    queue.push_many([1, 2, 3], ordering_keys=["k"] * 3)
    _, second = queue.claim_many(2, whole_lines=True, lease=timedelta(0))

    with settling(postgresql, second):
        assert Queue("orders", impatient, retry=AT_ONCE).expire() == 1
    owed_is_due(postgresql)

    assert drained(queue) == [1, 3]


def test_an_ack_beside_one_that_is_being_acked_passes_the_turn_on_later(
    queue: Queue, postgresql: Engine, impatient: Engine
) -> None:
    first, second = batch_of(queue, 1, 2, 3, size=2)

    with settling(postgresql, second):
        Queue("orders", impatient).ack(first)
        assert queue.claim() is None
    owed_is_due(postgresql)

    assert drained(queue) == [3]


def test_an_ack_beside_one_that_is_not_acked_after_all_leaves_it_the_turn(
    queue: Queue, postgresql: Engine
) -> None:
    first, second = batch_of(queue, 1, 2, 3, size=2)

    with pytest.raises(ZeroDivisionError), settling(postgresql, second):
        queue.ack(first)
        raise ZeroDivisionError
    owed_is_due(postgresql)

    assert queue.claim() is None
    queue.ack(second)
    assert drained(queue) == [3]


def test_a_dead_letter_that_owes_the_turn_may_be_claimed_and_released(
    queue: Queue, postgresql: Engine
) -> None:
    first, second = batch_of(queue, 1, 2, 3, size=2, max_attempts=1)
    letters = Queue("orders.dead", postgresql, retry=AT_ONCE)

    with settling(postgresql, second):
        queue.release(first, error="boom")
        letter = letters.claim()
        assert letter is not None
        letters.release(letter, error="boom", delay=HOUR)
    owed_is_due(postgresql)

    assert drained(queue) == [3]


def test_an_ack_in_a_transaction_keeps_one_more_of_its_batch_from_others(
    queue: Queue, postgresql: Engine, impatient: Engine
) -> None:
    """As docs/guides/ordering.md says: so a transaction settles all of a batch, or few."""
    first, second, third = batch_of(queue, 1, 2, 3, 4, size=3)
    other = Queue("orders", impatient)

    with settling(postgresql, first):
        other.ack(third)
        with pytest.raises(OperationalError, match="lock timeout"):
            other.ack(second)
    queue.ack(second)

    assert drained(queue) == [4]


def test_two_transactions_that_settle_a_batch_each_in_its_order_do_not_wait(
    queue: Queue, postgresql: Engine, impatient: Engine
) -> None:
    claims = batch_of(queue, 1, 2, 3, 4, 5, size=4)

    with settling(postgresql, *claims[:2]), settling(impatient, claims[3]):
        pass
    queue.ack(claims[2])

    assert drained(queue) == [5]


def test_what_is_redriven_while_the_first_of_its_line_is_locked_is_not_stuck(
    queue: Queue, postgresql: Engine
) -> None:
    first = queue.push(1, ordering_key="k", max_attempts=1)
    queue.push(2, ordering_key="k", max_attempts=1, on_dead="hold")
    queue.push(3, ordering_key="k")
    for _ in range(2):
        queue.release(*queue.claim_many(1), error="boom")
    queue.redrive(limit=1)

    with postgresql.begin() as connection:
        connection.execute(_SKIPPED, {"id": first.id})
        assert queue.redrive() == 1
        assert queue.claim() is None
    owed_is_due(postgresql)

    assert drained(queue) == [1, 2, 3]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]], ids=str)
def test_what_has_lapsed_comes_back_in_its_order_however_its_rows_lie(
    queue: Queue, postgresql: Engine, order: list[int]
) -> None:
    """The triggers of a statement run in the order of the rows that it has found."""
    claims = batch_of(queue, 1, 2, 3, 4, size=3)
    lapse = text(
        "UPDATE xclaim_message SET claim_expires_at = claimed_at - :n * interval '1 s'"
        " WHERE id = :id"
    )

    with postgresql.begin() as connection:
        for place in order:
            values = {"id": claims[place].message.id, "n": len(order) - order.index(place)}
            connection.execute(lapse, values)
    assert queue.expire() == 3

    assert drained(queue) == [1, 2, 3, 4]


@pytest.fixture
def office(postgresql_server: str) -> Iterator[People]:
    with people(postgresql_server, None, ("orders",)) as everybody:
        ordering.enable(everybody.owner)
        yield everybody


def test_a_consumer_with_its_role_claims_and_settles_whole_lines(office: People) -> None:
    office.queue("producer").push_many([1, 2, 3, 4, 5], ordering_keys=["k"] * 5)
    consumer = office.queue("consumer", retry=AT_ONCE)
    who: dict[str, Any] = {"whole_lines": True, "lease": HOUR, "claim_key": "task"}
    first, second, *others = consumer.claim_many(4, claimed_by="try 1", **who)

    consumer.release(second, error="boom")
    consumer.release(first, delay=timedelta(0))
    taken = consumer.claim_many(9, claimed_by="try 2", **who)
    consumer.ack_many(taken)

    assert [claim.payload for claim in taken] == [claim.payload for claim in others] == [3, 4]
    assert drained(consumer) == [1, 2, 5]
    assert audit(office.owner).is_sound


def test_who_may_only_look_after_leases_gives_whole_lines_back(office: People) -> None:
    office.queue("producer").push_many([1, 2, 3], ordering_keys=["k"] * 3)
    consumer = office.queue("consumer", retry=AT_ONCE)
    consumer.claim_many(2, whole_lines=True, lease=timedelta(0))

    assert office.queue("maintainer", retry=AT_ONCE).expire() == 2

    assert drained(consumer) == [1, 2, 3]
