"""What exclusive claims cost in Airflow: `python -m benchmarks.in_airflow`, about twelve minutes.

A real Airflow (api-server, scheduler with LocalExecutor, dag-processor, triggerer) on an embedded
PostgreSQL. A hundred mapped consumers over sixty messages take turns with a hundred mapped tasks
that do nothing, and with a hundred of which forty do nothing but skip, which Airflow takes longer
for; and messages are pushed for deferred sensors, one after the other. A thousand messages pass
eight mapped exclusive tasks, which drain the queue, beside eight plain ones that are each given
their share as an XCom; the rows of that are written for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import URL, create_engine, make_url, text

from benchmarks.contenders import XCLAIM
from benchmarks.figures import ARTEFACTS, IN_AIRFLOW, record
from benchmarks.measuring import WrongResultError
from examples.airflow_stack import (
    COMPONENTS,
    environment,
    migrate_metadata,
    running,
    start_run,
    tail_of_logs,
    wait,
    wait_for_run,
)
from xclaim import Queue
from xclaim.embedded import embedded_postgresql
from xclaim.operations import migrate

DAGS = Path(__file__).parents[1] / "tests" / "stack" / "dags"
TASKS, MESSAGES, ROUNDS, WAITS = 100, 60, 4, 12
CROWDS = ("crowd", "idle_crowd", "skipping_crowd")
SHARED, SHARED_ROUNDS = 1_000, 5
# The DAGs of tests/stack/dags/shared_work.py, as the page calls them.
SHARED_WORK = {
    "claimed_work": XCLAIM,
    "claimed_batches": "xclaim, 25 a call",
    "xcom_work": "plain tasks with XComs",
}
PAGE = ARTEFACTS / IN_AIRFLOW


def main() -> None:
    """Measure and print, and write what belongs to the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_airflow", description=__doc__)
    parser.add_argument("--only", choices=["crowds", "waits", "shared"], help="this part alone")
    parser.add_argument("--rounds", type=int, default=SHARED_ROUNDS, help="of the shared work")
    parser.add_argument("--output", type=Path, default=PAGE, help="where the page's rows go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xclaim-airflow-") as folder:
        home = Path(folder)
        with embedded_postgresql() as server, _databases(make_url(server)) as (queues, metadata):
            migrate.upgrade(_text(queues))
            connection = _text(queues.set(drivername="postgresql"))
            settings = environment(home, DAGS, _text(metadata), connection)
            migrate_metadata(settings, home)
            with running(settings, home, (*COMPONENTS, "triggerer")) as client:
                if options.only in {None, "crowds"}:
                    _crowds(client, home, _text(queues))
                if options.only in {None, "waits"}:
                    _waits(client, home, _text(queues))
                if options.only in {None, "shared"}:
                    records = list(_shared_work(client, home, _text(queues), options.rounds))
                    options.output.write_text(json.dumps(records, indent=1) + "\n")


def _crowds(client: httpx.Client, home: Path, url: str) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in CROWDS}
    with Queue("crowd", url) as queue:
        _crowd(client, home, "idle_crowd", 4)  # everything is imported once
        for number in range(ROUNDS):
            queue.push_many(list(range(MESSAGES)))
            # Turn about: the machine is not the same from one minute to the next.
            for name in (CROWDS, CROWDS[::-1])[number % 2]:
                seconds[name].append(_crowd(client, home, name, TASKS))
            print(
                f"round {number + 1}:", {name: round(each[-1], 1) for name, each in seconds.items()}
            )
        print(f"{TASKS} consumers over {MESSAGES} messages: consumed {queue.counts().consumed}")
    for name in CROWDS[1:]:
        ratios = [
            crowd / other for crowd, other in zip(seconds["crowd"], seconds[name], strict=True)
        ]
        print(f"against {name}: {statistics.median(ratios):.3f} (median)")


def _shared_work(
    client: httpx.Client, home: Path, url: str, rounds: int
) -> Iterator[dict[str, Any]]:
    """Yield records for the page: the DAGs take turns, each round beginning with another one."""
    dag_ids = list(SHARED_WORK)
    for dag_id in dag_ids:
        _run(client, home, dag_id)  # everything is imported once
    for number in range(rounds):
        turn = number % len(dag_ids)
        for dag_id in (*dag_ids[turn:], *dag_ids[:turn]):
            run = _run(client, home, dag_id)
            seconds, tasks = _seconds([run]), _seconds(_mapped(client, run))
            print(
                f"round {number + 1}: {dag_id} {seconds:.1f} s, mapped tasks {tasks:.2f} s",
                flush=True,
            )
            figures = {"run s": seconds, "mapped tasks s": tasks, "messages/s": SHARED / tasks}
            yield record("in_airflow", SHARED_WORK[dag_id], number, figures)
    for dag_id in dag_ids[:2]:
        with Queue(dag_id, url) as queue:
            counts = queue.counts()
        if counts.consumed != SHARED * (rounds + 1) or counts.available or counts.claimed:
            raise WrongResultError(f"{dag_id}: {counts}")


def _mapped(client: httpx.Client, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a run's mapped tasks."""
    path = f"/api/v2/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}/taskInstances/work/listMapped"
    instances: list[dict[str, Any]] = client.get(path).json()["task_instances"]
    return instances


def _seconds(lasted: Sequence[Mapping[str, Any]]) -> float:
    """Return the seconds from the first start to the last end."""
    began = min(datetime.fromisoformat(each["start_date"]) for each in lasted)
    ended = max(datetime.fromisoformat(each["end_date"]) for each in lasted)
    return (ended - began).total_seconds()


def _crowd(client: httpx.Client, home: Path, dag_id: str, size: int) -> float:
    return _seconds([_run(client, home, dag_id, {"size": size})])


def _run(
    client: httpx.Client, home: Path, dag_id: str, conf: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Run a DAG to its end, and return the run. Raise WrongResultError if it failed."""
    run_id = start_run(client, home, dag_id, conf)
    if wait_for_run(client, home, dag_id, run_id) != "success":
        raise WrongResultError(f"{dag_id} failed:\n{tail_of_logs(home)}")
    run: dict[str, Any] = client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()
    return run


def _waits(client: httpx.Client, home: Path, url: str) -> None:
    seconds = []
    with Queue("awaited", url, notify=True) as queue:
        for _ in range(WAITS):
            run_id = start_run(client, home, "awaited")
            path = f"/api/v2/dags/awaited/dagRuns/{run_id}/taskInstances/wait"
            wait(home, lambda path=path: client.get(path).json()["state"] == "deferred")  # type: ignore[misc]
            time.sleep(1.5)  # until the triggerer has it, too
            message = queue.push("hello")
            wait_for_run(client, home, "awaited", run_id)
            seconds.append(_claimed_after(client, path, message.created_at))
    print(
        f"push to claim through a deferred sensor: median {statistics.median(seconds):.2f} s, "
        f"{min(seconds):.2f} to {max(seconds):.2f} s"
    )


def _claimed_after(client: httpx.Client, path: str, pushed_at: datetime) -> float:
    answer = client.get(f"{path}/xcomEntries/return_value", params={"deserialize": True})
    value: Any = answer.json()["value"]
    claimed_at = datetime.fromisoformat(value["claimed_at"])
    return (claimed_at - pushed_at).total_seconds()


@contextmanager
def _databases(server: URL) -> Iterator[tuple[URL, URL]]:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in ("queues", "airflow"):
            connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    yield (
        server.set(database="queues"),
        server.set(drivername="postgresql+psycopg2", database="airflow"),
    )


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


if __name__ == "__main__":
    main()
