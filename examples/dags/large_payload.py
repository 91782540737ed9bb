"""A queue whose large payloads lie in a storage: the row has the reference, and owns the object.

A DataFrame, or bytes of any size, is pushed like anything else. What is larger than the threshold
becomes an object beside the table and is fetched when `message.payload` is asked for; its digest
is checked. `prune` deletes the object with its row.

The storage here is the folder `xclaim-payloads` in Airflow's home, which all workers must share.
`Payloads(storage="s3://bucket/prefix")`, or the variable `XCLAIM_STORAGE`, puts it elsewhere.

Needs pandas and `pip install "xclaim[arrow,storage]"`, the connection `xclaim_default` and an
upgraded schema (`xclaim upgrade`).
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import dag, task

from xclaim.airflow.hooks import XclaimHook

if TYPE_CHECKING:
    from xclaim.airflow.tasks.task_queue import TaskQueue

QUEUE = "measurements"


def queue() -> TaskQueue:
    """Return the queue with the storage."""
    from xclaim import Payloads

    home = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()
    hook = XclaimHook(payloads=Payloads(storage=f"file://{home}/xclaim-payloads"))
    return hook.queue(QUEUE)


@dag(
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1)},
    doc_md=__doc__,
)
def large_payload() -> None:
    """Push a table of a hundred thousand rows, work on it, and delete it."""

    @task
    def measure() -> int:
        import pandas as pd

        frame = pd.DataFrame({"sensor": range(100_000), "degrees": 21.5})
        return queue().push(frame).id

    @task
    def average() -> float | None:
        with queue().consume() as claimed:
            return float(claimed.payload["degrees"].mean()) if claimed else None

    @task
    def tidy() -> int:
        return queue().prune(older_than=timedelta(0))

    measure() >> average() >> tidy()


large_payload()
