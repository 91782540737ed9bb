"""One real Airflow for the run: every component, LocalExecutor, metadata on PostgreSQL.

It starts in some 20 seconds, with the first test that asks for it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url

from tests.databases import temporary_database
from tests.hook.conftest import connection_uri
from xclaim import Queue

# The run on SQLAlchemy 2.0 has no Airflow; it leaves out everything marked `airflow` as well.
collect_ignore_glob = [] if importlib.util.find_spec("airflow") else ["test_*.py", "dags/*"]

DAGS = Path(__file__).parent / "dags"
QUICK = {
    # Airflow's own defaults are 300, 10, 5 and 30 seconds.
    # A task that is late on a loaded machine must not be taken for a dead one.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
}
PATIENT = {
    # Airflow's own defaults are 5 seconds, 3 times, 30 and 50 seconds.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "30",
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "150",
}
XCOMS = {
    "AIRFLOW__CORE__XCOM_BACKEND": "xclaim.airflow.xcom.XclaimXComBackend",
    "AIRFLOW__XCLAIM__XCOM_THRESHOLD": "1000",
}
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Stack:
    """The running Airflow, and the queues' database."""

    client: httpx.Client
    home: Path
    url: str
    settings: dict[str, str]
    triggerers: list[subprocess.Popen[bytes]]

    @property
    def xcom_folder(self) -> Path:
        """Where large XComs lie."""
        return self.home / "objects"

    @contextmanager
    def without_triggerer(self) -> Iterator[None]:
        """Kill the triggerer, and start another one after the block."""
        from examples.airflow_stack import start, stop

        stop([self.triggerers.pop()])
        yield
        self.triggerers.append(start("triggerer", self.settings, self.home))

    def start(self, dag_id: str, **conf: Any) -> Run:
        """Start a run."""
        from examples.airflow_stack import start_run

        return Run(self, dag_id, start_run(self.client, self.home, dag_id, conf))

    def queue(self, name: str) -> Queue:
        """Return a queue; close it."""
        return Queue(name, self.url, notify=True)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a DAG."""

    stack: Stack
    dag_id: str
    run_id: str

    def end(self) -> str:
        """Wait for the end of the run and return its state."""
        from examples.airflow_stack import wait_for_run

        return wait_for_run(self.stack.client, self.stack.home, self.dag_id, self.run_id)

    def instances(self, task_id: str) -> list[dict[str, Any]]:
        """Return the instances of a task, as the API describes them."""
        answer = self.stack.client.get(
            f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances", params={"limit": 500}
        )
        return [each for each in answer.json()["task_instances"] if each["task_id"] == task_id]

    def mark_failed(self, task_id: str) -> None:
        """Mark a task failed, as a person does in the UI."""
        self._ask(
            "PATCH",
            f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}",
            {"new_state": "failed"},
        )

    def clear(self, task_id: str) -> None:
        """Clear a task, as a person does in the UI."""
        self._ask(
            "POST",
            f"/api/v2/dags/{self.dag_id}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": self.run_id,
                "task_ids": [task_id],
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )

    def _ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        answer = self.stack.client.request(method, path, json=body)
        assert answer.is_success, answer.text


@pytest.fixture(scope="session")
def stack(
    postgresql_server: str, _template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    from examples.airflow_stack import environment, migrate_metadata, running, start, stop

    home = tmp_path_factory.mktemp("airflow")
    with (
        temporary_database(postgresql_server, template=_template_url) as url,
        temporary_database(postgresql_server) as metadata,
    ):
        metadata_url = make_url(metadata).set(drivername="postgresql+psycopg2")
        settings = environment(
            home, DAGS, metadata_url.render_as_string(hide_password=False), connection_uri(url)
        )
        (home / "objects").mkdir()
        storage = {"AIRFLOW__XCLAIM__XCOM_STORAGE": f"file://{home}/objects"}
        settings |= QUICK | PATIENT | XCOMS | storage
        migrate_metadata(settings, home)
        with running(settings, home) as client:
            triggerers = [start("triggerer", settings, home)]
            try:
                yield Stack(client, home, url, settings, triggerers)
            finally:
                stop(triggerers)


@dataclass(frozen=True, slots=True)
class Scene:
    """One message, one run of the DAG `kills`, and what its task told."""

    stack: Stack
    queue: Queue
    run: Run
    diary: Path
    go: Path

    def events(self) -> list[dict[str, Any]]:
        """Return what the tries told so far."""
        if not self.diary.exists():
            return []
        return [json.loads(line) for line in self.diary.read_text().splitlines()]

    def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """Wait until something was told so many times; return the last of these."""
        from examples.airflow_stack import wait

        def ask() -> dict[str, Any] | None:
            told = [each for each in self.events() if each["event"] == name]
            return told[number - 1] if len(told) >= number else None

        return wait(self.stack.home, ask)


@pytest.fixture
def scene(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Start the run, with the options of an indirect parameter."""
    name, options = f"kills-{next(_numbers)}", getattr(request, "param", {})
    diary, go = tmp_path / "diary", tmp_path / "go"
    with stack.queue(name) as queue:
        queue.push("message", max_attempts=options.pop("max_attempts", None))
        run = stack.start("kills", queue=name, diary=str(diary), go=str(go), **options)
        yield Scene(stack, queue, run, diary, go)
        go.touch()
