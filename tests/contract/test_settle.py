"""Fenced: ack, release and extend match the id and the token. Batches are honest."""

import json
from datetime import timedelta

import pytest

from xclaim import Claim, ClaimLostError, InvalidArgumentError, Queue, Status

NOW = timedelta(0)


def claimed_from(queue: Queue, *, lease: timedelta = timedelta(minutes=5)) -> Claim:
    claim = queue.claim(lease=lease)
    assert claim is not None
    return claim


def test_an_acked_message_is_consumed_and_says_by_whom(queue: Queue) -> None:
    pushed = queue.push({"id": 1})
    claimed = queue.claim(claimed_by="me")
    assert claimed is not None

    queue.ack(claimed)

    consumed = queue.get(pushed.id)
    assert consumed is not None
    assert consumed.status is Status.CONSUMED
    assert consumed.consumed_by == "me"
    assert consumed.consumed_at is not None
    assert queue.claim() is None


def test_a_second_ack_is_refused(queue: Queue) -> None:
    queue.push({"id": 1})
    claimed = claimed_from(queue)
    queue.ack(claimed)

    with pytest.raises(ClaimLostError) as caught:
        queue.ack(claimed)

    assert caught.value.claims == [claimed]


def test_a_late_ack_is_accepted_while_nobody_has_retaken_the_message(queue: Queue) -> None:
    queue.push({"id": 1})
    late = claimed_from(queue, lease=NOW)

    queue.ack(late)

    assert queue.counts().consumed == 1


@pytest.mark.parametrize("verb", ["ack", "release", "extend"])
def test_a_stale_claim_settles_nothing(queue: Queue, verb: str) -> None:
    queue.push({"id": 1})
    stale = claimed_from(queue, lease=NOW)
    current = claimed_from(queue)

    with pytest.raises(ClaimLostError):
        getattr(queue, verb)(stale)

    held = queue.get(current.message.id)
    assert held is not None
    assert held == current.message


def test_a_batch_acks_what_it_can_and_names_the_lost(queue: Queue) -> None:
    queue.push_many(list(range(100)))
    claims = queue.claim_many(100)
    queue.release(claims[41])

    with pytest.raises(ClaimLostError) as caught:
        queue.ack_many(claims)

    assert caught.value.claims == [claims[41]]
    assert queue.counts().consumed == 99


def test_a_batch_with_an_old_and_a_new_receipt_loses_only_the_old(queue: Queue) -> None:
    queue.push({"id": 1})
    stale = claimed_from(queue, lease=NOW)
    current = claimed_from(queue)

    with pytest.raises(ClaimLostError) as caught:
        queue.ack_many([stale, current, current])

    assert caught.value.claims == [stale]
    assert queue.counts().consumed == 1


def test_an_empty_batch_is_fine(queue: Queue) -> None:
    queue.ack_many([])

    assert queue.push_many([]) == []


def test_a_released_message_keeps_its_place(queue: Queue) -> None:
    queue.push_many(["first", "second"])

    released = queue.release(claimed_from(queue))

    assert released.status is Status.AVAILABLE
    assert released.last_error is None
    assert [message.payload for message in queue.peek(10)] == ["first", "second"]


def test_a_released_message_can_come_back_later(queue: Queue) -> None:
    queue.push({"id": 1})

    queue.release(claimed_from(queue), delay=timedelta(hours=1))

    assert queue.claim() is None
    assert queue.counts().delayed == 1


def test_an_uncounted_release_takes_the_attempt_back(queue: Queue) -> None:
    queue.push({"id": 1}, max_attempts=1)

    released = queue.release(claimed_from(queue), count=False)

    assert released.attempts == 0
    assert released.queue == queue.name


def test_a_release_of_the_last_attempt_makes_a_dead_letter(
    queue: Queue, dead_letters: Queue
) -> None:
    queue.push({"id": 1}, max_attempts=1)

    released = queue.release(claimed_from(queue), error="boom")

    assert released.queue == dead_letters.name
    assert queue.claim() is None
    (letter,) = dead_letters.peek()
    assert letter.last_error == "boom"


def test_extend_counts_from_now(queue: Queue) -> None:
    queue.push({"id": 1})
    claimed = claimed_from(queue, lease=NOW)

    extended = queue.extend(claimed, lease=timedelta(hours=1))

    assert extended.token == claimed.token
    assert extended.expires_at - claimed.expires_at >= timedelta(hours=1)
    assert queue.expire() == 0


def test_extend_many_names_the_lost(queue: Queue) -> None:
    queue.push_many([1, 2])
    lost, held = queue.claim_many(2, lease=NOW)
    queue.release(lost)

    with pytest.raises(ClaimLostError) as caught:
        queue.extend_many([lost, held])

    assert caught.value.claims == [lost]
    assert queue.expire() == 0


def test_a_claim_travels_as_json(queue: Queue) -> None:
    queue.push({"text": "größer", "list": [1, None, 2.5]})
    claimed = claimed_from(queue)

    travelled = Claim.from_dict(json.loads(json.dumps(claimed.to_dict())))

    assert travelled == claimed
    queue.ack(travelled)
    assert queue.counts().consumed == 1


def test_a_claim_of_another_queue_is_refused(queue: Queue, dead_letters: Queue) -> None:
    queue.push({"id": 1})
    claimed = claimed_from(queue)

    with pytest.raises(InvalidArgumentError, match="was claimed from queue"):
        dead_letters.ack(claimed)
    with pytest.raises(InvalidArgumentError, match="was claimed from queue"):
        dead_letters.ack_many([claimed])

    assert queue.counts().claimed == 1
