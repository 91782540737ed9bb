"""A ticket hands claims on: the first to resume it has them, and a retry of it has them back."""

from datetime import timedelta
from typing import Any

import pytest

from xclaim import ClaimLostError, InvalidArgumentError, Queue, Ticket

MAKER: dict[str, Any] = {"claim_key": "plan", "claimed_by": "plan#1"}


def made(queue: Queue, count: int = 1, max_attempts: int | None = None) -> Ticket:
    queue.push_many(list(range(count)), max_attempts=max_attempts)
    return Ticket.of(queue.claim_many(count, **MAKER))


def test_a_ticket_travels_as_a_plain_dict(queue: Queue) -> None:
    ticket = made(queue)

    assert ticket.to_dict() == {"queue": queue.name, **MAKER}
    assert Ticket.from_dict(ticket.to_dict()) == ticket


def test_the_maker_is_fenced_off_once_its_ticket_was_resumed(queue: Queue) -> None:
    queue.push(1)
    (before,) = claims = queue.claim_many(1, **MAKER)

    (after,) = queue.resume(Ticket.of(claims), claim_key="work", claimed_by="work#1")

    assert after.token != before.token
    assert after.claimed_by == "work#1"
    with pytest.raises(ClaimLostError):
        queue.ack(before)
    queue.ack(after)


def test_to_take_a_ticket_up_is_no_attempt(queue: Queue) -> None:
    ticket = made(queue)

    (first,) = queue.resume(ticket, claim_key="work", claimed_by="work#1")
    (second,) = queue.resume(ticket, claim_key="work", claimed_by="work#2")

    assert (first.message.attempts, second.message.attempts) == (1, 2)


def test_whoever_comes_second_gets_nothing(queue: Queue) -> None:
    ticket = made(queue)
    (first,) = queue.resume(ticket, claim_key="work", claimed_by="work#1")

    assert queue.resume(ticket, claim_key="other", claimed_by="other#1") == []
    queue.ack(first)


def test_a_retry_gets_what_its_ticket_still_holds(queue: Queue) -> None:
    ticket = made(queue, 5)
    before = queue.resume(ticket, claim_key="work", claimed_by="work#1")
    queue.ack_many(before[:2])

    after = queue.resume(ticket, claim_key="work", claimed_by="work#2")

    assert [claim.payload for claim in after] == [2, 3, 4]
    with pytest.raises(ClaimLostError):
        queue.ack(before[2])


def test_the_maker_takes_back_a_ticket_nobody_took_up(queue: Queue) -> None:
    stale = made(queue)

    again = queue.claim_many(1, claim_key="plan", claimed_by="plan#2")

    assert len(again) == 1
    assert queue.resume(stale, claim_key="work", claimed_by="work#1") == []
    assert len(queue.resume(Ticket.of(again), claim_key="work", claimed_by="work#1")) == 1


def test_the_maker_does_not_take_back_what_was_taken_up(queue: Queue) -> None:
    queue.resume(made(queue), claim_key="work", claimed_by="work#1")

    assert queue.claim_many(1, claim_key="plan", claimed_by="plan#2") == []


def test_a_ticket_that_lapsed_gives_its_messages_back(queue: Queue) -> None:
    queue.push(1)
    ticket = Ticket.of(queue.claim_many(1, lease=timedelta(0), **MAKER))

    claimed = queue.claim()

    assert claimed is not None
    assert queue.resume(ticket, claim_key="work", claimed_by="work#1") == []


def test_a_late_ticket_is_honoured_while_nobody_else_has_the_message(queue: Queue) -> None:
    queue.push(1)
    ticket = Ticket.of(queue.claim_many(1, lease=timedelta(0), **MAKER))

    (claimed,) = queue.resume(ticket, claimed_by="work#1")

    queue.ack(claimed)


def test_an_exhausted_message_is_left_for_the_dead_letter_queue(
    queue: Queue, dead_letters: Queue
) -> None:
    ticket = made(queue, max_attempts=1)
    queue.resume(ticket, claim_key="work", claimed_by="work#1", lease=timedelta(0))

    assert queue.resume(ticket, claim_key="work", claimed_by="work#2") == []
    queue.expire()
    assert dead_letters.counts().available == 1


def test_claims_without_a_key_have_no_ticket(queue: Queue) -> None:
    queue.push(1)
    claims = queue.claim_many(1)

    with pytest.raises(InvalidArgumentError, match="pass claim_key"):
        Ticket.of(claims)


def test_claims_of_several_calls_have_no_common_ticket(queue: Queue) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(1, claim_key="a") + queue.claim_many(1, claim_key="b")

    with pytest.raises(InvalidArgumentError, match="one ticket for each"):
        Ticket.of(claims)
    with pytest.raises(InvalidArgumentError, match="0 queues"):
        Ticket.of([])


@pytest.mark.parametrize(
    "values",
    [None, {}, {"queue": "orders"}, {"queue": "q", "claim_key": 1, "claimed_by": "me"}],
)
def test_what_is_no_ticket_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError, match="not a ticket"):
        Ticket.from_dict(values)


def test_a_ticket_of_another_queue_is_refused(queue: Queue) -> None:
    ticket = Ticket(queue="another", claim_key="plan", claimed_by="plan#1")

    with pytest.raises(InvalidArgumentError, match="for queue 'another'"):
        queue.resume(ticket)
    with pytest.raises(InvalidArgumentError, match="not a ticket but of type dict"):
        queue.resume(ticket.to_dict())  # type: ignore[arg-type]  # what this test is about
