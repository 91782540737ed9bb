"""Retries come back: a claim key takes back what its earlier attempt still holds."""

from datetime import timedelta

import pytest

from xclaim import ClaimLostError, Queue


def test_a_retry_takes_back_its_message_with_a_new_token(queue: Queue) -> None:
    queue.push_many(["first", "second"])
    before = queue.claim(claim_key="task", claimed_by="task#1")

    after = queue.claim(claim_key="task", claimed_by="task#2")

    assert before is not None
    assert after is not None
    assert after.message.id == before.message.id
    assert after.token != before.token
    assert after.message.attempts == 2


def test_the_zombie_of_the_earlier_try_cannot_ack(queue: Queue) -> None:
    queue.push({"id": 1})
    zombie = queue.claim(claim_key="task", claimed_by="task#1")
    retry = queue.claim(claim_key="task", claimed_by="task#2")
    assert zombie is not None
    assert retry is not None

    with pytest.raises(ClaimLostError):
        queue.ack(zombie)

    queue.ack(retry)
    assert queue.counts().consumed == 1


def test_two_claims_of_one_attempt_are_two_messages(queue: Queue) -> None:
    queue.push_many(["first", "second"])

    first = queue.claim(claim_key="task", claimed_by="task#1")
    second = queue.claim(claim_key="task", claimed_by="task#1")

    assert first is not None
    assert second is not None
    assert first.message.id != second.message.id


def test_claim_many_returns_what_it_takes_back_alone(queue: Queue) -> None:
    queue.push_many(list(range(5)))
    held = queue.claim_many(2, claim_key="task", claimed_by="task#1")

    taken_back = queue.claim_many(5, claim_key="task", claimed_by="task#2")

    assert [claim.message.id for claim in taken_back] == [claim.message.id for claim in held]


def test_another_key_takes_nothing_back(queue: Queue) -> None:
    queue.push({"id": 1})
    queue.claim(claim_key="task", claimed_by="task#1")

    assert queue.claim(claim_key="other", claimed_by="other#1") is None


def test_an_exhausted_message_is_not_taken_back(queue: Queue) -> None:
    queue.push({"id": 1}, max_attempts=1)
    queue.claim(claim_key="task", claimed_by="task#1", lease=timedelta(hours=1))

    assert queue.claim(claim_key="task", claimed_by="task#2") is None
