"""So many messages may wait in a queue: a push raises then, waits for room, or is skipped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from tests.contract.facades import Facade
from xclaim import Backlog, DuplicateMessageError, InvalidArgumentError, Queue, QueueFullError
from xclaim.verbs import backlog

SOON = timedelta(milliseconds=50)
LONG = timedelta(seconds=30)


@pytest.fixture(autouse=True)
def always_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a queue is asked for anew each time, not once a second."""
    monkeypatch.setattr(backlog, "_ASKED_EVERY", 0.0)


@pytest.fixture
def full(queue: Queue) -> Queue:
    """A queue in which three may wait, and do."""
    queue.push_many(range(3))
    queue.limit_backlog(max_backlog=3)
    return queue


def waiting(queue: Queue) -> int:
    counts = queue.counts()
    return counts.available + counts.delayed + counts.in_line


def test_a_push_raises_where_as_many_wait_as_may(full: Queue) -> None:
    with pytest.raises(QueueFullError) as raised:
        full.push("more")

    error = raised.value
    assert (error.queue, error.max_backlog, error.waiting) == (full.name, 3, 3)
    assert (error.count, error.on_full) == (1, "raise")
    assert "Queue.limit_backlog(max_backlog=...)" in str(error)
    assert waiting(full) == 3


def test_there_is_room_up_to_the_limit(queue: Queue) -> None:
    queue.limit_backlog(max_backlog=3)

    for number in range(3):
        queue.push(number)
    with pytest.raises(QueueFullError):
        queue.push(3)

    assert waiting(queue) == 3


def test_what_was_claimed_makes_room(full: Queue) -> None:
    assert full.claim() is not None

    full.push("more")

    assert waiting(full) == 3


@pytest.mark.usefixtures("with_ordering")
def test_what_is_delayed_or_stands_in_line_waits_too(queue: Queue) -> None:
    queue.push(1, delay=timedelta(days=1))
    queue.push_many([2, 3], ordering_keys=["a", "a"])
    queue.limit_backlog(max_backlog=3)

    assert queue.backlog() == Backlog(max_backlog=3, on_full="raise", waiting=3)
    for keys in (None, "a", "b"):
        with pytest.raises(QueueFullError):
            queue.push(4, ordering_key=keys)


def test_dead_letters_and_consumed_messages_take_no_room(queue: Queue) -> None:
    queue.push_many([1, 2], max_attempts=1)
    first, second = queue.claim_many(2)
    queue.ack(first)
    queue.release(second, error="dead")
    queue.limit_backlog(max_backlog=1)

    queue.push("more")

    assert queue.backlog().waiting == 1


def test_what_comes_back_is_not_refused(queue: Queue) -> None:
    queue.push(1)
    queue.push(2, max_attempts=1)
    queue.limit_backlog(max_backlog=2)
    first, second = queue.claim_many(2)
    queue.push_many([3, 4])

    queue.release(first, count=False)
    queue.release(second, error="dead")
    assert queue.redrive() == 1

    assert queue.backlog() == Backlog(max_backlog=2, on_full="raise", waiting=3)
    assert queue.backlog().is_full


def test_a_batch_is_pushed_whole_or_not_at_all(queue: Queue) -> None:
    queue.push("one")
    queue.limit_backlog(max_backlog=3)

    with pytest.raises(QueueFullError) as raised:
        queue.push_many(range(3))
    assert raised.value.count == 3
    assert waiting(queue) == 1

    assert len(queue.push_many(range(2))) == 2
    assert queue.push_many([]) == []


def test_what_is_there_already_needs_no_room(queue: Queue) -> None:
    pushed = queue.push("one", unique_key="a")
    queue.limit_backlog(max_backlog=2)

    both = queue.push_many(["one", "two"], unique_keys=["a", "b"])
    assert both[0].id == pushed.id
    assert queue.push("one", unique_key="a").id == pushed.id
    again = queue.push_many(["two", "one", "one"], unique_keys=["b", "a", "a"])
    assert [each.id for each in again] == [both[1].id, both[0].id, both[0].id]
    with pytest.raises(QueueFullError) as raised:
        queue.push_many(["one", "three", "four"], unique_keys=["a", "c", None])
    assert raised.value.count == 2
    with pytest.raises(DuplicateMessageError):
        queue.push("another", unique_key="a")


def test_a_skipped_push_returns_none(full: Queue) -> None:
    full.limit_backlog(max_backlog=3, on_full="skip")

    assert full.push("more") is None
    assert full.push_many(["more", "still more"]) == [None, None]
    assert waiting(full) == 3


def test_a_skipped_batch_says_what_was_there(queue: Queue) -> None:
    pushed = queue.push("one", unique_key="a")
    queue.limit_backlog(max_backlog=1)

    messages = queue.push_many(
        ["two", "one", "three"], unique_keys=["b", "a", None], on_full="skip"
    )

    assert [message and message.id for message in messages] == [None, pushed.id, None]
    with pytest.raises(DuplicateMessageError):
        queue.push_many(["two", "another"], unique_keys=["b", "a"], on_full="skip")


def test_the_call_overrides_the_setting(full: Queue) -> None:
    full.limit_backlog(max_backlog=3, on_full="skip")

    with pytest.raises(QueueFullError):
        full.push("more", on_full="raise")
    assert full.push("more", max_backlog=4) is not None
    assert full.push("more", max_backlog=4) is None
    with pytest.raises(QueueFullError) as raised:
        full.push("more", max_backlog=2, on_full="raise")
    assert (raised.value.max_backlog, raised.value.waiting) == (2, 3)


