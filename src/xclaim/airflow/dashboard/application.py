"""The dashboard as Airflow's API server mounts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xclaim.airflow.dashboard import api_server
from xclaim.airflow.dashboard.access import AirflowAccess
from xclaim.airflow.dashboard.places import ConnectionPlaces
from xclaim.airflow.links import path_of_task
from xclaim.airflow.stats import QueueStats, is_on
from xclaim.web import create_app

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from xclaim.observing.values import Task


def make() -> Starlette:
    """Return the application; what it does to queues is counted by Airflow's metrics."""
    if is_on():
        QueueStats(api_server.ServerStats, dict).start()
    return create_app(
        ConnectionPlaces(),
        AirflowAccess(),
        frame_ancestors=("'self'",),
        links=task_page,
        secret=api_server.secret(),
    )


def task_page(task: Task) -> str:
    """Return the address of a task instance in Airflow's UI.

    :param task: the task instance.
    """
    path = path_of_task(task.dag_id, task.run_id, task.task_id, task.map_index)
    return f"{api_server.base_path()}{path}"
