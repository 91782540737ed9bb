"""The SQL: as documented, and planned as intended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from tests import sql_docs
from xclaim import Queue, create_engine, statements
from xclaim.dialects import POSTGRESQL, SQLITE
from xclaim.schema import message_table

CLAIMABLE = "INDEX ix_xclaim_message_claim (queue=? AND priority=? AND available_at<?)"
PARAMETERS = {
    "queue_name": "load",
    "dead_letter_queue": "load.dead",
    "message_limit": 1,
    "claimant": "me",
    "key": None,
    "lease_seconds": 300.0,
    "message_id": 1,
    "token": "00000000-0000-0000-0000-000000000000",
}


@pytest.mark.parametrize("path", sql_docs.documents(), ids=lambda path: path.name)
def test_docs_sql_shows_what_is_sent(path: Any) -> None:
    written = " ".join(path.read_text().split())
    sent = " ".join(sql_docs.documents()[path].split())

    assert written == sent, "run `python -m tests.sql_docs`"


@pytest.fixture(scope="module")
def loaded(postgresql_url: str) -> Iterator[Engine]:
    """20,000 rows of each status, and 20,000 delayed ones of a higher priority."""
    engine = create_engine(postgresql_url)
    queue = Queue("load", engine)
    queue.push_many([{"n": n} for n in range(60_000)])
    queue.ack_many(queue.claim_many(20_000))
    queue.claim_many(20_000)
    queue.push_many([{"n": n} for n in range(20_000)], priority=5, delay=timedelta(days=1))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE xclaim_message"))
    yield engine
    engine.dispose()


def explain(connection: Connection, name: str, **parameters: Any) -> str:
    """Return the plan of a statement after it ran; it is rolled back by the caller."""
    statement = getattr(statements, name)(message_table(), POSTGRESQL)
    compiled = str(statement.compile(dialect=connection.dialect))
    cursor = connection.connection.cursor()
    cursor.execute("EXPLAIN (ANALYZE, BUFFERS) " + compiled, PARAMETERS | parameters)
    return "\n".join(row[0] for row in cursor.fetchall())


def buffers(plan: str) -> int:
    """Return how many pages the whole statement touched."""
    (line,) = re.findall(r"Buffers: shared (.*)", plan)[:1]
    return sum(int(number) for number in re.findall(r"(?:hit|read)=(\d+)", line))


@pytest.mark.parametrize("name", ["claim", "claim_again"])
def test_a_claim_reads_only_its_range_of_the_claim_index(loaded: Engine, name: str) -> None:
    with loaded.connect() as connection:
        plan = explain(connection, name, key="task" if name == "claim_again" else None)

    assert "ix_xclaim_message_claim" in plan
    assert "Seq Scan" not in plan
    assert "JIT" not in plan
    assert buffers(plan) < 100, plan


def test_a_claim_planned_while_the_table_was_empty_stays_quick(
    fresh_postgresql_url: str,
) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET plan_cache_mode = force_generic_plan"))
        connection.execute(text("SET enable_seqscan = off"))
        compiled = statements.claim(message_table(), POSTGRESQL).compile(dialect=engine.dialect)
        cursor = connection.connection.cursor()
        for _ in range(2):
            cursor.execute(str(compiled), PARAMETERS, prepare=True)  # type: ignore[call-arg]

        Queue("load", engine).push_many(list(range(20_000)))
        cursor.execute("SELECT generic_plans FROM pg_prepared_statements WHERE generic_plans > 0")
        generic = cursor.fetchall()
        connection.execute(text("SELECT pg_stat_reset()"))
        cursor.execute(str(compiled), PARAMETERS, prepare=True)  # type: ignore[call-arg]
        claimed = cursor.fetchall()
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        read = connection.scalar(
            text("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = :name"),
            {"name": "xclaim_message"},
        )

    engine.dispose()
    assert generic
    assert len(claimed) == 1
    assert read is not None
    assert read < 100


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_an_ack_uses_the_primary_key(loaded: Engine, mode: str) -> None:
    with loaded.connect() as connection:
        connection.execute(text(f"SET LOCAL plan_cache_mode = {mode}"))
        plan = explain(connection, "ack")

    assert "xclaim_message_pkey" in plan
    assert "ix_xclaim_message" not in plan
    assert buffers(plan) < 20, plan


def test_expire_reads_only_the_lapsed(loaded: Engine) -> None:
    with loaded.connect() as connection:
        plan = explain(connection, "expire", message_limit=100)

    assert "ix_xclaim_message_expiry" in plan
    assert "xclaim_message_pkey" in plan
    assert buffers(plan) < 20, plan


@pytest.mark.parametrize(
    ("name", "search"),
    [
        ("claim", f"SEARCH waiting USING {CLAIMABLE}"),
        ("claim_again", f"SEARCH waiting USING {CLAIMABLE}"),
        ("claim_again", "SEARCH held USING INDEX ix_xclaim_message_claim_key (claim_key=?)"),
        ("ack", "SEARCH xclaim_message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("ack_many", "SEARCH xclaim_message USING INTEGER PRIMARY KEY (rowid=?)"),
        ("expire", "INDEX ix_xclaim_message_expiry (queue=? AND claim_expires_at<?)"),
        ("redrive", "INDEX ix_xclaim_message_claim (queue=?)"),
        ("prune", "INDEX ix_xclaim_message_consumed (queue=? AND consumed_at<?)"),
        ("peek", f"SEARCH waiting USING {CLAIMABLE}"),
    ],
)
def test_sqlite_searches_by_index(sqlite_url: str, name: str, search: str) -> None:
    engine = create_engine(sqlite_url)
    statement = getattr(statements, name)(message_table(), SQLITE)
    compiled = statement.compile(dialect=engine.dialect)

    with engine.connect() as connection:
        values = tuple(
            (PARAMETERS | compiled.params).get(key, 1) for key in compiled.positiontup or []
        )
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", values).all()

    engine.dispose()
    details = [row[-1] for row in plan]
    assert any(search in detail for detail in details), details
    assert not [detail for detail in details if "AUTOMATIC" in detail], details
    assert not [detail for detail in details if "SCAN xclaim_message" in detail], details
