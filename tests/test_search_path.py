"""Who may create objects in a schema of the search path runs nothing as those who use a queue.

https://wiki.postgresql.org/wiki/A_Guide_to_CVE-2018-1058
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import make_url, text

import xclaim
from tests import traps
from tests.cli.command_line import CommandLine
from tests.contract.facades import AsyncFacade
from tests.every_verb import every_verb
from tests.people import People, people
from xclaim import InvalidArgumentError, Queue, create_engine
from xclaim.operations import audit, doctor, grants, migrate, ordering
from xclaim.sql import full_names

# As on PostgreSQL 14; and where what stands in `public` is taken before PostgreSQL's own.
PATHS = ['"$user", public', "public, pg_catalog"]


@pytest.fixture(params=PATHS)
def trapped_url(request: pytest.FixtureRequest, empty_postgresql_url: str) -> str:
    """An empty database with traps in its search path."""
    _set_path(empty_postgresql_url, request.param)
    traps.lay(empty_postgresql_url)
    return empty_postgresql_url


def _set_path(url: str, path: str) -> None:
    name = make_url(url).database
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET search_path = {path}"))
    engine.dispose()


def test_a_trap_catches_who_uses_short_names(empty_postgresql_url: str) -> None:
    _set_path(empty_postgresql_url, PATHS[1])
    traps.lay(empty_postgresql_url)
    engine = create_engine(empty_postgresql_url)

    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM pg_class WHERE relname::text = 'pg_class'")

    engine.dispose()
    assert {"count", "pg_class", "text"} < traps.loot(empty_postgresql_url)


def test_migrations_call_nothing_of_others(trapped_url: str) -> None:
    migrate.upgrade(trapped_url)
    migrate.upgrade(trapped_url)
    migrate.check(trapped_url)
    migrate.messages_lost(trapped_url, "base")
    migrate.downgrade(trapped_url, "base")
    migrate.upgrade(trapped_url, schema="of_its_own")

    assert traps.loot(trapped_url) == set()


def test_a_migration_within_that_of_an_application_leaves_its_path(trapped_url: str) -> None:
    engine = create_engine(trapped_url)

    with engine.begin() as connection:
        before = connection.exec_driver_sql("SHOW search_path").scalar_one()
        migrate.upgrade(connection)
        after = connection.exec_driver_sql("SHOW search_path").scalar_one()

    engine.dispose()
    assert after == before
    assert traps.loot(trapped_url) == set()


@pytest.mark.parametrize("facade", ["Queue", "AsyncQueue", "with SQLAlchemy's events"])
def test_verbs_call_nothing_of_others(trapped_url: str, facade: str) -> None:
    migrate.upgrade(trapped_url)
    if facade == "AsyncQueue":
        asynchronous = AsyncFacade(trapped_url)
        every_verb(asynchronous.queue("orders", notify=True))
        asynchronous.close()
    else:
        engine = create_engine(trapped_url, echo=facade != "Queue")
        every_verb(Queue("orders", engine, notify=True))
        engine.dispose()

    assert traps.loot(trapped_url) == set()


def test_a_verb_in_a_transaction_of_an_engine_of_others_calls_nothing(trapped_url: str) -> None:
    migrate.upgrade(trapped_url)
    engine = sqlalchemy.create_engine(trapped_url, use_native_hstore=False)
    # To connect SQLAlchemy itself asks by the short name.
    dialect: Any = engine.dialect
    dialect._get_default_schema_name = lambda _: "public"

    with engine.begin() as connection:
        every_verb(Queue("orders", connection))
    every_verb(Queue("invoices", engine))

    engine.dispose()
    assert traps.loot(trapped_url) == set()


VIEWS = ("queue_stats", "lineage", "overview", "failing", "dead_letters", "failures")


def test_views_call_nothing_of_others(trapped_url: str) -> None:
    migrate.upgrade(trapped_url)
    engine = create_engine(trapped_url)
    queue = Queue("orders", engine)
    queue.push_many([1, 2, 3], max_attempts=1)
    (first, second, _third) = queue.claim_many(3, claimed_by="dag/run/task#1@host")
    queue.release(first, error=ValueError("a"))
    queue.ack(second)

    with engine.begin() as connection:
        for view in VIEWS:
            connection.exec_driver_sql(f"SELECT * FROM public.xclaim_{view}").all()

    engine.dispose()
    assert traps.loot(trapped_url) == set()


def test_who_looks_after_a_queue_calls_nothing_of_others(trapped_url: str) -> None:
    migrate.upgrade(trapped_url)
    engine = create_engine(trapped_url)
    queue = Queue("orders", engine)
    queue.push_many([1, 2])
    queue.claim()

    found = doctor.examine(engine)
    audited = audit.audit(engine, queue="orders")
    audit.audit(engine, newest=1)

    engine.dispose()
    assert audited.is_sound
    assert not [each for each in found if "could not look" in each.found]
    assert traps.loot(trapped_url) == set()


def test_who_enables_ordering_calls_nothing_of_others(trapped_url: str) -> None:
    migrate.upgrade(trapped_url)
    engine = create_engine(trapped_url)

    assert ordering.enable(engine)
    queue = Queue("orders", engine)
    queue.push_many([1, 2], ordering_keys=["a", "a"])
    while (claim := queue.claim()) is not None:
        queue.ack(claim)
    assert ordering.disable(engine)

    with engine.connect() as connection:
        assert not ordering.is_begun(connection, None)
    engine.dispose()
    assert traps.loot(trapped_url) == set()


@pytest.mark.slow
def test_the_command_line_calls_nothing_of_others(
    empty_postgresql_url: str, tmp_path: Path
) -> None:
    _set_path(empty_postgresql_url, PATHS[1])
    traps.lay(empty_postgresql_url)
    environment = {**os.environ, "XCLAIM_DATABASE_URL": empty_postgresql_url}
    xclaim = CommandLine(folder=tmp_path, environment=environment)
    commands = ["upgrade", "push orders 1", "claim orders", "claims orders", "stats", "doctor"]

    outcomes = [xclaim(*command.split()) for command in commands]

    assert [outcome.stderr for outcome in outcomes if "Traceback" in outcome.stderr] == []
    assert traps.loot(empty_postgresql_url) == set()


@pytest.fixture(params=PATHS)
def office(
    request: pytest.FixtureRequest, postgresql_server: str, _template_url: str
) -> Iterator[People]:
    """People who are limited to a queue, in a database with traps."""
    with people(postgresql_server, _template_url, ["orders"]) as granted:
        url = granted.owner.url.render_as_string(hide_password=False)
        for engine in (granted.owner, *granted.engines.values()):
            engine.dispose()
        _set_path(url, request.param)
        traps.lay(url)
        yield granted


def test_roles_call_nothing_of_others(office: People) -> None:
    url = office.owner.url.render_as_string(hide_password=False)
    with office.owner.begin() as connection:
        role = office.engines["consumer"].url.username or ""
        grants.plan(connection, "consumer", role, queues=["orders"]).apply(connection)
    producer, consumer = office.queue("producer"), office.queue("consumer")
    maintainer = office.queue("maintainer")

    producer.push(1, unique_key="a")
    producer.push_many([2, 3])
    first, second = consumer.claim_many(2)
    consumer.ack(first)
    consumer.release(second, error="failed")
    maintainer.expire()
    maintainer.prune(older_than=timedelta(0))
    office.queue("observer").counts()
    office.run("reader", "TABLE public.xclaim_failures")

    assert traps.loot(url) == set()


def test_policies_that_are_granted_leave_the_path_of_the_transaction(office: People) -> None:
    role = office.engines["producer"].url.username or ""

    with office.owner.begin() as connection:
        before = connection.exec_driver_sql("SHOW search_path").scalar_one()
        grants.plan(connection, "producer", role, queues=["orders"]).apply(connection)
        after = connection.exec_driver_sql("SHOW search_path").scalar_one()

    assert after == before


def test_a_path_that_others_may_write_to_is_said(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("GRANT CREATE ON SCHEMA public TO PUBLIC"))

        planned = grants.plan(connection, "producer", "somebody")
    (finding,) = [each for each in doctor.examine(engine) if each.name == "search_path"]

    engine.dispose()
    assert finding.level is doctor.Level.WARNING
    assert "PUBLIC may create objects in the schema 'public'" in finding.found
    assert finding.remedy is not None
    assert 'REVOKE CREATE ON SCHEMA "public" FROM PUBLIC' in finding.remedy
    assert any("the schema public" in remark for remark in planned.remarks)


def test_a_database_that_others_may_write_to_is_said(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        name = make_url(fresh_postgresql_url).database
        connection.execute(text(f"GRANT CREATE ON DATABASE {name} TO PUBLIC"))

    (finding,) = [each for each in doctor.examine(engine) if each.name == "search_path"]

    engine.dispose()
    assert f"the database '{name}'" in finding.found


def test_a_path_of_the_owner_alone_is_good(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)

    (finding,) = [each for each in doctor.examine(engine) if each.name == "search_path"]

    engine.dispose()
    assert finding.level is doctor.Level.OK


def test_where_no_schema_of_the_path_is_there_one_must_be_named(empty_postgresql_url: str) -> None:
    _set_path(empty_postgresql_url, "nowhere")

    with pytest.raises(InvalidArgumentError, match="name one"):
        migrate.upgrade(empty_postgresql_url)


def test_a_table_is_migrated_where_the_path_finds_it(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        user = make_url(fresh_postgresql_url).username
        connection.execute(text(f"CREATE SCHEMA {user}"))  # the first of the path from now on

    migrate.upgrade(engine)

    with engine.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'xclaim_message'"
        )
        assert rows.scalars().all() == ["public"]
    engine.dispose()


# The texts

# Which send no statement by SQLAlchemy but to SQLite; LISTEN and PRAGMA name nothing.
# What verbs/seeing.py sends are the table's own policies in the words of pg_get_expr, which writes
# the schema in front of whatever would not be found along this path by its short name.
BY_THEMSELVES = {
    "connections/direct.py",
    "consuming/listening.py",
    "observing/asking.py",  # conditions of policies, as for verbs/seeing.py
    "verbs/seeing.py",
}


def test_every_statement_goes_through_the_compiler_of_full_names() -> None:
    package = Path(xclaim.__file__).parent
    sent = re.compile(r"connection\.(execute|scalar|scalars)\(")

    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if sent.search(path.read_text())
    }

    assert found == BY_THEMSELVES


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("a = 'x = y'", "a OPERATOR(pg_catalog.=) 'x = y'"),
        ("count(*)", "pg_catalog.count(*)"),
        ("a::text", "a::pg_catalog.text"),
        ("a LIKE 'b'", "a OPERATOR(pg_catalog.~~) 'b'"),
        ("a IN ('b', 'c')", "a OPERATOR(pg_catalog.=) ANY (ARRAY['b', 'c'])"),
        ("f(-1) -> -1", "pg_catalog.f(-1) OPERATOR(pg_catalog.->) -1"),
        ("FROM pg_class", "FROM pg_catalog.pg_class"),
        ("'a' || b || c", "'a' OPERATOR(pg_catalog.||) b OPERATOR(pg_catalog.||) c"),
        ("interval '1 second'", "interval '1 second'"),
    ],
)
def test_a_text_is_written_in_full(short: str, full: str) -> None:
    assert full_names.in_full(short) == full


@pytest.mark.parametrize(
    "text", ["a + b * c", "a NOT IN (b)", "a NOT LIKE b", "nullif(a, b)", "a IS DISTINCT FROM b"]
)
def test_a_text_that_would_mean_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        full_names.in_full(text)
