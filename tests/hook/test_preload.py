"""What a scheduler has loaded its tasks need not load: nothing is compiled or imported again."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.airflow

TASK = """
import sys
from airflow.listeners.listener import get_listener_manager
from xclaim.connections import direct
get_listener_manager().hook.on_starting(component=object())
loaded, compiled = set(sys.modules), direct._text.cache_info().misses

from xclaim.airflow.hooks import XclaimHook
hook = XclaimHook()
task = {"claimed_by": "dag/run/task#1@here", "claim_key": "dag/run/task"}
with hook.queue("orders").consume(**task) as claimed:
    assert claimed is not None
with hook.queue("orders").consume(**task) as claimed:
    assert claimed is None
hook.queue("orders").push(2, unique_key="two")

added = {name for name in set(sys.modules) - loaded if name.startswith(("xclaim", "psycopg"))}
print(sorted(added), direct._text.cache_info().misses - compiled)
"""


def test_a_task_imports_and_compiles_nothing_again(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.hook.conftest import connection_uri
    from xclaim import Queue

    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(fresh_postgresql_url))
    with Queue("orders", fresh_postgresql_url) as queue:
        queue.push(1)

    result = subprocess.run(
        [sys.executable, "-c", TASK], check=True, capture_output=True, text=True
    )

    assert result.stdout.splitlines()[-1] == "[] 0"


def test_a_task_loads_nothing_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time.task_runner import TaskRunnerMarker

    from xclaim.airflow import listener

    calls: list[str] = []
    monkeypatch.setattr(listener, "preload", lambda: calls.append("preload"))

    listener.on_starting(TaskRunnerMarker())
    listener.on_starting(SimpleNamespace())

    assert calls == ["preload"]


def test_without_psycopg_a_component_starts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from xclaim.airflow.listener import on_starting

    monkeypatch.setitem(sys.modules, "psycopg", None)

    on_starting(SimpleNamespace())
