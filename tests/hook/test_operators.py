"""The operators and the sensor, run by Airflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import task

from tests.hook.conftest import DagRun, dags, within_task
from tests.retrying import waiting
from xclaim import InvalidArgumentError, Queue, TicketLostError
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.operators import (
    AckOperator,
    ClaimOperator,
    MaintenanceOperator,
    PushOperator,
    ReleaseOperator,
)
from xclaim.airflow.sensors import ClaimSensor

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]
dag = dags("operators", params={"queue": "orders"})


@pytest.fixture
def queue(connected: str) -> Iterator[Queue]:
    with Queue("orders", connected) as queue:
        yield queue


def test_push_renders_its_templates(run: Run, queue: Queue) -> None:
    with dag("push") as built:
        PushOperator(
            task_id="push",
            queue_name="{{ params.queue }}",
            payloads=[{"run": "{{ run_id }}"}],
            priority="{{ 2 + 1 }}",  # type: ignore[arg-type]  # templates are strings
            headers={"team": "{{ 'ship' + 'ping' }}"},
        )

    done = run(built)

    (message,) = queue.peek()
    assert done.xcoms("push") == [[message.id]]
    assert message.payload["run"].startswith("manual__")
    assert message.priority == 3
    assert message.headers["team"] == "shipping"
    assert message.headers["task_id"] == "push"


def test_claim_and_ack_around_the_work_of_others(run: Run, queue: Queue) -> None:
    queue.push("a")
    with dag("ack") as built:
        claim = ClaimOperator(task_id="claim", queue_name="orders")
        AckOperator(task_id="ack", ticket=claim.output)

    done = run(built)

    assert done.xcoms("ack") == [1]
    assert queue.counts().consumed == 1


def test_release_gives_back_with_the_reason(run: Run, queue: Queue) -> None:
    pushed = queue.push_many(["a", "b"])
    with dag("release") as built:
        claim = ClaimOperator(task_id="claim", queue_name="orders", size=2)
        ReleaseOperator(task_id="release", ticket=claim.output, error="run {{ run_id }} failed")

    run(built)

    assert waiting(queue) == 2
    for message in (queue.get(each.id) for each in pushed):
        assert message is not None
        assert message.attempts == 1
        assert str(message.last_error).startswith("run manual__")


def test_a_retry_after_the_release_has_nothing_to_release(hook: XclaimHook, queue: Queue) -> None:
    queue.push("a")
    with within_task(task_id="claim"):
        ticket = hook.claim_ticket("orders")
    release = ReleaseOperator(task_id="release", ticket=ticket, error="boom")

    with within_task(task_id="release"):
        assert release.execute({}) == 1
    with within_task(2, task_id="release"):
        again = release.execute({})
    with within_task(task_id="release", map_index=7), pytest.raises(TicketLostError):
        release.execute({})

    assert again == 0
    assert waiting(queue) == 1


def test_a_release_has_nothing_to_do_where_the_claim_has_failed(run: Run) -> None:
    with dag("unclaimed") as built:
        claim = ClaimOperator(task_id="claim", queue_name="orders", on_empty="fail")
        ReleaseOperator(task_id="release", ticket=claim.output, trigger_rule="one_failed")

    done = run(built)

    assert (done.states("claim"), done.states("release")) == ({"failed": 1}, {"success": 1})
    assert done.xcoms("release") == [0]


def test_a_stale_ticket_fails_the_ack(run: Run, queue: Queue) -> None:
    queue.push("a")
    with dag("stale") as built:
        claim = ClaimOperator(task_id="claim", queue_name="orders")
        release = ReleaseOperator(task_id="release", ticket=claim.output)
        release >> AckOperator(task_id="ack", ticket=claim.output)

    done = run(built)

    assert done.states("ack") == {"failed": 1}
    assert queue.counts().available == 1


def test_a_ticket_made_a_string_by_a_template_is_refused(run: Run, queue: Queue) -> None:
    queue.push("a")
    with dag("string") as built:
        claim = ClaimOperator(task_id="claim", queue_name="orders")
        claim >> AckOperator(
            task_id="ack",
            ticket="{{ ti.xcom_pull(task_ids='claim') }}",  # type: ignore[arg-type]
        )

    done = run(built)

    assert done.states("ack") == {"failed": 1}
    assert queue.counts().claimed == 1


@pytest.mark.parametrize(
    ("on_empty", "state"), [("skip", "skipped"), ("succeed", "success"), ("fail", "failed")]
)
def test_claim_from_an_empty_queue_ends_as_asked(run: Run, on_empty: str, state: str) -> None:
    with dag(f"empty_{on_empty}") as built:
        ClaimOperator(task_id="claim", queue_name="orders", on_empty=on_empty)

    done = run(built)

    assert done.states("claim") == {state: 1}


def test_maintenance_reports_what_it_did(run: Run, queue: Queue) -> None:
    queue.push_many(["a", "b", "c"], max_attempts=1)
    consumed, poison, lapsed = queue.claim_many(3)
    queue.ack(consumed)
    queue.release(poison)
    queue.extend(lapsed, lease=timedelta(0))
    with dag("maintenance") as built:
        MaintenanceOperator(
            task_id="tidy",
            queue_names=["orders", "none"],
            redrive=True,
            prune_older_than=timedelta(0),
        )

    done = run(built)

    (report,) = done.xcoms("tidy")
    assert report["orders"] == {
        "expired": 1,
        "redriven": 2,
        "pruned": 1,
        "available": 2,
        "delayed": 0,
        "in_line": 0,
        "claimed": 0,
        "consumed": 0,
        "dead_letters": 0,
    }
    assert set(report["none"].values()) == {0}


def test_maintenance_of_the_one_name_that_another_task_returns_is_refused(run: Run) -> None:
    with dag("letters") as built:

        @task
        def name() -> str:
            return "orders"

        tidy = MaintenanceOperator(task_id="tidy", queue_names=name())  # type: ignore[arg-type]

    done = run(built)

    assert done.states("tidy") == {"failed": 1}
    tidy.queue_names = "orders"
    with pytest.raises(InvalidArgumentError, match=r"pass \['orders'\]"):
        tidy.execute({})


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_sensor_hands_its_claim_on(run: Run, queue: Queue, deferrable: bool) -> None:
    queue.push("a")
    with dag(f"sensor_{deferrable}") as built:
        wait = ClaimSensor(task_id="wait", queue_name="orders", deferrable=deferrable)
        AckOperator(task_id="ack", ticket=wait.output)

    done = run(built)

    assert done.state == "success"
    assert done.xcoms("wait")[0]["payload"] == "a"
    assert queue.counts().consumed == 1


def test_a_deferred_sensor_claims_when_the_trigger_has_fired(run: Run, queue: Queue) -> None:
    queue.push("a", delay=timedelta(seconds=1))
    with dag("sensor_waits") as built:
        wait = ClaimSensor(task_id="wait", queue_name="orders", deferrable=True, timeout=600)
        AckOperator(task_id="ack", ticket=wait.output)

    done = run(built)

    assert done.state == "success"
    assert queue.counts().consumed == 1


def test_a_sensor_that_finds_nothing_times_out(run: Run) -> None:
    with dag("sensor_times_out") as built:
        ClaimSensor(task_id="poke", queue_name="orders", deferrable=False, timeout=0)
        ClaimSensor(task_id="skip", queue_name="orders", timeout=0, soft_fail=True)

    done = run(built)

    assert done.states("poke") == {"failed": 1}
    assert done.states("skip") == {"skipped": 1}


@pytest.mark.parametrize("conn_type", ["mysql", None])
def test_a_connection_that_cannot_be_used_fails_the_task(
    run: Run, queue: Queue, conn_type: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if conn_type:
        monkeypatch.setenv("AIRFLOW_CONN_OTHER", f"{conn_type}://host/db")
    queue.push("a")
    with dag(f"connection_{conn_type}") as built:
        ClaimOperator(task_id="claim", queue_name="orders", xclaim_conn_id="other")

    done = run(built)

    assert done.states("claim") == {"failed": 1}
    assert queue.counts().available == 1


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ClaimOperator(task_id="x", queue_name="q", size=0), "size must lie between"),
        (lambda: ClaimSensor(task_id="x", queue_name="q", size=0), "size must lie between"),
        (lambda: ClaimOperator(task_id="x", queue_name="q", on_empty="?"), "on_empty is one of"),
        (lambda: MaintenanceOperator(task_id="x", queue_names="q"), r"pass \['q'\]"),
    ],
)
def test_bad_options_are_refused_when_the_file_is_parsed(
    make: Callable[[], Any], complaint: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        make()


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: ClaimOperator(task_id="t", queue_name="q", lease=300), "lease"),  # type: ignore[arg-type]
        (lambda: ClaimSensor(task_id="t", queue_name="q", lease=300), "lease"),  # type: ignore[arg-type]
        (lambda: PushOperator(task_id="t", queue_name="q", payloads=[], delay=5), "delay"),  # type: ignore[arg-type]
        (lambda: ReleaseOperator(task_id="t", ticket={}, delay=5), "delay"),  # type: ignore[arg-type]
        (
            lambda: MaintenanceOperator(task_id="t", queue_names=[], prune_older_than=30),  # type: ignore[arg-type]
            "prune_older_than",
        ),
        (lambda: task.exclusive(queue_name="q", lease=300)(lambda message: message), "lease"),
        (lambda: task.exclusive(lease_limit=300)(lambda value: value), "lease_limit"),
    ],
)
def test_a_duration_without_its_unit_is_refused_when_the_dag_is_read(
    make: Callable[[], Any], argument: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{argument} must be a timedelta, not"):
        make()
