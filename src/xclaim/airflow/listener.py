"""A listener that gives back at once what a task holds when it fails for good.

It only makes it sooner: without it the leases do the same. It runs in the task's own process, after
an exception and the last retry. A task that was killed is left to its lease, because a scheduler
that calls it failed cannot know whether its process is dead.
"""

from __future__ import annotations

from typing import Any

from airflow.listeners import hookimpl

from xclaim.airflow import open_claims


@hookimpl
def on_task_instance_failed(
    previous_state: Any,  # noqa: ARG001  (Airflow passes these by name)
    task_instance: Any,
    error: str | BaseException | None,
) -> None:
    """Release what is still claimed, unless a retry is coming, which resumes it."""
    if str(task_instance.state) == "failed":
        open_claims.release_all(str(task_instance.id), f"the task failed: {error!r}")
