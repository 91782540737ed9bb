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
from xclaim.airflow.lineage import LineageReports

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
        ("xclaim://DB.Example/Shop/Orders", "xclaim://db.example:5432/Shop/Orders"),
        ("xclaim://[::1]/shop/orders", "xclaim://[::1]:5432/shop/orders"),
        ("xclaim://[::1]:6000/shop/a%2fb", "xclaim://[::1]:6000/shop/a%2Fb"),
        ("xclaim://h1,H2:5433/shop/orders", "xclaim://h1:5432,h2:5433/shop/orders"),
        ("xclaim://%2frun%2FA/shop/orders", "xclaim://%2Frun%2FA:5432/shop/orders"),
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


CONNECTIONS = {
    "postgresql://me@DB.Example/shop": "xclaim://db.example:5432/shop/orders",
    "postgresql://me@[::1]/shop": "xclaim://[::1]:5432/shop/orders",
    "postgresql://me@%2Fcloudsql%2Fp%3Ar%3A7/shop": "xclaim://%2Fcloudsql%2Fp%3Ar%3A7:5432/shop/orders",
    "postgresql:///shop": "xclaim://localhost:5432/shop/orders",
    "postgresql://me@db": "xclaim://db:5432/me/orders",
    "postgresql://db": "xclaim://db:5432/postgres/orders",
    "postgresql://me@h1%3A5432%2Ch2%3A5433/shop": "xclaim://h1:5432,h2:5433/shop/orders",
    "postgresql://me@h1%2C%3A%3A2:6000/shop": "xclaim://h1:6000,%3A%3A2:6000/shop/orders",
    "sqlite:////data/a b.db": "xclaim://file/%2Fdata%2Fa%20b.db/orders",
    "sqlite:///:memory:": "xclaim://file/%3Amemory%3A/orders",
}


@pytest.mark.parametrize(("connection", "uri"), CONNECTIONS.items())
def test_a_queue_is_one_dataset_however_its_connection_is_written(
    connection: str, uri: str, collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import Asset

    from xclaim.airflow.assets import convert_asset_to_openlineage, openlineage_dataset

    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection)
    hook = XclaimHook()

    LineageReports(hook).pushed("one", hook.asset_uri("orders"))

    (output,) = collector.collected_assets.outputs
    assert hook.asset_uri("orders") == output.asset.uri == Asset(uri).uri == uri
    dataset = openlineage_dataset(uri)
    assert convert_asset_to_openlineage(output.asset, hook) == dataset
    assert f"{dataset.namespace}/{dataset.name}" == uri


def test_the_factory_takes_a_file_and_a_socket() -> None:
    from xclaim.airflow.assets import create_asset

    file = create_asset(database="/data/a.db", queue_name="orders")
    socket = create_asset(host="/run/pg", database="shop", queue_name="orders")

    assert file.uri == "xclaim://file/%2Fdata%2Fa.db/orders"
    assert socket.uri == "xclaim://%2Frun%2Fpg:5432/shop/orders"


@pytest.mark.usefixtures("collector")
def test_a_task_does_its_work_though_lineage_cannot_be_told(
    hook: XclaimHook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    too_long = f"xclaim://file/{'x' * 2_000}/orders"  # Airflow takes 1,500 characters
    monkeypatch.setattr("xclaim.airflow.tasks.task_queue.queue_uri", lambda *_: too_long)
    queue = hook.queue("orders")

    with within_task():
        queue.push(1)
        claim = queue.claim()

    assert claim is not None
    assert "lineage is not told of the queue xclaim://file/" in "".join(capsys.readouterr())


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
    links = []
    for url in ("", "https://g/d?t={task_instance}&n={dag_id}"):
        monkeypatch.setenv("AIRFLOW__XCLAIM__MESSAGES_URL", url)
        links.append(MessagesLink().get_link(operator, ti_key=key))

    assert links == ["", "https://g/d?t=shop%2Fr%201%2Fwork%5B3%5D&n=shop"]
