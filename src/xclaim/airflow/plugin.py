"""What xclaim adds to every Airflow process: the listener."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowPlugin

from xclaim.airflow import listener


class XclaimPlugin(AirflowPlugin):
    """The listener that gives back early."""

    name = "xclaim"
    listeners = [listener]  # noqa: RUF012  (as Airflow declares it)
