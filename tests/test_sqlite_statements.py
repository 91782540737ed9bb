"""What SQLite's driver is given, and what is made of its rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.dialects import sqlite

from xclaim.connections import pysqlite
from xclaim.connections.placeholders import by_place
from xclaim.operations.migrate import upgrade
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE
from xclaim.sql.schema import message_table

PUSHED = {
    "queue_name": "orders",
    "message_priority": 0,
    "message_headers": "{}",
    "attempts_limit": 20,
    "delay_seconds": 0.0,
    "payload_text": '{"id":1}',
}
CLAIMANT = {"queue_name": "orders", "claimant": "me", "key": None, "lease_seconds": 60.0}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    upgrade(f"sqlite:///{tmp_path}/queue.db")
    with closing(sqlite3.connect(tmp_path / "queue.db", isolation_level=None)) as connection:
        yield connection


def test_a_parameter_has_one_place_however_often_it_stands() -> None:
    text, names = by_place("strftime('%%H:%%M') %(queue)s %(id)s %(queue)s", "?")

    assert text == "strftime('%H:%M') ?1 ?2 ?1"
    assert names == ("queue", "id")


@pytest.mark.parametrize("encoded", [False, True])
def test_a_push_of_one_reads_no_list(driver: sqlite3.Connection, encoded: bool) -> None:
    statement = statements.push_one(message_table(), SQLITE, encoded=encoded)
    sent = pysqlite.sent(statement)
    given = {**PUSHED, "payload_codec": None}

    _, names = by_place(str(statement.compile(dialect=pysqlite._dialect())), "?")
    explained = driver.execute(f"EXPLAIN QUERY PLAN {sent.text}", [given[name] for name in names])
    plan = explained.fetchall()

    assert plan == []  # nothing is scanned, searched or sorted
    assert len(sent.run(driver, given, named=False)) == 1


def test_rows_with_names_are_read_and_others_are_the_drivers(driver: sqlite3.Connection) -> None:
    push = pysqlite.sent(statements.push_one(message_table(), SQLITE))
    claim = pysqlite.sent(statements.claim(message_table(), SQLITE))
    get = pysqlite.sent(statements.get(message_table(), SQLITE))
    push.run(driver, PUSHED, named=False)
    [claimed] = claim.run(driver, CLAIMANT, named=True)
    looked_at = {"queue_name": "orders", "message_id": claimed.id}

    [named] = get.run(driver, looked_at, named=True)
    [plain] = get.run(driver, looked_at, named=False)

    assert plain == tuple(as_it_stands(value) for value in named)
    assert named.payload == b'{"id":1}'
    assert named.claimed_by == "me"
    assert named.claimed_at.tzinfo is UTC
    assert isinstance(claimed.claim_token, UUID)


def as_it_stands(value: Any) -> Any:
    """Return a value as a column of SQLite has it that is read as bytes."""
    if isinstance(value, datetime):
        value = SQLITE.time_parameter(value)
    return value.encode() if isinstance(value, str) else value


def test_a_token_settles_as_it_was_handed_out(driver: sqlite3.Connection) -> None:
    push = pysqlite.sent(statements.push_one(message_table(), SQLITE))
    claim = pysqlite.sent(statements.claim(message_table(), SQLITE))
    ack = pysqlite.sent(statements.ack(message_table(), SQLITE))
    push.run(driver, PUSHED, named=False)
    [claimed] = claim.run(driver, CLAIMANT, named=True)
    receipt = {"message_id": claimed.id, "token": claimed.claim_token}

    assert list(ack.run(driver, {**receipt, "token": UUID(int=1)}, named=False)) == []
    assert list(ack.run(driver, receipt, named=False)) == [(claimed.id,)]


def test_who_has_the_turn_is_looked_up_by_id(driver: sqlite3.Connection) -> None:
    statement = statements.with_turn(message_table(), SQLITE)
    sql = str(statement.compile(dialect=sqlite.dialect(paramstyle="named")))

    asked = driver.execute(f"EXPLAIN QUERY PLAN {sql}", SQLITE.row_parameters(id=[1, 2]))
    plan = [row[-1] for row in asked]

    assert any("SEARCH xclaim_message USING INTEGER PRIMARY KEY" in each for each in plan), plan
    assert not any("SCAN xclaim_message" in each for each in plan), plan
