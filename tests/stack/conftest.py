"""One real Airflow for the tests here: every component, LocalExecutor, metadata on PostgreSQL.

It starts in some 20 seconds, with the first test that asks for it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import Row, create_engine, make_url, text

from tests.databases import temporary_database
from tests.hook.conftest import connection_uri
from tests.stack.users import ADMIN, user_settings
from xclaim import Queue

# The run on SQLAlchemy 2.0 has no Airflow; it leaves out everything marked `airflow` as well.
collect_ignore_glob = [] if importlib.util.find_spec("airflow") else ["test_*.py", "dags/*"]

DAGS = Path(__file__).parent / "dags"
QUICK = {
    # Airflow's own defaults are 10, 5 and 30 seconds. Its heartbeat timeout stays: a task that is
    # late on a loaded machine must not be taken for a dead one.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
    "AIRFLOW__CORE__PARALLELISM": "32",  # tasks that wait for each other, of several tests
}
PATIENT = {
    # Airflow's own defaults are 5 seconds, 3 times, 30 and 50 seconds.
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
    "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "30",
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
    "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "150",
    "AIRFLOW__XCLAIM__DASHBOARD_TIMEOUT": "60",
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
    metadata_url: str
    settings: dict[str, str]
    components: dict[str, subprocess.Popen[bytes]]  # those that tests kill
    orphans: list[psutil.Process]  # what a killed one leaves behind

    @property
    def xcom_folder(self) -> Path:
        """Where large XComs lie."""
        return self.home / "objects"

    @property
    def dags(self) -> Path:
        """Where the DAG files lie: a test may write, change and delete one."""
        return self.home / "dags"

    @contextmanager
    def without_triggerer(self) -> Iterator[None]:
        """Stop the triggerer, and start another one after the block."""
        from examples.airflow_stack import stop

        stop([self.components["triggerer"]])
        yield
        self.start_component("triggerer")

    @contextmanager
    def killed(self, component: str) -> Iterator[None]:
        """Kill a component, and nothing it has started; start another one after the block.

        The others take it for dead at once: Airflow would wait for its heartbeat.
        """
        process = self.components[component]
        self.orphans.extend(psutil.Process(process.pid).children(recursive=True))
        process.kill()
        process.wait()
        yield
        self.in_metadata(
            "UPDATE job SET latest_heartbeat = latest_heartbeat - interval '1 hour'"
            " WHERE job_type = :job_type AND state = 'running'",
            job_type=f"{component.capitalize()}Job",
        )
        self.start_component(component)

    def start_component(self, component: str) -> None:
        """Start a component that a test may kill."""
        from examples.airflow_stack import start

        self.components[component] = start(component, self.settings, self.home)

    def stop_components(self) -> None:
        """Stop them, and what those have left behind that were killed."""
        from examples.airflow_stack import stop

        stop(list(self.components.values()))
        for orphan in self.orphans:
            if orphan.is_running():
                orphan.kill()

    def in_metadata(self, statement: str, **values: object) -> list[Row[Any]]:
        """Run a statement in Airflow's database, for what its API cannot do; return the rows."""
        return _run_statement(self.metadata_url, statement, values)

    def messages(self, queue: str) -> list[Row[Any]]:
        """Return the rows of a queue and of its dead letters."""
        statement = (
            "SELECT id, queue, status, attempts, payload, claimed_by, consumed_by"
            "  FROM xclaim_message WHERE origin_queue = :queue ORDER BY id"
        )
        return _run_statement(self.url, statement, {"queue": queue})

    def start(self, dag_id: str, **conf: Any) -> Run:
        """Start a run."""
        from examples.airflow_stack import start_run

        return Run(self, dag_id, start_run(self.client, self.home, dag_id, conf))

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask Airflow's API, as its UI does; return the answer."""
        answer = self.client.request(method, f"/api/v2{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

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

    def mark(self, task_id: str, state: str) -> None:
        """Mark a task failed or success, as a person does in the UI."""
        self.stack.ask("PATCH", f"{self._path}/taskInstances/{task_id}", {"new_state": state})

    def mark_failed(self) -> None:
        """Mark the whole run failed."""
        self.stack.ask("PATCH", self._path, {"state": "failed"})

    def clear(self, task_id: str) -> None:
        """Clear a task, as a person does in the UI."""
        self.stack.ask(
            "POST",
            f"/dags/{self.dag_id}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": self.run_id,
                "task_ids": [task_id],
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )

    def lose_heartbeats(self) -> None:
        """Let Airflow take the tasks at work for dead at once, as after its heartbeat timeout."""
        self.stack.in_metadata(
            "UPDATE task_instance SET last_heartbeat_at = last_heartbeat_at - interval '1 hour'"
            " WHERE dag_id = :dag_id AND run_id = :run_id",
            dag_id=self.dag_id,
            run_id=self.run_id,
        )

    def clear_all(self) -> None:
        """Clear the whole run."""
        self.stack.ask("POST", f"{self._path}/clear", {"dry_run": False, "only_failed": False})

    def delete(self) -> None:
        """Delete the run."""
        self.stack.ask("DELETE", self._path)

    @property
    def _path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"


@pytest.fixture(scope="package")  # and not longer: the rest of the suite needs the processor
def stack(
    postgresql_server: str, _template_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    from examples.airflow_stack import COMPONENTS, environment, migrate_metadata, running

    home = tmp_path_factory.mktemp("airflow")
    shutil.copytree(DAGS, home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    with (
        temporary_database(postgresql_server, template=_template_url) as url,
        temporary_database(postgresql_server) as metadata,
    ):
        metadata_url = make_url(metadata).set(drivername="postgresql+psycopg2")
        settings = environment(
            home,
            home / "dags",
            metadata_url.render_as_string(hide_password=False),
            connection_uri(url),
        )
        (home / "objects").mkdir()
        places = {
            "AIRFLOW__XCLAIM__XCOM_STORAGE": f"file://{home}/objects",
            "AIRFLOW_CONN_SHOP": json.dumps({"conn_type": "sqlite", "host": f"{home}/shop.db"}),
        }
        settings |= QUICK | PATIENT | XCOMS | places | user_settings(home)
        migrate_metadata(settings, home)
        ours = ("scheduler", "triggerer")
        others = [component for component in COMPONENTS if component not in ours]
        with running(settings, home, others, user=ADMIN) as client, ExitStack() as stopping:
            stack = Stack(client, home, url, metadata, settings, {}, [])
            stopping.callback(stack.stop_components)
            for component in ours:
                stack.start_component(component)
            yield stack


def _run_statement(url: str, statement: str, values: dict[str, Any]) -> list[Row[Any]]:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result.all()) if result.returns_rows else []
    finally:
        engine.dispose()


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

    @property
    def conf(self) -> dict[str, str]:
        """What another run needs to join in."""
        return {"queue": self.queue.name, "diary": str(self.diary), "go": str(self.go)}

    @property
    def messages(self) -> list[Row[Any]]:
        """The rows of the queue, and of its dead letters."""
        return self.stack.messages(self.queue.name)

    def told(self, name: str) -> list[dict[str, Any]]:
        """Return what was told so far of one kind of event."""
        return [each for each in self.events() if each["event"] == name]

    def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """Wait until something was told so many times; return the last of these."""
        from examples.airflow_stack import wait

        def ask() -> dict[str, Any] | None:
            told = self.told(name)
            return told[number - 1] if len(told) >= number else None

        return wait(self.stack.home, ask)


@contextmanager
def opened(
    stack: Stack,
    folder: Path,
    dag_id: str = "kills",
    *,
    payloads: Sequence[Any] = ("message",),
    max_attempts: int | None = None,
    **options: Any,
) -> Iterator[Scene]:
    """Start a run with a queue of its own, in which there are messages."""
    name = f"{dag_id}-{next(_numbers)}"
    diary, go = folder / f"{name}.diary", folder / f"{name}.go"
    with stack.queue(name) as queue:
        queue.push_many(payloads, max_attempts=max_attempts)
        run = stack.start(dag_id, queue=name, diary=str(diary), go=str(go), **options)
        try:
            yield Scene(stack, queue, run, diary, go)
        finally:
            go.touch()


@pytest.fixture
def scene(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Start the run, with the options of an indirect parameter."""
    with opened(stack, tmp_path, **getattr(request, "param", {})) as started:
        yield started
