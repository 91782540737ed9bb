"""Engines that an application has set up in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from xclaim import Queue, create_engine
from xclaim.connections.engine import parse_url
from xclaim.operations import migrate
from xclaim.operations.audit import audit
from xclaim.operations.doctor import examine


class Traced(psycopg.Cursor[Any]):
    """A cursor as tools for tracing make it."""

    seen: list[str]

    def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
        """Note the statement, and run it."""
        Traced.seen.append(str(query))
        return super().execute(query, *arguments, **options)


@pytest.mark.parametrize("make", [create_engine, sqlalchemy.create_engine])
def test_a_cursor_of_ones_own_sees_each_statement(postgresql_url: str, make: Any) -> None:
    Traced.seen = []
    engine = make(postgresql_url, connect_args={"cursor_factory": Traced})
    queue = Queue("orders", engine)

    queue.push(1)
    with queue.consume() as claimed:
        assert claimed is not None

    engine.dispose()
    for verb in ("INSERT", "UPDATE"):
        assert any(verb in statement for statement in Traced.seen)


@pytest.fixture
def tenant(empty_postgresql_url: str) -> Iterator[Engine]:
    """Return an engine that has its table in the schema of a tenant."""
    migrate.upgrade(empty_postgresql_url, schema="tenant")
    engine = create_engine(empty_postgresql_url)
    yield engine.execution_options(schema_translate_map={None: "tenant"})
    engine.dispose()


def test_each_verb_heeds_a_translated_schema(tenant: Engine) -> None:
    queue = Queue("orders", tenant)
    with tenant.begin() as connection:
        Queue("orders", connection).push(0)
    queue.push_many([1, 2], unique_keys=["one", "two"])
    bad = queue.claim()
    assert bad is not None

    queue.release(bad, error=ValueError("no"), delay=timedelta(0))
    assert queue.withdraw(["two"]) == 1
    with queue.consume_many(2) as claims:
        assert len(claims) == 2
    assert queue.expire() == 0
    assert queue.redrive(error="ValueError") == 0
    assert queue.prune(older_than=timedelta(0)) == 2
    assert queue.counts().available == 0
    assert audit(tenant).is_sound
    assert examine(tenant)


@pytest.mark.parametrize("option", [{"stream_results": True}, {"yield_per": 10}])
def test_an_engine_that_streams_its_results_has_verbs_that_do_not(
    database_url: str, option: dict[str, Any]
) -> None:
    engine = sqlalchemy.create_engine(database_url, execution_options=option)
    queue = Queue("orders", engine)

    queue.push_many([1, 2], unique_keys=["one", "two"])
    assert [claim.payload for claim in queue.stream()] == [1, 2]
    assert queue.counts().consumed == 2

    engine.dispose()


def test_a_transaction_that_its_user_made_read_only_costs_no_connections(
    postgresql_url: str,
) -> None:
    engine = create_engine(postgresql_url, pool_size=3)
    with engine.connect(), engine.connect():
        pass
    idle: Any = engine.pool
    before = idle.checkedin()

    with engine.connect() as connection, pytest.raises(DBAPIError, match="read-only"):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        Queue("orders", connection).push(1)

    assert idle.checkedin() == before == 2
    engine.dispose()


def test_a_database_may_have_an_at_in_its_name() -> None:
    parsed = parse_url("postgresql://me:secret@host/my%40db")

    assert parsed.password == "secret"
    assert parsed.database in ("my@db", "my%40db")  # SQLAlchemy 2.0 leaves it as it is


def test_a_file_of_another_kind_of_storage_is_not_made(tmp_path: Any) -> None:
    path = tmp_path / "stray"
    engine = create_engine(f"sqlite:///file:{path}?vfs=memdb&uri=true")
    with closing(engine.raw_connection()):
        pass
    engine.dispose()

    assert not path.exists()
