"""A listener that settles claims at the end of a task; without it they are left to their leases.

In the task's own process, after an exception: what a task holds is given back at once when it fails
for good, and kept for its retry when there is one. What failed in a task that went on and succeeded
is given back as well. A task that was killed is left to its leases, because a scheduler that calls
it failed cannot know whether its process is dead. And it lets a scheduler load what the tasks of
its LocalExecutor would each load.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from airflow.listeners import hookimpl

from xclaim.airflow.preload import preload
from xclaim.airflow.tasks import open_claims
from xclaim.airflow.tasks.failing import until_retry

_TASK = "TaskRunnerMarker"  # of airflow.sdk.execution_time.task_runner, which only tasks import


@hookimpl
def on_starting(component: Any) -> None:
    """Load what tasks use before a scheduler forks them.

    A triggerer and a DAG processor come here as well, and cannot be told apart yet: Airflow calls
    this before it says which component it is. A task comes here too, and loads what it uses itself:
    most tasks use nothing of it.
    """
    if type(component).__name__ == _TASK:
        return
    with suppress(ImportError):  # psycopg, where all queues are of SQLite
        preload()


@hookimpl
def on_task_instance_failed(
    previous_state: Any,  # noqa: ARG001  (Airflow passes these by name)
    task_instance: Any,
    error: str | BaseException | None,
) -> None:
    """Release what is still claimed; if a retry is coming, keep it for that."""
    instance_id, reason = str(task_instance.id), error or "the task failed"
    # Airflow has two enumerations of states; of one str() is not the value.
    if task_instance.state == "failed":
        open_claims.release_all(instance_id, reason)
    elif open_claims.holds_any(instance_id):
        open_claims.keep_all(instance_id, reason, until_retry(task_instance, error))


@hookimpl
def on_task_instance_success(
    previous_state: Any,  # noqa: ARG001  (Airflow passes these by name)
    task_instance: Any,
) -> None:
    """Release what failed in a task that went on all the same."""
    open_claims.release_failed(str(task_instance.id))


@hookimpl
def on_task_instance_skipped(
    previous_state: Any,  # noqa: ARG001  (Airflow passes these by name)
    task_instance: Any,
) -> None:
    """Release what failed in a task that went on and then skipped the rest."""
    open_claims.release_failed(str(task_instance.id))
