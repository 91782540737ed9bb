"""Pushes within a task: their lineage, and the keys by which a retry pushes nothing twice."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from tests.hook.conftest import connection_uri, within_task
from xclaim import (
    DuplicateMessageError,
    InvalidArgumentError,
    Message,
    PayloadError,
    SchemaVersionError,
)
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks.task_queue import TaskQueue
from xclaim.operations import migrate

pytestmark = pytest.mark.airflow

KEY = "shop/manual__2026-11-20T00:00:00+00:00/group.work"


def test_a_pushed_message_says_which_task_pushed_it(queue: TaskQueue) -> None:
    with within_task():
        message = queue.push(1, headers={"trace": "x", "task_id": "mine"})

    assert message.headers == {
        "dag_id": "shop",
        "run_id": "manual__2026-11-20T00:00:00+00:00",
        "task_id": "mine",
        "map_index": -1,
        "try_number": 1,
        "trace": "x",
    }


def test_a_retried_push_returns_the_messages_it_already_pushed(hook: XclaimHook) -> None:
    def push() -> list[Any]:
        orders, other = hook.queue("orders"), hook.queue("other")
        return [orders.push(1), *hook.queue("orders").push_many([2, 3]), other.push(4)]

    with within_task(try_number=1):
        before = push()

    with within_task(try_number=2):
        after = push()

    assert [message.id for message in after] == [message.id for message in before]
    assert [message.unique_key for message in after] == [
        f"{KEY}/0",
        f"{KEY}/1",
        f"{KEY}/2",
        f"{KEY}/0",
    ]


def test_a_retry_with_another_payload_is_refused(queue: TaskQueue) -> None:
    with within_task(try_number=1):
        queue.push(1)

    with within_task(try_number=2), pytest.raises(DuplicateMessageError):
        queue.push(2)


def test_a_push_that_failed_is_repeated_under_the_same_key(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(empty_database_url))
    queue = XclaimHook().queue("orders")

    with within_task():
        with pytest.raises(SchemaVersionError):
            queue.push(1)
        migrate.upgrade(empty_database_url)
        repeated = queue.push(1)

    assert repeated.unique_key == f"{KEY}/0"


def test_a_refused_payload_keeps_its_number(queue: TaskQueue) -> None:
    with within_task(try_number=1):
        queue.push(1)

    with within_task(try_number=2):
        with pytest.raises(DuplicateMessageError):
            queue.push("changed")
        following = queue.push(2)

    assert following.unique_key == f"{KEY}/1"


def test_threads_of_a_task_push_under_numbers_of_their_own(hook: XclaimHook) -> None:
    def push(_: int) -> Any:
        return hook.queue("orders").push("the same")

    with within_task(), ThreadPoolExecutor(4) as pool:
        pushed = list(pool.map(push, range(40)))

    assert len({message.id for message in pushed}) == 40


def pushed_key(hook: XclaimHook, **options: Any) -> str | None:
    pushed: Message = hook.queue("orders").push(1, **options)
    return pushed.unique_key


def test_a_fork_of_a_task_must_choose_its_keys(hook: XclaimHook) -> None:
    fork = multiprocessing.get_context("fork")

    with within_task(), ProcessPoolExecutor(1, mp_context=fork) as pool:
        automatic = pool.submit(pushed_key, hook)
        chosen = pool.submit(pushed_key, hook, unique_key="mine")

        assert isinstance(automatic.exception(), InvalidArgumentError)
        assert chosen.result() == "mine"


FORKED_BEFORE_THE_FIRST_QUEUE = """
import os, sys
from tests.hook.conftest import within_task
from xclaim.airflow.hooks import XclaimHook
from xclaim.errors import InvalidArgumentError

with within_task():
    if os.fork() == 0:
        try:
            XclaimHook().queue("orders").push(1)
        except InvalidArgumentError:
            os._exit(17)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), "xclaim.airflow.tasks.task_queue" in sys.modules)
"""


@pytest.mark.usefixtures("connected")
def test_a_fork_from_before_the_first_queue_must_choose_its_keys_too() -> None:
    result = subprocess.run(
        [sys.executable, "-c", FORKED_BEFORE_THE_FIRST_QUEUE],
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.split() == ["17", "False"]


def test_another_mapped_instance_pushes_its_own(queue: TaskQueue) -> None:
    with within_task(map_index=0):
        first = queue.push(1)
    with within_task(map_index=1):
        second = queue.push(1)

    assert first.id != second.id


def test_keys_can_be_chosen_or_left_out(queue: TaskQueue) -> None:
    with within_task():
        chosen = queue.push(1, unique_key="mine")
        without = queue.push(1, unique_key=None)
        many = queue.push_many([1, 2], unique_keys=None)

    assert chosen.unique_key == "mine"
    assert without.unique_key is None
    assert [message.unique_key for message in many] == [None, None]


@pytest.mark.parametrize("payloads", [5, None, "text", b"bytes", {"a": 1}])
def test_payloads_that_are_no_list_are_refused(queue: TaskQueue, payloads: Any) -> None:
    with within_task(), pytest.raises(InvalidArgumentError, match="payloads must be a list"):
        queue.push_many(payloads)


def test_headers_that_are_no_mapping_are_refused(queue: TaskQueue) -> None:
    with within_task(), pytest.raises(PayloadError, match="headers must be a mapping"):
        queue.push(1, headers=["a"])  # type: ignore[call-overload]
