"""The migrations as a product: up, down and up again, and equal to what the code declares."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Engine, inspect, text

from tests import databases
from xclaim import Queue, create_engine
from xclaim.operations import migrate
from xclaim.sql.schema import REVISION, REVISIONS, TABLE_NAME, VERSION_TABLE_NAME, message_table

ROOT = Path(__file__).parents[1]


@pytest.fixture
def empty_postgresql16_url(postgresql16_server: str) -> Iterator[str]:
    with databases.temporary_database(postgresql16_server) as url:
        yield url


@pytest.fixture(params=["empty_sqlite_url", "empty_postgresql_url", "empty_postgresql16_url"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = create_engine(request.getfixturevalue(request.param))
    yield engine
    engine.dispose()


@pytest.fixture(params=["empty_postgresql_url", "empty_postgresql16_url"])
def postgresql(request: pytest.FixtureRequest) -> Iterator[Engine]:
    engine = create_engine(request.getfixturevalue(request.param))
    yield engine
    engine.dispose()


def tables(engine: Engine, schema: str | None = None) -> set[str]:
    inspector = inspect(engine)
    return {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}


def test_up_down_and_up_again(engine: Engine) -> None:
    migrate.upgrade(engine)
    migrate.check(engine)
    migrate.downgrade(engine, "base")
    assert tables(engine) == {VERSION_TABLE_NAME}
    assert migrate.current(engine) is None

    migrate.upgrade(engine)

    migrate.check(engine)
    with Queue("orders", engine) as queue:
        queue.push(1)
        queue.ack_many(queue.claim_many(1))
        assert queue.counts().consumed == 1


def test_every_revision_can_be_taken_back_and_messages_stay(engine: Engine) -> None:
    migrate.upgrade(engine)
    Queue("orders", engine).push(1)

    for revision in reversed(REVISIONS[:-1]):
        migrate.downgrade(engine, revision)
        assert migrate.current(engine) == revision
    migrate.upgrade(engine)

    assert Queue("orders", engine).counts().available == 1


def test_an_upgrade_of_an_upgraded_schema_changes_nothing(engine: Engine) -> None:
    migrate.upgrade(engine)
    Queue("orders", engine).push(1)

    migrate.upgrade(engine)

    assert Queue("orders", engine).counts().available == 1


def _compare_default(
    _context: MigrationContext,
    _inspected: Column[Any],
    declared: Column[Any],
    *_defaults: object,
) -> bool | None:
    """Leave out the identity, which SQLite lacks: the table's AUTOINCREMENT stands for it."""
    return False if declared.identity is not None else None


def test_the_migrated_schema_equals_the_declared_one_to_alembic(engine: Engine) -> None:
    migrate.upgrade(engine)

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": _compare_default
                if engine.dialect.name == "sqlite"
                else True,
                "include_name": lambda name, kind, _parents: kind != "table" or name == TABLE_NAME,
            },
        )
        differences = compare_metadata(context, message_table().metadata)

    assert differences == []


SQLITE_CATALOG = ["SELECT type, name, sql FROM sqlite_master WHERE tbl_name = 'xclaim_message'"]
POSTGRESQL_CATALOG = [
    """
    SELECT attname, atttypid::regtype::text, attnotnull, attidentity, pg_get_expr(adbin, adrelid)
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = 'xclaim_message'::regclass AND attnum > 0
    """,
    """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid = 'xclaim_message'::regclass
    """,
    "SELECT indexdef FROM pg_indexes WHERE tablename = 'xclaim_message'",
    "SELECT reloptions FROM pg_class WHERE oid = 'xclaim_message'::regclass",
]


def catalog(engine: Engine) -> list[Any]:
    """Return what the database itself says of the table: what Alembic's compare does not see."""
    queries = SQLITE_CATALOG if engine.dialect.name == "sqlite" else POSTGRESQL_CATALOG
    with engine.connect() as connection:
        return [
            sorted(_normalised(row) for row in connection.execute(text(query))) for query in queries
        ]


def _normalised(row: Any) -> tuple[str, ...]:
    return tuple(" ".join(str(value).split()).replace("( ", "(") for value in row)


def test_the_migrated_schema_equals_the_declared_one_to_the_database(engine: Engine) -> None:
    migrate.upgrade(engine)
    migrated = catalog(engine)
    migrate.downgrade(engine, "base")

    message_table().metadata.create_all(engine)

    assert catalog(engine) == migrated


def test_the_code_knows_the_revisions_of_the_migrations() -> None:
    scripts = migrate.script_directory()

    assert scripts.get_current_head() == REVISION
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


def test_a_migration_imports_nothing_from_the_package() -> None:
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        imported = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        }
        assert not {name for name in imported if name.split(".")[0] == "xclaim"}, path.name


