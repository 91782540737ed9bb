"""The dashboard as Airflow's API server mounts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xclaim.airflow.dashboard import api_server
from xclaim.airflow.dashboard.access import AirflowAccess
from xclaim.airflow.dashboard.places import ConnectionPlaces
from xclaim.airflow.stats import QueueStats, is_on
from xclaim.web import create_app

if TYPE_CHECKING:
    from starlette.applications import Starlette


def make() -> Starlette:
    """Return the application; what it does to queues is counted by Airflow's metrics.

    :raises AirflowConfigException: an option is neither true nor false: nothing is shown then.
    """
    if is_on():
        QueueStats(api_server.ServerStats, dict).start()
    return create_app(
        ConnectionPlaces(),
        AirflowAccess(),
        read_only=api_server.is_set("dashboard_read_only"),
        hides_payloads=api_server.is_set("dashboard_hide_payloads"),
        frame_ancestors=("'self'",),
        airflow_url=api_server.base_path(),
        secret=api_server.secret(),
    )
