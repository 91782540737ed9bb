"""Migrations in threads and processes, on every kind of engine and connection, and cut short."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Engine, inspect, text

from tests.databases import sqlite_url, temporary_database
from tests.eventually import until
from tests.later_xclaim import FAILING, LATER, later_xclaim
from tests.migrating import WAY_OUT, at_once, tables
from xclaim import InvalidArgumentError, Queue, create_engine
from xclaim.connections.engine import create_async_engine, create_verb_engine
from xclaim.operations import migrate
from xclaim.sql.schema import REVISION, TABLE_NAME, VERSION_TABLE_NAME

pytestmark = pytest.mark.slow

# Threads and processes


def test_threads_upgrade_a_database_each(postgresql_server: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        urls = [stack.enter_context(temporary_database(postgresql_server)) for _ in range(4)]
        urls += [sqlite_url(tmp_path / f"{number}.db") for number in range(4)]

        at_once(len(urls), lambda number: migrate.upgrade(urls[number]))

        for url in urls:
            migrate.check(url)
            with Queue("orders", url) as queue:
                queue.push(1)
                assert queue.claim() is not None


def test_threads_upgrade_one_database(empty_database_url: str) -> None:
    at_once(8, lambda _: migrate.upgrade(empty_database_url))

    migrate.check(empty_database_url)


def test_threads_upgrade_by_one_engine(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)

    at_once(4, lambda _: migrate.upgrade(engine))

    migrate.check(engine)
    engine.dispose()


def test_threads_upgrade_where_transactions_keep_their_first_snapshot(
    empty_postgresql_url: str,
) -> None:
    engine = create_engine(empty_postgresql_url, isolation_level="REPEATABLE READ")

    at_once(4, lambda _: migrate.upgrade(engine))

    migrate.check(engine)
    engine.dispose()


def test_downgrades_beside_upgrades_leave_all_or_nothing(empty_database_url: str) -> None:
    def work(number: int) -> None:
        for _ in range(3):
            if number % 2:
                migrate.downgrade(empty_database_url, "base")
            else:
                migrate.upgrade(empty_database_url)

    at_once(4, work)

    is_there = TABLE_NAME in tables(empty_database_url)
    assert migrate.current(empty_database_url) == (REVISION if is_there else None)
    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url, "base")
    assert tables(empty_database_url) == {VERSION_TABLE_NAME}


def test_parallel_upgrades_of_one_database_all_succeed(empty_database_url: str) -> None:
    code = f"from xclaim.operations import migrate; migrate.upgrade({empty_database_url!r})"

    upgrades = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]

    assert [upgrade.wait() for upgrade in upgrades] == [0, 0, 0, 0]
    migrate.check(empty_database_url)


def test_whoever_waits_for_another_migration_says_so(
    empty_postgresql_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(migrate, "_SILENT_SECONDS", 0.1)
    engine = create_engine(empty_postgresql_url)

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            migrate.upgrade(connection)
            waiting = pool.submit(migrate.upgrade, empty_postgresql_url)
            until(lambda: WAY_OUT in caplog.text)
        waiting.result()

    migrate.check(engine)
    engine.dispose()


# Connections and engines of any kind


def test_the_owner_of_a_connection_commits(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    with engine.connect() as connection:
        migrate.upgrade(connection)
        migrate.check(connection)
        connection.rollback()
        taken_back = migrate.current(engine)
        migrate.upgrade(connection)
        connection.commit()

    assert taken_back is None
    migrate.check(engine)
    engine.dispose()


def test_a_connection_in_autocommit_is_refused(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)

    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(InvalidArgumentError, match="in autocommit"),
    ):
        migrate.upgrade(connection)

    assert tables(engine) == set()
    engine.dispose()


def test_a_coroutine_lends_its_connection(empty_database_url: str) -> None:
    async def upgrade() -> None:
        engine = create_async_engine(empty_database_url)
        async with engine.begin() as connection:
            await connection.run_sync(migrate.upgrade)
        await engine.dispose()

    asyncio.run(upgrade())

    migrate.check(empty_database_url)


ENGINES: dict[str, Callable[[str], Engine]] = {
    "ours": create_engine,
    "of verbs": create_verb_engine,
    "in autocommit": lambda url: create_engine(url, isolation_level="AUTOCOMMIT"),
    "of an application": sqlalchemy.create_engine,
}


@pytest.fixture(params=ENGINES)
def any_engine(request: pytest.FixtureRequest, database_url: str) -> Iterator[Engine]:
    engine = ENGINES[request.param](database_url)
    yield engine
    engine.dispose()


def test_every_kind_of_engine_upgrades_and_downgrades(any_engine: Engine, tmp_path: Path) -> None:
    with later_xclaim(tmp_path):
        migrate.upgrade(any_engine)
        upgraded = migrate.current(any_engine)
        migrate.downgrade(any_engine, REVISION)

    assert upgraded == LATER
    migrate.check(any_engine)


def test_a_revision_that_fails_leaves_nothing_half_done(any_engine: Engine, tmp_path: Path) -> None:
    before = tables(any_engine)

    with later_xclaim(tmp_path, FAILING), pytest.raises(LookupError):
        migrate.upgrade(any_engine)

    migrate.check(any_engine)
    assert tables(any_engine) == before
    assert "reply_queue" not in {
        column["name"] for column in inspect(any_engine).get_columns(TABLE_NAME)
    }


@pytest.mark.parametrize("create", [create_engine, sqlalchemy.create_engine])
def test_a_caller_who_goes_on_after_a_failure_finds_nothing_half_done(
    database_url: str, tmp_path: Path, create: Callable[[str], Engine]
) -> None:
    engine = create(database_url)
    before = tables(engine)

    with engine.begin() as connection, later_xclaim(tmp_path, FAILING):
        connection.execute(text("CREATE TABLE customer (id int)"))
        with pytest.raises(LookupError):
            migrate.upgrade(connection)
        connection.execute(text("INSERT INTO customer VALUES (1)"))

    assert tables(engine) == before | {"customer"}
    migrate.check(engine)
    engine.dispose()
