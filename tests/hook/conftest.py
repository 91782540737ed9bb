"""Connections and task contexts as Airflow makes them."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakSet

import pytest
from sqlalchemy import make_url

from tests.airflow_versions import since
from tests.eventually import PATIENCE

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from xclaim.airflow.hooks import XclaimHook
    from xclaim.airflow.tasks.task_queue import TaskQueue
    from xclaim.consuming.keep_alive import KeepAlive

# The run on SQLAlchemy 2.0 has no Airflow; it leaves out everything marked `airflow` as well.
collect_ignore_glob = [] if importlib.util.find_spec("airflow") else ["test_*.py"]


RETRIES = 2
Parse = Callable[[Sequence[str]], Any]


_kept_alive: list[KeepAlive] = []
_left_by_others: WeakSet[threading.Thread] = WeakSet()


@pytest.fixture(autouse=True)
def _noted_keep_alives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note what a task keeps alive while it goes on, from a thread that ends with its process."""
    from xclaim.airflow.tasks import failing

    keep_alive = failing.keep_alive

    def keep_and_note(extend: Callable[[], object], lease: timedelta) -> KeepAlive:
        _kept_alive.append(keep_alive(extend, lease))
        return _kept_alive[-1]

    monkeypatch.setattr(failing, "keep_alive", keep_and_note)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """End that, before the database goes; then name a test that leaves another of these threads.

    Such a one would look for its database during the tests after it.
    """
    while _kept_alive:
        _kept_alive.pop().end()
    yield
    running = {each for each in threading.enumerate() if each.name == "xclaim-keep-alive"}
    left = running - set(_left_by_others)
    _left_by_others.update(left)
    if left:
        gc.collect()  # a stream that nobody can reach any more
    for thread in left:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{item.nodeid} leaves a thread that keeps claims alive"


def connection_uri(database_url: str) -> str:
    """Return the Airflow connection that leads to a database of the tests."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def connected(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set up `xclaim_default` and return the database's URL."""
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(database_url))
    return database_url


