"""The view that says who produced and who consumed a message, and the assets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.airflow_versions import since
from tests.hook.conftest import within_task
from xclaim import Queue, create_engine
from xclaim.airflow.hooks import XclaimHook

pytestmark = pytest.mark.airflow

ORDER_4711 = """
SELECT *
  FROM xclaim_lineage
 WHERE queue = 'orders' AND payload ->> 'order' = '4711'
"""


def lineage(url: str) -> dict[str, Any]:
    engine = create_engine(url)
    with engine.connect() as connection:
        row = connection.execute(text(ORDER_4711)).one()._asdict()
    engine.dispose()
    return row


def test_the_view_answers_which_run_consumed_an_order(connected: str) -> None:
    queue = XclaimHook().queue("orders")
    with within_task(task_id="produce", try_number=1):
        queue.push({"order": "4711"})
    with within_task(task_id="group.work", run_id="a/run#1@x", map_index=7, try_number=1):
        queue.claim()
    with within_task(task_id="group.work", run_id="a/run#1@x", map_index=7, try_number=2):
        claimed = queue.claim()
        assert claimed is not None
        queue.ack(claimed)

    row = lineage(connected)

    assert row["attempts"] == 2
    assert (row["producer_dag_id"], row["producer_task_id"]) == ("shop", "produce")
    assert (row["producer_map_index"], row["producer_try_number"]) == ("-1", "1")
    assert (row["consumer_dag_id"], row["consumer_run_id"]) == ("shop", "a/run#1@x")
    assert (row["consumer_task_id"], row["consumer_map_index"]) == ("group.work", "7")
    assert row["consumer_try_number"] == "2"
    assert row["status"] == "consumed"


def test_a_task_that_is_not_mapped_has_map_index_minus_one(connected: str) -> None:
    queue = XclaimHook().queue("orders")
    queue.push({"order": "4711"})
    with within_task(task_id="work"):
        queue.claim()

    row = lineage(connected)

    assert (row["consumer_task_id"], row["consumer_map_index"]) == ("work", "-1")
    assert (row["producer_dag_id"], row["status"]) == (None, "claimed")


@pytest.mark.parametrize("consumer", [None, "host:17", "a/b", "x/y/z", "#1@h", "/a/#1@h"])
def test_other_consumers_are_shown_as_they_are(connected: str, consumer: str | None) -> None:
    with Queue("orders", connected) as queue:
        queue.push({"order": "4711"})
        if consumer is not None:
            queue.claim(claimed_by=consumer)

    row = lineage(connected)

    assert row["consumer"] == consumer
    assert {value for name, value in row.items() if name.startswith("consumer_")} == {None}


@pytest.mark.parametrize(
    ("uri", "asset"),
    [
        ("xclaim://db/shop/orders", "xclaim://db:5432/shop/orders"),
        ("xclaim://me:secret@db:6000/shop/orders?x=1#y", "xclaim://db:6000/shop/orders"),
        ("xclaim://file/file.db/orders", "xclaim://file/file.db/orders"),
    ],
)
def test_an_asset_has_one_form_and_no_password(uri: str, asset: str) -> None:
    from airflow.sdk import Asset

    assert Asset(uri).uri == asset


@pytest.mark.parametrize("uri", ["xclaim://db", "xclaim://db/shop", "xclaim://db/shop/a/b"])
def test_an_asset_names_a_database_and_a_queue(uri: str) -> None:
    from urllib.parse import urlsplit

    from xclaim.airflow.assets import sanitize_uri

    with pytest.raises(ValueError, match="host:port/database/queue"):
        sanitize_uri(urlsplit(uri))


def test_the_factory_and_the_hook_name_a_queue_alike() -> None:
    from sqlalchemy import make_url

    from xclaim.airflow.assets import create_asset, queue_uri

    url = make_url("postgresql+psycopg://me:secret@db:6000/shop")

    asset = create_asset(host="db", port=6000, database="shop", queue_name="orders/eu")

    assert asset.uri == queue_uri(url, "orders/eu") == "xclaim://db:6000/shop/orders%2Feu"


@pytest.mark.usefixtures("connected")
def test_each_task_reports_once_what_it_claims_from_in_whatever_way(
    collector: Any,
) -> None:
    queue = XclaimHook().queue("orders")
    queue.push_many([1, 2, 3, 4])

    for task_id in ("one", "other"):
        with within_task(task_id=task_id), queue.consume():
            with queue.transact():
                pass
            queue.claim()
            list(queue.stream())

    assert not collector.collected_assets.outputs
    assert [source.count for source in collector.collected_assets.inputs] == [2]


# A plugin that reads lineage, as OpenLineage's does.
READER = """
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.lineage import HookLineageReader

