"""Exclusive claims on the CeleryExecutor: `python -m examples.run_celery`.

Two Celery workers and Redis, on this machine: `redis-server` must be installed (Debian: `apt-get
install redis-server`), and beside `xclaim[airflow,embedded]` the packages of
`pip install apache-airflow-providers-celery apache-airflow-providers-postgres redis psutil`. Forty
mapped tasks claim from a queue of twenty-four messages while one of the workers is killed with what
it holds.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import create_engine, make_url, text

from examples.airflow_stack import (
    airflow,
    environment,
    free_port,
    migrate_metadata,
    running,
    start_run,
    wait,
    wait_for_run,
)
from xclaim import Queue
from xclaim.embedded import embedded_postgresql
from xclaim.operations import migrate

DAG = """
import time
from datetime import timedelta
from airflow.sdk import dag, task
from xclaim import Message


@dag(schedule=None, default_args={"retries": 2, "retry_delay": timedelta(seconds=1)})
def celery_crowd() -> None:
    @task.exclusive(queue_name="crowd", lease=timedelta(seconds=30))
    def work(number: int, message: Message) -> int:
        time.sleep(3)
        return message.id

    work.expand(number=list(range(40)))


celery_crowd()
"""
MESSAGES, SLOTS = 24, 4
BY_CONSUMER = """
SELECT status, attempts, count(*), count(DISTINCT id), count(DISTINCT consumer_map_index)
  FROM xclaim_lineage GROUP BY 1, 2 ORDER BY 1, 2
"""


def main() -> int:
    """Run it; return 0 if every message was consumed once."""
    if not shutil.which("redis-server"):
        print("redis-server is not installed: apt-get install redis-server", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="xclaim-celery-") as folder:
        home = Path(folder)
        (home / "dags").mkdir()
        (home / "dags" / "celery_crowd.py").write_text(DAG)
        with embedded_postgresql() as url, _redis(home) as broker:
            return run(home, url, broker)


def run(home: Path, url: str, broker: str) -> int:
    """Start Airflow and two workers, let them work, and kill one."""
    server = make_url(url)
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE airflow"))
    migrate.upgrade(url)
    metadata = server.set(drivername="postgresql+psycopg2", database="airflow")
    metadata_url = metadata.render_as_string(hide_password=False)
    uri = server.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = environment(home, home / "dags", metadata_url, uri) | {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{metadata_url}",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    }
    migrate_metadata(settings, home)
    with (
        Queue("crowd", url) as queue,
        running(settings, home) as client,
        _workers(settings, home) as workers,
    ):
        queue.push_many(list(range(MESSAGES)))
        began = time.monotonic()
        run_id = start_run(client, home, "celery_crowd")
        wait(home, lambda: queue.counts().consumed >= MESSAGES // 4)
        # Five of two times four slots: each worker holds something.
        wait(home, lambda: queue.counts().claimed > SLOTS)
        lost = kill(workers[0])
        print(
            f"killed worker 1 and {lost} processes of its tasks, {queue.counts().claimed} claimed"
        )
        state = wait_for_run(client, home, "celery_crowd", run_id)
        path = f"/api/v2/dags/celery_crowd/dagRuns/{run_id}/taskInstances"
        instances = client.get(path, params={"limit": 100}).json()["task_instances"]
        print(f"the run ended as {state} after {time.monotonic() - began:.0f} s")
        print("task instances:", dict(Counter(each["state"] for each in instances)))
        counts = queue.counts()
        with engine.connect() as connection:
            for row in connection.execute(text(BY_CONSUMER)):
                print("status {}, attempts {}: {} messages, {} ids, {} tasks".format(*row))
    engine.dispose()
    return 0 if counts.consumed == MESSAGES and counts.available == 0 else 1


@contextmanager
def _redis(home: Path) -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (home / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _workers(settings: dict[str, str], home: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = []
    try:
        for number in (1, 2):
            own = {"AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port())}
            command = airflow("celery", "worker", "--celery-hostname", f"worker-{number}@localhost")
            with (home / f"worker-{number}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(command, env=settings | own, stdout=log, stderr=log)
                )
        yield processes
    finally:
        for process in processes:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> int:
    """Kill a worker and everything it has started, without a word; return how many those were."""
    if process.poll() is not None:
        return 0
    children = psutil.Process(process.pid).children(recursive=True)
    for pid in (process.pid, *(child.pid for child in children)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    return len(children)


if __name__ == "__main__":
    sys.exit(main())
