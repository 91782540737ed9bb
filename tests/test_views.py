"""The views of what fails: for people with SQL, and whatever stands in rows written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from xclaim import Queue, create_engine

# Of no array, no object, and no type that is expected.
BY_HAND = (
    "null",
    "{}",
    '"text"',
    "1",
    '[1, "two", null, [], {}]',
    '[{"attempt": "first", "at": 12, "error": {"a": 1}}]',
    '[{"attempt": 1e400, "at": "yesterday"}]',
)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine)


def rows(engine: Engine, view: str, order: str = "1") -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.execute(text(f"SELECT * FROM {view} ORDER BY {order}"))
        return [dict(row) for row in found.mappings()]


def test_failing_messages_are_shown_with_their_next_try(engine: Engine, queue: Queue) -> None:
    queue.push("fine")
    queue.push("fragile", unique_key="one", priority=1)
    message = queue.release(queue.claim_many(1)[0], error=ValueError("secret"))

    (failing,) = rows(engine, "xclaim_failing")

    assert (failing["id"], failing["attempts"], failing["max_attempts"]) == (message.id, 1, 20)
    assert (failing["unique_key"], failing["error_class"]) == ("one", "ValueError")
    assert str(failing["next_try_at"])[:19] == f"{message.available_at:%Y-%m-%d %H:%M:%S}"
    assert "secret" not in str(failing)


def test_dead_letters_are_counted_by_error(engine: Engine, queue: Queue) -> None:
    queue.push_many([1, 2, 3], max_attempts=1)
    first, second, third = queue.claim_many(3)
    for claim, error in ((first, ValueError("a")), (second, ValueError("b")), (third, "text")):
        queue.release(claim, error=error)

    dead = rows(engine, "xclaim_dead_letters", "messages")

    assert [(each["queue"], each["error_class"], each["messages"]) for each in dead] == [
        ("orders.dead", None, 1),
        ("orders.dead", "ValueError", 2),
    ]
    assert dead[1]["newest_id"] == second.message.id
    assert dead[1]["first_died_at"] <= dead[1]["last_died_at"]


def test_each_failed_attempt_is_a_row(engine: Engine, queue: Queue) -> None:
    queue.push(1)
    for error in (ValueError("a"), "b"):
        (claim,) = queue.claim_many(1, claimed_by="me")
        queue.release(claim, error=error, delay=timedelta(0))

    failures = rows(engine, "xclaim_failures", "attempt")

    assert [(each["id"], int(each["attempt"]), each["error"]) for each in failures] == [
        (1, 1, "ValueError: a"),
        (1, 2, "b"),
    ]
    assert [each["error_class"] for each in failures] == ["ValueError", None]
    assert {each["claimed_by"] for each in failures} == {"me"}


@pytest.mark.parametrize("failures", BY_HAND)
def test_rows_written_by_hand_stop_no_view(engine: Engine, queue: Queue, failures: str) -> None:
    queue.push_many([1, 2], max_attempts=1)
    by_hand, dead = queue.claim_many(2)
    queue.release(dead, error="boom")
    if "1e400" in failures and engine.dialect.name == "sqlite":
        failures = failures.replace("1e400", "1e300")
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET failures = :failures WHERE id = :id").bindparams(
                id=by_hand.message.id
            )
            if engine.dialect.name == "sqlite"
            else text(
                "UPDATE xclaim_message SET failures = CAST(:failures AS jsonb) WHERE id = :id"
            ).bindparams(id=by_hand.message.id),
            {"failures": failures},
        )

    shown = rows(engine, "xclaim_failures")
    for view in ("xclaim_queue_stats", "xclaim_failing", "xclaim_dead_letters", "xclaim_overview"):
        assert rows(engine, view) is not None

    assert [each["error"] for each in shown if each["id"] == dead.message.id] == ["boom"]


def test_text_that_is_no_json_stops_no_view_of_sqlite(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    with Queue("orders", sqlite_url) as queue:
        queue.push_many([1, 2])
    with engine.begin() as connection:
        connection.execute(text("UPDATE xclaim_message SET failures = '{' WHERE id = 1"))
        connection.execute(text("UPDATE xclaim_message SET failures = x'00ff' WHERE id = 2"))

    assert rows(engine, "xclaim_failures") == []
    engine.dispose()


def test_the_head_is_the_message_that_would_be_claimed_next(engine: Engine, queue: Queue) -> None:
    queue.push("tried", priority=1)
    for _ in range(3):
        queue.release(queue.claim_many(1)[0])
    queue.push("new")

    (tried,) = rows(engine, "xclaim_queue_stats")
    queue.claim()
    (claimed,) = rows(engine, "xclaim_queue_stats")

    assert (tried["head_attempts"], tried["retrying"]) == (3, 1)
    assert (claimed["head_attempts"], claimed["retrying"]) == (0, 0)
