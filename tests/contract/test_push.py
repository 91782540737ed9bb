"""Pushed once, and exactly as given."""

from datetime import UTC
from typing import Any

import pytest

from xclaim import DuplicateMessageError, Queue, Status
from xclaim.verbs import pushing


@pytest.mark.parametrize(
    "payload",
    [
        {"id": 1, "nested": {"list": [1, 2.5, None, True, {"x": []}]}},
        [],
        {},
        "",
        "größer 🫖 \\ \" ' \n",
        "1",
        0,
        -1.5,
        10**17,
        True,
        None,
        {"": "empty key", "ключ": "значение"},
    ],
)
def test_a_payload_comes_back_as_it_was_pushed(queue: Queue, payload: Any) -> None:
    pushed = queue.push(payload)

    claimed = queue.claim()

    assert claimed is not None
    assert pushed.payload == payload
    assert claimed.payload == payload
    assert type(claimed.payload) is type(payload)


def test_a_push_in_several_statements_keeps_its_order(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "_MAX_TEXT", 10)
    payloads = ["more than fits in one", 1, 2, "more than fits again", *range(20)]

    pushed = queue.push_many(payloads)

    assert [message.payload for message in pushed] == payloads
    assert [claim.message.id for claim in queue.claim_many(50)] == [each.id for each in pushed]


def test_a_pushed_message_is_available_and_timed_in_utc(queue: Queue) -> None:
    message = queue.push({"id": 1}, priority=3, max_attempts=4, headers={"dag_id": "d"})

    assert message.status is Status.AVAILABLE
    assert (message.queue, message.origin_queue) == (queue.name, queue.name)
    assert (message.priority, message.max_attempts, message.attempts) == (3, 4, 0)
    assert message.headers == {"dag_id": "d"}
    assert message.created_at.tzinfo is UTC
    assert message.available_at == message.created_at
    assert queue.get(message.id) == message


def test_many_messages_come_in_the_order_of_their_payloads(queue: Queue) -> None:
    messages = queue.push_many(list(range(500)))

    assert [message.payload for message in messages] == list(range(500))
    assert [message.id for message in messages] == sorted(message.id for message in messages)


def test_the_same_key_and_payload_is_the_same_message(queue: Queue) -> None:
    first = queue.push({"a": 1, "b": 2}, unique_key="key")

    second = queue.push({"b": 2, "a": 1}, unique_key="key")

    assert second == first
    assert queue.counts().available == 1


def test_a_consumed_message_is_not_pushed_again(queue: Queue) -> None:
    pushed = queue.push({"id": 1}, unique_key="key")
    claimed = queue.claim()
    assert claimed is not None
    queue.ack(claimed)

    again = queue.push({"id": 1}, unique_key="key")

    assert again.id == pushed.id
    assert again.status is Status.CONSUMED
    assert queue.claim() is None


def test_another_payload_under_the_key_is_refused(queue: Queue) -> None:
    queue.push({"id": 1}, unique_key="key")

    with pytest.raises(DuplicateMessageError) as caught:
        queue.push({"id": 2}, unique_key="key")

    assert caught.value.queue == queue.name
    assert caught.value.unique_keys == ["key"]
    assert [message.payload for message in queue.peek(10)] == [{"id": 1}]


def test_of_a_batch_with_a_clash_nothing_is_pushed(queue: Queue) -> None:
    queue.push_many([1, 2], unique_keys=["a", "b"])

    with pytest.raises(DuplicateMessageError) as caught:
        queue.push_many([1, 9, 8, 7, 6], unique_keys=["a", "b", "c", None, "d"])

    assert caught.value.unique_keys == ["b"]
    assert queue.counts().available == 2


def test_a_batch_returns_old_and_new_messages_in_its_order(queue: Queue) -> None:
    old = queue.push("old", unique_key="b")

    messages = queue.push_many(["x", "old", "y", "x", "z"], unique_keys=["a", "b", None, "a", None])

    assert [message.payload for message in messages] == ["x", "old", "y", "x", "z"]
    assert messages[1] == old
    assert messages[0] == messages[3]
    assert queue.counts().available == 4


def test_a_batch_that_contradicts_itself_is_refused(queue: Queue) -> None:
    with pytest.raises(DuplicateMessageError) as caught:
        queue.push_many([1, 2], unique_keys=["a", "a"])

    assert caught.value.unique_keys == ["a"]
    assert queue.counts().available == 0


def test_a_key_belongs_to_its_queue(queue: Queue, facade: Any) -> None:
    queue.push(1, unique_key="key")

    other = facade.queue(f"{queue.name}-other").push(2, unique_key="key")

    assert other.payload == 2


def test_a_key_stays_reserved_for_dead_and_redriven_messages(queue: Queue) -> None:
    pushed = queue.push(1, unique_key="key", max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed)

    dead = queue.push(1, unique_key="key", max_attempts=1)
    queue.redrive(to=f"{queue.name}-other")
    moved = queue.push(1, unique_key="key", max_attempts=1)

    assert dead.id == moved.id == pushed.id
    assert moved.queue == f"{queue.name}-other"
    with pytest.raises(DuplicateMessageError):
        queue.push(2, unique_key="key")
