"""Find and withdraw by unique key, and when the newest message became available."""

from datetime import timedelta

import pytest

from tests.times import available_at
from xclaim import InvalidArgumentError, Queue


def test_find_returns_what_was_pushed_under_the_keys(queue: Queue) -> None:
    queue.push_many(["a", "b", "c"], unique_keys=["1", "2", "3"])
    claimed = queue.claim()
    assert claimed is not None
    queue.ack(claimed)

    found = queue.find(["3", "1", "none", "1"])

    assert [(message.payload, message.status) for message in found] == [
        ("a", "consumed"),
        ("c", "available"),
    ]


def test_withdraw_deletes_what_nobody_has_claimed(queue: Queue) -> None:
    queue.push_many(["consumed", "claimed", "left", "kept"], unique_keys=["1", "2", "3", "4"])
    consumed, claimed = queue.claim_many(2)
    queue.ack(consumed)

    assert queue.withdraw(["1", "2", "3", "none"]) == 1

    assert [message.payload for message in queue.find(["1", "2", "3", "4"])] == [
        "consumed",
        "claimed",
        "kept",
    ]
    queue.ack(claimed)


def test_a_withdrawn_key_can_be_pushed_again(queue: Queue) -> None:
    queue.push("old", unique_key="1")
    queue.withdraw(["1"])

    assert queue.push("new", unique_key="1").payload == "new"


def test_withdraw_reaches_dead_letters_and_delayed_messages(
    queue: Queue, dead_letters: Queue
) -> None:
    queue.push("poison", unique_key="1", max_attempts=1)
    poison = queue.claim()
    assert poison is not None
    queue.release(poison)
    queue.push("later", unique_key="2", delay=timedelta(days=1))

    assert queue.withdraw(["1", "2"]) == 2

    assert dead_letters.counts().available == 0


def test_withdraw_leaves_other_queues_alone(queue: Queue, facade: object) -> None:
    other = facade.queue(f"{queue.name}-other")  # type: ignore[attr-defined]
    other.push("theirs", unique_key="1")

    assert queue.withdraw(["1"]) == 0
    assert queue.find(["1"]) == []


def test_no_keys_are_no_work(queue: Queue) -> None:
    assert queue.withdraw([]) == 0
    assert queue.find([]) == []


@pytest.mark.parametrize("keys", ["key", 17, [17], [""], ["x" * 1_001]])
def test_bad_keys_are_refused(queue: Queue, keys: list[str]) -> None:
    with pytest.raises(InvalidArgumentError, match="unique_key"):
        queue.withdraw(keys)
    with pytest.raises(InvalidArgumentError, match="unique_key"):
        queue.find(keys)


def test_the_newest_message_moves_on_with_pushes_and_delays(queue: Queue) -> None:
    assert queue.newest_available_at() is None
    low = queue.push("low", priority=-1)
    assert queue.newest_available_at() == low.available_at
    queue.push("delayed", delay=timedelta(days=1), priority=5)
    high = queue.push("high", priority=3)

    assert queue.newest_available_at() == max(available_at(low), available_at(high))


def test_the_newest_message_is_one_that_can_be_claimed(queue: Queue) -> None:
    first = queue.push("first")
    queue.push("second", priority=1)
    claimed = queue.claim()

    assert queue.newest_available_at() == first.available_at
    assert claimed is not None
    assert claimed.payload == "second"
