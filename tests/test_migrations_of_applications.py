"""Migrations within a migration of an application, which has an Alembic of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import OperationalError

from tests.databases import sqlite_url, temporary_database
from tests.eventually import PATIENCE
from tests.later_xclaim import later_xclaim
from tests.migrating import WAY_OUT, at_once, tables
from tests.pages import ROOT, read_page
from xclaim import create_engine
from xclaim.operations import migrate
from xclaim.sql.schema import REVISION, TABLE_NAME, VERSION_TABLE_NAME

pytestmark = pytest.mark.slow

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


def test_what_an_application_generates_drops_no_table_of_ours(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    migrate.upgrade(engine)
    page = read_page(ROOT / "docs" / "operations" / "upgrading.md")
    (said,) = [block.code for block in page.blocks if "def include_name" in block.code]
    names: dict[str, Any] = {}
    exec(said, names)  # noqa: S102  (of our own page)

    with engine.connect() as connection:
        told = MigrationContext.configure(connection, opts={"include_name": names["include_name"]})
        untold = MigrationContext.configure(connection)
        changes, warned_of = (compare_metadata(each, MetaData()) for each in (told, untold))

    engine.dispose()
    assert changes == []
    assert warned_of != []


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

    assert WAY_OUT in caught.value.__notes__[0]
    # One that would have to change the journal first is refused at once.
    assert (WAY_OUT in caplog.text) == (journal == "wal")
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

    assert WAY_OUT in caught.value.__notes__[0]
    assert migrate.current(engine) == REVISION
    engine.dispose()


def test_a_migration_of_an_application_goes_on_in_another_thread(
    application: Application, another_url: str
) -> None:
    started, finish = threading.Event(), threading.Event()

    def within(_connection: Connection) -> None:
        started.set()
        assert finish.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(application.upgrade, within)
        assert started.wait(PATIENCE)
        at_once(3, lambda _: migrate.upgrade(another_url))
        migrate.downgrade(another_url, "base")
        finish.set()
        theirs.result()

    assert "of_the_application" in tables(application.engine)
    assert tables(another_url) == {VERSION_TABLE_NAME}
