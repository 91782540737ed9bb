"""Once an hour: give back what lapsed, and delete what is long consumed.

Claims give back lapsed messages on the way, so this matters for queues that nobody claims from
at the moment. The task returns what it did, and what is in each queue.

Needs the connection `xclaim_default` and an upgraded schema (`xclaim upgrade`).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import dag

from xclaim.airflow.operators import MaintenanceOperator

QUEUES = ["share_out", "payments", "uploads", "events", "rows", "shipments"]


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001  (Airflow reads it in its own time zone)
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,  # an example: switch it on when you have set the names
    doc_md=__doc__,
)
def maintenance() -> None:
    """Keep the queues tidy."""
    MaintenanceOperator(
        task_id="tidy",
        queue_names=QUEUES,
        prune_older_than=timedelta(days=30),  # until then a unique key is remembered
        limit=100_000,
    )


maintenance()
