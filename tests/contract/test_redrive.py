"""Dead letters are redriven by their error, age and ids, at a rate, or only counted."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.contract.facades import Facade
from tests.eventually import until
from xclaim import InvalidArgumentError, Queue


class OutOfStockError(Exception):
    """An error with a module of its own."""


def killed(queue: Queue, *errors: object) -> list[int]:
    queue.push_many([str(error) for error in errors], max_attempts=1)
    claims = queue.claim_many(len(errors))
    for claim, error in zip(claims, errors, strict=True):
        queue.release(claim, error=error)
    return [claim.message.id for claim in claims]


def kill(queue: Queue) -> int | None:
    """Claim a message, let it die and return its id; None if there is none."""
    claim = queue.claim()
    if claim is None:
        return None
    queue.release(claim, error="again")
    return claim.message.id


def available(queue: Queue) -> list[int]:
    return sorted(message.id for message in queue.peek(100))


@pytest.mark.parametrize(
    "error",
    ["OutOfStockError", f"{__name__}.OutOfStockError", "no cup", "OutOfStockError: no cup"],
)
def test_dead_letters_are_chosen_by_their_error(queue: Queue, error: str) -> None:
    wanted, *_ = killed(queue, OutOfStockError("no cup"), ValueError("no"), "100% 'broken'", None)

    assert queue.redrive(error=error, dry_run=True) == 1
    assert queue.redrive(error=error) == 1
    assert available(queue) == [wanted]


@pytest.mark.parametrize("options", [{}, {"to": "others"}, {"dry_run": True}])
def test_the_letters_of_a_queue_of_letters_are_none(
    queue: Queue, facade: Facade, name: str, options: dict[str, Any]
) -> None:
    killed(queue, "no cup")
    letters = facade.queue(f"{name}.dead.dead")

    with pytest.raises(InvalidArgumentError, match=f"queue '{name}.dead' is a dead-letter queue"):
        letters.redrive(**options)

    (letter,) = facade.queue(f"{name}.dead").peek(9)
    assert letter.attempts == 1


@pytest.mark.parametrize("error", ["%", "'", "outofstockerror", "StockError", "_", "\\"])
def test_an_error_is_no_pattern(queue: Queue, error: str) -> None:
    killed(queue, OutOfStockError("no cup"))

    assert queue.redrive(error=error) == (1 if error == "StockError" else 0)


def test_dead_letters_are_chosen_by_how_long_they_are_dead(queue: Queue) -> None:
    killed(queue, "boom")

    assert queue.redrive(older_than=timedelta(hours=1)) == 0
    assert queue.redrive(older_than=timedelta(0)) == 1


def test_dead_letters_are_chosen_by_their_ids(queue: Queue) -> None:
    first, _, third = killed(queue, "a", "b", "c")

    assert queue.redrive(ids=[third, first, first]) == 2
    assert available(queue) == [first, third]


def test_of_no_ids_none_is_redriven(queue: Queue) -> None:
    killed(queue, "a")

    assert queue.redrive(ids=[]) == 0
    assert queue.withdraw(ids=[]) == 0


def test_several_choices_narrow_each_other(queue: Queue) -> None:
    first, second = killed(queue, "a", "b")

    assert queue.redrive(ids=[first, second], error="b") == 1
    assert available(queue) == [second]


def test_ids_that_are_no_dead_letters_are_named_and_nothing_is_moved(queue: Queue) -> None:
    (dead,) = killed(queue, "boom")
    alive = queue.push(1).id

    with pytest.raises(InvalidArgumentError, match=rf"message {alive} is no dead letter"):
        queue.redrive(ids=[dead, alive])

    assert queue.counts().dead_letters == 1


def test_a_dry_run_moves_nothing(queue: Queue) -> None:
    killed(queue, "a", "b", "c")

    assert queue.redrive(dry_run=True) == 3
    assert queue.redrive(dry_run=True, limit=2) == 2
    assert queue.counts().dead_letters == 3


def test_a_dead_letter_queue_gives_back_to_the_queue_it_is_of(facade: Facade, queue: Queue) -> None:
    killed(queue, "boom")

    assert facade.queue(f"{queue.name}.dead").redrive() == 1
    assert queue.counts().available == 1


def test_a_rate_is_kept(queue: Queue) -> None:
    killed(queue, *range(30))

    began = time.monotonic()
    moved = queue.redrive(rate=40, limit=21)

    assert moved == 21
    assert time.monotonic() - began >= 0.45  # 20 of them, in steps of 10, before the last
    assert queue.counts().dead_letters == 9


def test_at_a_rate_what_dies_again_is_not_moved_again(queue: Queue, engine: Engine) -> None:
    killed(queue, *range(3))
    others = Queue(queue.name, engine)
    kept_on = threading.Event()
    again: list[int] = []

    def kill_again() -> None:
        while not kept_on.wait(0.01):
            if (id_ := kill(others)) is not None:
                again.append(id_)

    with ThreadPoolExecutor() as pool:
        killing = pool.submit(kill_again)
        try:
            moved = queue.redrive(rate=4)
            until(lambda: len(again) == 3)
        finally:
            kept_on.set()
        killing.result()

    assert moved == 3
    assert sorted(again) == sorted({*again})
    assert queue.counts().dead_letters == 3


def test_at_a_rate_what_dies_again_is_not_moved_again_however_long_a_step_takes(
    sqlite_url: str,
) -> None:
    with Queue("orders", sqlite_url) as queue, Queue("orders", sqlite_url) as others:
        killed(queue, *range(3))
        writer = sqlite3.connect(
            sqlite_url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
        )

        def hold_up() -> None:
            until(lambda: kill(others))
            for _ in range(4):  # each step waits for longer than lies between two
                writer.execute("BEGIN IMMEDIATE")
                time.sleep(0.4)
                writer.execute("ROLLBACK")
                time.sleep(0.02)

        with ThreadPoolExecutor() as pool:
            held_up = pool.submit(hold_up)
            moved = queue.redrive(rate=4)
            held_up.result()
        writer.close()

    assert moved == 3


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "10", True])
def test_a_rate_that_makes_no_sense_is_refused(queue: Queue, rate: object) -> None:
    killed(queue, "boom")

    with pytest.raises(InvalidArgumentError, match="rate must"):
        queue.redrive(rate=rate)  # type: ignore[arg-type]

    assert queue.counts().dead_letters == 1


def test_in_a_transaction_of_yours_there_is_no_rate(facade: Facade, queue: Queue) -> None:
    killed(queue, "boom")

    with (
        facade.in_transaction(queue.name) as joined,
        pytest.raises(InvalidArgumentError, match="a rate needs a queue bound to an engine"),
    ):
        joined.redrive(rate=10)


@pytest.mark.parametrize("ids", ["12", 12, [2**63], ["1"], [True]])
def test_what_are_no_ids_is_refused(queue: Queue, ids: object) -> None:
    with pytest.raises(InvalidArgumentError):
        queue.redrive(ids=ids)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError):
        queue.withdraw(ids=ids)  # type: ignore[arg-type]


def test_messages_are_withdrawn_by_id_but_not_what_is_claimed(queue: Queue) -> None:
    first, second, third = queue.push_many([1, 2, 3])
    queue.claim()

    assert queue.withdraw(ids=[first.id, third.id]) == 1
    assert available(queue) == [second.id]


@pytest.mark.parametrize("options", [{}, {"unique_keys": ["a"], "ids": [1]}])
def test_a_withdrawal_is_by_key_or_by_id(queue: Queue, options: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidArgumentError, match="unique_keys or ids"):
        queue.withdraw(**options)  # type: ignore[arg-type]


def test_a_dry_run_prunes_nothing(queue: Queue) -> None:
    queue.push_many([1, 2, 3])
    queue.ack_many(queue.claim_many(2))

    assert queue.prune(older_than=timedelta(0), dry_run=True) == 2
    assert queue.prune(older_than=timedelta(0), dry_run=True, limit=1) == 1
    assert queue.prune(older_than=timedelta(hours=1), dry_run=True) == 0
    assert queue.counts().consumed == 2


def test_failing_are_those_that_are_tried_again(queue: Queue) -> None:
    killed(queue, "dead")
    queue.push_many([1, 2, 3])
    first, second, third = queue.claim_many(3)
    queue.release(first, error="later", delay=timedelta(hours=1))
    queue.release(second, error="soon", delay=timedelta(minutes=1))
    queue.release(third, count=False)

    failing = queue.failing(10)

    assert [message.last_error for message in failing] == ["soon", "later"]
