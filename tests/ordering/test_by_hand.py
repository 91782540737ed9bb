"""What psql, an older worker or a script does to the table: the turn is passed on all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError

from tests.ordering.draining import drained
from tests.retrying import AT_ONCE
from xclaim import Claim, Queue
from xclaim.operations.audit import audit

_ACK = (
    "UPDATE xclaim_message SET status = 'consumed', consumed_at = claimed_at,"
    " consumed_by = claimed_by, claimed_by = NULL, claim_key = NULL, claim_expires_at = NULL,"
    " claim_token = NULL WHERE id = :id"
)
_RELEASE = (
    "UPDATE xclaim_message SET status = 'available', claimed_at = NULL, claimed_by = NULL,"
    " claim_key = NULL, claim_expires_at = NULL, claim_token = NULL WHERE id = :id"
)
_BURY = (
    "UPDATE xclaim_message SET status = 'available', queue = queue || '.dead', claimed_at = NULL,"
    " claimed_by = NULL, claim_key = NULL, claim_expires_at = NULL, claim_token = NULL"
    " WHERE id = :id"
)
_INSERT = (
    "INSERT INTO xclaim_message (queue, origin_queue, payload, ordering_key, created_at,"
    " available_at) SELECT queue, origin_queue, :payload, ordering_key, created_at, {available_at}"
    " FROM xclaim_message WHERE id = :id"
)


@pytest.fixture
def head(queue: Queue) -> Claim:
    """The claim of the first of three in a line."""
    queue.push_many([0, 1, 2], ordering_keys=["k"] * 3)
    claim = queue.claim()
    assert claim is not None
    return claim


def by_hand(engine: Engine, statement: str, claim: Claim, **values: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), {"id": claim.message.id, **values})


@pytest.mark.parametrize(
    "statement",
    [_ACK, _BURY, "DELETE FROM xclaim_message WHERE id = :id"],
    ids=["ack", "bury", "delete"],
)
def test_what_ends_the_head_by_hand_passes_the_turn_on(
    queue: Queue, engine: Engine, head: Claim, statement: str
) -> None:
    by_hand(engine, statement, head)

    assert drained(queue) == [1, 2]


def test_what_releases_the_head_by_hand_keeps_its_place(
    queue: Queue, engine: Engine, head: Claim
) -> None:
    by_hand(engine, _RELEASE, head)

    assert drained(queue) == [0, 1, 2]


def test_a_line_that_is_deleted_leaves_its_head(queue: Queue, engine: Engine, head: Claim) -> None:
    by_hand(engine, "DELETE FROM xclaim_message WHERE id > :id", head)
    queue.push(3, ordering_key="k")

    queue.ack(head)

    assert drained(queue) == [3]


def test_all_of_a_key_can_be_deleted_at_once(queue: Queue, engine: Engine, head: Claim) -> None:
    by_hand(engine, "DELETE FROM xclaim_message WHERE id >= :id", head)
    queue.push(3, ordering_key="k")

    assert drained(queue) == [3]


def test_all_of_a_key_can_be_acked_at_once(queue: Queue, engine: Engine, head: Claim) -> None:
    acks_all = _ACK.replace("consumed_at = claimed_at", "consumed_at = created_at")
    by_hand(engine, acks_all.replace("id = :id", "id >= :id"), head)
    queue.push(3, ordering_key="k")

    assert drained(queue) == [3]


def test_a_row_that_stands_in_line_by_hand_is_in_line(
    queue: Queue, engine: Engine, head: Claim
) -> None:
    by_hand(engine, _INSERT.format(available_at="NULL"), head, payload="3")

    queue.ack(head)

    assert drained(queue) == [1, 2, 3]


@pytest.mark.parametrize("is_claimed", [True, False])
def test_a_row_that_would_be_a_second_with_the_turn_is_refused(
    queue: Queue, engine: Engine, head: Claim, *, is_claimed: bool
) -> None:
    if not is_claimed:
        queue.release(head)

    with pytest.raises(IntegrityError):
        by_hand(engine, _INSERT.format(available_at="created_at"), head, payload="3")

    assert len(queue.claim_many(10)) == int(not is_claimed)


def test_a_turn_that_is_given_by_hand_to_a_second_is_refused(
    queue: Queue, engine: Engine, head: Claim
) -> None:
    jump = "UPDATE xclaim_message SET available_at = created_at WHERE id = :id + 1"

    with pytest.raises(IntegrityError):
        by_hand(engine, jump, head)

    queue.ack(head)
    assert drained(queue) == [1, 2]


def test_an_ack_by_hand_that_is_rolled_back_passes_nothing_on(
    queue: Queue, engine: Engine, head: Claim
) -> None:
    with engine.connect() as connection:
        connection.execute(text(_ACK), {"id": head.message.id})
        connection.rollback()

    assert queue.claim() is None
    queue.ack(head)
    assert drained(queue) == [1, 2]


_ANOTHER_NAME = (
    "UPDATE xclaim_message SET queue = 'parcels', origin_queue = 'parcels' WHERE queue = 'orders'"
)
# The triggers of SQLite run row by row, before the next one has the new name.
_RENAMING = {
    "postgresql": [_ANOTHER_NAME],
    "sqlite": [f"{_ANOTHER_NAME} AND available_at IS NULL", _ANOTHER_NAME],
}


def test_a_queue_with_another_name_has_its_lines(queue: Queue, engine: Engine) -> None:
    queue.push_many([0, 1, 2], ordering_keys=["k"] * 3)

    with engine.begin() as connection:
        for statement in _RENAMING[engine.dialect.name]:
            connection.execute(text(statement))

    assert drained(queue) == []
    assert drained(Queue("parcels", engine, retry=AT_ONCE)) == [0, 1, 2]
    assert audit(engine).is_sound


# What nothing passes on: no trigger fires, or whoever it was has left the line without a turn.
LEAVING_SOMEBODY_BEHIND = {
    "the key of who leads": "SET ordering_key = 'j' WHERE available_at IS NOT NULL",
    "the key of those in line": "SET ordering_key = 'j' WHERE available_at IS NULL",
    "no key in line": "SET ordering_key = NULL WHERE available_at IS NULL",
    "no key of who leads": "SET ordering_key = NULL WHERE available_at IS NOT NULL",
    "the queue of those in line": "SET queue = 'parcels' WHERE available_at IS NULL",
    "the origin of those in line": "SET origin_queue = 'parcels' WHERE available_at IS NULL",
    "the dead": "SET queue = 'orders.dead' WHERE available_at IS NULL",
    "when it is available": "SET available_at = NULL",
}


@pytest.mark.parametrize("on_dead", ["skip", "hold"])
@pytest.mark.parametrize("change", LEAVING_SOMEBODY_BEHIND.values(), ids=LEAVING_SOMEBODY_BEHIND)
def test_whoever_a_hand_has_left_behind_is_found_by_an_audit_and_mended(
    queue: Queue, engine: Engine, change: str, on_dead: Literal["skip", "hold"]
) -> None:
    queue.push_many([0, 1, 2], ordering_keys=["k"] * 3, on_dead=on_dead)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE xclaim_message {change}"))

    _mend(engine)

    names = ("orders", "parcels", "orders.dead")
    consumed = [each for name in names for each in drained(Queue(name, engine, retry=AT_ONCE))]
    assert sorted(consumed) == [0, 1, 2]
    assert audit(engine).is_sound


def _mend(engine: Engine) -> None:
    """Run the remedies that an audit names until it finds nothing any more."""
    for _ in range(10):
        broken = [check for check in audit(engine).checks if check.broken]
        if not broken:
            return
        id_ = re.search(r"\d+", broken[0].examples[0])
        assert id_ is not None
        assert broken[0].remedy is not None
        with engine.begin() as connection:
            connection.execute(text(broken[0].remedy), {"id": int(id_[0])})
    raise AssertionError("after ten remedies something is still broken")


SETTINGS = [
    "-c default_transaction_isolation=serializable",
    "-c default_transaction_isolation=repeatable\\ read",
    "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off",
    "-c enable_seqscan=on -c random_page_cost=1000",
    "-c timezone=Pacific/Kiritimati -c IntervalStyle=iso_8601",
    "-c standard_conforming_strings=off -c backslash_quote=off",
    "-c plan_cache_mode=force_generic_plan",
    "-c check_function_bodies=off -c row_security=on",
    "-c lock_timeout=5s -c statement_timeout=30s",
]


@pytest.fixture(params=SETTINGS)
def set_engine(request: pytest.FixtureRequest, ordered_postgresql_url: str) -> Iterator[Engine]:
    options = {"options": request.param}
    engine = create_engine(ordered_postgresql_url, connect_args=options)
    yield engine
    engine.dispose()


def test_what_a_session_has_set_does_not_change_the_order(set_engine: Engine) -> None:
    queue = Queue("orders", set_engine, retry=AT_ONCE)
    keys = ["a", "b", None, "a", "b", None, "a"]
    queue.push_many(list(range(7)), ordering_keys=keys)
    first = queue.claim_many(10)

    assert [claim.payload for claim in first] == [0, 1, 2, 5]
    queue.ack_many(first[:1])
    queue.release(first[1], error="boom")
    queue.ack_many(first[2:])
    queue.push(7, ordering_key="b")
    assert sorted(drained(queue)) == [1, 3, 4, 6, 7]
    assert queue.counts().consumed == 8


def test_an_engine_that_is_plain_sqlalchemy_keeps_the_order(
    ordered_postgresql_url: str,
) -> None:
    engine = create_engine(ordered_postgresql_url, isolation_level="SERIALIZABLE")
    queue = Queue("orders", engine, retry=AT_ONCE)
    for number in range(3):
        queue.push(number, ordering_key="k")

    consumed = drained(queue)
    engine.dispose()

    assert consumed == [0, 1, 2]


def test_an_audit_gives_a_line_without_a_leader_to_what_is_claimed_of_it(
    queue: Queue, engine: Engine
) -> None:
    queue.push_many([0, 1, 2, 3], ordering_keys=["k"] * 4, max_attempts=1)
    letter = queue.claim()
    assert letter is not None
    queue.release(letter, error="boom")
    leader, along = queue.claim_many(2, whole_lines=True)
    queue.redrive()
    by_hand(engine, "UPDATE xclaim_message SET ordering_key = 'another' WHERE id = :id", leader)

    (broken,) = [check for check in audit(engine).checks if check.broken]
    assert broken.examples == [f"message {along.message.id} in 'orders'"]
    _mend(engine)

    assert queue.claim() is None
    queue.ack_many([leader, along])
    assert drained(queue) == [0, 3]
