"""The hook within a task, and outside of one, on real databases."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.hook.conftest import connection_uri, within_task
from xclaim import (
    ClaimLostError,
    DuplicateMessageError,
    InvalidArgumentError,
    PayloadError,
    SchemaVersionError,
)
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks.identity import TaskIdentity, shortened
from xclaim.operations import migrate

pytestmark = pytest.mark.airflow

KEY = "shop/manual__2026-11-20T00:00:00+00:00/group.work"


@pytest.fixture
def hook(connected: str) -> XclaimHook:
    assert connected
    return XclaimHook()


def test_a_task_claims_under_its_name(hook: XclaimHook) -> None:
    with within_task(try_number=2, map_index=3):
        hook.push("orders", 1)
        claimed = hook.claim("orders")

    assert claimed is not None
    assert claimed.claimed_by == f"{KEY}[3]#2@{socket.gethostname()}"
    assert claimed.message.claim_key == f"{KEY}[3]"


def test_outside_a_task_nothing_is_filled_in(hook: XclaimHook) -> None:
    first, second = hook.push("orders", 1), hook.push("orders", 1)
    claimed = hook.claim("orders")

    assert first.id != second.id
    assert (first.unique_key, first.headers) == (None, {})
    assert claimed is not None
    assert claimed.claimed_by == f"{socket.gethostname()}:{os.getpid()}"
    assert claimed.message.claim_key is None


def test_a_pushed_message_says_which_task_pushed_it(hook: XclaimHook) -> None:
    with within_task():
        message = hook.push("orders", 1, headers={"trace": "x", "task_id": "mine"})

    assert message.headers == {
        "dag_id": "shop",
        "run_id": "manual__2026-11-20T00:00:00+00:00",
        "task_id": "mine",
        "map_index": -1,
        "try_number": 1,
        "trace": "x",
    }


def test_a_retried_push_returns_the_messages_it_already_pushed(hook: XclaimHook) -> None:
    with within_task(try_number=1):
        before = [hook.push("orders", 1), *hook.push_many("orders", [2, 3]), hook.push("other", 4)]

    with within_task(try_number=2):
        after = [hook.push("orders", 1), *hook.push_many("orders", [2, 3]), hook.push("other", 4)]

    assert [message.id for message in after] == [message.id for message in before]
    assert [message.unique_key for message in after] == [
        f"{KEY}/0",
        f"{KEY}/1",
        f"{KEY}/2",
        f"{KEY}/0",
    ]


def test_a_retry_with_another_payload_is_refused(hook: XclaimHook) -> None:
    with within_task(try_number=1):
        hook.push("orders", 1)

    with within_task(try_number=2), pytest.raises(DuplicateMessageError):
        hook.push("orders", 2)


def test_a_push_that_failed_is_repeated_under_the_same_key(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(empty_database_url))
    hook = XclaimHook()

    with within_task():
        with pytest.raises(SchemaVersionError):
            hook.push("orders", 1)
        migrate.upgrade(empty_database_url)
        repeated = hook.push("orders", 1)

    assert repeated.unique_key == f"{KEY}/0"


def test_a_refused_payload_keeps_its_number(hook: XclaimHook) -> None:
    with within_task(try_number=1):
        hook.push("orders", 1)

    with within_task(try_number=2):
        with pytest.raises(DuplicateMessageError):
            hook.push("orders", "changed")
        following = hook.push("orders", 2)

    assert following.unique_key == f"{KEY}/1"


def test_threads_of_a_task_push_under_numbers_of_their_own(hook: XclaimHook) -> None:
    with within_task(), ThreadPoolExecutor(4) as pool:
        pushed = list(pool.map(lambda _: hook.push("orders", "the same"), range(40)))

    assert len({message.id for message in pushed}) == 40


def test_a_fork_of_a_task_must_choose_its_keys(hook: XclaimHook) -> None:
    fork = multiprocessing.get_context("fork")

    with within_task(), ProcessPoolExecutor(1, mp_context=fork) as pool:
        automatic = pool.submit(hook.push, "orders", 1)
        chosen = pool.submit(hook.push, "orders", 1, unique_key="mine")

        assert isinstance(automatic.exception(), InvalidArgumentError)
        assert chosen.result().unique_key == "mine"


def test_another_mapped_instance_pushes_its_own(hook: XclaimHook) -> None:
    with within_task(map_index=0):
        first = hook.push("orders", 1)
    with within_task(map_index=1):
        second = hook.push("orders", 1)

    assert first.id != second.id


def test_keys_can_be_chosen_or_left_out(hook: XclaimHook) -> None:
    with within_task():
        chosen = hook.push("orders", 1, unique_key="mine")
        without = hook.push("orders", 1, unique_key=None)
        many = hook.push_many("orders", [1, 2], unique_keys=None)

    assert chosen.unique_key == "mine"
    assert without.unique_key is None
    assert [message.unique_key for message in many] == [None, None]


def test_a_retry_takes_its_message_back_and_fences_the_earlier_try(hook: XclaimHook) -> None:
    hook.queue("orders").push_many([1, 2])
    with within_task(try_number=1):
        zombie = hook.claim("orders")

    with within_task(try_number=2):
        (retried,) = hook.claim_many("orders", 2)

    assert zombie is not None
    assert retried.message.id == zombie.message.id
    with pytest.raises(ClaimLostError):
        hook.ack(zombie)
    hook.ack(retried)


@pytest.mark.parametrize("payloads", [5, None, "text", b"bytes", {"a": 1}])
def test_payloads_that_are_no_list_are_refused(connected: str, payloads: object) -> None:
    assert connected
    with within_task(), pytest.raises(InvalidArgumentError, match="payloads must be a list"):
        XclaimHook().push_many("orders", payloads)  # type: ignore[arg-type]


def test_headers_that_are_no_mapping_are_refused(hook: XclaimHook) -> None:
    with within_task(), pytest.raises(PayloadError, match="headers must be a mapping"):
        hook.push("orders", 1, headers=["a"])  # type: ignore[arg-type]


def test_the_lease_of_consume_can_be_limited(hook: XclaimHook) -> None:
    a_day = timedelta(days=1)

    with (
        pytest.raises(InvalidArgumentError, match="lease_limit"),
        hook.consume("orders", lease=a_day),
    ):
        pass
    with hook.consume("orders", lease=a_day, lease_limit=a_day) as consumed:
        assert consumed is None


def test_consume_extend_and_release_reach_the_queue(hook: XclaimHook) -> None:
    with within_task():
        hook.push_many("orders", [1, 2])
        with hook.consume("orders") as consumed:
            assert consumed is not None
        claimed = hook.claim("orders")
        assert claimed is not None
        released = hook.release(hook.extend(claimed), error="later", count=False)

    assert released.last_error == "later"
    assert hook.queue("orders").counts().consumed == 1


def test_a_sound_connection_tests_well(hook: XclaimHook) -> None:
    assert hook.test_connection() == (True, "the xclaim schema is up to date")


def test_a_connection_without_the_schema_says_what_to_run(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(empty_database_url))

    is_fine, reason = XclaimHook().test_connection()

    assert not is_fine
    assert "xclaim upgrade" in reason


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
    from xclaim.operations import migrate

    migrate.upgrade(empty_postgresql_url, schema="work")
    uri = f"{connection_uri(empty_postgresql_url)}?xclaim_schema=work"
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", uri)

    hook = XclaimHook()

    assert hook.test_connection()[0]
    assert hook.push("orders", 1).id == 1


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
        "xclaim.queues.sync",
        "xclaim.verbs",
        "xclaim.connections.engine",
        "xclaim.operations.migrate",
    }
    assert not [name for name in loaded if name.split(".")[0] in ("sqlalchemy", "psycopg")]
