"""All that a queue can do, once: for tests of what surrounds it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from xclaim import Claim, Queue

NO_LEASE = timedelta(0)
TEXT = "naïve café"


def every_verb(queue: Queue) -> list[object]:
    """Call every method of an empty queue that runs a statement, and return what was claimed.

    It ends empty but for what was consumed.
    """
    payloads = _pushed_and_claimed(queue)
    _released_and_redriven(queue)
    _looked_at(queue)
    _handed_over(queue)
    _paused(queue)
    _limited(queue)
    with queue.consume() as claimed:
        assert claimed is None
    return payloads


def _pushed_and_claimed(queue: Queue) -> list[object]:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    queue.push({"text": TEXT}, headers={"text": TEXT}, unique_key="one")
    queue.push({"text": TEXT}, unique_key="one")
    queue.push(at)  # not plain JSON
    queue.push_many([1, at, 6], unique_keys=["two", "three", None])
    queue.push_many([2, 3, 4, 5], priority=1)
    found = queue.find(["one", "two"])
    first = _claimed(queue)
    second, third = queue.claim_many(2, claim_key="key", claimed_by="first try")
    again = queue.claim_many(2, claim_key="key", claimed_by="second try")
    queue.extend(first)
    queue.extend_many(again)
    queue.ack(first)
    queue.ack_many(again)
    payloads = [first.payload, second.payload, third.payload]
    payloads += [claimed.payload for claimed in queue.stream(batch=2)]
    assert len(found) == 2
    return payloads


def _released_and_redriven(queue: Queue) -> None:
    for number in range(3):
        queue.push(number, max_attempts=1)
    queue.release(_claimed(queue), error=ValueError(TEXT))
    queue.release(_claimed(queue), error="a text")
    queue.claim(lease=NO_LEASE)
    queue.expire()
    assert queue.counts().dead_letters == 3
    assert queue.redrive(dry_run=True) == 3
    moved = queue.redrive(error="ValueError", older_than=timedelta(0)) + queue.redrive()
    assert moved == 3
    queue.release(_claimed(queue), delay=timedelta(hours=1), count=False)
    pushed = queue.push("to be withdrawn", unique_key=str(uuid4()))
    assert queue.withdraw([str(pushed.unique_key)]) == 1
    assert queue.withdraw(ids=[message.id for message in queue.peek(9)]) == 2


def _paused(queue: Queue) -> None:
    pushed = queue.push("waits")
    queue.pause(reason=TEXT, by=TEXT)
    assert queue.claim() is None
    pause = queue.pause()
    assert (pause.reason, pause.paused_by) == (TEXT, TEXT)
    assert queue.paused() == pause
    assert queue.unpause()
    queue.limit_backlog(max_backlog=1)
    assert queue.backlog().is_full
    assert queue.push("has no room", on_full="skip") is None
    queue.limit_backlog(max_backlog=None)
    assert queue.withdraw(ids=[pushed.id]) == 1


def _limited(queue: Queue) -> None:
    queue.push_many(["first", "second"])
    limits = queue.limit(concurrency=1, rate=1000, burst=3, by=TEXT)
    assert queue.limits() == limits
    claimed = _claimed(queue)
    assert queue.claim() is None
    queue.ack(claimed)
    queue.ack(_claimed(queue))
    queue.limit()
    assert queue.limits() is None


def _looked_at(queue: Queue) -> None:
    failing = queue.push("fails", priority=5)
    queue.release(_claimed(queue), error=ValueError(TEXT))
    assert [failure.error for failure in queue.failures(failing.id)] == [f"ValueError: {TEXT}"]
    assert [message.id for message in queue.failing()] == [failing.id]
    assert queue.get(failing.id) is not None
    queue.peek()
    queue.newest_available_at()
    assert queue.withdraw(ids=[failing.id]) == 1


def _handed_over(queue: Queue) -> None:
    pushed = queue.push("by its id")
    claimed = queue.claim_message(pushed.id)
    assert claimed is not None
    queue.ack(claimed)
    queue.push_many(["for a block", "for another"])
    with queue.consume_many(2) as claims:
        assert len(claims) == 2
    queue.prune(older_than=timedelta(hours=1))


def _claimed(queue: Queue) -> Claim:
    claimed = queue.claim()
    assert claimed is not None
    return claimed
