"""One task claims batches, and a mapped task works on each of them.

`hook.claim_batches` returns one ticket for each batch: small dicts, never more than Airflow
maps over. Each mapped task gets exactly the messages of its ticket, and so does its retry, less
what it has acked.

Needs the connection `xclaim_default` and an upgraded schema (`xclaim upgrade`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from xclaim.airflow.hooks import XclaimHook

QUEUE = "rows"


@dag(
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
)
def mapped_batches() -> None:
    """Push a hundred rows and load them in batches of thirty."""

    @task
    def extract() -> int:
        rows = [{"row": number} for number in range(100)]
        return len(XclaimHook().queue(QUEUE).push_many(rows))

    @task
    def plan() -> list[dict[str, Any]]:
        return XclaimHook().claim_batches(QUEUE, size=30, max_batches=50)

    @task
    def load(ticket: dict[str, Any]) -> int:
        hook = XclaimHook()
        with hook.consume_ticket(ticket) as claims:
            return sum(claimed.payload["row"] for claimed in claims)

    @task
    def add_up(sums: list[int]) -> int:
        return sum(sums)

    planned = plan()
    extract() >> planned
    add_up(load.expand(ticket=planned))  # type: ignore[arg-type]  # and for its value


mapped_batches()
