"""Migrations in threads and processes, within a migration of an application, and cut short."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from tests.databases import sqlite_url, temporary_database
from tests.eventually import until
from tests.later_xclaim import FAILING, LATER, later_xclaim
from xclaim import InvalidArgumentError, Queue, create_engine
from xclaim.connections.engine import create_async_engine, create_verb_engine
from xclaim.operations import migrate
from xclaim.sql.schema import REVISION, TABLE_NAME, VERSION_TABLE_NAME

_WAY_OUT = "pass its connection"


def at_once(count: int, work: Callable[[int], object]) -> None:
    """Run the work in threads that begin together; raise what one of them raises."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> object:
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(begin, number) for number in range(count)]:
            future.result()


def tables(bind: Engine | str) -> set[str]:
    engine = create_engine(bind) if isinstance(bind, str) else bind
    inspector = inspect(engine)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    if isinstance(bind, str):
        engine.dispose()
    return names


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
            until(lambda: _WAY_OUT in caplog.text)
        waiting.result()

    migrate.check(engine)
    engine.dispose()


# Within a migration of an application

ENVIRONMENT = """
from alembic import context
from sqlalchemy import create_engine

engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
"""
FIRST = """
import sqlalchemy as sa
from alembic import context, op

revision, down_revision = "first", None


def upgrade():
    op.create_table("customer", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO customer VALUES (1)")


def downgrade():
    op.drop_table("customer")
"""
SECOND = """
import sqlalchemy as sa
from alembic import context, op

revision, down_revision = "second", "first"


def upgrade():
    op.execute("INSERT INTO customer VALUES (2)") if context.config.attributes["writes"] else None
    context.config.attributes["within"](op.get_bind())
    op.create_table("of_the_application", sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table("of_the_application")
    context.config.attributes["within"](op.get_bind())
"""


class Application:
    """An application with migrations of its own, which does something in the middle of one."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(ENVIRONMENT)
        (folder / "versions" / "first.py").write_text(FIRST)
        (folder / "versions" / "second.py").write_text(SECOND)
        self.engine = sqlalchemy.create_engine(url)
        self._config = Config()
        self._config.set_main_option("script_location", str(folder))
        self._config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))

    def upgrade(self, within: Callable[[Connection], object], *, writes: bool = False) -> None:
        self._config.attributes.update(within=within, writes=writes)
        command.upgrade(self._config, "head")

    def downgrade(self, within: Callable[[Connection], object]) -> None:
        self._config.attributes.update(within=within)
        command.downgrade(self._config, "base")

    def upgrade_to(self, revision: str) -> None:
        command.upgrade(self._config, revision)


@pytest.fixture
def application(empty_database_url: str, tmp_path: Path) -> Iterator[Application]:
    application = Application(tmp_path / "application", empty_database_url)
    yield application
    application.engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def another_url(request: pytest.FixtureRequest, postgresql_server: str, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "another.db")
        return
    with temporary_database(postgresql_server) as url:
        yield url


def test_a_migration_of_an_application_upgrades_another_database(
    application: Application, another_url: str
) -> None:
    application.upgrade(lambda _: migrate.upgrade(another_url))

    migrate.check(another_url)
    assert {"customer", "of_the_application"} <= tables(application.engine)
    application.downgrade(lambda _: migrate.downgrade(another_url, "base"))
    assert migrate.current(another_url) is None
    assert "customer" not in tables(application.engine)


def test_a_migration_of_an_application_upgrades_its_own_database(
    application: Application, empty_database_url: str
) -> None:
    application.upgrade_to("first")

    application.upgrade(lambda _: migrate.upgrade(empty_database_url))

    migrate.check(empty_database_url)
    assert "of_the_application" in tables(application.engine)


@pytest.mark.parametrize("writes", [False, True])
def test_a_migration_of_an_application_upgrades_by_its_own_connection(
    application: Application, empty_database_url: str, writes: bool
) -> None:
    application.upgrade_to("first")

    application.upgrade(migrate.upgrade, writes=writes)

    migrate.check(empty_database_url)
    assert "of_the_application" in tables(application.engine)
    application.downgrade(lambda connection: migrate.downgrade(connection, "base"))
    assert tables(application.engine) == {"alembic_version", VERSION_TABLE_NAME}


def test_what_an_application_takes_back_takes_the_upgrade_on_its_connection_with_it(
    application: Application, empty_database_url: str
) -> None:
    def within(connection: Connection) -> None:
        migrate.upgrade(connection)
        raise LookupError("of the application")

    application.upgrade_to("first")

    with pytest.raises(LookupError):
        application.upgrade(within)

    assert migrate.current(empty_database_url) is None
    assert tables(application.engine) == {"alembic_version", "customer"}


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_an_upgrade_that_its_caller_keeps_waiting_names_the_way_out(
    empty_sqlite_url: str,
    tmp_path: Path,
    journal: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(migrate, "_SILENT_SECONDS", 0.1)
    application = Application(tmp_path / "application", empty_sqlite_url)
    with application.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA journal_mode={journal}")
    application.upgrade_to("first")
    impatient = create_engine(empty_sqlite_url, connect_args={"timeout": 0.5})

    with pytest.raises(OperationalError, match="locked") as caught:
        application.upgrade(lambda _: migrate.upgrade(impatient), writes=True)

    assert _WAY_OUT in caught.value.__notes__[0]
    # One that would have to change the journal first is refused at once.
    assert (_WAY_OUT in caplog.text) == (journal == "wal")
    assert tables(application.engine) == {"alembic_version", "customer"}
    impatient.dispose()
    application.engine.dispose()


def test_an_upgrade_does_not_wait_for_a_table_for_good(
    fresh_postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_LIMIT_WAITING", migrate._LIMIT_WAITING.replace("10s", "200ms"))
    engine = create_engine(fresh_postgresql_url)

    with engine.begin() as connection, later_xclaim(tmp_path):
        connection.execute(text(f"SELECT id FROM {TABLE_NAME}"))
        with pytest.raises(OperationalError, match="lock timeout") as caught:
            migrate.upgrade(fresh_postgresql_url)

    assert _WAY_OUT in caught.value.__notes__[0]
    assert migrate.current(engine) == REVISION
    engine.dispose()


def test_a_migration_of_an_application_goes_on_in_another_thread(
    application: Application, another_url: str
) -> None:
    started, finish = threading.Event(), threading.Event()

    def within(_connection: Connection) -> None:
        started.set()
        finish.wait(60)

    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(application.upgrade, within)
        assert started.wait(60)
        at_once(3, lambda _: migrate.upgrade(another_url))
        migrate.downgrade(another_url, "base")
        finish.set()
        theirs.result()

    assert "of_the_application" in tables(application.engine)
    assert tables(another_url) == {VERSION_TABLE_NAME}


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
