"""A real Airflow for a demonstration: api-server, scheduler and dag-processor on PostgreSQL."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

T = TypeVar("T")

COMPONENTS = ("api-server", "scheduler", "dag-processor")
# Seconds for Airflow to answer, or a run to end: 20 on an idle machine are minutes on a busy one.
# A component that has ended is not waited for.
PATIENCE = 600.0
POLL = 0.3


class StackError(Exception):
    """Airflow did not do what was asked; the text has the tail of its logs."""


def environment(home: Path, dags: Path, metadata_url: str, connection: str) -> dict[str, str]:
    """Return the environment of every Airflow process: quiet, private, and quick to react."""
    port = free_port()
    return os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_XCLAIM_DEFAULT": connection,
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata_url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    }


def free_port() -> int:
    """Return a port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def airflow(*arguments: str) -> list[str]:
    """Return the command line of this environment's Airflow."""
    return [sys.executable, "-m", "airflow", *arguments]


def migrate_metadata(settings: dict[str, str], home: Path) -> None:
    """Create Airflow's own tables."""
    with (home / "db-migrate.log").open("wb") as log:
        done = subprocess.run(
            airflow("db", "migrate"), env=settings, stdout=log, stderr=log, check=False
        )
    if done.returncode:
        raise StackError(f"airflow db migrate failed:\n{tail_of_logs(home)}")


@contextmanager
def running(
    settings: dict[str, str],
    home: Path,
    components: Sequence[str] = COMPONENTS,
    *,
    user: Mapping[str, str] | None = None,
) -> Iterator[httpx.Client]:
    """Start the components and yield a client of the API; stop all of them, whatever happens.

    ``user``: the ``username`` and ``password`` it signs in with, where not all are admins.
    """
    processes = [start(component, settings, home) for component in components]
    try:
        with httpx.Client(base_url=settings["AIRFLOW__API__BASE_URL"], timeout=120) as client:
            token = wait(home, lambda: _token(client, home, processes, user))
            client.headers["Authorization"] = f"Bearer {token}"
            yield client
    finally:
        stop(processes)


def run_dag(client: httpx.Client, home: Path, dag_id: str) -> str:
    """Trigger the DAG as soon as it is parsed, wait for the end of its run and return the state."""
    run_id = start_run(client, home, dag_id)
    return wait_for_run(client, home, dag_id, run_id)


def start_run(
    client: httpx.Client, home: Path, dag_id: str, conf: Mapping[str, Any] | None = None
) -> str:
    """Trigger the DAG as soon as it is parsed, and return the id of its run."""
    wait(home, lambda: _is_parsed(client, dag_id))
    answer = client.post(
        f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}}
    )
    if not answer.is_success:
        raise StackError(f"the DAG could not be triggered: {answer.text}")
    run_id: str = answer.json()["dag_run_id"]
    return run_id


def wait_for_run(client: httpx.Client, home: Path, dag_id: str, run_id: str) -> str:
    """Wait for the end of a run and return the state."""

    def final_state() -> str | None:
        state: str = client.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()["state"]
        return state if state in ("success", "failed") else None

    state: str = wait(home, final_state)
    return state


def tail_of_logs(home: Path, lines: int = 40) -> str:
    """Return the ends of the logs that were written last."""
    logs = sorted(home.rglob("*.log"), key=lambda path: path.stat().st_mtime)[-4:]
    return "\n".join(
        f"--- {path.relative_to(home)}\n"
        + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
        for path in logs
    )


def start(component: str, settings: dict[str, str], home: Path) -> subprocess.Popen[bytes]:
    """Start a component."""
    with (home / f"{component}.log").open("ab") as log:
        return subprocess.Popen(airflow(component), env=settings, stdout=log, stderr=log)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Stop components, and all they have started."""
    # Airflow's children leave their process group: collect the family before the parents go.
    family = [
        member
        for process in processes
        if process.poll() is None
        for member in (*psutil.Process(process.pid).children(recursive=True), process)
    ]
    for member in family:
        with _already_gone():
            member.terminate()
    time.sleep(POLL)
    for member in family:
        with _already_gone():
            member.kill()
    for process in processes:
        process.wait()


@contextmanager
def _already_gone() -> Iterator[None]:
    try:
        yield
    except (psutil.NoSuchProcess, ProcessLookupError):
        return


def _token(
    client: httpx.Client,
    home: Path,
    processes: Sequence[subprocess.Popen[bytes]],
    user: Mapping[str, str] | None,
) -> str | None:
    for process in processes:
        if process.poll() is not None:
            raise StackError(f"{process.args!r} has ended:\n{tail_of_logs(home)}")
    try:
        path = "/auth/token"
        answer = client.get(path) if user is None else client.post(path, json=dict(user))
    except httpx.TransportError:
        return None
    return answer.json()["access_token"] if answer.is_success else None


def _is_parsed(client: httpx.Client, dag_id: str) -> bool:
    if client.get(f"/api/v2/dags/{dag_id}").is_success:
        return True
    errors = client.get("/api/v2/importErrors").json()["import_errors"]
    if errors:
        raise StackError(f"the DAG file cannot be imported:\n{errors[0]['stack_trace']}")
    return False


def wait(home: Path, ask: Callable[[], T | None]) -> T:
    """Ask until there is an answer, and return it. Raise StackError if there is none in time."""
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        answer = ask()
        if answer:
            return answer
        time.sleep(POLL)
    raise StackError(f"Airflow did not answer within {PATIENCE:.0f} s:\n{tail_of_logs(home)}")
