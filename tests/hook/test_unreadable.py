"""Tasks and triggers over messages that cannot be read."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow import sdk

from tests.eventually import PATIENCE
from tests.hook.conftest import DagRun, dags
from tests.hostile import rows
from xclaim import Message, Queue, create_engine
from xclaim.airflow import triggers
from xclaim.airflow.triggers import AvailableTrigger

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
dag = dags("unreadable", retries=2)


@pytest.fixture
def orders(connected: str) -> Iterator[Queue]:
    with Queue("orders", connected) as queue:
        yield queue


def write(url: str, name: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        row = rows.ON[engine.dialect.name][name]
        row.write(connection, queue="'orders'", origin_queue="'orders'")
    engine.dispose()


@pytest.mark.parametrize("batch", [1, 10])
def test_a_drain_goes_on_and_the_task_is_red(
    run: Run, orders: Queue, connected: str, batch: int
) -> None:
    write(connected, "a deep payload")
    write(connected, "a codec nobody knows")
    orders.push_many(["innocent"] * 5)
    with dag(f"drain_{batch}") as built:

        @task.exclusive(queue_name="orders", drain=True, batch=batch, argument="got")
        def pack(got: Any) -> None:
            for message in got if batch > 1 else [got]:
                assert message.payload == "innocent"

        pack()

    done = run(built)

    counts = orders.counts()
    assert done.states("pack") == {"failed": 1}
    assert (counts.consumed, counts.dead_letters, counts.delayed) == (5, 1, 1)


@pytest.mark.parametrize("name", ["a deep payload", "a codec nobody knows"])
def test_a_task_that_found_nothing_else_is_red_and_not_skipped(
    run: Run, orders: Queue, connected: str, name: str
) -> None:
    write(connected, name)
    with dag(f"alone_{len(name)}") as built:

        @task.exclusive(queue_name="orders", retries=0)
        def pack(message: Message) -> Any:
            return message.payload

        pack()

    done = run(built)

    assert done.states("pack") == {"failed": 1}
    assert orders.counts().available == 0


@pytest.mark.parametrize("name", ["a deep payload", "headers that are a list"])
def test_a_trigger_fires_for_a_message_that_nobody_can_read(connected: str, name: str) -> None:
    write(connected, name)

    async def first() -> Any:
        async for event in AvailableTrigger(queue_name="orders").run():
            return event.payload
        return None

    async def scene() -> Any:
        try:
            return await asyncio.wait_for(first(), PATIENCE)
        finally:
            for engine in triggers._engines.pop(asyncio.get_running_loop(), {}).values():
                await engine.dispose()

    try:
        assert asyncio.run(scene())["queue_name"] == "orders"
    finally:
        triggers._fired.clear()
