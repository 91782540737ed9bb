"""What is missing, and the command that makes it: through Airflow, and for the connection asked."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.hook.conftest import Parse, connection_uri, within_task
from xclaim import DatabaseUrlError, SchemaVersionError, create_engine
from xclaim.airflow import versions
from xclaim.operations import migrate

pytestmark = pytest.mark.airflow

UPGRADE = f"`{versions.program()} upgrade --conn-id shop`"


def count(conn_id: str) -> object:
    from xclaim.airflow.hooks import XclaimHook

    return XclaimHook(conn_id).queue("orders").counts()


def push(conn_id: str) -> object:
    from xclaim.airflow.operators import PushOperator

    operator = PushOperator(
        task_id="push", queue_name="orders", payloads=[1], xclaim_conn_id=conn_id
    )
    with within_task():
        return operator.execute({})


def work(conn_id: str) -> object:
    from xclaim.airflow.decorators import ExclusiveDecoratedOperator

    operator = ExclusiveDecoratedOperator(
        task_id="work",
        python_callable=lambda message: message,
        queue_name="orders",
        xclaim_conn_id=conn_id,
    )
    with within_task():
        return operator.execute_callable()


def wait(conn_id: str) -> object:
    from xclaim.airflow.triggers import AvailableTrigger

    async def first() -> object:
        return await anext(AvailableTrigger(queue_name="orders", xclaim_conn_id=conn_id).run())

    return asyncio.run(first())


def watch(conn_id: str) -> object:
    from xclaim.airflow.triggers import WakeUpTrigger

    async def first() -> object:
        trigger = WakeUpTrigger(queue_name="orders", xclaim_conn_id=conn_id, debounce=0)
        return await anext(trigger.run())

    return asyncio.run(first())


EVERY = pytest.mark.parametrize("use", [count, push, work, wait, watch])


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return what makes the connection `shop` for a URL."""

    def connect(url: str) -> str:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", connection_uri(url))
        return "shop"

    return connect


def reason_of(conn_id: str) -> str:
    from xclaim.airflow.hooks import XclaimHook

    is_fine, reason = XclaimHook(conn_id).test_connection()
    assert not is_fine
    return reason


@EVERY
def test_a_missing_table_names_the_command_of_its_connection(
    shop: Callable[[str], str], empty_database_url: str, use: Callable[[str], object]
) -> None:
    conn_id = shop(empty_database_url)
    with create_engine(empty_database_url).connect():  # a SQLite file without a table
        pass

    with pytest.raises(SchemaVersionError) as caught:
        use(conn_id)

    assert str(caught.value) == f"no xclaim schema in this database: run {UPGRADE}"
    assert reason_of(conn_id) == str(caught.value)


@EVERY
def test_a_missing_file_is_named_and_not_made(
    shop: Callable[[str], str], tmp_path: Path, use: Callable[[str], object]
) -> None:
    path = tmp_path / "shop.db"
    conn_id = shop(f"sqlite:///{path}")

    with pytest.raises(SchemaVersionError) as caught:
        use(conn_id)

    assert str(caught.value) == f"there is no SQLite file {path}: run {UPGRADE}, which makes it"
    assert reason_of(conn_id) == str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_test_of_a_connection_leaves_nothing_beside_the_file(
    shop: Callable[[str], str], tmp_path: Path
) -> None:
    from xclaim.airflow.hooks import XclaimHook

    url = f"sqlite:///{tmp_path}/shop.db"
    migrate.upgrade(url)
    hook = XclaimHook(shop(url))

    assert hook.test_connection() == (True, "the xclaim schema is up to date")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.db"]


@pytest.mark.parametrize(
    ("revision", "remedy"), [("0000", UPGRADE), ("9999", "`pip install --upgrade xclaim`")]
)
def test_another_revision_names_the_way_out(
    shop: Callable[[str], str],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
    remedy: str,
) -> None:
    monkeypatch.setattr("xclaim.sql.revision.REVISIONS", ("0000", "0001"))
    engine = create_engine(database_url)
    with engine.begin() as connection:
        update = text("UPDATE xclaim_alembic_version SET version_num = :revision")
        connection.execute(update, {"revision": revision})
    engine.dispose()

    assert reason_of(shop(database_url)).endswith(f"run {remedy}")


def test_the_schema_of_the_connection_need_not_be_said_again(
    monkeypatch: pytest.MonkeyPatch, empty_postgresql_url: str
) -> None:
    uri = f"{connection_uri(empty_postgresql_url)}?xclaim_schema=work"
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri)

    reason = reason_of("shop")

    assert reason == f"no xclaim schema in schema 'work' of this database: run {UPGRADE}"


@EVERY
def test_a_missing_connection_names_the_commands_that_make_it(use: Callable[[str], object]) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        use("nobody's")

    quoted = shlex.quote("nobody's")
    assert f"`airflow connections add {quoted} --conn-uri" in str(caught.value)
    assert f"`{versions.program()} upgrade --conn-id {quoted}`" in str(caught.value)
    assert reason_of("nobody's") == str(caught.value)


@EVERY
def test_a_secrets_backend_may_have_one_that_cannot_be_read(
    use: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "connections.json"
    file.write_text('{"shop": "xclaim://bob:hunter2@h:port/db"}')
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", backend)
    given = json.dumps({"connections_file_path": str(file)})
    monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND_KWARGS", given)
    # Airflow 3.3 keeps the backends that it has made.
    monkeypatch.setattr("airflow.sdk.configuration._secrets_backend_cache", {}, raising=False)

    with pytest.raises(DatabaseUrlError) as caught:
        use("shop")

    assert "'shop', or its secrets backend has one that is no connection" in str(caught.value)
    assert "write it as a URI" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_id_that_the_button_draws_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_QRSTUVWX", connection_uri(empty_database_url))

    assert "--conn-id ID_OF_THIS_CONNECTION" in reason_of("qRsTuVwX")


def test_an_id_of_eight_letters_is_shown_where_no_button_was_pressed(
    monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    from xclaim.airflow.hooks import XclaimHook

    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES", connection_uri(empty_database_url))
    hook = XclaimHook("postgres")

    with pytest.raises(SchemaVersionError, match="--conn-id postgres`"):
        hook.queue("orders").push(1)


@pytest.mark.parametrize("words", ["stats", "doctor", "audit", "claim orders", "push orders 1"])
def test_the_command_line_names_it_too_and_makes_no_file(
    shop: Callable[[str], str],
    parser: Parse,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: str,
) -> None:
    conn_id = shop(f"sqlite:///{tmp_path}/shop.db")
    arguments = parser([*words.split(), "--conn-id", conn_id])

    with pytest.raises(SystemExit) as ending:
        arguments.func(arguments)

    assert ending.value.code == 4
    assert f"run {UPGRADE}, which makes it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_names_what_makes_a_connection(
    parser: Parse, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parser(["upgrade"])

    with pytest.raises(SystemExit) as ending:
        arguments.func(arguments)

    assert ending.value.code == 2
    assert "`airflow connections add xclaim_default --conn-uri" in capsys.readouterr().err


def test_an_upgrade_through_a_connection_prints_nothing_but_json(
    shop: Callable[[str], str], parser: Parse, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    conn_id = shop(f"sqlite:///{tmp_path}/shop.db")
    arguments = parser(["upgrade", "--conn-id", conn_id])

    with pytest.raises(SystemExit) as ending:
        arguments.func(arguments)

    assert ending.value.code == 0
    assert capfd.readouterr().out == '{"revision": "0001"}\n'
