"""The DAGs of the guides, as they stand there, run by Airflow itself.

What a page says to save as `dags/NAME.py` is a DAG file; all other blocks run as the page's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hook.conftest import DagRun
from xclaim import Queue

pytestmark = pytest.mark.airflow

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
DAG_FILE = re.compile(r"^```python\n# dags/(\w+)\.py\n(.*?)^```$", re.DOTALL | re.MULTILINE)

Run = Callable[..., DagRun]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Return the database that the pages use; what they show is tested on both elsewhere."""
    return sqlite_url


def dag_files() -> dict[str, str]:
    """Return the code of each DAG file of the Airflow guides, by its name."""
    pages = [*GUIDES.glob("airflow-*.md"), GUIDES / "moving-from-xcom.md"]
    return dict(file for page in pages for file in DAG_FILE.findall(page.read_text()))


def dag(name: str) -> Any:
    """Return the DAG of a file, whose function has the file's name."""
    namespace: dict[str, Any] = {"__name__": f"dags.{name}"}
    exec(compile(dag_files()[name], f"dags/{name}.py", "exec", dont_inherit=True), namespace)  # noqa: S102  (our own page)
    return namespace[name]()


def consumed(queue_name: str, connected: str) -> int:
    with Queue(queue_name, connected) as queue:
        return queue.counts().consumed


def test_orders_are_packed(run: Run, connected: str) -> None:
    done = run(dag("orders"))

    assert done.state == "success"
    assert consumed("orders", connected) == 1


@pytest.mark.usefixtures("xcom_folder")
def test_a_frame_goes_through_an_xcom(run: Run) -> None:
    done = run(dag("dataframes"))

    assert done.xcoms("average") == [21.5]


def test_frames_are_shared_out(run: Run, connected: str) -> None:
    done = run(dag("shared_frames"))

    assert done.xcoms("add_up") == [sum(range(20_000))] * 3
    assert consumed("frames", connected) == 3


@pytest.mark.usefixtures("xcom_folder")
def test_each_parcel_is_delivered_by_one_task(run: Run, connected: str) -> None:
    done = run(dag("parcels"))

    assert done.xcoms("deliver") == [0, 1, 2]
    assert consumed("parcels.pack", connected) == 3


@pytest.mark.usefixtures("xcom_folder")
def test_an_invoice_is_booked(run: Run, connected: str) -> None:
    done = run(dag("invoices"))

    assert done.xcoms("book") == [120]
    assert consumed("invoices", connected) == 1


def test_a_run_loads_the_uploads(run: Run, connected: str) -> None:
    with Queue("uploads", connected) as queue:
        queue.push_many([{"file": str(number)} for number in range(120)])

    done = run(dag("uploads"))

    assert done.xcoms("load") == [[100, 20]]


def test_queues_are_tidied(run: Run) -> None:
    (report,) = run(dag("tidy_queues")).xcoms("tidy")

    assert sorted(report) == ["invoices", "orders"]
    assert report["orders"]["pruned"] == 0


def test_dead_letters_are_sent_back(run: Run, connected: str) -> None:
    with Queue("orders", connected) as queue:
        for number in range(2):
            queue.push(number, max_attempts=1)
            queue.release(queue.claim(), error=ValueError("no"))  # type: ignore[arg-type]

        done = run(dag("redrive"), queue_name="orders", limit=1)

        assert done.xcoms("send_back") == [1]
        assert (queue.counts().available, queue.counts().dead_letters) == (1, 1)


def test_the_queues_are_examined(run: Run) -> None:
    assert run(dag("check_queues")).state == "success"


@pytest.mark.usefixtures("connected_to_schema")
def test_the_queues_of_a_schema_are_examined(run_anywhere: Run) -> None:
    assert run_anywhere(dag("check_queues")).state == "success"


def test_what_xcoms_did_queues_do(run: Run, connected: str) -> None:
    before, after = run(dag("before")), run(dag("after"))

    assert [len(billed) for billed in before.xcoms("bill_all")] == [1_000]
    assert after.state == "success"
    assert consumed("customers", connected) == 1_000


def test_mapped_tasks_pack_one_order_each_and_a_drain_the_rest(run: Run, connected: str) -> None:
    done = run(dag("pack_orders"))

    assert done.state == "success"
    assert len(done.xcoms("pack")) == 2
    assert done.xcoms("pack_the_rest") == [[3]]
    assert consumed("orders", connected) == 3


def test_mapped_tasks_load_their_batches(run: Run, connected: str) -> None:
    done = run(dag("batches"))

    assert sum(done.xcoms("load")) == sum(range(100))
    assert consumed("rows", connected) == 100


def test_a_shipment_is_acked_by_an_operator(run: Run, connected: str) -> None:
    done = run(dag("ship_orders"))

    assert done.xcoms("ship") == ["order 4711"]
    assert consumed("shipments", connected) == 1


def test_the_sensor_hands_a_file_over(run: Run, connected: str) -> None:
    with Queue("files", connected) as queue:
        queue.push({"file": "a.csv"})

    done = run(dag("wait_for_upload"))

    assert done.xcoms("load") == [["a.csv"]]


@pytest.mark.usefixtures("xcom_folder")
def test_a_large_xcom_is_counted_and_cleaned(run: Run) -> None:
    counted, cleaned = run(dag("large_xcom")), run(dag("clean_large_xcoms"))

    assert counted.xcoms("count") == [20_000]
    assert [sorted(each) for each in cleaned.xcoms("clean")] == [["deleted", "kept", "unknown"]]


def test_what_failed_is_tried_again_alone(run: Run, connected: str) -> None:
    done = run(dag("heavy_orders"))

    assert (done.state, done.tries("pack")) == ("success", [2])
    assert done.xcoms("pack") == [[2]]
    assert consumed("heavy", connected) == 3


def test_every_dag_of_the_guides_is_run_here() -> None:
    source = Path(__file__).read_text()

    assert len(dag_files()) >= 17
    assert {name for name in dag_files() if f'dag("{name}")' not in source} == set()
