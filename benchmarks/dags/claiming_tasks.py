"""Tasks that claim: one pushes first, the other is called with what was pushed before."""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from benchmarks.sides.airflow_task import arrived
from xclaim.airflow.hooks import XclaimHook


@dag(schedule=None)
def claiming_tasks() -> None:
    """Claim."""

    @task
    def push_and_claim() -> None:
        arrived()
        queue = XclaimHook().queue("push_and_claim")
        queue.push({"order": 1})
        with queue.consume() as claim:
            arrived(claim is not None)

    @task.exclusive(queue_name="exclusive")
    def exclusive(message: Any) -> None:
        arrived(message.payload == {"order": 1})

    push_and_claim()
    exclusive()  # type: ignore[call-arg, misc]


claiming_tasks()
