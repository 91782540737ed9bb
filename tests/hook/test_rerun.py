"""Pushes of a task that is retried, and of one that somebody cleared."""

from __future__ import annotations

from typing import Any

import pytest

from tests.hook.conftest import within_rerun, within_task
from xclaim import DuplicateMessageError, InvalidArgumentError, Status
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks.task_queue import TaskQueue

pytestmark = pytest.mark.airflow


def payloads(hook: XclaimHook, status: Status = Status.AVAILABLE) -> list[Any]:
    from sqlalchemy import text

    with hook.get_conn().connect() as connection:
        ids = connection.scalars(
            text("SELECT id FROM xclaim_message WHERE status = :status ORDER BY id"),
            {"status": status.value},
        ).all()
    messages = [hook.queue("orders").get(id_) for id_ in ids]
    return [message.payload for message in messages if message is not None]


@pytest.mark.parametrize("on_rerun", ["skip", "replace_unconsumed", "new"])
def test_a_retry_pushes_nothing_twice(hook: XclaimHook, queue: TaskQueue, on_rerun: str) -> None:
    for try_number in (1, 2):
        with within_task(try_number):
            queue.push_many(["a", "b"], on_rerun=on_rerun)
            queue.push("c", on_rerun=on_rerun)

    assert payloads(hook) == ["a", "b", "c"]


@pytest.mark.parametrize("on_rerun", ["replace_unconsumed", "new"])
def test_a_retry_of_a_rerun_pushes_nothing_twice(
    hook: XclaimHook, queue: TaskQueue, on_rerun: str
) -> None:
    with within_task():
        queue.push("old", on_rerun=on_rerun)

    for try_number in (4, 5):
        with within_rerun(try_number):
            queue.push_many(["a", "b"], on_rerun=on_rerun)

    assert payloads(hook)[-2:] == ["a", "b"]
    assert payloads(hook).count("a") == 1


def test_skip_leaves_what_was_pushed(queue: TaskQueue) -> None:
    with within_task():
        before = queue.push_many(["a", "b"])

    with within_rerun():
        after = queue.push_many(["a", "b"])

    assert [message.id for message in after] == [message.id for message in before]


def test_skip_refuses_other_payloads(hook: XclaimHook, queue: TaskQueue) -> None:
    with within_task():
        queue.push("old")

    with within_rerun(), pytest.raises(DuplicateMessageError):
        queue.push("new")

    assert payloads(hook) == ["old"]


def test_new_pushes_everything_again(hook: XclaimHook, queue: TaskQueue) -> None:
    with within_task():
        queue.push_many(["a", "b"], on_rerun="new")

    with within_rerun():
        queue.push_many(["a", "c"], on_rerun="new")

    assert payloads(hook) == ["a", "b", "a", "c"]


def test_replace_withdraws_what_nobody_has_claimed(hook: XclaimHook, queue: TaskQueue) -> None:
    with within_task():
        queue.push_many(["consumed", "claimed", "left", "left over"])
        hook.queue("other").push("untouched")
    consumed = queue.claim()
    assert consumed is not None
    queue.ack(consumed)
    claimed = queue.claim()

    with within_rerun():
        messages = queue.push_many(["x", "y", "z"], on_rerun="replace_unconsumed")

    assert [message.payload for message in messages] == ["consumed", "claimed", "z"]
    assert payloads(hook) == ["z"]
    assert claimed is not None
    queue.ack(claimed)
    assert hook.queue("other").counts().available == 1


def test_replace_goes_on_over_several_pushes(hook: XclaimHook, queue: TaskQueue) -> None:
    with within_task():
        queue.push_many(["a", "b", "c", "d"])

    with within_rerun():
        queue.push("A", on_rerun="replace_unconsumed")
        queue.push_many(["B", "C"], on_rerun="replace_unconsumed")

    assert payloads(hook) == ["A", "B", "C"]


def test_replace_reaches_dead_letters_of_a_long_list(hook: XclaimHook, queue: TaskQueue) -> None:
    with within_task():
        queue.push_many(list(range(1_001)), max_attempts=1)
    poison = queue.claim()
    assert poison is not None
    queue.release(poison, error="poison")

    with within_rerun():
        queue.push("cured", on_rerun="replace_unconsumed")

    assert payloads(hook) == ["cured"]
    assert queue.counts().dead_letters == 0


def test_a_replacement_that_is_refused_withdraws_nothing(
    hook: XclaimHook, queue: TaskQueue
) -> None:
    with within_task():
        queue.push_many(["a", "b"])

    with within_rerun(), pytest.raises(ValueError, match="payload"):
        queue.push_many(["A", object()], on_rerun="replace_unconsumed")

    assert payloads(hook) == ["a", "b"]


def test_an_unknown_policy_is_refused(queue: TaskQueue) -> None:
    with within_task(), pytest.raises(InvalidArgumentError, match="skip, replace_unconsumed, new"):
        queue.push(1, on_rerun="again")


@pytest.mark.parametrize("unique_key", [None, "mine"])
def test_a_policy_needs_the_automatic_key(queue: TaskQueue, unique_key: str | None) -> None:
    with within_task(), pytest.raises(InvalidArgumentError, match="automatic unique key"):
        queue.push(1, unique_key=unique_key, on_rerun="new")
