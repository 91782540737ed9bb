"""The example DAG, run by Airflow itself."""

from __future__ import annotations

import os
from typing import Any

import pytest

from xclaim import Queue

pytestmark = pytest.mark.airflow


@pytest.fixture(scope="module")
def _metadata() -> None:
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def dag(_metadata: None) -> Any:
    """Return the DAG as Airflow knows it: in a bundle, serialized."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    from examples.dags import exclusive_claim

    built = exclusive_claim.exclusive_claim()
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(built)
    sync_bag_to_db(bag, "dags-folder", None)
    return built


def test_every_record_is_consumed_once_and_again_in_a_second_run(dag: Any, connected: str) -> None:
    runs = [dag.test(run_conf={"seconds_per_record": 0}) for _ in range(2)]

    assert [str(run.state) for run in runs] == ["success", "success"]
    with Queue("timezones", connected) as queue:
        counts = queue.counts()
        assert (counts.consumed, counts.available, counts.claimed) == (836, 0, 0)
