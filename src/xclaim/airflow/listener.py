"""A listener that gives claims back at once; without it they come back with their leases.

It gives back at once what a task holds when it fails for good: in the task's own process, after an
exception and the last retry. A task that was killed is left to its lease, because a scheduler that
calls it failed cannot know whether its process is dead. And it lets a scheduler load what the tasks
of its LocalExecutor would each load.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from airflow.listeners import hookimpl

from xclaim.airflow.preload import preload
from xclaim.airflow.tasks import open_claims


@hookimpl
def on_starting(component: Any) -> None:  # noqa: ARG001  (Airflow passes it by name)
    """Load what tasks use before a scheduler forks them.

    A triggerer and a DAG processor come here as well, and cannot be told apart yet: Airflow calls
    this before it says which component it is. No task comes here, and no other command.
    """
    with suppress(ImportError):  # psycopg, where all queues are of SQLite
        preload()


@hookimpl
def on_task_instance_failed(
    previous_state: Any,  # noqa: ARG001  (Airflow passes these by name)
    task_instance: Any,
    error: str | BaseException | None,
) -> None:
    """Release what is still claimed, unless a retry is coming, which resumes it."""
    if str(task_instance.state) == "failed":
        open_claims.release_all(str(task_instance.id), f"the task failed: {error!r}")
