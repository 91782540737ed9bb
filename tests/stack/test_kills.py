"""Tasks that are killed, cleared and marked: no message is lost, none is consumed twice.

As `docs/guides/airflow-failures.md` promises, in a real Airflow: each test holds a line of that
page to account.
"""

from __future__ import annotations

import os
import signal

import pytest

from examples.airflow_stack import wait
from tests.stack.conftest import Scene, Stack

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]


def assert_consumed_once(scene: Scene, *, attempts: int, try_number: int) -> None:
    (claimed, *_) = scene.events()
    message = scene.queue.get(claimed["id"])
    assert message is not None
    assert message.status == "consumed"
    assert message.attempts == attempts
    assert message.consumed_by is not None
    assert f"#{try_number}@" in message.consumed_by
    assert [each["event"] for each in scene.events()].count("acked") == 1
    assert scene.queue.counts().available == 0


def test_the_retry_of_a_killed_task_resumes_its_message_at_once(scene: Scene) -> None:
    first = scene.event("claimed")

    os.kill(first["pid"], signal.SIGKILL)
    second = scene.event("claimed", 2)

    assert (second["id"], second["try"]) == (first["id"], 2)
    assert scene.run.end() == "success"
    assert_consumed_once(scene, attempts=2, try_number=2)


def test_an_orphan_that_outlives_its_supervisor_cannot_ack(scene: Scene) -> None:
    first = scene.event("claimed")

    os.kill(first["parent"], signal.SIGKILL)
    scene.run.lose_heartbeats()
    second = scene.event("claimed", 2)
    scene.event("acked")
    os.kill(first["pid"], 0)  # the first try is still at work
    scene.go.touch()
    refused = scene.event("refused")

    assert second["id"] == first["id"]
    assert refused["try"] == 1
    assert scene.run.end() == "success"
    assert_consumed_once(scene, attempts=2, try_number=2)


def test_the_retry_after_a_lost_worker_resumes_its_message(scene: Scene) -> None:
    first = scene.event("claimed")

    os.kill(first["parent"], signal.SIGKILL)
    os.kill(first["pid"], signal.SIGKILL)
    scene.run.lose_heartbeats()
    second = scene.event("claimed", 2)

    assert (second["id"], second["try"]) == (first["id"], 2)
    assert scene.run.end() == "success"
    assert_consumed_once(scene, attempts=2, try_number=2)


def test_a_task_that_is_cleared_while_it_runs_passes_its_message_on(scene: Scene) -> None:
    first = scene.event("claimed")

    scene.run.clear("work")
    second = scene.event("claimed", 2)

    assert second["id"] == first["id"]
    assert second["try"] > first["try"]
    assert scene.run.end() == "success"
    assert_consumed_once(scene, attempts=2, try_number=second["try"])


@pytest.mark.parametrize("scene", [{"lease": 5}], indirect=True)
def test_the_message_of_a_task_marked_failed_comes_back_with_its_lease(scene: Scene) -> None:
    first = scene.event("claimed")

    scene.run.mark("work", "failed")
    claimed = wait(scene.stack.home, scene.queue.claim)

    assert scene.run.end() == "failed"
    assert (claimed.message.id, claimed.message.attempts) == (first["id"], 2)
    scene.queue.ack(claimed)
    assert "acked" not in [each["event"] for each in scene.events()]


def test_a_task_that_gets_a_sigterm_finishes_its_message(scene: Scene) -> None:
    first = scene.event("claimed")

    os.kill(first["pid"], signal.SIGTERM)
    scene.go.touch()

    assert scene.run.end() == "success"
    assert scene.queue.counts().consumed == 1
    assert [each["event"] for each in scene.events()].count("acked") == 1


@pytest.mark.parametrize("scene", [{"max_attempts": 2, "dies": True, "lease": 5}], indirect=True)
def test_a_message_that_kills_its_workers_becomes_a_dead_letter(scene: Scene, stack: Stack) -> None:
    assert scene.run.end() == "failed"
    wait(stack.home, lambda: scene.queue.expire() or scene.queue.counts().dead_letters)

    with stack.queue(f"{scene.queue.name}.dead") as dead_letters:
        (letter,) = dead_letters.peek()
    assert (letter.payload, letter.attempts) == ("message", 2)
    assert [each["event"] for each in scene.events()] == ["claimed", "claimed"]
