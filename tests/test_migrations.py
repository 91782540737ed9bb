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
from tests.later_xclaim import LATER, later_xclaim
from xclaim import Queue, SchemaVersionError, create_engine
from xclaim.operations import migrate
from xclaim.operations.doctor import examine
from xclaim.sql import schema as declared
from xclaim.sql.schema import REVISION, REVISIONS, VERSION_TABLE_NAME, message_table

ROOT = Path(__file__).parents[1]
OURS = set(declared.tables().tables)


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


def test_every_revision_can_be_taken_back_and_messages_stay(engine: Engine, tmp_path: Path) -> None:
    with later_xclaim(tmp_path):
        migrate.upgrade(engine)
        Queue("orders", engine).push(1)

        for revision in REVISIONS[::-1]:
            migrate.downgrade(engine, revision)
            assert migrate.current(engine) == revision
        migrate.upgrade(engine)

        migrate.check(engine)
    assert Queue("orders", engine).counts().available == 1


def test_a_revision_can_be_named_relative_to_the_one_there_is(
    engine: Engine, tmp_path: Path
) -> None:
    with later_xclaim(tmp_path):
        migrate.upgrade(engine, "+1")
        migrate.upgrade(engine, "+1")
        upgraded = migrate.current(engine)
        migrate.downgrade(engine, "-1")

    assert upgraded == LATER
    assert migrate.current(engine) == REVISIONS[-1]


def test_old_code_works_on_a_newer_schema(engine: Engine, tmp_path: Path) -> None:
    with later_xclaim(tmp_path):
        migrate.upgrade(engine)
    queue = Queue("orders", engine)

    queue.push_many([1, 2])
    queue.push(3, unique_key="key")
    first, second = queue.claim_many(2)
    queue.ack(first)
    queue.release(second)

    assert queue.push(3, unique_key="key").payload == 3
    assert sorted(message.payload for message in queue.peek(3)) == [2, 3]
    assert (queue.counts().available, queue.counts().consumed) == (2, 1)


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
                "include_name": lambda name, kind, _parents: kind != "table" or name in OURS,
            },
        )
        differences = compare_metadata(context, declared.tables())

    assert differences == []


# The columns, and what else there is, in the order the database has them.
SQLITE_CATALOG = [
    """
    SELECT type, name, sql FROM sqlite_master
     WHERE tbl_name IN ('xclaim_message', 'xclaim_queue', 'xclaim_slot') ORDER BY name
    """
]
POSTGRESQL_CATALOG = [
    """
    SELECT attname, atttypid::regtype::text, attnotnull, attidentity, pg_get_expr(adbin, adrelid)
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid IN ('xclaim_message'::regclass, 'xclaim_queue'::regclass,
           'xclaim_slot'::regclass) AND attnum > 0
     ORDER BY attrelid::regclass::text, attnum
    """,
    """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
     WHERE conrelid IN ('xclaim_message'::regclass, 'xclaim_queue'::regclass,
           'xclaim_slot'::regclass) ORDER BY conname
    """,
    """
    SELECT indexdef FROM pg_indexes
     WHERE tablename IN ('xclaim_message', 'xclaim_queue', 'xclaim_slot') ORDER BY indexname
    """,
    "SELECT unnest(reloptions) FROM pg_class WHERE oid = 'xclaim_message'::regclass ORDER BY 1",
]


def catalog(engine: Engine) -> list[Any]:
    """Return what the database itself says of the tables: what Alembic's compare does not see."""
    queries = SQLITE_CATALOG if engine.dialect.name == "sqlite" else POSTGRESQL_CATALOG
    with engine.connect() as connection:
        return [[_normalised(row) for row in connection.execute(text(query))] for query in queries]


def _normalised(row: Any) -> tuple[str, ...]:
    return tuple(" ".join(str(value).split()).replace("( ", "(") for value in row)


def test_the_migrated_schema_equals_the_declared_one_to_the_database(engine: Engine) -> None:
    migrate.upgrade(engine)
    migrated = catalog(engine)
    migrate.downgrade(engine, "base")

    declared.tables().create_all(engine)

    assert catalog(engine) == migrated
    assert all(migrated)


