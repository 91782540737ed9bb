"""The DAGs that benchmarks/in_airflow.py measures do the same work, and check it themselves."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from tests.hook.conftest import DagRun
from xclaim import Queue

pytestmark = pytest.mark.airflow

Run = Callable[[Any], DagRun]
WORK = Path(__file__).parents[1] / "stack" / "dags" / "shared_work.py"


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    """Return the DAGs of the file by their ids."""
    found = [value for value in runpy.run_path(str(WORK)).values() if isinstance(value, DAG)]
    return {dag.dag_id: dag for dag in found}


@pytest.mark.parametrize("dag_id", ["claimed_work", "claimed_batches"])
def test_mapped_tasks_drain_a_thousand_messages_once(
    run: Run, connected: str, dags: dict[str, Any], dag_id: str
) -> None:
    done = run(dags[dag_id])

    assert done.state == "success"
    with Queue(dag_id, connected) as queue:
        assert queue.counts().consumed == 1_000


def test_mapped_tasks_get_a_thousand_messages_as_xcoms(run: Run, dags: dict[str, Any]) -> None:
    assert run(dags["xcom_work"]).state == "success"
