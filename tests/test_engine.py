"""An engine from a URL, with the settings each database needs."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import literal_column, make_url, select, text
from sqlalchemy.dialects.postgresql import JSONB

from xclaim import (
    AsyncQueue,
    Queue,
    SchemaVersionError,
    create_async_engine,
    create_engine,
)
from xclaim.connections.engine import is_in_memory
from xclaim.operations import migrate


@pytest.mark.parametrize(
    "url", ["postgres://u@h/db", "postgresql://u@h/db", "postgresql+psycopg://u@h/db"]
)
def test_every_postgresql_url_means_psycopg(url: str) -> None:
    assert create_engine(url).url.drivername == "postgresql+psycopg"
    assert create_async_engine(url).url.drivername == "postgresql+psycopg_async"


def test_a_sqlite_url_of_either_driver_serves_both_facades() -> None:
    assert create_engine("sqlite+aiosqlite:///x.db").url.drivername == "sqlite"
    assert create_async_engine("sqlite:///x.db").url.drivername == "sqlite+aiosqlite"


@pytest.mark.parametrize(("value", "prepared"), [("none", 0), ("0", 1)])
def test_prepared_statements_can_be_switched_off_in_the_url(
    postgresql_url: str, value: str, prepared: int
) -> None:
    engine = create_engine(f"{postgresql_url}?prepare_threshold={value}")

    with engine.connect() as connection:
        for _ in range(3):
            connection.execute(text("SELECT 'marker'"))
        query = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%marker%%'"
        count = connection.exec_driver_sql(query).scalar()

    engine.dispose()
    assert min(count or 0, 1) == prepared


def test_sqlite_has_the_settings_a_queue_needs(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)

    with engine.connect() as connection:
        journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        wait = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()

    engine.dispose()
    assert (journal, synchronous, wait) == ("wal", 2, 30_000)


def test_a_sqlite_transaction_holds_the_write_lock_from_its_begin(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    other = sqlite3.connect(make_url(sqlite_url).database or "", timeout=0)

    with engine.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")

    other.close()
    engine.dispose()


def test_a_queue_in_memory_lives_as_long_as_its_engine() -> None:
    engine = create_engine("sqlite://")
    migrate.upgrade(engine)
    queue = Queue("orders", engine)

    queue.push(1)

    assert queue.counts().available == 1
    with queue.consume() as claimed:
        assert claimed is not None
    assert queue.counts().consumed == 1
    engine.dispose()


def test_times_are_utc_whatever_the_session_speaks(fresh_postgresql_url: str) -> None:
    engine = create_engine(
        fresh_postgresql_url, connect_args={"options": "-c timezone=Asia/Kathmandu"}
    )

    message = Queue("orders", engine).push(1)

    engine.dispose()
    assert message.created_at.tzinfo is UTC
    assert abs((datetime.now(UTC) - message.created_at).total_seconds()) < 60


def test_a_repr_hides_the_password() -> None:
    with Queue("orders", "postgresql://user:secret@host/db") as queue:
        assert repr(queue) == "Queue('orders', 'postgresql+psycopg://user:***@host/db')"


@pytest.mark.parametrize(
    ("query", "in_memory"), [("mode=rwc", False), ("mode=rw", False), ("mode=memory", True)]
)
def test_a_url_with_a_mode_is_a_database_in_memory_only_if_it_says_so(
    tmp_path: Path, query: str, in_memory: bool
) -> None:
    url = make_url(f"sqlite:///file:{tmp_path}/xclaim.db?{query}&uri=true")

    assert is_in_memory(url) is in_memory


def test_the_options_of_sqlalchemy_are_yours(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url, json_deserializer=lambda _: "read by me")

    with engine.connect() as connection:
        read = connection.scalar(select(literal_column("'{}'::jsonb", JSONB)))

    engine.dispose()
    assert read == "read by me"


@pytest.mark.parametrize("facade", [Queue, AsyncQueue])
def test_a_file_that_somebody_is_making_is_waited_for(
    empty_sqlite_url: str, facade: type[Queue] | type[AsyncQueue]
) -> None:
    file = empty_sqlite_url.removeprefix("sqlite:///")
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # not in WAL: SQLite refuses to change that at once
    ending = threading.Timer(0.5, other.rollback)

    async def look() -> None:
        ending.start()
        async with AsyncQueue("orders", empty_sqlite_url) as queue:
            await queue.counts()

    with pytest.raises(SchemaVersionError):  # so it was opened
        if facade is AsyncQueue:
            asyncio.run(look())
        else:
            ending.start()
            Queue("orders", empty_sqlite_url).counts()

    ending.join()
    other.close()
