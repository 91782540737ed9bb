"""Runs tasks as Airflow's workers do: supervised, each in a process that is forked for it.

Only the API server is played: it says yes to everything, at once.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from benchmarks.sides.process import serve

ARRIVALS = "XCLAIM_BENCHMARK_ARRIVALS"  # the file in which tasks say when they have arrived
WITHOUT_XCLAIM = "XCLAIM_BENCHMARK_WITHOUT_XCLAIM"  # set: as if it were not installed
_LONG_AGO = "2026-01-01T00:00:00Z"
_RUN: dict[str, Any] = {
    "logical_date": _LONG_AGO,
    "data_interval_start": _LONG_AGO,
    "data_interval_end": _LONG_AGO,
    "start_date": _LONG_AGO,
    "end_date": None,
    "run_after": _LONG_AGO,
    "run_type": "manual",
    "state": "running",
    "consumed_asset_events": [],
    "partition_key": None,
}


def arrived(is_right: bool = True) -> None:  # noqa: FBT001, FBT002  (as in assert)
    """Note when the task has come so far, and what it and its supervisor have taken of a processor.

    :param is_right: whether it has what it should have by now.
    """
    at, taken = time.monotonic(), time.process_time()
    import psutil

    supervisor = psutil.Process(os.getppid()).cpu_times()
    xclaim = sys.modules.get("xclaim")
    note = {
        "at": at,
        "processor": taken + supervisor.user + supervisor.system,
        "is_right": is_right,
        "source": xclaim and str(Path(str(xclaim.__file__)).parents[1]),
    }
    with Path(os.environ[ARRIVALS]).open("a") as file:
        file.write(f"{json.dumps(note)}\n")


def load_as_a_scheduler() -> None:
    """Import what a scheduler has loaded when its LocalExecutor forks, listeners included."""
    from airflow.executors import local_executor  # noqa: F401
    from airflow.jobs import scheduler_job_runner  # noqa: F401
    from airflow.listeners.listener import get_listener_manager
    from airflow.sdk.execution_time import supervisor  # noqa: F401

    get_listener_manager().hook.on_starting(component=object())


def run(dag_id: str, task_id: str) -> tuple[float, float]:
    """Run the task, and return the moment when it was begun, by the clock and the processor."""
    import httpx
    from airflow.executors.workloads import BundleInfo
    from airflow.sdk.api.client import Client
    from airflow.sdk.api.datamodels._generated import TaskInstance
    from airflow.sdk.execution_time.supervisor import supervise_task

    run_id = str(uuid.uuid4())
    answer = {
        "dag_run": {"dag_id": dag_id, "run_id": run_id, **_RUN},
        "max_tries": 0,
        "should_retry": False,
    }
    server = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    client = Client(base_url=None, dry_run=True, token="", transport=server)
    instance = TaskInstance(
        id=uuid.uuid4(),
        task_id=task_id,
        dag_id=dag_id,
        run_id=run_id,
        try_number=1,
        dag_version_id=uuid.uuid4(),
    )
    began = time.monotonic(), time.process_time()
    supervise_task(
        ti=instance,
        bundle_info=BundleInfo(name="dags-folder"),
        dag_rel_path=f"{dag_id}.py",
        token="",
        client=client,
        log_path="task.log",
    )
    return began


def _forget_xclaim() -> None:
    everything = importlib.metadata.distributions
    importlib.metadata.distributions = lambda **options: (
        found for found in everything(**options) if found.name != "xclaim"
    )


def _keep_logs_from_the_answers() -> None:
    from airflow.sdk.log import configure_logging

    configure_logging(json_output=True, output=open(os.devnull, "wb"))  # noqa: SIM115, PTH123


def main(arguments: list[str]) -> None:
    """Run the task that is named, or serve as the LocalExecutor of a scheduler."""
    if os.environ.get(WITHOUT_XCLAIM):
        _forget_xclaim()
    _keep_logs_from_the_answers()
    if arguments:
        run(*arguments)
        return
    load_as_a_scheduler()
    serve({"run": run})


if __name__ == "__main__":
    main(sys.argv[1:])
