"""One event for each verb, for whoever measures or traces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.contract.facades import queue_by
from xclaim import Claim, ClaimLostError, InvalidArgumentError, Queue, create_engine
from xclaim.connections.concurrency import THREADS
from xclaim.connections.events import LAPSES, RETURNS, add_listener, remove_listener
from xclaim.consuming.reconnecting import Reconnecting
from xclaim.verb import LapseEvent, ReturnEvent, VerbEvent


@pytest.fixture
def seen() -> Iterator[list[VerbEvent]]:
    events: list[VerbEvent] = []
    add_listener(events.append)
    yield events
    remove_listener(events.append)


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, database_url: str) -> Iterator[Queue]:
    with queue_by(request.param, database_url) as queue:
        yield queue


def shown(events: list[VerbEvent]) -> list[tuple[str, str | None, int]]:
    return [(event.verb, event.queue, event.count) for event in events]


def test_each_verb_is_one_event_with_the_number_of_its_messages(
    queue: Queue, seen: list[VerbEvent]
) -> None:
    queue.push(1)
    queue.push_many([2, 3, 4])
    claim = queue.claim()
    claims = queue.claim_many(2)
    queue.ack(cast(Claim, claim))
    queue.ack_many(claims)
    queue.claim_many(5)
    queue.claim()
    queue.counts()

    assert shown(seen) == [
        ("push_many", "orders", 1),
        ("push_many", "orders", 3),
        ("claim_many", "orders", 1),
        ("claim_many", "orders", 2),
        ("ack", "orders", 1),
        ("ack_many", "orders", 2),
        ("claim_many", "orders", 1),
        ("claim_many", "orders", 0),
        ("counts", "orders", 1),
    ]
    assert all(event.error is None and event.seconds > 0 for event in seen)


def test_what_a_verb_raises_is_in_its_event(queue: Queue, seen: list[VerbEvent]) -> None:
    queue.push(1)
    claim = cast(Claim, queue.claim())
    queue.ack(claim)

    with pytest.raises(ClaimLostError):
        queue.ack(claim)
    with pytest.raises(InvalidArgumentError):
        queue.push(2, priority=1_000_000)

    assert [type(event.error) for event in seen[-2:]] == [ClaimLostError, InvalidArgumentError]
    assert shown(seen)[-2:] == [("ack", "orders", 0), ("push_many", "orders", 0)]


def test_a_stream_acks_and_claims_in_one_event(queue: Queue, seen: list[VerbEvent]) -> None:
    queue.push_many([1, 2, 3])

    assert len(list(queue.stream(batch=2))) == 3

    verbs = [event.verb for event in seen]
    assert verbs[:2] == ["push_many", "claim_many"]
    assert set(verbs[2:]) == {"ack_and_claim"}


def test_a_listener_is_called_no_more_once_it_is_removed(queue: Queue) -> None:
    events: list[VerbEvent] = []
    add_listener(events.append)
    queue.push(1)
    remove_listener(events.append)

    queue.push(2)

    assert len(events) == 1


def test_what_is_no_claim_is_refused_also_if_somebody_listens(
    queue: Queue, seen: list[VerbEvent]
) -> None:
    settle: Any = queue.ack

    with pytest.raises(InvalidArgumentError, match="not a claim"):
        settle(None)

    assert seen == []  # no verb was run


def test_a_listener_that_fails_changes_no_verb(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: VerbEvent) -> None:
        raise ZeroDivisionError

    add_listener(fail)
    try:
        with caplog.at_level(logging.WARNING, "xclaim"):
            message = queue.push(1)
    finally:
        remove_listener(fail)

    assert queue.get(message.id) is not None
    assert "a listener to verbs failed" in caplog.text


def test_a_claim_names_what_it_handed_out_and_the_ack_what_it_settled(
    queue: Queue, seen: list[VerbEvent]
) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2)
    queue.ack_many(claims)

    pushed, claimed, acked = seen
    assert [message.payload for message in pushed.messages] == [1, 2]
    assert claimed.claims == claims
    assert (list(acked.settled), acked.acked, acked.lost) == (claims, 2, ())


def test_what_was_pushed_before_is_named_as_repeated(queue: Queue, seen: list[VerbEvent]) -> None:
    first = queue.push(1, unique_key="once")
    queue.push_many([1, 2], unique_keys=["once", "twice"])

    assert (list(seen[0].repeated), list(seen[1].repeated)) == ([], [first.id])
    assert seen[1].count == 2


def test_of_a_batch_the_lost_claims_are_named_beside_the_others(
    queue: Queue, seen: list[VerbEvent]
) -> None:
    queue.push_many([1, 2, 3])
    claims = queue.claim_many(3)
    queue.ack(claims[1])

    with pytest.raises(ClaimLostError):
        queue.ack_many(claims)

    event = seen[-1]
    assert list(event.lost) == [claims[1]]
    assert list(event.settled) == [claims[0], claims[2]]
    assert (event.count, event.acked) == (2, 2)


def test_a_stream_names_in_one_event_what_it_acked_and_what_it_claimed(
    queue: Queue, seen: list[VerbEvent]
) -> None:
    queue.push_many([1, 2, 3])

    claims = list(queue.stream(batch=2))

    handed_out = [claim for event in seen for claim in event.claims]
    settled = [claim for event in seen if event.acked for claim in event.settled]
    assert handed_out == claims
    assert settled == claims


def test_a_release_for_the_last_time_has_made_a_dead_letter(
    queue: Queue, seen: list[VerbEvent]
) -> None:
    queue.push_many([1, 2], max_attempts=1)
    first, second = queue.claim_many(2)

    queue.release(first, error="broken")
    queue.release(second, count=False)

    assert [event.died for event in seen] == [0, 0, 1, 0]
    assert [message.id for message in seen[2].messages] == [first.message.id]


def test_an_extension_settles_its_claim_and_has_no_message(
    queue: Queue, seen: list[VerbEvent]
) -> None:
    queue.push(1)
    claim = cast(Claim, queue.claim())

    queue.extend(claim)

    assert (list(seen[-1].settled), seen[-1].messages, seen[-1].count) == ([claim], (), 1)


def test_leases_that_ran_out_are_an_event_of_whoever_gives_them_back(queue: Queue) -> None:
    lapsed: list[LapseEvent] = []
    LAPSES.add(lapsed.append)
    try:
        queue.push_many([1, 2], max_attempts=1)
        queue.push(3)
        queue.claim_many(3, lease=timedelta(0))
        again = queue.claim()
        queue.expire()
    finally:
        LAPSES.remove(lapsed.append)

    assert sum(event.count for event in lapsed) == 3
    assert sum(event.died for event in lapsed) == 2
    assert {event.queue for event in lapsed} == {"orders"}
    assert again is None or again.payload == 3


def test_in_a_transaction_of_the_caller_the_event_says_that_it_may_be_rolled_back(
    database_url: str, seen: list[VerbEvent]
) -> None:
    engine = create_engine(database_url)
    Queue("orders", engine).push(1)
    with engine.begin() as connection:
        Queue("orders", connection).push(2)
    with Session(engine) as session:
        Queue("orders", session).push(3)
    engine.dispose()

    assert [event.is_open for event in seen] == [False, True, True]
    assert [event.url for event in seen] == [engine.url] * 3


def test_a_database_that_is_back_is_an_event() -> None:
    returns: list[ReturnEvent] = []
    RETURNS.add(returns.append)
    away = OperationalError("SELECT", {}, Exception(), connection_invalidated=True)
    outcomes = iter([away, away, None])

    def call() -> None:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome

    again = Reconnecting(timedelta(minutes=1), lambda: True, THREADS)
    try:
        again.run(call)
        again.run(lambda: None)
    finally:
        RETURNS.remove(returns.append)

    assert len(returns) == 1
    assert returns[0].seconds > 0


def test_for_a_listener_that_sleeps_no_event_is_made(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = False
    events: list[VerbEvent] = []
    add_listener(events.append, is_awake=lambda: awake)
    try:
        with monkeypatch.context() as patch:
            patch.delattr("xclaim.connections.runner.VerbEvent")
            queue.push(1)
        awake = True
        queue.push(2)
    finally:
        remove_listener(events.append)

    assert shown(events) == [("push_many", "orders", 1)]
    assert events[0].messages[0].payload == 2