class Reading(AirflowPlugin):
    name = "reading"
    hook_lineage_readers = [HookLineageReader]
"""
# What Airflow runs in the process of a task, up to the task's end.
TASK = """
import json, sys
from airflow.sdk.listener import get_listener_manager
from tests.airflow_versions import since
from tests.hook.conftest import within_task
from xclaim.airflow.hooks import XclaimHook

get_listener_manager()
with within_task():
    queue = XclaimHook().queue("orders")
    queue.push({"order": 1})
    claim = queue.claim()
assert claim is not None

from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
was_loaded = bool(ProvidersManagerTaskRuntime()._asset_factories), "boto3" in sys.modules
from airflow.sdk.lineage import get_hook_lineage_collector
found = get_hook_lineage_collector().collected_assets
uris = [[each.asset.uri for each in side] for side in (found.inputs, found.outputs)]
print(json.dumps([was_loaded, uris]))
"""


def run_task(plugins: Path) -> Any:
    result = subprocess.run(
        [sys.executable, "-c", TASK],
        env=os.environ | {"AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins)},
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


@since("3.2", "the task SDK's own listeners and providers")
@pytest.mark.usefixtures("connected")
def test_a_task_loads_no_asset_factories_that_nobody_needs(tmp_path: Path) -> None:
    was_loaded, uris = run_task(tmp_path)

    assert was_loaded == [False, False]
    assert uris == [[], []]


@since("3.2", "the task SDK's own listeners and providers")
@pytest.mark.usefixtures("connected")
def test_whoever_reads_lineage_is_told_what_a_task_claims_and_pushes(tmp_path: Path) -> None:
    (tmp_path / "reading.py").write_text(READER)

    was_loaded, (inputs, outputs) = run_task(tmp_path)

    assert was_loaded == [True, True]
    assert inputs == outputs == [XclaimHook().asset_uri("orders")]


@since("3.2", "the task SDK's own collector of lineage")
@pytest.mark.usefixtures("connected")
def test_a_collector_that_is_there_is_used_though_nobody_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.sdk import lineage

    collector = lineage.HookLineageCollector()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(lineage, "HookLineageCollector", lambda: collector)
    monkeypatch.setattr(lineage, "NoOpCollector", lambda: collector)
    lineage.get_hook_lineage_collector.cache_clear()
    lineage.get_hook_lineage_collector()
    try:
        with within_task():
            XclaimHook().queue("orders").push(1)
    finally:
        lineage.get_hook_lineage_collector.cache_clear()

    (output,) = collector.collected_assets.outputs
    assert output.asset.uri == XclaimHook().asset_uri("orders")


def test_the_link_leads_where_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from xclaim.airflow.links import MessagesLink

    key = SimpleNamespace(dag_id="shop", run_id="r 1", task_id="work", map_index=3, try_number=2)
    operator: Any = None
    assert MessagesLink().get_link(operator, ti_key=key) == ""

    monkeypatch.setenv("AIRFLOW__XCLAIM__MESSAGES_URL", "https://g/d?t={task_instance}&n={dag_id}")

    link = MessagesLink().get_link(operator, ti_key=key)
    assert link == "https://g/d?t=shop%2Fr%201%2Fwork%5B3%5D&n=shop"
