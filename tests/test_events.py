"""One event for each verb, for whoever measures or traces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest

from tests.contract.facades import Blocking
from xclaim import AsyncQueue, Claim, ClaimLostError, InvalidArgumentError, Queue
from xclaim.connections.events import add_listener, remove_listener
from xclaim.verb import VerbEvent


@pytest.fixture
def seen() -> Iterator[list[VerbEvent]]:
    events: list[VerbEvent] = []
    add_listener(events.append)
    yield events
    remove_listener(events.append)


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, database_url: str) -> Iterator[Queue]:
    if request.param == "Queue":
        with Queue("orders", database_url) as queue:
            yield queue
        return
    with asyncio.Runner() as runner:
        asyncronous = cast(Queue, Blocking(AsyncQueue("orders", database_url), runner.run))
        yield asyncronous
        asyncronous.close()


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

    assert [(event.verb, event.queue) for event in seen] == [("ack", None)]


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
