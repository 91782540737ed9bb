"""Redrive, prune, and looking without touching."""

from datetime import timedelta

from xclaim import Counts, Message, Queue, Status

NOW = timedelta(0)


def bury(queue: Queue, payload: object, **options: object) -> int:
    message: Message = queue.push(payload, max_attempts=1, **options)  # type: ignore[call-overload]
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed, error="boom")
    return message.id


def test_redrive_brings_dead_letters_back_with_no_attempts_used(queue: Queue) -> None:
    buried = bury(queue, {"id": 1})

    moved = queue.redrive()

    assert moved == 1
    message = queue.get(buried)
    assert message is not None
    assert (message.queue, message.attempts, message.last_error) == (queue.name, 0, "boom")
    assert queue.claim() is not None


def test_redrive_takes_no_more_than_its_limit(queue: Queue) -> None:
    for number in range(3):
        bury(queue, number)

    assert queue.redrive(limit=2) == 2
    assert queue.counts().dead_letters == 1


def test_redrive_cannot_lose_a_row_to_a_key(queue: Queue) -> None:
    buried = bury(queue, 1, unique_key="key")
    assert queue.push(1, unique_key="key").id == buried

    moved = queue.redrive()

    assert moved == 1
    assert queue.counts() == Counts(
        available=1, delayed=0, claimed=0, consumed=0, dead_letters=0, in_line=0
    )


def test_prune_deletes_only_what_was_consumed_long_enough_ago(queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    acked, _held = queue.claim_many(2)
    queue.ack(acked)

    kept = queue.prune(older_than=timedelta(hours=1))
    pruned = queue.prune(older_than=NOW)

    assert (kept, pruned) == (0, 1)
    assert queue.get(acked.message.id) is None
    assert queue.counts() == Counts(
        available=1, delayed=0, claimed=1, consumed=0, dead_letters=0, in_line=0
    )


def test_prune_goes_on_in_batches_up_to_its_limit(queue: Queue) -> None:
    queue.push_many(list(range(2_500)))
    queue.ack_many(queue.claim_many(2_500))

    limited = queue.prune(older_than=NOW, limit=1_200)
    rest = queue.prune(older_than=NOW)

    assert (limited, rest) == (1_200, 1_300)


def test_a_pruned_key_can_be_pushed_again(queue: Queue) -> None:
    first = queue.push(1, unique_key="key")
    queue.ack_many(queue.claim_many(1))
    queue.prune(older_than=NOW)

    second = queue.push(2, unique_key="key")

    assert second.id > first.id


def test_prune_reaches_consumed_dead_letters(queue: Queue, dead_letters: Queue) -> None:
    bury(queue, 1)
    dead_letters.ack_many(dead_letters.claim_many(1))

    assert queue.prune(older_than=NOW) == 1


def test_peek_shows_what_comes_next_and_claims_nothing(queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    queue.push(0, priority=1)

    upcoming = queue.peek(2)

    assert [message.payload for message in upcoming] == [0, 1]
    assert all(message.status is Status.AVAILABLE for message in upcoming)
    assert queue.counts().available == 4


def test_get_finds_a_message_from_its_queues_only(queue: Queue, dead_letters: Queue) -> None:
    buried = bury(queue, 1)
    pushed = queue.push(2)

    assert queue.get(buried) is not None
    assert dead_letters.get(buried) is not None
    assert dead_letters.get(pushed.id) is None
    assert queue.get(2**62) is None


def test_counts_add_up(queue: Queue) -> None:
    bury(queue, "dead")
    queue.push("later", delay=timedelta(hours=1))
    queue.push_many([1, 2, 3, 4])
    acked, _held = queue.claim_many(2)
    queue.ack(acked)

    assert queue.counts() == Counts(
        available=2, delayed=1, claimed=1, consumed=1, dead_letters=1, in_line=0
    )
