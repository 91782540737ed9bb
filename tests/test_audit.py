"""What the audit finds on rows that break a promise, and that it leaves sound ones alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text

from xclaim import InvalidArgumentError, Queue, SchemaVersionError, create_engine
from xclaim.errors import ObservationTimeoutError
from xclaim.operations.audit import Audit, Check, audit
from xclaim.sql.schema import CHECKS
from xclaim.sql.statements import auditing


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine)


def work_through_a_life(queue: Queue) -> None:
    """Leave a message in every state there is."""
    queue.push_many(list(range(5)), unique_keys=[f"order-{number}" for number in range(5)])
    queue.push("later", delay=timedelta(hours=1))
    queue.push("poison", max_attempts=1, priority=9)
    for claimed in queue.claim_many(2):
        queue.release(claimed, error="broken")  # the poison becomes a dead letter
    queue.ack_many(queue.claim_many(2))
    queue.claim(lease=timedelta(0))
    dead = Queue("orders.dead", queue._queue.bind)
    for _ in range(3):
        dead.release(dead.claim_many(1)[0])


def without_constraints(engine: Engine, statement: str) -> None:
    """Run a statement as somebody could who has dropped our constraints."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        else:
            _drop_checks(connection)
        connection.exec_driver_sql("DROP INDEX uq_xclaim_message_unique_key")
        connection.execute(text(statement))
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


def _drop_checks(connection: Connection) -> None:
    for name in CHECKS:
        connection.exec_driver_sql(f"ALTER TABLE xclaim_message DROP CONSTRAINT {name}")


def check(audited: Audit, name: str) -> Check:
    (found,) = [check for check in audited.checks if check.name == name]
    return found


def test_a_queue_in_use_is_sound(engine: Engine, queue: Queue) -> None:
    work_through_a_life(queue)

    audited = audit(engine)

    assert [check for check in audited.checks if check.broken] == []
    assert audited.is_sound
    assert audited.rows == {"available": 4, "claimed": 1, "consumed": 2}
    assert audited.gone == 0
    assert check(audited, "claimed").checked == 7


BREAKING = {
    "status": "UPDATE xclaim_message SET status = 'lost' WHERE id = 3",
    "claimed": "UPDATE xclaim_message SET status = 'claimed' WHERE id = 3",
    "consumed": "UPDATE xclaim_message SET consumed_by = 'me' WHERE id = 3",
    "attempts": "UPDATE xclaim_message SET attempts = -1 WHERE id = 3",
    "queue": "UPDATE xclaim_message SET queue = '' WHERE id = 3",
    "attempted": (
        "UPDATE xclaim_message SET status = 'consumed', claimed_at = created_at,"
        " consumed_at = created_at, consumed_by = 'me' WHERE id = 3"
    ),
    "attempts_bounded": "UPDATE xclaim_message SET attempts = 3, max_attempts = 2 WHERE id = 3",
    "exhausted_is_dead": "UPDATE xclaim_message SET attempts = 2, max_attempts = 2 WHERE id = 3",
    "in_line": "UPDATE xclaim_message SET available_at = NULL WHERE id = 3",
    "order_of_times": (
        "UPDATE xclaim_message SET status = 'consumed', consumed_by = 'me', attempts = 1,"
        " claimed_at = created_at, consumed_at = '2001-01-01 00:00:00.000' WHERE id = 3"
    ),
    "in_the_past": (
        "UPDATE xclaim_message SET status = 'consumed', consumed_by = 'me', attempts = 1,"
        " claimed_at = created_at, consumed_at = '2999-01-01 00:00:00.000' WHERE id = 3"
    ),
    "unique_keys": "UPDATE xclaim_message SET unique_key = 'the same' WHERE id IN (3, 4)",
    "tokens": (
        "UPDATE xclaim_message SET status = 'claimed', claimed_by = 'me', attempts = 1,"
        " claimed_at = created_at, claim_expires_at = '2999-01-01 00:00:00.000',"
        " claim_token = '00000000000000000000000000000001' WHERE id IN (3, 4)"
    ),
}


def test_every_promise_is_broken_below() -> None:
    row_promises = {*auditing.PROMISES, auditing.IN_THE_PAST, "unique_keys", "tokens"}

    assert set(BREAKING) == row_promises


@pytest.mark.parametrize("promise", BREAKING)
def test_a_broken_row_is_named(engine: Engine, queue: Queue, promise: str) -> None:
    queue.push_many(list(range(5)))
    without_constraints(engine, BREAKING[promise])

    audited = audit(engine)

    found = check(audited, promise)
    where = "''" if promise == "queue" else "'orders'"
    assert found.broken == 1
    assert found.examples == [f"message 3 in {where}"]
    assert not audited.is_sound


