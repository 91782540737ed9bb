"""Pushes and acks that others cannot see yet, or never: no key is stuck by them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from tests.eventually import PATIENCE
from tests.ordering.draining import drained
from tests.retrying import AT_ONCE
from xclaim import Claim, Queue

_ROUNDS = 10
_LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
_IS_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
_DUE_NOW = text(
    "UPDATE xclaim_message SET due_at = created_at WHERE id IN (SELECT id FROM xclaim_message"
    " WHERE keeps_turn AND due_at > now() FOR NO KEY UPDATE SKIP LOCKED)"
)


def test_keys_that_two_transactions_push_to_in_another_order_are_not_stuck(
    postgresql: Engine,
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    barrier = Barrier(2, timeout=PATIENCE)

    def push(keys: list[str]) -> int:
        barrier.wait()
        try:
            with postgresql.begin() as connection:
                for key in keys:
                    Queue("orders", connection).push(key, ordering_key=key)
        except DBAPIError as error:  # PostgreSQL has seen that they wait for each other
            if getattr(error.orig, "sqlstate", None) != "40P01":
                raise
            return 0
        return len(keys)

    for _ in range(_ROUNDS):
        with ThreadPoolExecutor(2) as pool:
            pushed = sum(pool.map(push, [["a", "b", "c"], ["c", "b", "a"]]))

        assert pushed >= 3
        assert len(drained(queue)) == pushed


def test_batches_over_the_same_keys_in_another_order_do_not_wait_for_each_other(
    postgresql: Engine,
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    barrier = Barrier(2, timeout=PATIENCE)

    def push(keys: list[str]) -> None:
        barrier.wait()
        queue.push_many([0] * len(keys), ordering_keys=keys)

    for _ in range(_ROUNDS):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(push, [["a", "b", "c"], ["c", "b", "a"]]))

        assert len(drained(queue)) == 6


@pytest.mark.parametrize("is_first", [True, False])
def test_a_push_in_a_savepoint_that_is_rolled_back_leaves_nothing(
    queue: Queue, engine: Engine, *, is_first: bool
) -> None:
    if not is_first:
        queue.push("head", ordering_key="k")

    with engine.begin() as connection:
        bound = Queue("orders", connection)
        with connection.begin_nested() as savepoint:
            bound.push("undone", ordering_key="k")
            savepoint.rollback()
        bound.push("kept", ordering_key="k")
        with connection.begin_nested():
            bound.push("kept too", ordering_key="k")

    assert drained(queue) == [*([] if is_first else ["head"]), "kept", "kept too"]


def test_a_push_after_somebody_asked_for_an_age_stands_in_line(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    with postgresql.begin() as connection:
        connection.execute(text("SELECT age('3'::xid)"))  # it is counted from here on
        queue.push_many(["head", "next"], ordering_keys=["k", "k"])
        queue.push("of another line", ordering_key="other")
        bound = Queue("orders", connection)
        bound.push("first of its line", ordering_key="new")
        with connection.begin_nested():
            bound.push("last", ordering_key="k")

    assert drained(queue) == ["head", "of another line", "first of its line", "next", "last"]


def test_an_ack_in_a_savepoint_that_is_rolled_back_passes_nothing_on(
    queue: Queue, engine: Engine
) -> None:
    queue.push_many(["head", "next"], ordering_keys=["k", "k"])
    claim = queue.claim()
    assert claim is not None

    with engine.begin() as connection, connection.begin_nested() as savepoint:
        Queue("orders", connection).ack(claim)
        savepoint.rollback()

    assert queue.claim() is None
    queue.ack(claim)
    assert drained(queue) == ["next"]


def test_a_producer_that_writes_behind_two_holders_is_not_forgotten(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push_many(["head", "next"], ordering_keys=["k", "k"])
    head = queue.claim()
    assert head is not None

    with postgresql.begin() as connection:
        Queue("orders", connection).push("late", ordering_key="k")
        queue.ack(head)
        following = queue.claim()
        assert following is not None
        queue.ack(following)
        assert queue.claim() is None
    later = queue.push("later", ordering_key="k")

    assert later.available_at is None
    assert _drained_in_time(queue) == ["late", "later"]


@pytest.mark.parametrize("level", _LEVELS)
@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_producer_in_an_open_transaction_keeps_nobody_from_the_first_of_its_line(
    ordered_postgresql_url: str, postgresql: Engine, level: str, *, is_claimed: bool
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push("head", ordering_key="k")
    claim = queue.claim() if is_claimed else None
    producer = create_engine(ordered_postgresql_url, isolation_level=level)

    with producer.begin() as connection:
        Queue("orders", connection).push("late", ordering_key="k")
        claim = claim or queue.claim()
        assert claim is not None
        queue.release(claim)
        claim = queue.claim()
        assert claim is not None
        queue.ack(queue.extend(claim))
        assert queue.claim() is None
    producer.dispose()

    assert _drained_in_time(queue) == ["late"]  # whoever was writing behind it is not forgotten


_ENDS: dict[str, Callable[[Queue, Queue], object]] = {
    "acked": lambda queue, bound: bound.ack(_claimed(queue)),
    "dead": lambda queue, bound: bound.release(_claimed(queue), error="boom"),
    "withdrawn": lambda _, bound: bound.withdraw(["head"]),
}


@pytest.mark.parametrize("end", _ENDS.values(), ids=_ENDS)
def test_a_push_waits_for_who_has_ended_the_first_of_its_line_and_not_for_who_has_pushed(
    postgresql: Engine, end: Callable[[Queue, Queue], object]
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push("head", unique_key="head", ordering_key="k", max_attempts=1)
    queue.push("next", ordering_key="k")

    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        bound = Queue("orders", connection)
        bound.push("of the open one", ordering_key="k")
        queue.push("beside it", ordering_key="k")
        end(queue, bound)
        pushing = pool.submit(queue.push, "after it", ordering_key="k")
        _wait_for_a_lock(postgresql)
        connection.commit()
        pushing.result(timeout=PATIENCE)

    assert _drained_in_time(queue) == ["next", "of the open one", "beside it", "after it"]


@pytest.mark.parametrize("level", _LEVELS)
def test_a_push_that_waits_for_the_ack_of_the_head_has_the_turn(
    ordered_postgresql_url: str, postgresql: Engine, level: str
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push("head", ordering_key="k")
    head = queue.claim()
    assert head is not None
    producer = create_engine(ordered_postgresql_url, isolation_level=level)

    def push() -> list[str]:
        try:
            with producer.begin() as connection:
                Queue("orders", connection).push("new", ordering_key="k")
        except DBAPIError as error:  # its snapshot is too old, and it is told
            if getattr(error.orig, "sqlstate", None) != "40001":
                raise
            return []
        return ["new"]

    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        Queue("orders", connection).ack(head)
        pushing = pool.submit(push)
        _wait_for_a_lock(postgresql)
        connection.commit()
        pushed = pushing.result(timeout=PATIENCE)
    producer.dispose()

    assert pushed or level != "READ COMMITTED"
    assert _drained_in_time(queue) == pushed


def test_producers_that_overlap_for_ever_do_not_keep_the_turn_from_what_they_pushed(
    postgresql: Engine,
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push(0, ordering_key="k")
    head = queue.claim()
    assert head is not None
    consumed = []

    connection = postgresql.connect()
    connection.begin()
    Queue("orders", connection).push(1, ordering_key="k")
    queue.ack(head)
    for number in range(2, 8):
        following = postgresql.connect()
        following.begin()
        Queue("orders", following).push(number, ordering_key="k")
        connection.commit()
        connection.close()
        connection = following
        _let_be_due(postgresql)
        queue.expire()
        claim = queue.claim()
        if claim is not None:
            consumed.append(claim.payload)
            queue.ack(claim)
    connection.commit()
    connection.close()

    assert len(consumed) >= 3  # in whatever order: each was pushed while the last one was


def test_an_ack_that_cannot_see_who_has_come_passes_the_turn_on_later(
    ordered_postgresql_url: str, postgresql: Engine
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push("head", ordering_key="k")
    claim = queue.claim()
    assert claim is not None
    repeatable = create_engine(ordered_postgresql_url, isolation_level="REPEATABLE READ")

    with repeatable.begin() as connection:
        connection.execute(text("SELECT count(*) FROM xclaim_message"))
        queue.push("next", ordering_key="k")
        Queue("orders", connection).ack(claim)
    repeatable.dispose()

    assert _drained_in_time(queue) == ["next"]


def test_a_withdrawal_of_the_head_waits_for_one_of_the_next_that_is_undone(
    postgresql: Engine,
) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push_many([1, 2], unique_keys=["one", "two"], ordering_keys=["k", "k"])

    with ThreadPoolExecutor(1) as pool:
        with postgresql.connect() as connection, connection.begin() as transaction:
            assert Queue("orders", connection).withdraw(["two"]) == 1
            withdrawn = pool.submit(queue.withdraw, ["one"])
            transaction.rollback()
        assert withdrawn.result(timeout=PATIENCE) == 1

    assert _drained_in_time(queue) == [2]


def _claimed(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def _wait_for_a_lock(engine: Engine) -> None:
    """Return when a session waits for another."""
    with engine.connect() as connection:
        while not connection.scalar(_IS_WAITING):
            connection.rollback()  # what is seen of others stands still in a transaction


def _let_be_due(engine: Engine) -> None:
    """Let what is owed be due, without to wait for it, or for who is just passing it on."""
    with engine.begin() as connection:
        connection.execute(_DUE_NOW)


def _drained_in_time(queue: Queue) -> list[object]:
    _let_be_due(queue._queue.bind)
    return drained(queue)