def test_a_call_has_a_limit_of_its_own_where_none_is_set(queue: Queue) -> None:
    queue.push_many([1, 2], max_backlog=2)

    with pytest.raises(QueueFullError):
        queue.push(3, max_backlog=2)
    assert queue.push(3, max_backlog=2, on_full="skip") is None
    queue.push(3, on_full="raise")
    assert queue.backlog() == Backlog()


def test_a_limit_ends(full: Queue) -> None:
    full.limit_backlog(max_backlog=None)

    full.push_many(range(5))

    assert full.backlog() == Backlog()
    assert waiting(full) == 8


def test_a_limit_is_no_pause(full: Queue) -> None:
    full.pause()
    full.limit_backlog(max_backlog=4)
    assert full.paused() is not None
    assert full.unpause()
    assert full.backlog().max_backlog == 4


@pytest.fixture
def claims_later(engine: Engine) -> Iterator[Callable[[str], None]]:
    """Return what lets somebody else claim a message in a moment."""
    timers = []

    def claim(name: str) -> None:
        timers.append(threading.Timer(0.2, Queue(name, engine).claim))
        timers[-1].start()

    yield claim
    for timer in timers:
        timer.join()


def test_a_push_waits_for_a_claim(full: Queue, claims_later: Callable[[str], None]) -> None:
    full.limit_backlog(max_backlog=3, on_full="wait")
    claims_later(full.name)

    assert full.push("more", wait=LONG) is not None

    claims_later(full.name)
    assert len(full.push_many(["more"], on_full="wait", wait=LONG)) == 1
    assert waiting(full) == 3


def test_a_wait_ends_with_the_error(full: Queue) -> None:
    with pytest.raises(QueueFullError) as raised:
        full.push("more", on_full="wait", wait=SOON)

    assert "waited 0:00:00.05" in raised.value.__notes__[0]
    assert waiting(full) == 3


def test_what_never_fits_does_not_wait(queue: Queue) -> None:
    queue.limit_backlog(max_backlog=2, on_full="wait")

    with pytest.raises(QueueFullError, match="3 messages never fit"):
        queue.push_many(range(3), wait=LONG)
    assert queue.push_many(range(3), on_full="skip") == [None] * 3


def test_a_limit_that_ends_ends_the_wait(full: Queue, engine: Engine) -> None:
    timer = threading.Timer(
        0.2, Queue(full.name, engine).limit_backlog, kwargs={"max_backlog": None}
    )
    timer.start()

    assert full.push("more", on_full="wait", wait=LONG) is not None
    timer.join()


def test_nothing_waits_in_a_transaction_of_the_caller(full: Queue, facade: Facade) -> None:
    full.limit_backlog(max_backlog=3, on_full="wait")

    with facade.in_transaction(full.name) as joined:
        with pytest.raises(InvalidArgumentError, match="hold your locks"):
            joined.push("more", on_full="wait")
        with pytest.raises(QueueFullError):
            joined.push("more")
        assert joined.push("more", max_backlog=4) is not None
    assert waiting(full) == 4


def test_nothing_is_left_out_of_a_transaction_that_does_not_say_so(
    full: Queue, facade: Facade
) -> None:
    full.limit_backlog(max_backlog=3, on_full="skip")

    with facade.in_transaction(full.name) as joined:
        with pytest.raises(QueueFullError):
            joined.push("more")
        assert joined.push("more", on_full="skip") is None
        assert joined.claim() is not None  # it has not failed
        joined.push("more")
    assert waiting(full) == 3


def test_what_is_rolled_back_takes_no_room(queue: Queue, facade: Facade) -> None:
    queue.limit_backlog(max_backlog=2)

    with pytest.raises(QueueFullError), facade.in_transaction(queue.name) as joined:
        joined.push_many([1, 2])
        joined.push(3)

    assert len(queue.push_many([1, 2])) == 2


@pytest.mark.parametrize("number", [0, -1, 1_000_001, 2**63, True, "10", 1.5, float("nan")])
def test_hostile_numbers_are_refused(queue: Queue, number: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="max_backlog must"):
        queue.limit_backlog(max_backlog=number)
    with pytest.raises(InvalidArgumentError, match="max_backlog must"):
        queue.push(1, max_backlog=number)
    assert queue.counts().available == 0


def test_wrong_words_are_refused(queue: Queue) -> None:
    wrong: Any = "drop"
    with pytest.raises(InvalidArgumentError, match="on_full must be"):
        queue.push(1, on_full=wrong)
    with pytest.raises(InvalidArgumentError, match="on_full must be"):
        queue.limit_backlog(max_backlog=1, on_full=wrong)
    with pytest.raises(InvalidArgumentError, match="on_full must be"):
        queue.push(1, on_full=[wrong])  # type: ignore[call-overload]
    with pytest.raises(InvalidArgumentError, match="leave out one"):
        queue.push(1, on_full="skip", wait=LONG)
    with pytest.raises(InvalidArgumentError, match="wait must"):
        queue.push(1, wait=5)  # type: ignore[call-overload]


def test_a_dead_letter_queue_has_no_limit(dead_letters: Queue) -> None:
    with pytest.raises(InvalidArgumentError, match="dead-letter queue"):
        dead_letters.limit_backlog(max_backlog=1)


@pytest.mark.parametrize(
    "values", ["0, 'raise'", "-1, 'raise'", "1000001, 'skip'", "1, NULL", "NULL, 'wait'", "1, 'x'"]
)
def test_the_database_refuses_other_settings(queue: Queue, engine: Engine, values: str) -> None:
    sql = (
        f"INSERT INTO xclaim_queue (queue, max_backlog, on_full) VALUES ('{queue.name}', {values})"
    )

    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(sql))
