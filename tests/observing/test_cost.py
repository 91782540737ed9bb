"""A look reads index entries and rows up to its bounds, and never a whole table or queue."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from benchmarks.observing_cost import counted
from tests.databases import temporary_database
from tests.sql_docs import OBSERVING, observing
from xclaim import create_engine
from xclaim.observing import Observer
from xclaim.observing.values import Charted
from xclaim.operations import migrate
from xclaim.sql.dialects import SQLITE
from xclaim.sql.schema import message_table

MESSAGES = 60_000  # of each kind: some 1,000 pages of the table, 300 of an index
COLUMNS = "queue, origin_queue, payload, created_at, available_at, status, attempts"
KINDS = {
    "": "made + (n % 2) * interval '30 days', 'available', n % 2",
    ", claimed_at, consumed_at, consumed_by": "made, 'consumed', 1, made, made, 'h'",
    ", claimed_at, claim_expires_at, claim_token, claimed_by": (
        "made, 'claimed', 1, made, made, gen_random_uuid(), 'h'"
    ),
}
MOST_PAGES = (
    2_000  # of queue(), which reads the most rows; those of the table are ten times as many
)


@pytest.fixture(scope="module")
def large(postgresql_server: str) -> Iterator[Engine]:
    with temporary_database(postgresql_server) as url:
        engine = create_engine(url)
        migrate.upgrade(engine)
        with engine.begin() as connection:
            for columns, values in KINDS.items():
                connection.execute(
                    text(
                        f"INSERT INTO xclaim_message ({COLUMNS}{columns})"
                        f" SELECT 'orders', 'orders', '1', made, {values}"
                        "   FROM (SELECT n, now() - n * interval '1 second' AS made"
                        f"          FROM generate_series(1, {MESSAGES}) AS n) AS message"
                    )
                )
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")
        yield engine
        engine.dispose()


LOOKS: dict[str, Callable[[Observer], Any]] = {
    "queues": lambda observer: observer.queues(),
    "queue": lambda observer: observer.queue("orders"),
    "flows": lambda observer: observer.flows(["orders"]),
    "measures": lambda observer: observer.measures(),
    "consumed": lambda observer: observer.chart("orders", Charted.CONSUMED, timedelta(hours=1)),
    "pushed": lambda observer: observer.chart("orders", Charted.PUSHED, timedelta(hours=1)),
    "died": lambda observer: observer.chart("orders", Charted.DIED, timedelta(hours=1)),
}


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_reads_a_bounded_number_of_pages(large: Engine, name: str) -> None:
    observer = Observer(large, timeout=timedelta(minutes=2))

    with counted() as pages:
        LOOKS[name](observer)

    assert 0 < pages.count < MOST_PAGES


@pytest.mark.parametrize("name", [name for name in OBSERVING if SQLITE in OBSERVING[name]])
def test_sqlite_looks_by_an_index(sqlite_url: str, name: str) -> None:
    statement = observing(name)(message_table(), SQLITE)
    parameters = dict.fromkeys(re.findall(r"(?<![:\w]):([a-z_]+)", statement.text), 1)
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN {statement.text}"), parameters).all()
    engine.dispose()

    scanned = [row.detail for row in plan if re.match(r"SCAN (xclaim_message|behind|top)", row[3])]
    assert all("INDEX" in detail or name == "newest_pushed" for detail in scanned)