def test_the_columns_stand_in_their_declared_order(engine: Engine) -> None:
    migrate.upgrade(engine)

    found = {
        name: [column["name"] for column in inspect(engine).get_columns(name)] for name in OURS
    }

    assert found == {
        name: [column.name for column in table.c]
        for name, table in declared.tables().tables.items()
    }


def test_the_code_knows_the_revisions_of_the_migrations() -> None:
    scripts = migrate.script_directory()

    assert scripts.get_current_head() == REVISION
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


def test_a_migration_imports_neither_the_package_nor_what_other_migrations_share() -> None:
    for path in (ROOT / "migrations" / "versions").glob("*.py"):
        imported = set(_imported(ast.parse(path.read_text())))
        assert not {name for name in imported if name.split(".")[0] == "xclaim"}, path.name
        assert not imported & {"alembic.op", "alembic.context"}, path.name


def _imported(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


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
    views |= {"xclaim_failing", "xclaim_dead_letters", "xclaim_failures"}
    assert tables(postgresql, 'Work "1"') == {*OURS, VERSION_TABLE_NAME, *views}
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

    left_out = {"payload", "headers", "last_error", "failures", "claim_token"}
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

    assert views_that_heed_their_reader(postgresql) == [
        "xclaim_dead_letters",
        "xclaim_failing",
        "xclaim_failures",
        "xclaim_lineage",
        "xclaim_overview",
        "xclaim_queue_stats",
    ]


@pytest.mark.parametrize("schema", [None, 'Work "1" %s :x'])
def test_rights_are_kept_by_later_revisions(
    postgresql: Engine, tmp_path: Path, schema: str | None
) -> None:
    role = f"reader_{os.urandom(4).hex()}"
    migrate.upgrade(postgresql, schema=schema)
    with postgresql.begin() as connection:
        name = connection.dialect.identifier_preparer.format_table(message_table(schema))
        connection.exec_driver_sql(f"CREATE ROLE {role}")
        connection.exec_driver_sql(f"GRANT SELECT (queue) ON {name} TO {role}")

    with later_xclaim(tmp_path):
        migrate.upgrade(postgresql, schema=schema)
        upgraded = columns_read_by(postgresql, role)
        migrate.downgrade(postgresql, "0001", schema=schema)

    assert upgraded == ["queue", "reply_queue"]
    assert columns_read_by(postgresql, role) == ["queue"]
    assert len(views_that_heed_their_reader(postgresql)) == 6
    with postgresql.begin() as connection:
        connection.exec_driver_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def columns_read_by(engine: Engine, role: str) -> list[str]:
    query = text(
        "SELECT column_name FROM information_schema.column_privileges"
        " WHERE grantee = :role AND privilege_type = 'SELECT' ORDER BY 1"
    )
    with engine.connect() as connection:
        return list(connection.scalars(query, {"role": role}))


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


def test_the_storage_fits_a_queue(postgresql: Engine) -> None:
    migrate.upgrade(postgresql)

    with postgresql.connect() as connection:
        options = connection.scalar(
            text("SELECT reloptions FROM pg_class WHERE oid = 'xclaim_message'::regclass")
        )

    assert {"autovacuum_vacuum_scale_factor=0.01", "fillfactor=70"} <= {*(options or [])}


@pytest.mark.parametrize("name", ["xclaim_queue", "xclaim_message"])
def test_a_table_that_is_missing_is_named_and_can_be_made_anew(
    database_url: str, name: str
) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        cascade = " CASCADE" if engine.dialect.name == "postgresql" else ""
        connection.execute(text(f"DROP TABLE {name}{cascade}"))

    with pytest.raises(SchemaVersionError, match=f"no table {name}: .* downgrade base --yes"):
        Queue("orders", engine).claim()
    findings = examine(engine)
    lost = migrate.messages_lost(engine, "base")
    migrate.downgrade(engine, "base")
    migrate.upgrade(engine)
    Queue("orders", engine).push(1)
    claim = Queue("orders", engine).claim()
    engine.dispose()

    assert [(each.name, name in each.found) for each in findings] == [("schema_version", True)]
    assert lost == (None if name == "xclaim_message" else {})
    assert claim is not None
