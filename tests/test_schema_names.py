"""A PostgreSQL schema of any readable name: on every surface that takes one."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.retrying import AT_ONCE
from xclaim import AsyncQueue, InvalidArgumentError, Queue, SchemaVersionError, create_engine
from xclaim.cli import main
from xclaim.operations import doctor_of_server, grants, migrate
from xclaim.operations.audit import audit
from xclaim.operations.doctor import Level, examine
from xclaim.sql.revision import quoted
from xclaim.sql.schema import AUTOVACUUM

NAMES = [
    "with.dots.in.it",
    'quo"ted',
    "it's",
    "UPPER Case",
    " spaces ",
    "per%cent%s%%(x)s",
    "back\\slash",
    "$HOME `id` $(id); --",
    "colon:name",
    "ünïcödé ☃",
    "x" * 63,
    "é" * 31,
    "pg.catalog",
    "{table}",
]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(empty_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(empty_postgresql_url)
    yield engine
    engine.dispose()


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """Run the command in this process: its status, stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


def test_each_surface_takes_it(
    engine: Engine,
    empty_postgresql_url: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    migrate.upgrade(engine, schema=name)
    migrate.check(engine, schema=name)
    with Queue("orders", engine, schema=name, retry=AT_ONCE) as queue:
        pushed = queue.push({"n": 1}, max_attempts=1, unique_key="key")
        claimed = queue.claim()
        assert claimed is not None
        queue.release(claimed, error="boom")
        assert queue.redrive() == 1
        assert queue.find(["key"])[0].id == pushed.id
    url = ("--url", empty_postgresql_url, "--quiet")

    asyncio.run(_push(empty_postgresql_url, name))
    by_option = run(capsys, "peek", "orders", "--schema", name, *url)
    monkeypatch.setenv("XCLAIM_SCHEMA", name)
    by_environment = run(capsys, "peek", "orders", *url)
    status, counted, _ = run(capsys, "stats", *url)

    assert by_option == by_environment
    assert (status, json.loads(counted)["available"]) == (0, 2)
    assert audit(engine, schema=name).is_sound
    found = examine(engine, schema=name)
    assert [each.name for each in found if each.level is Level.PROBLEM] == []
    migrate.downgrade(engine, "base", schema=name)
    assert migrate.current(engine, schema=name) is None


async def _push(url: str, name: str) -> None:
    async with AsyncQueue("orders", url, schema=name) as queue:
        await queue.push({"n": 2})


def test_the_version_table_lies_in_it(engine: Engine, name: str) -> None:
    migrate.upgrade(engine, schema=name)

    query = text(
        "SELECT count(*) FROM information_schema.tables"
        " WHERE table_schema = :name AND table_name LIKE 'xclaim%' AND table_type = 'BASE TABLE'"
    )
    with engine.connect() as connection:
        assert connection.scalar(query, {"name": name}) == 4
        elsewhere = text("SELECT to_regclass('public.xclaim_alembic_version') IS NULL")
        assert connection.scalar(elsewhere)


def test_rights_are_granted_in_it(engine: Engine, name: str) -> None:
    migrate.upgrade(engine, schema=name)

    with engine.begin() as connection:
        role = f"of_{abs(hash(name)) % 10**9}"
        for kind in ("producer", "consumer", "observer", "maintainer"):
            plan = grants.plan(connection, kind, role, queues=["orders"], schema=name)
            plan.apply(connection)
        assert connection.scalar(
            text("SELECT has_schema_privilege(:role, :name, 'USAGE')"), {"role": role, "name": name}
        )
        connection.rollback()


def test_the_way_out_can_be_pasted(engine: Engine, name: str) -> None:
    with Queue("orders", engine, schema=name) as queue, pytest.raises(SchemaVersionError) as caught:
        queue.push(1)

    command = str(caught.value).rpartition("run `")[2].removesuffix("`")
    assert shlex.split(command) == ["xclaim", "upgrade", "--schema", name]


def test_what_the_doctor_says_can_be_pasted(engine: Engine, name: str) -> None:
    migrate.upgrade(engine, schema=name)
    with Queue("it's `id`", engine, schema=name, retry=AT_ONCE) as queue:
        queue.push(1, max_attempts=1)
        claimed = queue.claim()
        assert claimed is not None
        queue.release(claimed, error="boom")

    (letters,) = [each for each in examine(engine, schema=name) if each.name == "dead_letters"]

    assert letters.remedy is not None
    command = letters.remedy.partition("` shows last_error")[0].removeprefix("`")
    assert shlex.split(command) == ["xclaim", "peek", "it's `id`.dead", "--schema", name]


def test_the_sql_that_mends_can_be_pasted(
    engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_of_server, "_BLOATED", (0, 0))
    migrate.upgrade(engine, schema=name)
    Queue("orders", engine, schema=name).push(1)
    table = f"{quoted(name)}.xclaim_message".replace("%", "%%")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {table} SET attempts = -1")
        connection.exec_driver_sql(f"ALTER TABLE {table} RESET ({', '.join(AUTOVACUUM)})")

    (attempts,) = [each for each in audit(engine, schema=name).checks if each.broken]
    found = {each.name: each for each in examine(engine, schema=name) if each.remedy}
    statements = [
        str(attempts.remedy).replace(":id", "1"),
        str(found["autovacuum"].remedy),
        str(found["bloat"].remedy).partition("; then")[0],
    ]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    assert audit(engine, schema=name).is_sound
    assert "autovacuum" not in {
        each.name for each in examine(engine, schema=name) if each.remedy is not None
    }


def test_what_the_log_says_can_be_pasted(
    engine: Engine, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    migrate.upgrade(engine, schema=name)
    queue = Queue("orders", engine, schema=name, retry=AT_ONCE)

    queue.pause()
    queue.unpause()
    queue.push_many([1, 2], max_attempts=1)
    queue.claim(lease=timedelta(0))
    queue.expire()
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed, error="boom")

    said = [re.findall("`(xclaim .*)`", message) for message in caplog.messages]
    commands = [shlex.split(command) for each in said for command in each]
    option = ["--schema", name]
    assert commands == [
        ["xclaim", "unpause", "orders", *option],
        ["xclaim", "redrive", "orders", *option],
        ["xclaim", "redrive", "orders", *option],
    ]


def test_alembic_itself_migrates_it(engine: Engine, empty_postgresql_url: str, name: str) -> None:
    command = [sys.executable, "-m", "alembic", "-x", f"url={empty_postgresql_url}"]
    arguments = ["-x", f"schema={name}", "upgrade", "head"]

    done = subprocess.run(
        [*command, *arguments],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-500:]
    assert migrate.current(engine, schema=name) == "0001"


@pytest.mark.airflow
def test_an_airflow_connection_names_it(
    engine: Engine, empty_postgresql_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks: Any = pytest.importorskip("xclaim.airflow.hooks")
    migrate.upgrade(engine, schema=name)
    url = engine.url
    connection = {
        "conn_type": "xclaim",
        "host": url.host,
        "port": url.port,
        "login": url.username,
        "password": url.password,
        "schema": url.database,
        "extra": {"xclaim_schema": name},
    }
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", json.dumps(connection))

    hook = hooks.XclaimHook()
    hook.queue("orders").push(1)

    assert hook.test_connection()[0]
    with Queue("orders", empty_postgresql_url, schema=name) as queue:
        assert queue.counts().available == 1


@pytest.mark.parametrize(
    "bad", ["x" * 64, "é" * 32, "a\nb", "\u202eabc", "", " ", "a\x00b", "pg_mine"]
)
def test_a_name_that_postgresql_would_cut_or_nobody_can_read_is_refused(
    engine: Engine, bad: str
) -> None:
    with pytest.raises(InvalidArgumentError, match="schema"):
        migrate.upgrade(engine, schema=bad)
    with pytest.raises(InvalidArgumentError, match="schema"):
        Queue("orders", engine, schema=bad).claim(lease=timedelta(0))