@pytest.fixture
def connected_to_schema(empty_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set up `xclaim_default` with a PostgreSQL schema of its own, and return that one's name."""
    from xclaim.operations import migrate

    migrate.upgrade(empty_postgresql_url, schema="work")
    uri = f"{connection_uri(empty_postgresql_url)}?xclaim_schema=work"
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", uri)
    return "work"


@pytest.fixture
def hook(connected: str) -> XclaimHook:
    """Return the hook on `xclaim_default`."""
    from xclaim.airflow.hooks import XclaimHook

    assert connected
    return XclaimHook()


@pytest.fixture
def queue(hook: XclaimHook) -> TaskQueue:
    """Return the queue that a task has from the hook."""
    return hook.queue("orders")


def dags(prefix: str, *, retries: int = 0, **options: Any) -> Callable[..., DAG]:
    """Return what makes the DAGs of a file, by the rest of their names and default arguments."""

    def dag(name: str, **defaults: Any) -> DAG:
        from airflow.sdk import DAG

        return DAG(
            f"{prefix}_{name}",
            schedule=None,
            start_date=datetime(2026, 1, 1, tzinfo=UTC),
            default_args={"retries": retries, "retry_delay": timedelta(0), **defaults},
            **options,
        )

    return dag


def within_task(try_number: int = 1, **values: Any) -> AbstractContextManager[Any]:
    """Enter the context of a try of a task instance, as the task runner does."""
    from airflow.sdk.execution_time.context import set_current_context

    instance = {
        "id": uuid4(),
        "dag_id": "shop",
        "run_id": "manual__2026-11-20T00:00:00+00:00",
        "task_id": "group.work",
        "map_index": -1,
        "try_number": try_number,
        "max_tries": RETRIES,
        "task": SimpleNamespace(retries=RETRIES),
    }
    context: Any = {"ti": SimpleNamespace(**(instance | values))}
    return set_current_context(context)


def within_rerun(try_number: int = 4, **values: Any) -> AbstractContextManager[Any]:
    """Enter the context of a try after somebody cleared the task, which had been tried thrice."""
    return within_task(try_number, max_tries=3 + RETRIES, **values)


@pytest.fixture(scope="session")
def _metadata() -> None:
    from airflow.sdk.execution_time import supervisor
    from airflow.utils.db import initdb

    initdb()
    # Airflow 3.1 and 3.2 make one for each task of `dag.test()`, in seconds; 3.3 keeps it.
    supervisor.in_process_api_server = cache(supervisor.in_process_api_server)


@pytest.fixture
def unreadable(_metadata: None) -> Iterator[str]:
    """Return a connection of Airflow's database that is encrypted with a key which is gone."""
    from airflow.models import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        row: Any = Connection(conn_id="unreadable", conn_type="xclaim", host="h")
        row._password, row.is_encrypted = "hunter2", True
        session.add(row)
    yield "unreadable"
    with create_session() as session:
        session.execute(delete(Connection).where(Connection.conn_id == "unreadable"))


@pytest.fixture
def run_anywhere(_metadata: None) -> Callable[..., DagRun]:
    """Return what runs a DAG as Airflow knows it: in a bundle, serialized, task after task."""
    return _run


@pytest.fixture
def run(
    run_anywhere: Callable[..., DagRun],
    connected: str,  # noqa: ARG001  (set up)
) -> Callable[..., DagRun]:
    """Return the same, with `xclaim_default` set up."""
    return run_anywhere


@pytest.fixture(
    params=[
        pytest.param("airflow xclaim", marks=since("3.2", "commands of providers")),
        "python -m xclaim.airflow",
    ]
)
def parser(request: pytest.FixtureRequest) -> Parse:
    """Return Airflow's own parser, which has the commands of all providers, and ours."""
    if request.param == "airflow xclaim":
        from airflow.cli.cli_parser import get_parser

        return lambda words: get_parser().parse_args(["xclaim", *words])
    from xclaim.airflow.__main__ import command_parser

    return command_parser().parse_args


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the collector that hooks report lineage to, as if somebody read it."""
    from xclaim.airflow import versions

    module = sys.modules[versions.get_hook_lineage_collector.__module__]
    collector = versions.HookLineageCollector()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(module, "get_hook_lineage_collector", lambda: collector)
    if hasattr(module, "_hook_lineage_collector"):  # where Airflow 3.1 keeps it
        monkeypatch.setattr(module, "_hook_lineage_collector", collector)
    return collector


@pytest.fixture
def xcom_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run tasks with our XCom backend; what is over 1,000 bytes goes to the folder returned."""
    from airflow.sdk.execution_time import task_runner, xcom

    from xclaim.airflow.xcom import XclaimXComBackend

    folder = tmp_path / "objects"
    folder.mkdir()
    configure_xcoms(monkeypatch, storage=f"file://{folder}", threshold="1000")
    # Airflow reads [core] xcom_backend once, when it is imported.
    monkeypatch.setattr(xcom, "XCom", XclaimXComBackend)
    monkeypatch.setattr(task_runner, "XCom", XclaimXComBackend)
    return folder


def configure_xcoms(monkeypatch: pytest.MonkeyPatch, **options: str) -> None:
    """Set options of `[xclaim]` that begin with `xcom_`, and let them be read again."""
    from xclaim.airflow.xcom.settings import xcom_settings

    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__XCLAIM__XCOM_{name.upper()}", value)
    xcom_settings.cache_clear()


@pytest.fixture(autouse=True)
def _unread_xcom_settings() -> Iterator[None]:
    yield
    settings = sys.modules.get("xclaim.airflow.xcom.settings")
    if settings is not None:
        settings.xcom_settings.cache_clear()


def _run(dag: Any, **conf: Any) -> DagRun:
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    try:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ModuleNotFoundError:  # Airflow 3.1
        from airflow.models.dagbag import (  # type: ignore[no-redef]
            DagBag,
            sync_bag_to_db,
        )

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    bag = DagBag(dag_folder=os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
    return DagRun(dag.test(run_conf=conf))


class DagRun:
    """What became of a run."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self.state = str(run.state)

    def states(self, task_id: str) -> Counter[str]:
        """Return how many instances of the task ended in which state."""
        return Counter(str(instance.state) for instance in self._instances(task_id))

    def tries(self, task_id: str) -> list[int]:
        """Return the try numbers of the task's instances, by map index."""
        return [instance.try_number for instance in self._instances(task_id)]

    def xcoms(self, task_id: str, key: str = "return_value") -> list[Any]:
        """Return what the task's instances returned, by map index."""
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        with create_session() as session:
            query = XComModel.get_many(run_id=self._run.run_id, key=key, task_ids=task_id)
            rows = session.scalars(query.where(XComModel.dag_id == self._run.dag_id)).all()
        listed: list[Any] = sorted(rows, key=lambda row: row.map_index)
        return [XComModel.deserialize_value(row) for row in listed]

    def _instances(self, task_id: str) -> list[Any]:
        from airflow.utils.session import create_session

        with create_session() as session:
            instances = self._run.get_task_instances(session=session)
        of_task = [instance for instance in instances if instance.task_id == task_id]
        return sorted(of_task, key=lambda instance: instance.map_index)