def test_the_schema_lives_beside_another_applications(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('theirs')"))
        connection.execute(text("CREATE TABLE customer (id int)"))

    migrate.upgrade(engine)
    migrate.downgrade(engine, "base")

    assert tables(engine) == {"alembic_version", "customer", VERSION_TABLE_NAME}
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "theirs"


def test_a_postgresql_schema_is_created_and_used(postgresql: Engine) -> None:
    migrate.upgrade(postgresql, schema='Work "1"')

    assert tables(postgresql) == set()
    views = {"xclaim_queue_stats", "xclaim_lineage", "xclaim_overview"}
    assert tables(postgresql, 'Work "1"') == {TABLE_NAME, VERSION_TABLE_NAME, *views}
    queue = Queue("orders", postgresql, schema='Work "1"')
    queue.push(1)
    queue.ack_many(queue.claim_many(1))
    assert queue.counts().consumed == 1
    migrate.downgrade(postgresql, "base", schema='Work "1"')
    assert tables(postgresql, 'Work "1"') == {VERSION_TABLE_NAME}


def test_the_schema_can_come_from_the_environment(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XCLAIM_SCHEMA", "work")

    migrate.upgrade(postgresql)
    Queue("orders", postgresql).push(1)

    assert tables(postgresql) == set()
    with postgresql.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM work.xclaim_message")) == 1


def test_the_view_counts_by_queue_with_its_dead_letters(engine: Engine) -> None:
    from datetime import timedelta

    migrate.upgrade(engine)
    queue = Queue("orders", engine)
    queue.push("dead", max_attempts=1)
    queue.release(queue.claim_many(1)[0])
    queue.push("later", delay=timedelta(hours=1))
    queue.push_many([1, 2, 3, 4])
    queue.ack(queue.claim_many(2)[0])
    Queue("other", engine).push(1)

    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM xclaim_queue_stats ORDER BY queue")).all()

    assert [tuple(row)[:6] for row in rows] == [("orders", 2, 1, 1, 1, 1), ("other", 1, 0, 0, 0, 0)]
    assert rows[0].oldest_available_age is not None
    assert rows[0].oldest_claim_age is not None
    assert rows[1].oldest_claim_age is None


def test_the_overview_leaves_out_what_may_be_confidential(engine: Engine) -> None:
    migrate.upgrade(engine)
    Queue("orders", engine).push("a payload", headers={"a": "header"})

    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM xclaim_overview")).one()

    left_out = {"payload", "headers", "last_error", "claim_token"}
    assert set(row._fields) == {column.name for column in message_table().c} - left_out
    assert row.queue == "orders"


def views_that_heed_their_reader(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return connection.execute(text(HEEDING)).scalars().all()  # type: ignore[return-value]


HEEDING = """
SELECT relname FROM pg_class
 WHERE relkind = 'v' AND relname LIKE 'xclaim%' AND 'security_invoker=true' = ANY (reloptions)
 ORDER BY 1
"""


def test_the_views_show_what_their_reader_may_see(postgresql: Engine) -> None:
    migrate.upgrade(postgresql)
    upgraded = views_that_heed_their_reader(postgresql)
    migrate.downgrade(postgresql, "0003")

    assert upgraded == ["xclaim_lineage", "xclaim_overview", "xclaim_queue_stats"]
    assert views_that_heed_their_reader(postgresql) == []


@pytest.mark.parametrize("schema", [None, 'Work "1" %s :x'])
def test_a_downgrade_shows_no_queue_to_who_is_limited_to_another(
    postgresql: Engine, schema: str | None
) -> None:
    migrate.upgrade(postgresql, schema=schema)
    table = message_table(schema)
    with postgresql.begin() as connection:
        name = connection.dialect.identifier_preparer.format_table(table)
        connection.exec_driver_sql(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")

    migrate.downgrade(postgresql, "0003", schema=schema)

    assert views_that_heed_their_reader(postgresql) == ["xclaim_lineage", "xclaim_queue_stats"]


@pytest.mark.slow
def test_alembic_upgrades_from_the_checkout(empty_database_url: str) -> None:
    environment = os.environ | {"XCLAIM_DATABASE_URL": empty_database_url}
    command = [sys.executable, "-m", "alembic"]

    subprocess.run([*command, "upgrade", "head"], cwd=ROOT, env=environment, check=True)
    migrate.check(empty_database_url)
    url_option = ["-x", f"url={empty_database_url}"]
    subprocess.run([*command, *url_option, "downgrade", "base"], cwd=ROOT, check=True)

    assert migrate.current(empty_database_url) is None


@pytest.mark.slow
def test_alembic_without_a_database_says_what_to_set() -> None:
    environment = {key: os.environ[key] for key in os.environ if key != "XCLAIM_DATABASE_URL"}

    result = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode != 0
    assert "set XCLAIM_DATABASE_URL" in result.stderr + result.stdout


def test_autovacuum_fits_a_queue(postgresql: Engine) -> None:
    migrate.upgrade(postgresql)

    with postgresql.connect() as connection:
        options = connection.scalar(
            text("SELECT reloptions FROM pg_class WHERE oid = 'xclaim_message'::regclass")
        )

    assert "autovacuum_vacuum_scale_factor=0.01" in (options or [])


@pytest.mark.slow
def test_parallel_upgrades_of_one_database_all_succeed(empty_database_url: str) -> None:
    code = f"from xclaim.operations import migrate; migrate.upgrade({empty_database_url!r})"

    upgrades = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]

    assert [upgrade.wait() for upgrade in upgrades] == [0, 0, 0, 0]
    migrate.check(empty_database_url)
