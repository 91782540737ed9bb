"""Consume and stream: settled for you, whatever the block does."""

import threading
from collections.abc import Generator
from contextlib import closing
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Engine

from tests.contract.facades import lose
from xclaim import Claim, ClaimLostError, InvalidArgumentError, Queue
from xclaim.connections import direct
from xclaim.consuming import claims_ahead

NOW = timedelta(0)


def test_consume_acks_at_the_end(queue: Queue) -> None:
    queue.push(1)

    with queue.consume(claimed_by="me") as claimed:
        assert claimed is not None

    assert queue.counts().consumed == 1


def test_consume_yields_none_when_there_is_nothing(queue: Queue) -> None:
    with queue.consume() as claimed:
        assert claimed is None


def test_consume_releases_when_the_block_raises(queue: Queue) -> None:
    queue.push(1)

    with pytest.raises(ValueError, match="boom"), queue.consume():
        raise ValueError("boom")

    (message,) = queue.peek()
    assert message.last_error == "ValueError: boom"
    assert message.attempts == 1


def test_consume_raises_when_its_claim_was_lost(queue: Queue, engine: Engine) -> None:
    queue.push(1)

    with pytest.raises(ClaimLostError), queue.consume() as claimed:
        assert claimed is not None
        lose(engine, claimed)

    assert queue.counts().delayed == 1


def test_the_exception_of_the_block_wins_over_a_lost_claim(queue: Queue, engine: Engine) -> None:
    queue.push(1)

    with pytest.raises(ValueError, match="boom"), queue.consume() as claimed:
        assert claimed is not None
        lose(engine, claimed)
        raise ValueError("boom")


def test_consume_many_acks_the_batch_at_the_end(queue: Queue) -> None:
    queue.push_many(list(range(5)))

    with queue.consume_many(3) as claims:
        assert [claim.payload for claim in claims] == [0, 1, 2]

    counts = queue.counts()
    assert (counts.consumed, counts.available) == (3, 2)


def test_consume_many_releases_the_batch_when_the_block_raises(queue: Queue) -> None:
    queue.push_many(list(range(3)))

    with pytest.raises(ValueError, match="boom"), queue.consume_many(2):
        raise ValueError("boom")

    messages = sorted(queue.peek(3), key=lambda message: message.id)
    assert [message.attempts for message in messages] == [1, 1, 0]
    assert messages[0].last_error == "ValueError: boom"


def test_consume_many_yields_an_empty_list_when_there_is_nothing(queue: Queue) -> None:
    with queue.consume_many(3) as claims:
        assert claims == []


def test_what_is_worked_on_is_extended_acked_and_its_losses_are_named(
    queue: Queue, engine: Engine
) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2)

    with pytest.raises(ClaimLostError) as caught, queue.working_on(claims) as held:
        lose(engine, held[1])

    assert caught.value.claims == [claims[1]]
    assert queue.counts().consumed == 1


def test_the_leases_of_what_is_worked_on_are_counted_from_the_begin_of_the_block(
    queue: Queue,
) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2, lease=NOW)

    with queue.working_on(claims):
        assert queue.expire() == 0

    assert queue.counts().consumed == 2


def test_what_was_lost_before_it_is_worked_on_is_named_at_the_end(
    queue: Queue, engine: Engine
) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2, lease=NOW)
    lose(engine, claims[0])

    with pytest.raises(ClaimLostError) as caught, queue.working_on(claims) as held:
        assert held == claims

    assert caught.value.claims == [claims[0]]
    assert queue.counts().consumed == 1


def test_a_lease_limit_below_the_lease_is_refused(queue: Queue) -> None:
    queue.push(1)

    with (
        pytest.raises(InvalidArgumentError, match="lease_limit"),
        queue.consume(lease=timedelta(minutes=2), lease_limit=timedelta(minutes=1)),
    ):
        pass

    assert queue.counts().available == 1


def test_a_stream_acks_everything_it_yielded(queue: Queue) -> None:
    queue.push_many(list(range(25)))

    payloads = [claimed.payload for claimed in queue.stream(batch=10)]

    assert payloads == list(range(25))
    assert queue.counts().consumed == 25


def test_a_stream_of_an_empty_queue_ends_at_once(queue: Queue) -> None:
    assert list(queue.stream()) == []


def test_a_stream_hands_out_what_comes_after_a_long_wait(
    queue: Queue, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_ahead, "_ACK_EVERY", 0.1)
    pushing = threading.Timer(0.5, Queue(queue.name, engine).push_many, args=[[1, 2]])
    pushing.start()

    with closing(cast(Generator[Claim], queue.stream(wait=timedelta(minutes=5)))) as claims:
        payloads = [next(claims).payload for _ in range(2)]

    pushing.join()
    assert payloads == [1, 2]


def test_a_stream_left_early_hands_back_in_one_statement(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.push_many(range(10))
    sent: list[str] = []
    run = direct.run

    def noted(connection: Connection, statement: Any, *given: Any, **options: Any) -> Any:
        sent.append(str(statement))
        return run(connection, statement, *given, **options)

    with closing(cast("Generator[Claim]", queue.stream(batch=10))) as claims:
        next(claims)
        monkeypatch.setattr(direct, "run", noted)

    assert len(sent) == 2  # the first one has failed, and nine are handed back
    assert queue.counts().available == 10


def test_a_stream_left_early_settles_what_it_holds(queue: Queue) -> None:
    queue.push_many(list(range(10)))

    with closing(cast(Generator[Claim], queue.stream(batch=10))) as claims:
        taken = [next(claims) for _ in range(4)]

    counts = queue.counts()
    assert (counts.consumed, counts.available, counts.claimed) == (3, 7, 0)
    current = queue.get(taken[-1].message.id)
    assert current is not None
    assert current.attempts == 1
    assert [message.attempts for message in queue.peek(10)] == [0, 0, 0, 0, 0, 0, 1]


def test_a_stream_reports_a_claim_it_lost(queue: Queue, engine: Engine) -> None:
    queue.push_many([1, 2])

    with pytest.raises(ClaimLostError) as caught:
        for claimed in queue.stream(claimed_by="me"):
            if claimed.payload == 1:
                lose(engine, claimed)

    assert [claim.payload for claim in caught.value.claims] == [1]
    assert queue.counts().consumed == 1
