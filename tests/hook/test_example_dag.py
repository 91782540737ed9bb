"""The example DAGs, run by Airflow itself."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.hook.conftest import DagRun, connection_uri
from xclaim import Queue

pytestmark = pytest.mark.airflow

Run = Callable[..., DagRun]


def example(name: str) -> Any:
    return getattr(importlib.import_module(f"examples.dags.{name}"), name)()


def test_every_record_is_consumed_once_and_again_in_a_second_run(run: Run, connected: str) -> None:
    dag = example("exclusive_claim")

    runs = [run(dag, seconds_per_record=0) for _ in range(2)]

    assert [each.state for each in runs] == ["success", "success"]
    with Queue("timezones", connected) as queue:
        counts = queue.counts()
        assert (counts.consumed, counts.available, counts.claimed) == (836, 0, 0)


@pytest.mark.usefixtures("connected_to_schema")
def test_the_records_of_a_schema_are_proved_to_be_consumed_once(run_anywhere: Run) -> None:
    assert run_anywhere(example("exclusive_claim"), seconds_per_record=0).state == "success"


def test_workers_share_the_orders_out(run: Run, connected: str) -> None:
    done = run(example("share_out"), orders=6, workers=4)

    assert done.state == "success"
    packed = done.xcoms("pack")
    assert sorted(each["worker"] for each in packed) == [0, 1, 2, 3]
    assert sorted(each["order"] for each in packed) == [0, 1, 2, 3]
    assert done.xcoms("pack_what_is_left") == [[2]]
    with Queue("share_out", connected) as queue:
        assert queue.counts().consumed == 6


def test_more_workers_than_orders_are_skipped(run: Run) -> None:
    done = run(example("share_out"), orders=2, workers=5)

    assert done.state == "success"
    assert done.states("pack") == {"success": 2, "skipped": 3}
    assert done.states("pack_what_is_left") == {"success": 1}


def test_each_payment_is_booked_once(run: Run, connected: str) -> None:
    dag = example("exactly_once_effect")

    runs = [run(dag), run(dag)]

    assert [each.xcoms("book") for each in runs] == [[3], [3]]
    engine = create_engine(connected)
    with engine.connect() as connection:
        booked = connection.execute(
            text("SELECT count(*), count(DISTINCT payment), sum(amount) FROM ledger")
        ).one()
    engine.dispose()
    assert tuple(booked) == (6, 6, 120)


def test_the_sensor_hands_an_upload_over(run: Run, connected: str) -> None:
    with Queue("uploads", connected) as queue:
        queue.push({"file": "a.csv"})

        done = run(example("sensor_hand_over"))

        assert done.xcoms("load") == [["loaded a.csv"]]
        assert queue.counts().consumed == 1


def test_a_run_drains_the_events(run: Run, connected: str) -> None:
    with Queue("events", connected) as queue:
        queue.push_many(list(range(250)))

        done = run(example("event_driven"))

        assert done.xcoms("handle") == [[100, 100, 50]]
        assert queue.counts().consumed == 250


def test_mapped_tasks_load_their_batches(run: Run, connected: str) -> None:
    done = run(example("mapped_batches"))

    assert done.state == "success"
    assert len(done.xcoms("load")) == 4
    assert done.xcoms("add_up") == [sum(range(100))]
    with Queue("rows", connected) as queue:
        assert queue.counts().consumed == 100


def test_maintenance_reports_on_each_queue(run: Run) -> None:
    done = run(example("maintenance"))

    (report,) = done.xcoms("tidy")
    assert sorted(report) == ["events", "payments", "rows", "share_out", "shipments", "uploads"]


def test_a_large_payload_is_an_object_until_it_is_pruned(run: Run, connected: str) -> None:
    done = run(example("large_payload"))

    assert done.xcoms("average") == [21.5]
    assert done.xcoms("tidy") == [1]
    with Queue("measurements", connected) as queue:
        assert queue.get(done.xcoms("measure")[0]) is None
    folder = Path(os.environ["AIRFLOW_HOME"], "xclaim-payloads")
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("xcom_folder")
def test_exclusive_values_are_handed_over(run: Run, connected: str) -> None:
    done = run(example("exclusive_hand_over"))

    assert done.xcoms("deliver") == [0, 1, 2]
    assert done.xcoms("book") == [120]
    for name, count in {"exclusive_hand_over.pack": 3, "invoices": 1}.items():
        with Queue(name, connected) as queue:
            assert queue.counts().consumed == count


def test_large_xcoms_lie_in_the_storage(run_anywhere: Run, xcom_folder: Path) -> None:
    done = run_anywhere(example("xcom_on_object_storage"))

    assert done.xcoms("summarise") == ["20000 rows, extracted at 12:00"]
    assert done.xcoms("clean") == [{"deleted": 0, "kept": 0, "unknown": 0}]
    assert len([path for path in xcom_folder.rglob("*") if path.is_file()]) == 2


def test_without_a_storage_the_same_dag_keeps_all_in_the_database(run_anywhere: Run) -> None:
    done = run_anywhere(example("xcom_on_object_storage"))

    assert done.xcoms("summarise") == ["20000 rows, extracted at 12:00"]
    assert done.xcoms("clean") == [{}]


@pytest.fixture
def shop(fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    uri = connection_uri(fresh_postgresql_url)
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", uri)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri)
    engine = create_engine(make_url(fresh_postgresql_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE shipment (order_id bigint PRIMARY KEY, city text)"))
    engine.dispose()
    with Queue("shipments", fresh_postgresql_url) as queue:
        yield queue


def shipments(queue: Queue) -> list[tuple[int, str]]:
    engine = create_engine(queue._queue.bind.engine.url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM shipment")).all()
    engine.dispose()
    return [(row[0], row[1]) for row in rows]


def test_sql_takes_its_parameters_from_the_payload(run_anywhere: Run, shop: Queue) -> None:
    shop.push({"order": 4711, "city": "'); DROP TABLE shipment; --"})

    done = run_anywhere(example("templated_sql"))

    assert done.states("ack") == {"success": 1}
    assert shipments(shop) == [(4711, "'); DROP TABLE shipment; --")]
    assert shop.counts().consumed == 1


def test_a_statement_that_fails_releases_the_message(run_anywhere: Run, shop: Queue) -> None:
    pushed = shop.push({"order": "no number", "city": "Oslo"})

    done = run_anywhere(example("templated_sql"))

    assert done.states("ship") == {"failed": 1}
    assert done.states("release") == {"success": 1}
    message = shop.get(pushed.id)
    assert message is not None
    assert str(message.last_error).startswith("the statement failed, see task ship of run manual")


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text()
    names = {path.stem for path in Path("examples/dags").glob("*.py")}

    assert len(names) >= 7
    assert {name for name in names if f'example("{name}")' not in source} == set()