def test_a_payload_that_is_no_json_is_named(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    Queue("orders", engine).push_many([1, 2])
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE xclaim_message SET payload = '{' WHERE id = 2")

    audited = audit(engine)

    engine.dispose()
    assert check(audited, "readable").examples == ["message 2 in 'orders'"]


SOUND: dict[str, list[Any]] = {
    "json-types": [{"json": None}],
    "json-types+zstd": [{"data": ""}],
    "shop-csv": [{"data": "YQ=="}],
    "arrow+zstd+fernet": [{"uri": "file:///a", "size": 1, "sha256": "a" * 64, "key": "b"}],
    "digest": [{}, {"size": 1}],
    "dropped": [{}],
}
MALFORMED: dict[str, list[Any]] = {
    "json-types": [1, {}, {"data": 1}, {"uri": "file:///a", "size": "1", "sha256": "a"}],
    "json-types+fernet": [{"json": 1}],
    "json+fernet+zstd": [{"data": ""}],
    "json+zstd+zstd": [{"data": ""}],
    "json+zstd+fernet+fernet": [{"data": ""}],
    "json+brotli": [{"data": ""}],
    "digest": ["gone"],
}


def encoded(engine: Engine, codec: str, payload: Any) -> int:
    """Push a message, write this into its row, and return its id."""
    message = Queue("orders", engine).push(1)
    is_postgresql = engine.dialect.name == "postgresql"
    value = "CAST(:payload AS jsonb)" if is_postgresql else ":payload"
    values = {"payload": json.dumps(payload), "codec": codec, "id": message.id}
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE xclaim_message SET payload = {value}, codec = :codec WHERE id = :id"),
            values,
        )
    return message.id


@pytest.mark.parametrize("codec", SOUND)
def test_an_encoded_payload_of_any_codec_is_sound(engine: Engine, codec: str) -> None:
    for payload in SOUND[codec]:
        encoded(engine, codec, payload)

    assert audit(engine).is_sound


@pytest.mark.parametrize("codec", MALFORMED)
def test_an_encoded_payload_that_nobody_wrote_is_named(engine: Engine, codec: str) -> None:
    ids = [encoded(engine, codec, payload) for payload in MALFORMED[codec]]

    audited = audit(engine)

    assert check(audited, "readable").examples == [f"message {id_} in 'orders'" for id_ in ids]
    assert not audited.is_sound


def test_what_was_dropped_from_the_schema_is_named(engine: Engine, queue: Queue) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_xclaim_message_claim")

    audited = audit(engine)

    assert check(audited, "indexes").examples == ["ix_xclaim_message_claim"]
    assert not audited.is_sound
    assert queue.counts().available == 0


def test_checks_that_are_not_valid_are_named(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "ALTER TABLE xclaim_message DROP CONSTRAINT ck_xclaim_message_status,"
            " ADD CONSTRAINT ck_xclaim_message_status CHECK (status <> '') NOT VALID"
        )

    audited = audit(engine)

    engine.dispose()
    assert check(audited, "checks").examples == ["ck_xclaim_message_status"]


def test_a_large_table_is_read_in_parts(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xclaim.operations.audit._PART", 3)
    queue.push_many(list(range(10)))
    without_constraints(engine, "UPDATE xclaim_message SET attempts = -1 WHERE id IN (2, 5, 8)")

    audited = audit(engine)

    assert check(audited, "attempts").checked == 10
    assert check(audited, "attempts").broken == 3
    assert check(audited, "attempts").examples == ["message 2 in 'orders'"]


def test_an_audit_of_the_newest_or_of_one_queue_checks_no_others(
    engine: Engine, queue: Queue
) -> None:
    queue.push_many(list(range(5)))
    Queue("parcels", engine).push_many([1, 2])
    without_constraints(engine, "UPDATE xclaim_message SET attempts = -1 WHERE id = 3")

    assert check(audit(engine, newest=3), "attempts").checked == 3
    assert audit(engine, queue="parcels").rows == {"available": 2, "claimed": 0, "consumed": 0}
    assert check(audit(engine, queue="parcels"), "attempts").broken == 0
    assert check(audit(engine, queue="orders"), "attempts").broken == 1


@pytest.mark.parametrize("promise", ["unique_keys", "tokens"])
def test_an_audit_of_one_queue_leaves_out_what_others_repeat(
    engine: Engine, queue: Queue, promise: str
) -> None:
    Queue("parcels", engine).push_many(list(range(5)))
    queue.push(1)
    without_constraints(engine, BREAKING[promise])

    assert check(audit(engine, queue="orders"), promise).broken == 0
    assert check(audit(engine, queue="parcels"), promise).broken == 1


def test_pruned_messages_are_gone(engine: Engine, queue: Queue) -> None:
    queue.push_many(list(range(3)))
    queue.ack_many(queue.claim_many(2))
    queue.prune(older_than=timedelta(0))

    assert audit(engine).gone == 2


def test_an_audit_cannot_write_and_waits_for_nobody(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    Queue("orders", engine).push_many([1, 2])
    was_read_only: set[bool | None] = set()
    with engine.begin() as locking:
        locking.exec_driver_sql("SELECT * FROM xclaim_message FOR UPDATE")

        @event.listens_for(engine, "before_cursor_execute")
        def note(connection: Any, *_: Any) -> None:
            was_read_only.add(connection.connection.driver_connection.read_only)

        assert audit(engine).is_sound

    engine.dispose()
    assert was_read_only == {True}


def test_an_audit_without_a_table_says_what_to_run(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)

    with pytest.raises(SchemaVersionError, match="xclaim upgrade"):
        audit(engine)

    engine.dispose()


@pytest.mark.parametrize("newest", [0, -1])
def test_a_number_of_newest_that_is_none_is_refused(engine: Engine, newest: int) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^newest must"):
        audit(engine, newest=newest)


def test_an_audit_ends_when_its_time_is_over(database_url: str) -> None:
    engine = create_engine(database_url)
    Queue("orders", engine).push_many([1, 2])

    in_time = audit(engine, timeout=timedelta(hours=1))
    with pytest.raises(ObservationTimeoutError, match="whether every message is sound"):
        audit(engine, timeout=timedelta(0))

    assert in_time == audit(engine)
    engine.dispose()
