"""What XComs cost with xclaim's backend: `python -m benchmarks.xcom_cost`, about ten minutes.

Large values (a DataFrame of 100 MB, JSON of 100 MB) against the object storage backend of Airflow's
common-io provider, in a folder and in S3 (moto's server): serialized as a task does it when it
pushes, stored, and deserialized as a task does it when it pulls. Small ones (1 KB) against
Airflow's own backend: the same, and 10,000 pushed and pulled by the task of a real DAG run. The
backends take turns in one process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.turns import by_turns, keep, ratio, spread

OURS, COMMON_IO, AIRFLOW = "xclaim", "common-io", "Airflow's own"
THRESHOLD = 65_536
OWNER = {"key": "return_value", "task_id": "give", "dag_id": "shop", "run_id": "manual__1"}
MB = 1_000_000
TOGETHER = 100  # are pushed, or pulled, in one round


def main() -> None:
    """Measure, print and keep; or be the process in which Airflow is configured."""
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        print(json.dumps(_measured(**json.loads(sys.argv[1]))))
        return
    options = _options()
    with tempfile.TemporaryDirectory(prefix="xclaim-xcoms-") as name, ExitStack() as stack:
        folder = Path(name)
        for kind, place, environment in _places(options.places, folder, stack):
            asked = {"work": "large", "rounds": options.rounds}
            _keep(f"xcoms of 100 MB, {kind}", _asked(place, environment, folder, **asked), options)
        for work, rounds in (("small", options.small_rounds), ("run", options.pushed // TOGETHER)):
            figures = _asked(f"file://{folder}/small", {}, folder, work=work, rounds=rounds)
            _keep(f"xcoms of 1 KB, {work}", figures, options)


def _keep(section: str, figures: dict[str, Any], options: argparse.Namespace) -> None:
    if not options.quick:
        keep(section, {"goal": 1.0, **figures})


def _places(
    names: list[str], folder: Path, stack: ExitStack
) -> Iterator[tuple[str, str, dict[str, str]]]:
    if "file" in names:
        yield "file", f"file://{folder}/objects", {}
    if "s3" in names:
        from tests.payloads import emulators

        store = stack.enter_context(emulators.s3())
        connection = {
            "conn_type": "aws",
            "login": store.options["key"],
            "password": store.options["secret"],
            "extra": {"endpoint_url": store.endpoint},
        }
        yield (
            "s3",
            f"s3://moto@{store.new_bucket()}",
            {"AIRFLOW_CONN_MOTO": json.dumps(connection), "AWS_DEFAULT_REGION": "us-east-1"},
        )


def _asked(place: str, environment: Mapping[str, str], folder: Path, **asked: Any) -> Any:
    """Run a process with an Airflow of its own."""
    settings = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"{place}/common",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": str(THRESHOLD),
        "AIRFLOW__XCLAIM__XCOM_STORAGE": f"{place}/ours",
        "AIRFLOW__XCLAIM__XCOM_THRESHOLD": str(THRESHOLD),
    }
    if place.startswith("file://"):
        Path(place.removeprefix("file://"), "ours").mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.xcom_cost", json.dumps(asked)],
        env=os.environ | settings | dict(environment),
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    print(asked["work"], place.partition(":")[0], json.dumps(figures, indent=1), flush=True)
    return figures


def _measured(work: str, rounds: int) -> dict[str, Any]:
    match work:
        case "large":
            return _large(rounds)
        case "small":
            return _small(rounds)
    return _run(rounds)


def _large(rounds: int) -> dict[str, Any]:
    figures = {}
    for name, value in (("DataFrame", _frame()), ("JSON", _documents())):
        contenders = {
            backend: lambda kind=kind, value=value: _seconds(kind, value)
            for backend, kind in _backends(OURS, COMMON_IO).items()
        }
        by_turns(contenders, 1)  # everything is imported
        seconds = by_turns(contenders, rounds)
        figures[name] = {
            "seconds": {backend: spread(each) for backend, each in seconds.items()},
            "times as fast": ratio(seconds[COMMON_IO], seconds[OURS]),
        }
    return figures


def _seconds(kind: Any, value: Any) -> float:
    gc.collect()
    began = time.perf_counter()
    stored = json.loads(json.dumps(kind.serialize_value(value, **OWNER)))
    found = kind.deserialize_value(SimpleNamespace(value=stored))
    took = time.perf_counter() - began
    is_same = found == value if isinstance(value, list) else found.equals(value)
    if not is_same:
        raise AssertionError(f"{kind.__name__} has changed the value")
    if len(json.dumps(stored)) > THRESHOLD:
        raise AssertionError(f"{kind.__name__} has stored it in the database")
    kind.purge(SimpleNamespace(value=stored))
    return took


def _small(rounds: int) -> dict[str, Any]:
    figures = {}
    for name, values in (("text", _texts(1_000)), ("dict", _small_dicts(1_000))):
        contenders = {
            backend: lambda kind=kind, values=values: len(values) / _seconds_for_all(kind, values)
            for backend, kind in _backends(OURS, AIRFLOW).items()
        }
        by_turns(contenders, 2)
        rates = by_turns(contenders, rounds)
        figures[name] = {
            "values/s": {backend: spread(each, 0) for backend, each in rates.items()},
            "rate": ratio(rates[OURS], rates[AIRFLOW]),
        }
    return figures


def _seconds_for_all(kind: Any, values: list[Any]) -> float:
    began = time.perf_counter()
    for value in values:
        # As JSON it goes to Airflow's API and comes back, whatever the backend.
        stored = json.loads(json.dumps(kind.serialize_value(value, **OWNER)))
        if kind.deserialize_value(SimpleNamespace(value=stored)) != value:
            raise AssertionError(f"{kind.__name__} has changed the value")
    return time.perf_counter() - began


def _run(rounds: int) -> dict[str, Any]:
    """Push and pull by the task of a DAG run, through Airflow's API and database."""
    from airflow.sdk import DAG, task
    from airflow.utils.db import initdb

    initdb()
    rates: dict[str, dict[str, list[float]]] = {}
    with DAG("xcoms", schedule=None, start_date=datetime(2026, 1, 1)) as dag:  # noqa: DTZ001

        @task
        def push_and_pull(**context: Any) -> None:
            rates.update(_pushed_and_pulled(context["ti"], rounds))

        push_and_pull()
    _test(dag)
    return {
        name: {
            "values/s": {backend: spread(each, 0) for backend, each in measured.items()},
            "rate": ratio(measured[OURS], measured[AIRFLOW]),
        }
        for name, measured in rates.items()
    }


