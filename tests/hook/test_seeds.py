"""DAGs as they circulate run unchanged with our XCom backend, wherever it puts the values.

In a real Airflow they run in `tests/stack/test_xcoms.py`.
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xclaim.airflow.versions import serialized_by_name

import pandas as pd
import pytest
from airflow.sdk import DAG

from tests.hook.conftest import DagRun, configure_xcoms
from tests.payloads import emulators
from tests.payloads.emulators import Emulator
from tests.stack.seeds import SEEDS

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.emulator,
    pytest.mark.usefixtures("xcom_folder", "shop"),
]

Run = Callable[..., DagRun]


@pytest.fixture(scope="module")
def s3() -> Iterator[Emulator]:
    with emulators.s3() as store:
        yield store


@pytest.fixture(scope="module")
def gcs() -> Iterator[Emulator]:
    with emulators.gcs() as store:
        yield store


@pytest.fixture(scope="module")
def azure() -> Iterator[Emulator]:
    with emulators.azure() as store:
        yield store


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set up the connection that a seed sends its SQL to."""
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "shop.db")}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(connection))


@pytest.fixture(params=["database", "folder", "s3", "s3 of a connection", "gs", "abfs", "wasb"])
def place(
    request: pytest.FixtureRequest, xcom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Let every value, however small, go to a storage, as it is written in the configuration.

    The database is the other extreme: there no value does.
    """
    match request.param:
        case "database":
            configure_xcoms(monkeypatch, storage="")
        case "folder":
            configure_xcoms(monkeypatch, storage=f"file://{xcom_folder}", threshold="0")
        case "s3 of a connection":
            store: Emulator = request.getfixturevalue("s3")
            extra = {"endpoint_url": store.endpoint, "region_name": "us-east-1"}
            connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
            monkeypatch.setenv("AIRFLOW_CONN_SEEDS", json.dumps(connection))
            storage = f"s3://seeds@{store.new_bucket()}/xcom"
            configure_xcoms(monkeypatch, storage=storage, threshold="0")
        case scheme:
            fixture = {"s3": "s3", "gs": "gcs"}.get(scheme, "azure")
            store = request.getfixturevalue(fixture)
            bucket = store.new_bucket()
            if scheme == "wasb":
                bucket += "@devstoreaccount1.blob.core.windows.net"
            options = json.dumps(dict(store.options))
            storage = f"{scheme}://{bucket}/xcom"
            configure_xcoms(monkeypatch, storage=storage, storage_options=options, threshold="0")
    return str(request.param)


@pytest.fixture(scope="module")
def seeds() -> dict[str, Any]:
    """Return the DAGs of the file by their ids."""
    file = Path(__file__).parents[1] / "stack" / "dags" / "seeds.py"
    found = [value for value in runpy.run_path(str(file)).values() if isinstance(value, DAG)]
    return {dag.dag_id: dag for dag in found}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_dag_as_it_circulates_runs_unchanged(
    run_anywhere: Run, place: str, seeds: dict[str, Any], seed: str
) -> None:
    if (seed, place) == ("seed_frame", "database") and not serialized_by_name(pd.DataFrame):
        pytest.skip("this Airflow's serde knows no DataFrame of this pandas: it needs a storage")
    task_id, returned = SEEDS[seed]

    done = run_anywhere(seeds[seed])

    assert done.state == "success"
    values = [written_at(place, value) for value in done.xcoms(task_id)]
    assert values == returned


def written_at(place: str, value: Any) -> Any:
    """Return the value of an XCom that Airflow's database has; elsewhere it has a reference."""
    from types import SimpleNamespace

    from xclaim.airflow.xcom import XclaimXComBackend

    assert (isinstance(value, dict) and "__xclaim__" in value) == (place != "database")
    return XclaimXComBackend.deserialize_value(SimpleNamespace(value=value))
