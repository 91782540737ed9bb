"""Tasks that work on a queue with limits: one that is full for now is no empty one."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from xclaim.airflow.versions import AirflowSkipException

import pytest
from airflow import sdk

from tests.hook.conftest import DagRun, dags, within_task
from xclaim import Message, Queue
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.operators import ClaimOperator
from xclaim.airflow.tasks.room import vacancy_of

pytestmark = pytest.mark.airflow

HOUR = timedelta(hours=1)
Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
dag = dags("limited")


@pytest.fixture
def queue(connected: str) -> Iterator[Queue]:
    with Queue("orders", connected) as queue:
        queue.push_many(list(range(5)))
        yield queue


def test_a_drain_waits_until_the_rate_lets_it_go_on(run: Run, queue: Queue) -> None:
    queue.limit(rate=4, burst=2)
    with dag("rate") as built:

        @task.exclusive(queue_name="orders", drain=True)
        def pack(message: Message) -> int:
            return int(message.payload)

        pack()

    done = run(built)

    assert done.xcoms("pack") == [[0, 1, 2, 3, 4]]


def test_a_drain_waits_until_others_have_ended(run: Run, queue: Queue) -> None:
    queue.limit(concurrency=1)
    assert queue.claim(lease=timedelta(seconds=0.5)) is not None  # and is never heard of again
    with dag("full") as built:

        @task.exclusive(queue_name="orders", drain=True)
        def pack(message: Message) -> int:
            return int(message.payload)

        pack()

    done = run(built)

    assert [payload for payload in done.xcoms("pack")[0] if payload] == [1, 2, 3, 4]


def test_a_drain_waits_no_longer_than_it_is_to_work(run: Run, queue: Queue) -> None:
    queue.limit(rate=1, per=HOUR)
    with dag("time") as built:

        @task.exclusive(queue_name="orders", drain=True, max_seconds=1)
        def pack(message: Message) -> int:
            return int(message.payload)

        pack()

    done = run(built)

    assert done.xcoms("pack") == [[0]]
    assert queue.counts().available == 4


def test_a_drain_ends_where_its_queue_is_paused(run: Run, queue: Queue) -> None:
    queue.limit(concurrency=3)  # without one, who has just claimed may go on for a moment
    with dag("pause") as built:

        @task.exclusive(queue_name="orders", drain=True)
        def pack(message: Message) -> int:
            with Queue("orders", queue_url) as other:
                other.pause(reason="a stocktaking")
            return int(message.payload)

        pack()
    queue_url = XclaimHook().queue("orders")._queue.runner.engines[0].url

    done = run(built)

    assert done.xcoms("pack") == [[0]]
    assert queue.counts().available == 4


def test_a_drain_does_not_wait_for_what_it_keeps_itself(run: Run, queue: Queue) -> None:
    queue.limit(concurrency=1)
    with dag("kept") as built:

        @task.exclusive(queue_name="orders", drain=True, on_error="continue")
        def pack(message: Message) -> int:
            raise ValueError(message.payload)

        pack()

    done = run(built)

    assert done.states("pack") == {"failed": 1}
    assert queue.counts().claimed == 0


def test_a_task_that_claims_nothing_says_which_limits_are_reached(queue: Queue) -> None:
    queue.limit(concurrency=1)
    assert queue.claim() is not None
    with dag("reason"):
        claim = ClaimOperator(task_id="claim", queue_name="orders")

        @task.exclusive(queue_name="orders")
        def pack(message: Message) -> int:
            return message.id

        packing = pack().operator

    with within_task():
        for execute in (lambda: claim.execute({}), packing.execute_callable):
            with pytest.raises(AirflowSkipException, match=r"limits are reached \(1 at once\)"):
                execute()


def test_a_task_that_claims_nothing_says_that_its_queue_is_paused(queue: Queue) -> None:
    queue.pause(reason="a stocktaking", by="ann")
    with dag("reason_of_a_pause"):
        claim = ClaimOperator(task_id="claim", queue_name="orders")

    with within_task(), pytest.raises(AirflowSkipException, match=r"paused .* ann: a stocktaking"):
        claim.execute({})


def test_of_an_empty_queue_with_limits_no_limit_is_blamed(queue: Queue) -> None:
    queue.withdraw(ids=[message.id for message in queue.peek(9)])
    queue.limit(concurrency=1, rate=1, per=HOUR)

    assert vacancy_of(XclaimHook().queue("orders")) is None