def _pushed_and_pulled(instance: Any, rounds: int) -> dict[str, dict[str, list[float]]]:
    values = _small_dicts(TOGETHER)
    numbers = iter(range(10**9))

    def push(kind: Any) -> Callable[[], float]:
        def measure() -> float:
            _use(kind)
            keys = [f"{kind.__name__}_{next(numbers)}" for _ in values]
            return _rate(len(values), lambda: list(map(instance.xcom_push, keys, values)))

        return measure

    def pull(kind: Any) -> Callable[[], float]:
        instance.xcom_push(kind.__name__, values[0])

        def measure() -> float:
            _use(kind)
            keys = [kind.__name__] * len(values)
            return _rate(
                len(values), lambda: [instance.xcom_pull("push_and_pull", key=key) for key in keys]
            )

        return measure

    rates = {}
    for name, work in (("push", push), ("pull", pull)):
        contenders = {each: work(kind) for each, kind in _backends(OURS, AIRFLOW).items()}
        by_turns(contenders, 1)
        rates[name] = by_turns(contenders, rounds)
    return rates


def _use(kind: Any) -> None:
    from airflow.sdk.execution_time import task_runner, xcom

    modules: Any = (xcom, task_runner)
    for module in modules:  # Airflow reads [core] xcom_backend once, when they are imported
        module.XCom = kind


def _rate(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def _test(dag: Any) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    state = dag.test().state
    if state != "success":
        raise AssertionError(f"the DAG run is {state}")


def _backends(*names: str) -> dict[str, Any]:
    from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend
    from airflow.sdk.bases.xcom import BaseXCom

    from xclaim.airflow.xcom import XclaimXComBackend

    known = {OURS: XclaimXComBackend, COMMON_IO: XComObjectStorageBackend, AIRFLOW: BaseXCom}
    return {name: known[name] for name in names}


def _frame() -> Any:
    """Return a DataFrame of 100 MB: numbers, times and names."""
    import numpy as np
    import pandas as pd

    count = 1_900_000
    numbers = np.random.default_rng(6)
    frame = pd.DataFrame(
        {
            "id": np.arange(count),
            "price": numbers.random(count) * 100,
            "quantity": numbers.integers(0, 100, count),
            "at": pd.Timestamp("2026-01-01", tz="UTC")
            + pd.to_timedelta(numbers.integers(0, 10**7, count), unit="s"),
            "customer": pd.Series(numbers.integers(0, 10**6, count)).map("customer {}".format),
        }
    )
    size = int(frame.memory_usage(deep=True).sum())
    print(f"a DataFrame of {size / MB:.0f} MB", file=sys.stderr)
    return frame


def _documents() -> list[Any]:
    """Return what is 100 MB as JSON."""
    document = _small_dicts(1)[0]
    return [{**document, "id": number} for number in range(100 * MB // len(json.dumps(document)))]


def _texts(count: int) -> list[Any]:
    return [f"{number:06} " + "x" * 1_000 for number in range(count)]


def _small_dicts(count: int) -> list[Any]:
    """Return dicts of 1 KB as JSON."""
    numbers = random.Random(6)  # noqa: S311  (no secret)
    return [
        {
            "id": number,
            "customer": f"customer {number}",
            "paid": True,
            "total": round(numbers.random() * 1000, 2),
            "lines": [
                {"article": f"article {line}", "count": line, "price": round(numbers.random(), 4)}
                for line in range(16)
            ],
        }
        for number in range(count)
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.xcom_cost")
    parser.add_argument("--rounds", type=int, default=9, help="of the large values")
    parser.add_argument("--small-rounds", type=int, default=100, help="of 1,000 small values")
    parser.add_argument("--pushed", type=int, default=10_000, help="with each backend in a run")
    parser.add_argument("--places", nargs="+", default=["file", "s3"], choices=["file", "s3"])
    parser.add_argument("--quick", action="store_true", help="keep nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
