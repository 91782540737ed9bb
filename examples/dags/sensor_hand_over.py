"""A sensor waits for a message and claims it; the task after it does the work.

While it waits the sensor is deferred and takes no worker slot. What it returns is a ticket, a
plain dict. The task downstream resumes the claim with it, and so does its retry. A ticket that
nobody resumes lapses after its lease, and the message goes to somebody else.

Needs the connection `xclaim_default`, an upgraded schema, and a triggerer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.sensors import ClaimSensor

QUEUE = "uploads"


@dag(
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
)
def sensor_hand_over() -> None:
    """Wait for an upload and load it."""
    wait = ClaimSensor(
        task_id="wait",
        queue_name=QUEUE,
        deferrable=True,
        timeout=3600,
        lease=timedelta(minutes=30),  # how long the ticket may wait for a worker
    )

    @task
    def load(ticket: dict[str, Any]) -> list[str]:
        with XclaimHook().consume_ticket(ticket) as claims:  # acks at its end
            return [f"loaded {claimed.payload['file']}" for claimed in claims]

    load(wait.output)  # type: ignore[arg-type]  # an XCom stands for its value


sensor_hand_over()
