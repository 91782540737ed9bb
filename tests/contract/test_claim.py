"""Exclusive, in order, and given back when a claimant does not return."""

from datetime import UTC, timedelta
from enum import StrEnum

from sqlalchemy import Engine, text

from xclaim import Queue, Status

NOW = timedelta(0)


def test_a_claimed_message_is_not_claimed_again(queue: Queue) -> None:
    queue.push({"id": 1})

    first, second = queue.claim(), queue.claim()

    assert first is not None
    assert second is None


def test_an_empty_queue_gives_none(queue: Queue) -> None:
    assert queue.claim() is None
    assert queue.claim_many(10) == []


def test_a_claim_says_what_who_and_until_when(queue: Queue) -> None:
    pushed = queue.push({"id": 1}, headers={"trace": "x"})

    claimed = queue.claim(claimed_by="me", lease=timedelta(minutes=1))

    assert claimed is not None
    assert claimed.payload == {"id": 1}
    assert claimed.claimed_by == "me"
    assert claimed.message.id == pushed.id
    assert claimed.message.status is Status.CLAIMED
    assert claimed.message.attempts == 1
    assert claimed.message.headers == {"trace": "x"}
    assert claimed.message.claimed_at is not None
    assert claimed.expires_at - claimed.message.claimed_at == timedelta(minutes=1)
    assert claimed.expires_at.tzinfo is UTC


def test_who_claims_is_what_was_said_also_after_an_equal_one(queue: Queue) -> None:
    class Role(StrEnum):
        WORKER = "worker-1"

    queue.push_many([1, 2])
    first = queue.claim(claimed_by=Role.WORKER, claim_key=Role.WORKER)
    second = queue.claim(claimed_by="worker-1", claim_key="worker-1")

    assert first is not None
    assert second is not None
    assert first.claimed_by == "worker-1"
    assert {type(second.claimed_by), type(second.message.claim_key)} == {str}


def test_messages_of_another_queue_are_not_claimed(queue: Queue, dead_letters: Queue) -> None:
    queue.push({"id": 1})

    assert dead_letters.claim() is None


def test_higher_priorities_come_first_then_the_longest_available(queue: Queue) -> None:
    queue.push("low", priority=-1)
    queue.push("first")
    queue.push("second")
    queue.push("high", priority=7)

    claims = queue.claim_many(10)

    assert [claim.payload for claim in claims] == ["high", "first", "second", "low"]


def test_priority_order_holds_one_by_one(queue: Queue) -> None:
    for priority in (3, -2, 9, 0, 3):
        queue.push(priority, priority=priority)

    claimed = [queue.claim() for _ in range(5)]

    assert [claim.payload for claim in claimed if claim] == [9, 3, 3, 0, -2]


def test_claim_many_takes_no_more_than_its_limit(queue: Queue) -> None:
    queue.push_many(list(range(5)), priority=1)
    queue.push_many(list(range(5)))

    claims = queue.claim_many(7)

    assert len(claims) == 7
    assert queue.counts().available == 3


def test_a_delayed_message_waits(queue: Queue) -> None:
    queue.push("later", delay=timedelta(hours=1), priority=9)
    queue.push("now")

    claims = queue.claim_many(10)

    assert [claim.payload for claim in claims] == ["now"]
    assert queue.counts().delayed == 1


def test_a_lapsed_claim_is_claimed_by_another(queue: Queue) -> None:
    queue.push({"id": 1})
    lapsed = queue.claim(claimed_by="first", lease=NOW)

    taken = queue.claim(claimed_by="second")

    assert lapsed is not None
    assert taken is not None
    assert taken.message.id == lapsed.message.id
    assert taken.message.attempts == 2
    assert taken.token != lapsed.token
    assert taken.message.last_error == "lease expired, claimed by first"


def test_a_claim_within_its_lease_is_left_alone(queue: Queue) -> None:
    queue.push({"id": 1})
    queue.claim(lease=timedelta(minutes=1))

    assert queue.expire() == 0
    assert queue.counts().claimed == 1


def test_expire_gives_back_behind_what_waits(queue: Queue) -> None:
    queue.push("first")
    queue.push("second")
    queue.claim(lease=NOW)

    expired = queue.expire()

    assert expired == 1
    assert [message.payload for message in queue.peek(10)] == ["second", "first"]


def test_expire_leaves_acked_and_extended_claims_alone(queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    acked, extended, _lapsed = queue.claim_many(3, lease=NOW)
    queue.ack(acked)
    queue.extend(extended)

    expired = queue.expire()

    assert expired == 1
    assert (queue.counts().consumed, queue.counts().claimed) == (1, 1)


def test_expire_takes_no_more_than_its_limit(queue: Queue) -> None:
    queue.push_many(list(range(5)))
    queue.claim_many(5, lease=NOW)

    assert queue.expire(limit=2) == 2
    assert queue.counts().claimed == 3


def test_exhausted_messages_become_dead_letters(queue: Queue, dead_letters: Queue) -> None:
    queue.push({"id": 1}, max_attempts=2)
    queue.claim(lease=NOW)
    queue.claim(lease=NOW)

    nothing = queue.claim()

    assert nothing is None
    (letter,) = dead_letters.peek(10)
    assert letter.origin_queue == queue.name
    assert letter.attempts == 2
    assert letter.is_dead_letter
    assert queue.counts().dead_letters == 1


def test_dead_letters_are_claimed_and_acked_like_others(queue: Queue, dead_letters: Queue) -> None:
    queue.push({"id": 1}, max_attempts=1)
    queue.claim(lease=NOW)
    queue.expire()

    claimed = dead_letters.claim(lease=NOW)
    assert claimed is not None
    dead_letters.expire()
    again = dead_letters.claim()
    assert again is not None
    dead_letters.ack(again)

    assert queue.counts().consumed == 1


def test_every_row_keeps_the_invariants(queue: Queue, engine: Engine) -> None:
    queue.push_many([1, 2, 3])
    acked, released, _held = queue.claim_many(3, claim_key="key")
    queue.ack(acked)
    queue.release(released)

    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT status, claim_token IS NULL, claimed_by IS NULL, claim_expires_at IS NULL,"
                " claim_key IS NULL, consumed_at IS NULL FROM xclaim_message WHERE queue = :queue"
                " ORDER BY id"
            ),
            {"queue": queue.name},
        ).all()

    assert [tuple(row) for row in rows] == [
        ("consumed", True, True, True, True, False),
        ("available", True, True, True, True, True),
        ("claimed", False, False, False, False, True),
    ]
