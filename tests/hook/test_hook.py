"""The hook's connection, what it costs to name it, and the names of tasks."""

from __future__ import annotations

import socket
import subprocess
import sys

from xclaim.airflow.versions import program

import pytest

from tests.hook.conftest import connection_uri
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks.identity import TaskIdentity
from xclaim.operations import migrate
from xclaim.task_names import shortened

pytestmark = pytest.mark.airflow


def test_a_sound_connection_tests_well(hook: XclaimHook) -> None:
    assert hook.test_connection() == (True, "the xclaim schema is up to date")


def test_a_connection_without_the_schema_says_what_to_run(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(empty_database_url))

    is_fine, reason = XclaimHook().test_connection()

    assert not is_fine
    assert f"{program()} upgrade" in reason


def test_an_unreachable_or_unfit_connection_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", "postgresql://u:secretive@127.0.0.1:1/d")
    monkeypatch.setenv("AIRFLOW_CONN_MYSQL", "mysql://u:secretive@h/d")

    unreachable = XclaimHook("nowhere").test_connection()
    unfit = XclaimHook("mysql").test_connection()

    assert not unreachable[0]
    assert "cannot be reached" in unreachable[1]
    assert not unfit[0]
    assert "xclaim, postgres, sqlite" in unfit[1]
    assert "secretive" not in unreachable[1] + unfit[1]


def test_the_table_can_live_in_a_schema(
    empty_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(empty_postgresql_url, schema="work")
    uri = f"{connection_uri(empty_postgresql_url)}?xclaim_schema=work"
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", uri)

    hook = XclaimHook()

    assert hook.test_connection()[0]
    assert hook.queue("orders").push(1).id == 1


def identity(run_id: str, *, task_id: str = "t", map_index: int = 7) -> TaskIdentity:
    return TaskIdentity(
        instance_id="1",
        dag_id="d",
        run_id=run_id,
        task_id=task_id,
        map_index=map_index,
        try_number=1,
    )


@pytest.mark.parametrize("separator", ["/", "[", "]", "#"])
def test_airflow_allows_no_separator_of_ours_in_an_id(separator: str) -> None:
    from airflow.sdk import DAG
    from airflow.sdk.bases.operator import BaseOperator

    with pytest.raises(ValueError, match="alphanumeric"):
        DAG(f"a{separator}b")
    with pytest.raises(ValueError, match="alphanumeric"):
        BaseOperator(task_id=f"a{separator}b")


def test_a_run_id_with_separators_names_no_other_task() -> None:
    names = {
        identity("r").natural_key,
        identity("r/t[7]").natural_key,
        identity("r", map_index=-1).natural_key,
        identity("r/t", map_index=-1).natural_key,
        identity("r", task_id="t.7", map_index=-1).natural_key,
        identity("r", map_index=-1).unique_key(7),
        identity("r/t", task_id="t7", map_index=-1).natural_key,
    }

    assert len(names) == 7


def test_long_names_are_cut_but_stay_distinct() -> None:
    long, longer = identity("r" * 3_000), identity("r" * 3_001)

    assert len(long.claimed_by.encode()) <= 1_000
    assert len(long.claim_key.encode()) <= 1_000
    assert long.claim_key != longer.claim_key
    assert long.unique_key(1) != long.unique_key(2)
    assert long.claimed_by.endswith(f"#1@{socket.gethostname()}")
    assert shortened("ü" * 2_000, "/1").endswith("/1")


@pytest.mark.parametrize("host", ["w", "worker-7." + "x" * 200])
def test_a_task_is_known_by_its_claims_however_long_its_name_is(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    long, longer = identity("r" * 3_000), identity("r" * 3_001)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: host)
        claimant = long.claimed_by

    assert long.is_named_in(claimant)
    assert long.has_tried_as(claimant)
    assert not longer.is_named_in(claimant)


def test_naming_the_hook_in_a_dag_file_loads_no_database_world() -> None:
    code = (
        "import sys, airflow.sdk; before = set(sys.modules);"
        "import xclaim.airflow.hooks; print(*(set(sys.modules) - before))"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    loaded = set(result.stdout.split())
    assert "xclaim.airflow.hooks" in loaded
    assert not loaded & {
        "xclaim.airflow.tasks.task_queue",
        "xclaim.queues.sync",
        "xclaim.verbs",
        "xclaim.connections.engine",
        "xclaim.operations.migrate",
    }
    assert not [name for name in loaded if name.split(".")[0] in ("sqlalchemy", "psycopg")]
