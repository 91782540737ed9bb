"""Wake-ups in a real Airflow: messages start runs, and end the wait of sensors."""

from __future__ import annotations

import time
from typing import Any

import pytest

from examples.airflow_stack import wait
from tests.stack.conftest import Stack

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]


def drained(stack: Stack) -> list[int]:
    """Return how many messages each finished run of the watched DAG has drained."""
    answer = stack.client.get("/api/v2/dags/watched/dagRuns", params={"order_by": "run_after"})
    totals = []
    for run in answer.json()["dag_runs"]:
        if run["state"] != "success":
            continue
        path = f"/api/v2/dags/watched/dagRuns/{run['dag_run_id']}/taskInstances/drain/xcomEntries"
        value = stack.client.get(f"{path}/return_value", params={"deserialize": True}).json()
        totals.append(sum(_numbers(value.get("value"))))
    return totals


def _numbers(value: Any) -> list[int]:
    return value if isinstance(value, list) else []


def test_a_burst_is_one_run_and_a_late_message_one_more(stack: Stack) -> None:
    wait(stack.home, lambda: stack.client.get("/api/v2/dags/watched").is_success)
    before = drained(stack)
    with stack.queue("watched") as queue:
        for number in range(20):
            queue.push(number)
        wait(stack.home, lambda: sum(drained(stack)) == sum(before) + 20)
        after_burst = drained(stack)
        queue.push("late")
        wait(stack.home, lambda: sum(drained(stack)) == sum(before) + 21)

        assert after_burst == [*before, 20]
        assert drained(stack) == [*before, 20, 1]
        assert queue.counts().available == 0


def test_what_is_pushed_while_the_triggerer_is_down_starts_a_run_when_it_is_back(
    stack: Stack,
) -> None:
    wait(stack.home, lambda: stack.client.get("/api/v2/dags/watched").is_success)
    before = sum(drained(stack))

    with stack.queue("watched") as queue:
        with stack.without_triggerer():
            queue.push_many([1, 2, 3])
        wait(stack.home, lambda: sum(drained(stack)) == before + 3)

        assert queue.counts().available == 0


def test_a_deferred_sensor_claims_soon_after_a_push(stack: Stack) -> None:
    run = stack.start("awaited")
    wait(stack.home, lambda: [each for each in run.instances("wait") if is_deferred(each)])

    with stack.queue("awaited") as queue:
        time.sleep(1.0)  # the triggerer has it, too
        message = queue.push("hello")
        state = run.end()
        consumed = queue.get(message.id)

    assert state == "success"
    assert consumed is not None
    assert consumed.attempts == 1
    assert consumed.consumed_by is not None
    assert "/work#1@" in consumed.consumed_by


def is_deferred(instance: dict[str, Any]) -> bool:
    return bool(instance["state"] == "deferred")


def test_a_crowd_shares_few_messages_out(stack: Stack) -> None:
    with stack.queue("crowd") as queue:
        pushed = queue.push_many(list(range(6)))
        run = stack.start("crowd", size=10)

        assert run.end() == "success"

        states = sorted(str(each["state"]) for each in run.instances("work"))
        assert states == ["skipped"] * 4 + ["success"] * 6
        assert queue.counts().available == 0
        now = [queue.get(message.id) for message in pushed]
        assert [each.status for each in now if each is not None] == ["consumed"] * 6
