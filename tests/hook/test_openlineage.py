"""What OpenLineage finds out about tasks of ours, asked as it asks: by its own extractors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.sdk import Asset, task

from tests.hook.conftest import within_task
from xclaim import Queue
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.operators import (
    AckOperator,
    ClaimOperator,
    MaintenanceOperator,
    PushOperator,
    ReleaseOperator,
)
from xclaim.airflow.sensors import ClaimSensor

pytestmark = pytest.mark.airflow

Found = tuple[list[str], list[str]]  # URIs of what was read, and written


@pytest.fixture(autouse=True)
def read(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenLineage looks where Airflow's providers find the collector of any version."""
    monkeypatch.setattr(
        "airflow.providers.common.compat.sdk.get_hook_lineage_collector",
        lambda: collector,
        raising=False,
    )


def found_of(operator: Any, state: str = "success") -> Found:
    manager: Any = ExtractorManager  # typed where it is installed
    metadata = manager().extract_metadata(
        dagrun=SimpleNamespace(run_id="manual"),
        task=operator,
        task_instance_state=state,
        task_instance=SimpleNamespace(task=operator),
    )
    read, written = (
        [f"{each.namespace}/{each.name}" for each in side]
        for side in (metadata.inputs, metadata.outputs)
    )
    return read, written


@pytest.fixture
def orders(connected: str) -> str:
    """Return the URI of a queue with two messages."""
    with Queue("orders", connected) as queue:
        queue.push_many([1, 2])
    return XclaimHook().asset_uri("orders")


def test_a_push_writes_its_queue(orders: str) -> None:
    operator = PushOperator(task_id="push", queue_name="orders", payloads=[3])

    with within_task():
        operator.execute({})

    assert found_of(operator) == ([], [orders])


def test_a_push_says_how_many_messages_it_has_written(orders: str) -> None:
    operator = PushOperator(task_id="push", queue_name="orders", payloads=[3, 4, 5])

    with within_task():
        operator.execute({})

    (written,) = operator.get_openlineage_facets_on_complete(None).outputs
    assert written.outputFacets["outputStatistics"].rowCount == 3
    assert f"{written.namespace}/{written.name}" == orders


def test_what_claims_and_what_settles_a_ticket_read_its_queue(orders: str) -> None:
    claim = ClaimOperator(task_id="claim", queue_name="orders")
    wait = ClaimSensor(task_id="wait", queue_name="orders")
    with within_task(task_id="claim"):
        ack = AckOperator(task_id="ack", ticket=claim.execute({}))  # type: ignore[arg-type]
    with within_task(task_id="wait"):
        release = ReleaseOperator(task_id="release", ticket=wait.execute({}))

    with within_task(task_id="settle"):
        ack.execute({})
        release.execute({})

    assert [found_of(each) for each in (claim, wait, ack, release)] == [([orders], [])] * 4


def test_a_failed_push_was_for_its_queue_as_well(orders: str) -> None:
    operator = PushOperator(task_id="push", queue_name="orders", payloads=[3])

    assert found_of(operator, "failed") == ([], [orders])


def test_maintenance_moves_no_data(orders: str, collector: Any) -> None:
    operator = MaintenanceOperator(task_id="tidy", queue_names=["orders"])

    with within_task():
        operator.execute({})

    assert orders
    assert found_of(operator) == ([], [])
    assert not collector.has_collected


def test_an_exclusive_task_reads_its_queue_and_writes_what_its_function_does(
    orders: str, collector: Any
) -> None:
    def forward(message: Any) -> None:
        XclaimHook().queue("paid").push(message.payload)

    called: Any = task.exclusive(queue_name="orders")(forward)
    operator = called().operator

    with within_task():
        operator.execute({})

    assert collector.has_collected
    assert found_of(operator) == ([orders], [XclaimHook().asset_uri("paid")])


def test_an_asset_of_the_dag_is_the_same_dataset_as_the_hook_reports(orders: str) -> None:
    operator = MaintenanceOperator(task_id="tidy", queue_names=[], outlets=[Asset(orders)])

    assert found_of(operator) == ([], [orders])


def test_the_datasets_of_a_queue_with_a_slash_and_of_a_file_are_told_apart(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", f"sqlite:///{tmp_path}/a.db")
    operator = PushOperator(task_id="push", queue_name="orders/eu", payloads=[])

    _, (written,) = found_of(operator)

    assert written == f"xclaim://file/{quote(f'{tmp_path}/a.db', safe='')}/orders%2Feu"
    assert Asset(written).uri == written
