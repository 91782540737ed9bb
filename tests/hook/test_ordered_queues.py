"""Queues with ordering keys in Airflow: operators, tasks, triggers and exclusive values."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow import sdk

from tests.hook.conftest import DagRun, dags, within_task
from tests.hook.test_exclusive_value import returned
from tests.hook.test_triggers import Watch, play, wake_up
from xclaim import Claim, InvalidArgumentError, Message, Queue
from xclaim.airflow.operators import AckOperator, ClaimOperator, PushOperator, ReleaseOperator
from xclaim.airflow.sensors import ClaimSensor
from xclaim.airflow.tasks.task_queue import TaskQueue
from xclaim.airflow.triggers import AvailableTrigger
from xclaim.airflow.xcom import ExclusiveValueLostError, exclusive
from xclaim.operations import ordering

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
dag = dags("ordered", params={"customer": 7})


@pytest.fixture
def connected(connected: str) -> str:
    """Set up `xclaim_default`, where ordering keys are enabled."""
    ordering.enable(connected)
    return connected


@pytest.fixture
def orders(connected: str) -> Iterator[Queue]:
    with Queue("orders", connected, notify=True) as queue:
        yield queue


def push_line(queue: Queue, *payloads: Any, key: str = "customer-7") -> None:
    queue.push_many(payloads, ordering_keys=[key] * len(payloads))


def claimed(queue: Queue) -> Claim:
    found = queue.claim()
    assert found is not None
    return found


def test_ordering_keys_are_templates_of_the_push(run: Run, orders: Queue) -> None:
    with dag("push") as built:
        PushOperator(
            task_id="push",
            queue_name="orders",
            payloads=["first", "second", "other"],
            ordering_keys=[
                "customer-{{ params.customer }}",
                "customer-{{ params.customer }}",
                None,
            ],
        )

    run(built)

    first, other = orders.claim_many(9)
    assert (first.payload, other.payload) == ("first", "other")
    assert (first.message.ordering_key, other.message.ordering_key) == ("customer-7", None)
    assert orders.counts().in_line == 1


def test_the_keys_may_be_the_output_of_a_task(run: Run, orders: Queue) -> None:
    with dag("output") as built:

        @task
        def customers() -> list[str]:
            return ["a", "b", "a"]

        PushOperator(
            task_id="push", queue_name="orders", payloads=[1, 2, 3], ordering_keys=customers()
        )

    run(built)

    assert [each.payload for each in orders.claim_many(9)] == [1, 2]


def test_a_ticket_holds_one_message_of_each_key_and_its_ack_passes_the_turn_on(
    run: Run, orders: Queue
) -> None:
    push_line(orders, "a1", "a2", key="a")
    push_line(orders, "b1", key="b")
    with dag("tickets") as built:
        claim = ClaimOperator(task_id="claim", queue_name="orders", size=9)
        ack = AckOperator(task_id="ack", ticket=claim.output)
        ack >> ClaimOperator(task_id="next", queue_name="orders", size=9)

    done = run(built)

    assert done.xcoms("ack") == [2]
    (ticket,) = done.xcoms("next")
    assert ticket["payload"] == "a2"


def test_a_released_ticket_keeps_the_turn(run: Run, orders: Queue) -> None:
    push_line(orders, "first", "second")
    with dag("release") as built:
        claim = ClaimOperator(task_id="claim", queue_name="orders")
        release = ReleaseOperator(task_id="release", ticket=claim.output)
        release >> ClaimOperator(task_id="again", queue_name="orders")

    done = run(built)

    (ticket,) = done.xcoms("again")
    assert ticket["payload"] == "first"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_sensor_claims_what_has_the_turn(run: Run, orders: Queue, deferrable: bool) -> None:
    push_line(orders, "first", "second")
    with dag(f"sensor_{deferrable}") as built:
        wait = ClaimSensor(
            task_id="wait", queue_name="orders", size=9, deferrable=deferrable, timeout=600
        )
        AckOperator(task_id="ack", ticket=wait.output)

    done = run(built)

    assert done.xcoms("ack") == [1]
    assert claimed(orders).payload == "second"


@pytest.mark.parametrize("batch", [1, 10])
def test_a_drain_goes_through_a_line_in_its_order(run: Run, orders: Queue, batch: int) -> None:
    push_line(orders, "a1", "a2", "a3", key="a")
    push_line(orders, "b1", "b2", key="b")
    with dag(f"drain_{batch}") as built:

        @task.exclusive(queue_name="orders", batch=batch, drain=True, argument="given")
        def pack(given: Message | list[Message]) -> list[str]:
            messages = given if isinstance(given, list) else [given]
            return [message.payload for message in messages]

        pack()

    done = run(built)

    (calls,) = done.xcoms("pack")
    packed = [payload for call in calls for payload in call]
    assert [each for each in packed if each[0] == "a"] == ["a1", "a2", "a3"]
    assert [each for each in packed if each[0] == "b"] == ["b1", "b2"]
    assert orders.counts().consumed == 5


def test_a_message_that_fails_holds_its_line_for_the_retry_of_its_task(
    run: Run, orders: Queue
) -> None:
    push_line(orders, "a1", "a2", key="a")
    push_line(orders, "b1", key="b")
    tried: list[str] = []
    with dag("retry", retries=1) as built:

        @task.exclusive(queue_name="orders", drain=True, on_error="continue")
        def pack(message: Message) -> None:
            tried.append(message.payload)
            if tried.count("a1") == 1 and message.payload == "a1":
                raise ValueError("not yet")

        pack()

    done = run(built)

    assert done.states("pack") == {"success": 1}
    assert [each for each in tried if each[0] == "a"] == ["a1", "a1", "a2"]
    assert orders.counts().consumed == 3


def test_a_retried_task_pushes_a_line_once(queue: TaskQueue, orders: Queue) -> None:
    for number in (1, 2):
        with within_task(try_number=number):
            queue.push("first", ordering_key="customer-7")
            queue.push("second", ordering_key="customer-7")

    counts = orders.counts()
    assert (counts.available, counts.in_line) == (1, 1)


def test_a_deferred_sensor_is_woken_when_the_turn_is_passed_on(orders: Queue) -> None:
    push_line(orders, "first", "second")
    first = claimed(orders)

    async def scene() -> None:
        watch = Watch(AvailableTrigger(queue_name="orders").run())
        assert await watch.is_quiet()

        await asyncio.to_thread(orders.ack, first)

        await watch.next()
        await watch.close()

    play(scene)


def test_a_watcher_is_told_when_the_turn_is_passed_on(orders: Queue) -> None:
    push_line(orders, "first", "second")
    first = claimed(orders)

    async def scene() -> None:
        watch = Watch(wake_up(poll_every=0.1).run())
        assert await watch.is_quiet()

        await asyncio.to_thread(orders.ack, first)

        await watch.next()
        await watch.close()

    play(scene)


@pytest.mark.usefixtures("xcom_folder")
def test_exclusive_values_of_a_key_are_consumed_in_their_order(run: Run, orders: Queue) -> None:
    taken: list[int] = []
    # Which of the mapped tasks begins is up to Airflow: what has not the turn is for a retry.
    with dag("values", retries=3) as built:

        @task
        def give() -> Any:
            return [exclusive(number, "orders", ordering_key="customer-7") for number in range(3)]

        @task.exclusive
        def take(value: Message) -> Any:
            taken.append(value.payload)
            return value.ordering_key

        take.expand(value=give())

    done = run(built)

    assert done.xcoms("take") == ["customer-7"] * 3
    assert taken == [0, 1, 2]
    assert orders.counts().consumed == 3


@pytest.mark.usefixtures("xcom_folder")
def test_a_value_that_stands_in_line_is_had_by_a_later_try(orders: Queue) -> None:
    with within_task(task_id="give"):
        values = [exclusive(number, "orders", ordering_key="customer-7") for number in range(2)]
        first, second = returned(values)

    with (
        within_task(task_id="take"),
        pytest.raises(ExclusiveValueLostError, match=r"in line for its ordering key 'customer-7'"),
        second,
    ):
        pass
    with within_task(task_id="take_first"), first as claim:
        assert claim.payload == 0
    with within_task(task_id="take", try_number=2), second as claim:
        assert claim.payload == 1

    assert orders.counts().consumed == 2


@pytest.mark.parametrize("key", ["", "k" * 256, 7])
def test_a_wrong_key_of_an_exclusive_value_is_refused_where_it_is_given(key: Any) -> None:
    with within_task(), pytest.raises(InvalidArgumentError, match="ordering_key"):
        exclusive(1, ordering_key=key)
