"""What xclaim adds to every Airflow process: the listener."""

from __future__ import annotations

from xclaim.airflow.versions import AirflowPlugin

from xclaim.airflow import listener
from xclaim.telemetry import instrument_if_asked


class XclaimPlugin(AirflowPlugin):
    """The listener that gives back early."""

    name = "xclaim"
    listeners = [listener]  # noqa: RUF012  (as Airflow declares it)


instrument_if_asked()  # XCLAIM_OTEL=1: every process of Airflow loads its plugins
