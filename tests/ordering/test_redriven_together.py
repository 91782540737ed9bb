"""Dead letters of one line that are redriven in one statement, of which one still had the turn."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine

from tests.eventually import until
from tests.ordering.draining import drained
from tests.retrying import AT_ONCE
from xclaim import Claim, Queue


def die(queue: Queue) -> None:
    queue.release(_claimed(queue), error="boom", delay=timedelta(0))


def test_a_letter_that_holds_its_line_is_redriven_with_others_of_it(queue: Queue) -> None:
    queue.push(0, ordering_key="k", max_attempts=1)
    queue.push(1, ordering_key="k", max_attempts=1, on_dead="hold")
    queue.push(2, ordering_key="k")
    die(queue)
    die(queue)

    assert queue.redrive() == 2
    assert drained(queue) == [0, 1, 2]


def test_a_letter_that_owes_its_turn_is_redriven_with_others_of_it(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql, retry=AT_ONCE)
    queue.push_many([0, 1], ordering_keys=["k", "k"], max_attempts=1)
    die(queue)
    with postgresql.begin() as connection:
        Queue("orders", connection).push(2, ordering_key="k")
        die(queue)

        assert queue.redrive() == 2
        queue.ack(_claimed(queue))
        queue.ack(_claimed(queue))
        assert queue.claim() is None

    consumed: list[object] = []

    def is_passed_on() -> bool:
        consumed.extend(drained(queue))
        return bool(consumed)

    until(is_passed_on)
    assert consumed == [2]  # whoever was writing behind the letter is not forgotten


def _claimed(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim
