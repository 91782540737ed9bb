"""What Airflow, or a person, does to a run: no message is lost, none is consumed twice.

As `docs/guides/what-airflow-does.md` says, in a real Airflow. Most of these tests wait for Airflow
most of the time, so their bodies run side by side in one Airflow.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_all
from pathlib import Path
from typing import Any

import pytest

from examples.airflow_stack import wait
from tests.stack.conftest import Run, Scene, Stack, opened

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]

Body = Callable[[Stack, Path], None]
SideBySide = dict[Body, Future[None]]


def side_by_side(body: Body) -> Callable[[SideBySide], None]:
    """Make a test whose body runs in a thread, beside those of the others."""

    def test(all_bodies: SideBySide) -> None:
        all_bodies[body].result()

    test.body = body  # type: ignore[attr-defined]
    return test


@pytest.fixture(scope="module")
def all_bodies(
    stack: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SideBySide]:
    """Start the bodies of all tests of this module that were asked for."""
    functions: list[Any] = [getattr(item, "function", None) for item in request.session.items]
    bodies = [function.body for function in functions if hasattr(function, "body")]
    folders = [tmp_path_factory.mktemp(body.__name__) for body in bodies]
    with ThreadPoolExecutor(len(bodies) or 1) as threads:
        yield {
            body: threads.submit(body, stack, folder)
            for body, folder in zip(bodies, folders, strict=True)
        }


def claim_when_it_is_back(scene: Scene) -> Any:
    """Claim as another worker does, as soon as there is something, and ack it."""
    claimed = wait(scene.stack.home, scene.queue.claim)
    scene.queue.ack(claimed)
    return claimed.message


@side_by_side
def test_the_message_of_a_task_marked_success_comes_back_with_its_lease(
    stack: Stack, folder: Path
) -> None:
    with opened(stack, folder, lease=5) as scene:
        first = scene.event("claimed")

        scene.run.mark("work", "success")
        message = claim_when_it_is_back(scene)

        assert scene.run.end() == "success"
        assert (message.id, message.attempts) == (first["id"], 2)
        assert scene.told("acked") == []


@side_by_side
def test_the_message_of_a_run_that_takes_too_long_comes_back_with_its_lease(
    stack: Stack, folder: Path
) -> None:
    with opened(stack, folder, lease=5) as scene:
        first = scene.event("claimed")

        stack.in_metadata(
            "UPDATE dag_run SET start_date = start_date - interval '2 days' WHERE run_id = :run_id",
            run_id=scene.run.run_id,
        )
        message = claim_when_it_is_back(scene)

        assert scene.run.end() == "failed"
        assert [each["state"] for each in scene.run.instances("work")] == ["skipped"]
        assert (message.id, message.attempts) == (first["id"], 2)
        assert scene.told("acked") == []


@side_by_side
def test_a_task_whose_time_is_up_leaves_or_keeps_its_message(stack: Stack, folder: Path) -> None:
    with opened(stack, folder, "timed_out") as scene:
        assert scene.run.end() == "success"

        (message,) = scene.messages
        tries = [(each["event"], each["try"], each.get("attempts")) for each in scene.events()]
        assert tries == [
            ("timed out", 1, None),  # before its claim: the message was touched by nobody
            ("claimed", 2, 1),  # and then with the message in its hands: kept for its retry
            ("claimed", 3, 2),
            ("acked", 3, None),
        ]
        assert (message.status, message.attempts) == ("consumed", 2)
        assert len(scene.queue.failures(message.id)) == 1


@side_by_side
def test_a_run_that_is_cleared_as_a_whole_pushes_and_consumes_nothing_twice(
    stack: Stack, folder: Path
) -> None:
    with opened(stack, folder, "shared_out", payloads=(), waits=True) as scene:
        waiting = scene.event("waits")

        scene.run.clear_all()
        assert scene.run.end() == "success"
        after_first = scene.messages
        scene.run.clear_all()
        assert scene.run.end() == "success"

        assert [each.status for each in after_first] == ["consumed"] * 3
        assert [each.attempts for each in after_first] == [1, 2, 1]
        assert after_first[1].id == waiting["id"]
        assert scene.messages == after_first


@side_by_side
def test_runs_of_a_backfill_share_a_queue_and_a_second_backfill_pushes_nothing_again(
    stack: Stack, folder: Path
) -> None:
    with stack.queue("backfilled") as queue:
        wait(stack.home, lambda: stack.client.get("/api/v2/dags/backfilled").is_success)
        body = {
            "dag_id": "backfilled",
            "from_date": "2026-01-01T00:00:00Z",
            "to_date": "2026-01-03T00:00:00Z",
            "dag_run_conf": {"queue": queue.name, "diary": str(folder / "diary")},
            "max_active_runs": 3,
        }

        stack.ask("POST", "/backfills", body)
        backfill_is_over(stack)
        after_first = stack.messages(queue.name)
        stack.ask("POST", "/backfills", body | {"reprocess_behavior": "completed"})
        backfill_is_over(stack)

        assert [each.status for each in after_first] == ["consumed"] * 9
        assert {each.attempts for each in after_first} == {1}
        assert stack.messages(queue.name) == after_first


def backfill_is_over(stack: Stack) -> None:
    def is_over() -> bool:
        backfills = stack.ask("GET", "/backfills?dag_id=backfilled")["backfills"]
        runs = stack.ask("GET", "/dags/backfilled/dagRuns")["dag_runs"]
        states = Counter(each["state"] for each in runs)
        return all(each["completed_at"] for each in backfills) and states == {"success": 3}

    wait(stack.home, is_over)


VERSION = """
from datetime import timedelta

from airflow.sdk import dag, task

from tests.stack.diary import conf, tell, wait_for_the_test
from xclaim.airflow.hooks import XclaimHook


@dag(schedule=None, default_args={{"retries": 1, "retry_delay": timedelta(0)}})
def changing() -> None:
    @task(doc_md="version {version}")  # Airflow does not look into functions for a new version
    def work() -> None:
        with XclaimHook().queue(conf()["queue"]).consume() as claimed:
            tell("claimed", id=claimed.message.id, version={version})
            if claimed.message.attempts == 1:
                wait_for_the_test()
        tell("acked", version={version})

    work()


changing()
"""


@side_by_side
def test_two_versions_of_a_dag_share_a_queue_and_a_retry_runs_the_new_one(
    stack: Stack, folder: Path
) -> None:
    file = stack.dags / "changing.py"
    file.write_text(VERSION.format(version=1))
    with opened(stack, folder, "changing", payloads=("first", "second")) as scene:
        old = scene.event("claimed")

        file.write_text(VERSION.format(version=2))
        wait(stack.home, lambda: has_versions(stack, 2))
        run = stack.start("changing", **scene.conf)
        new = scene.event("claimed", 2)
        os.kill(old["pid"], signal.SIGKILL)
        retried = scene.event("claimed", 3)
        scene.go.touch()

        assert (scene.run.end(), run.end()) == ("success", "success")
        assert (new["version"], new["id"] != old["id"]) == (2, True)
        assert (retried["version"], retried["id"]) == (2, old["id"])
        assert [(each.status, each.attempts) for each in scene.messages] == [
            ("consumed", 2),
            ("consumed", 1),
        ]


def has_versions(stack: Stack, number: int) -> bool:
    answer = stack.ask("GET", "/dags/changing/dagVersions")
    return bool(answer["total_entries"] >= number)


@side_by_side
def test_a_teardown_drains_what_a_failed_task_left(stack: Stack, folder: Path) -> None:
    with opened(stack, folder, "torn_down", payloads=()) as scene:
        assert scene.run.end() == "failed"

        assert [each["payload"] for each in scene.told("tidied up")] == ["left", "over"]
        bad, *others = scene.messages
        assert (bad.status, bad.attempts, bad.payload) == ("available", 1, "bad")  # and rests
        assert [(each.status, each.attempts) for each in others] == [("consumed", 1)] * 2


@side_by_side
def test_tasks_in_a_pool_of_one_take_turns_and_a_retry_gets_its_message(
    stack: Stack, folder: Path
) -> None:
    pool = {"name": "of_one", "slots": 1, "include_deferred": False}
    stack.ask("POST", "/pools", pool)
    payloads = ("again", "b", "c", "d")
    with opened(stack, folder, "pool_of_one", payloads=payloads) as scene:
        assert scene.run.end() == "success"

        events = [(each["event"], each["payload"]) for each in scene.events()]
        assert all(began == ("began", payload) for began, (_, payload) in pairs(events))
        again, *others = scene.messages
        assert (again.status, again.attempts) == ("consumed", 2)
        assert "#2@" in again.consumed_by
        assert [(each.status, each.attempts) for each in others] == [("consumed", 1)] * 3


def pairs(events: list[Any]) -> list[tuple[Any, Any]]:
    """Return each beginning with the end that follows it."""
    return list(zip(events[::2], events[1::2], strict=True))


@side_by_side
def test_the_message_of_a_deleted_run_comes_back_with_its_lease(stack: Stack, folder: Path) -> None:
    with opened(stack, folder, lease=5) as scene:
        first = scene.event("claimed")

        refused = stack.client.delete(f"/api/v2/dags/kills/dagRuns/{scene.run.run_id}")
        scene.run.mark_failed()
        scene.run.delete()
        message = claim_when_it_is_back(scene)

        assert refused.status_code == 409  # while it runs, Airflow deletes none
        assert (message.id, message.attempts) == (first["id"], 2)
        assert scene.told("acked") == []


@side_by_side
def test_a_run_that_is_deleted_and_run_again_pushes_and_consumes_nothing_twice(
    stack: Stack, folder: Path
) -> None:
    with opened(stack, folder, "shared_out", payloads=()) as scene:
        assert scene.run.end() == "success"
        consumed = scene.messages

        scene.run.delete()
        body = {"dag_run_id": scene.run.run_id, "logical_date": None, "conf": scene.conf}
        stack.ask("POST", "/dags/shared_out/dagRuns", body)
        assert scene.run.end() == "success"

        assert [each.status for each in consumed] == ["consumed"] * 3
        assert scene.messages == consumed


DOOMED = """
from airflow.sdk import dag, task

from tests.stack.diary import conf
from xclaim.airflow.hooks import XclaimHook


@dag(schedule=None)
def doomed() -> None:
    @task
    def push() -> None:
        XclaimHook().queue(conf()["queue"]).push_many(["left", "over"])

    push()


doomed()
"""


@side_by_side
def test_what_a_deleted_dag_has_pushed_is_still_there(stack: Stack, folder: Path) -> None:
    file = stack.dags / "doomed.py"
    file.write_text(DOOMED)
    with opened(stack, folder, "doomed", payloads=()) as scene:
        assert scene.run.end() == "success"

        file.unlink()
        # Deleted before it has noticed, the DAG would end Airflow's DAG processor (StaleDataError).
        wait(stack.home, lambda: stack.ask("GET", "/dags/doomed")["is_stale"])
        stack.ask("DELETE", "/dags/doomed")

        assert stack.client.get("/api/v2/dags/doomed").status_code == 404
        left, over = scene.queue.claim_many(10)
        assert [left.payload, over.payload] == ["left", "over"]
        assert left.message.headers["dag_id"] == "doomed"
        scene.queue.ack_many([left, over])


@side_by_side
def test_a_sensor_whose_triggerer_is_killed_claims_when_there_is_another(
    stack: Stack,
    folder: Path,  # noqa: ARG001  (each body is given one)
) -> None:
    run = stack.start("awaited")
    wait(stack.home, lambda: triggerer_of(run) is not None)
    with stack.queue("awaited") as queue:
        with stack.killed("triggerer"):
            message = queue.push("hello")
            while_it_was_dead = queue.get(message.id)

        assert run.end() == "success"
        consumed = queue.get(message.id)
        assert while_it_was_dead is not None
        assert (while_it_was_dead.status, while_it_was_dead.attempts) == ("available", 0)
        assert consumed is not None
        assert (consumed.status, consumed.attempts) == ("consumed", 1)


def triggerer_of(run: Run) -> int | None:
    """Return which triggerer runs the trigger of the run."""
    found = run.stack.in_metadata(
        "SELECT triggerer_id FROM trigger JOIN task_instance ON trigger.id = trigger_id"
        " WHERE run_id = :run_id AND dag_id = :dag_id",
        run_id=run.run_id,
        dag_id=run.dag_id,
    )
    return found[0].triggerer_id if found else None


def test_the_tries_after_a_killed_scheduler_take_the_messages_over(
    stack: Stack, tmp_path: Path, all_bodies: SideBySide
) -> None:
    wait_for_all(all_bodies.values(), timeout=1200)  # it would take their tasks for dead as well
    with opened(stack, tmp_path) as orphaned, opened(stack, tmp_path) as killed:
        lives_on, dies = orphaned.event("claimed"), killed.event("claimed")

        with stack.killed("scheduler"):
            os.kill(dies["parent"], signal.SIGKILL)
            os.kill(dies["pid"], signal.SIGKILL)
        orphaned.event("claimed", 2)
        orphaned.go.touch()

        for scene, first in ((orphaned, lives_on), (killed, dies)):
            assert scene.run.end() == "success"
            (message,) = scene.messages
            assert (message.id, message.status, message.attempts) == (first["id"], "consumed", 2)
            assert "#2@" in message.consumed_by
            assert len(scene.told("acked")) == 1
