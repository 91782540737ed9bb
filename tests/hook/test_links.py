"""The link from a task to its messages: while the task runs, and where it leads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.hook.conftest import DagRun, connection_uri

pytestmark = pytest.mark.airflow

KEY = "_link_MessagesLink"


@pytest.fixture(autouse=True)
def _url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__XCLAIM__MESSAGES_URL", "https://g/{task_id}/{map_index}")


@pytest.fixture
def run_on_sqlite(
    run_anywhere: Callable[..., DagRun],
    xcom_folder: Path,  # noqa: ARG001  (set up)
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., DagRun]:
    """Return what runs a DAG: the database of the queue does not matter to a link."""
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(sqlite_url))
    return run_anywhere


def look(task_id: str) -> Any:
    """Return the link of a running task, as Airflow's pages look for it."""
    from airflow.sdk import get_current_context

    instance = get_current_context()["ti"]
    assert instance.task_id == task_id
    return instance.xcom_pull(task_ids=task_id, key=KEY, map_indexes=instance.map_index)


def exclusive_dag() -> Any:
    from airflow.sdk import DAG, task

    from xclaim.airflow import XclaimHook, exclusive_task
    from xclaim.airflow.xcom import exclusive

    with DAG("linked") as dag:

        @exclusive_task(queue_name="orders", on_empty="succeed")
        def pack(worker: int, message: Any) -> Any:  # noqa: ARG001
            return look("pack")

        @exclusive_task
        def take(value: Any) -> Any:  # noqa: ARG001
            return look("take")

        @task
        def push() -> Any:
            XclaimHook().queue("orders").push_many(range(2))
            return exclusive("value")

        pushed = push()
        pushed >> pack.expand(worker=[1, 2])
        take(pushed)

    return dag


def test_the_link_of_a_decorated_task_is_there_while_it_runs(
    run_on_sqlite: Callable[..., DagRun],
) -> None:
    done = run_on_sqlite(exclusive_dag())

    assert done.state == "success"
    assert done.xcoms("pack") == ["https://g/pack/0", "https://g/pack/1"]
    assert done.xcoms("take") == ["https://g/take/-1"]


def test_the_link_of_an_operator_is_there_while_it_runs(
    run_on_sqlite: Callable[..., DagRun],
) -> None:
    from airflow.sdk import DAG

    from xclaim.airflow.operators import MaintenanceOperator
    from xclaim.airflow.sensors import ClaimSensor

    class Looking(MaintenanceOperator):
        def execute(self, context: Any) -> Any:
            return look("tidy")

    class LookingSensor(ClaimSensor):
        def execute(self, context: Any) -> Any:
            return look("wait")

    with DAG("linked_operators") as dag:
        Looking(task_id="tidy", queue_names=["orders"])
        LookingSensor(task_id="wait", queue_name="orders")

    done = run_on_sqlite(dag)

    assert done.xcoms("tidy") == ["https://g/tidy/-1"]
    assert done.xcoms("wait") == ["https://g/wait/-1"]


def test_a_link_of_a_subclass_waits_for_what_its_task_pushes(
    run_on_sqlite: Callable[..., DagRun],
) -> None:
    from airflow.sdk import DAG, BaseOperatorLink

    from xclaim.airflow.links import MessagesLink
    from xclaim.airflow.operators import MaintenanceOperator

    asked: list[str] = []

    class Report(BaseOperatorLink):
        name = "Report"

        def get_link(self, operator: Any, *, ti_key: Any) -> str:
            asked.append("report")
            return "https://g/report"

    class Reporting(MaintenanceOperator):
        operator_extra_links = (MessagesLink(), Report())

        def execute(self, context: Any) -> Any:
            return [look("tidy"), *asked]

    with DAG("linked_reports") as dag:
        Reporting(task_id="tidy", queue_names=["orders"])

    done = run_on_sqlite(dag)

    assert done.xcoms("tidy") == [["https://g/tidy/-1"]]


def test_an_xcom_backend_does_not_put_the_link_elsewhere(
    run_on_sqlite: Callable[..., DagRun], xcom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__XCLAIM__MESSAGES_URL", f"https://g/{'long' * 500}/{{task_id}}")

    done = run_on_sqlite(exclusive_dag())

    (link,) = done.xcoms("take", KEY)
    assert link.endswith("/take")
    assert not list(xcom_folder.rglob("_link_*"))


def test_a_task_runs_although_its_link_cannot_be_made(
    run_on_sqlite: Callable[..., DagRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xclaim.airflow.links import MessagesLink

    def fail(*_: Any, **__: Any) -> str:
        raise OSError("no link today")

    monkeypatch.setattr(MessagesLink, "get_link", fail)

    done = run_on_sqlite(exclusive_dag())

    assert done.state == "success"
    assert done.xcoms("pack") == []  # a task that returns None leaves no XCom


def test_a_task_without_a_url_shows_none(
    run_on_sqlite: Callable[..., DagRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__XCLAIM__MESSAGES_URL", "")

    done = run_on_sqlite(exclusive_dag())

    assert done.state == "success"
    assert done.xcoms("pack") == []


def test_the_link_may_be_to_a_page_of_airflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from xclaim.airflow.links import MessagesLink

    monkeypatch.setenv("AIRFLOW__XCLAIM__MESSAGES_URL", "{base_url}/xclaim/{dag_id}")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/a/")
    key: Any = SimpleNamespace(
        dag_id="shop", run_id="r", task_id="work", map_index=-1, try_number=1
    )

    link = MessagesLink().get_link(SimpleNamespace(), ti_key=key)  # type: ignore[arg-type]

    assert link == "https://airflow.example/a/xclaim/shop"


@pytest.mark.parametrize(
    ("map_index", "base_url", "expected"),
    [
        (-1, "https://a.example/x/", "https://a.example/x/dags/shop/runs/r%2B1%3A2/tasks/g.work"),
        (
            3,
            "https://a.example",
            "https://a.example/dags/shop/runs/r%2B1%3A2/tasks/g.work/mapped/3",
        ),
        (-1, "", "dags/shop/runs/r%2B1%3A2/tasks/g.work"),
    ],
)
def test_without_a_setting_the_link_leads_to_the_tab_of_the_task(
    monkeypatch: pytest.MonkeyPatch, map_index: int, base_url: str, expected: str
) -> None:
    from xclaim.airflow.links import MessagesLink

    monkeypatch.delenv("AIRFLOW__XCLAIM__MESSAGES_URL")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    key: Any = SimpleNamespace(
        dag_id="shop", run_id="r+1:2", task_id="g.work", map_index=map_index, try_number=1
    )

    link = MessagesLink().get_link(SimpleNamespace(), ti_key=key)  # type: ignore[arg-type]

    assert link == f"{expected}/plugin/xclaim-task"
