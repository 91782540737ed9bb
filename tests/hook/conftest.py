"""Connections and task contexts as Airflow makes them."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url

# The run on SQLAlchemy 2.0 has no Airflow; it leaves out everything marked `airflow` as well.
collect_ignore_glob = [] if importlib.util.find_spec("airflow") else ["test_*.py"]


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
    }
    context: Any = {"ti": SimpleNamespace(**(instance | values))}
    return set_current_context(context)
