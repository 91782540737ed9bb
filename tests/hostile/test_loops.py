"""A loop goes on where a message cannot be read: that one is released, the others are consumed."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError

from tests.contract.facades import Facade
from tests.hostile import rows
from tests.retrying import AT_ONCE
from xclaim import EncryptionKeyError, PayloadReadError, Payloads, Queue
from xclaim.consuming.reconnecting import is_passing
from xclaim.errors import UnknownCodecError

KEY = Fernet.generate_key().decode()
LATER = "'2021-01-01 00:00:00.000'"  # than PAST
BATCH = 100
MIDDLE = BATCH // 2
DATABASES = ("sqlite", "postgresql")
UNREADABLE = [
    (database, name)
    for database, written in rows.ON.items()
    for name in ("a deep payload", "headers that are a list", "a codec nobody knows")
    if not written[name].is_read
]


@pytest.fixture
def queue(engine: Engine, facade: Facade, database: str, name: str) -> Queue:
    """Return a queue of a hundred messages, of which one cannot be read."""
    queue = facade.queue("hostile", retry=AT_ONCE)
    queue.push_many([{"innocent": number} for number in range(MIDDLE)])
    with engine.begin() as connection:
        # After one attempt, so that also what another worker might read is dead then.
        rows.ON[database][name].write(connection, created_at=_now(database), max_attempts="1")
        change = f"UPDATE xclaim_message SET available_at = {_now(database)}"
        connection.exec_driver_sql(change.replace("%", "%%"))
    queue.push_many([{"innocent": number} for number in range(MIDDLE, BATCH - 1)])
    return queue


def _now(database: str) -> str:
    if database == "sqlite":
        return "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    return "statement_timestamp()"


def by_stream(queue: Queue) -> list[Any]:
    return [claim.payload["innocent"] for claim in queue.stream(batch=BATCH)]


def by_consume_many(queue: Queue) -> list[Any]:
    done: list[Any] = []
    while True:
        with queue.consume_many(BATCH) as claims:
            done += [claim.payload["innocent"] for claim in claims]
            if not claims:
                return done


def by_claim_many(queue: Queue) -> list[Any]:
    done: list[Any] = []
    while claims := queue.claim_many(BATCH):
        for claim in claims:
            try:
                done.append(claim.payload["innocent"] if claim.message.headers == {} else None)
            except PayloadReadError as error:
                queue.release(claim, error=error)
            else:
                queue.ack(claim)
    return done


@pytest.mark.parametrize("work", [by_stream, by_consume_many, by_claim_many])
@pytest.mark.parametrize(("database", "name"), UNREADABLE)
def test_of_a_hundred_messages_the_unreadable_one_dies_and_the_others_are_consumed(
    queue: Queue, engine: Engine, work: Any
) -> None:
    done = work(queue)

    assert sorted(done) == list(range(BATCH - 1))
    counts = queue.counts()
    assert (counts.consumed, counts.dead_letters, counts.available) == (BATCH - 1, 1, 0)
    with engine.connect() as connection:
        attempts = text("SELECT attempts, status, last_error, last_error_class FROM xclaim_message")
        found = connection.execute(attempts).all()
    (dead,) = [row for row in found if row.status == "available"]
    assert {row.attempts for row in found} == {1}
    assert dead.last_error
    assert dead.last_error_class.startswith("xclaim.errors.")


@pytest.mark.parametrize("database", DATABASES)
def test_what_no_attempt_could_read_is_dead_after_the_first(
    engine: Engine, facade: Facade, database: str
) -> None:
    with engine.begin() as connection:
        rows.ON[database]["a deep payload"].write(connection)
    queue = facade.queue("hostile")

    assert list(queue.stream()) == []

    assert queue.counts().dead_letters == 1
    (dead,) = facade.queue("hostile.dead").peek()
    assert "nested too deeply" in str(dead.last_error)
    assert "'hostile'" in str(dead.last_error)
    assert "message 1" in str(dead.last_error)


@pytest.mark.parametrize("database", DATABASES)
def test_what_another_worker_might_read_is_tried_again(
    engine: Engine, facade: Facade, database: str
) -> None:
    with engine.begin() as connection:
        rows.ON[database]["a codec nobody knows"].write(connection)
    queue = facade.queue("hostile")

    assert list(queue.stream()) == []

    (failing,) = queue.failing()
    assert failing.attempts == 1
    assert failing.last_error_class == "xclaim.errors.UnknownCodecError"


@pytest.mark.parametrize("block", ["consume", "transact"])
@pytest.mark.parametrize("database", DATABASES)
def test_a_block_for_one_message_gets_it_and_may_not_read_it(
    engine: Engine, facade: Facade, database: str, block: str
) -> None:
    with engine.begin() as connection:
        rows.ON[database]["a deep payload"].write(connection)
    queue = facade.queue("hostile", retry=AT_ONCE)

    with pytest.raises(PayloadReadError), getattr(queue, block)() as got:
        _ = (got[0] if block == "transact" else got).payload
    queue.push("innocent")
    with getattr(queue, block)() as got:
        assert (got[0] if block == "transact" else got).payload == "innocent"

    assert queue.counts().consumed == 1
    assert queue.counts().dead_letters == 1


@pytest.mark.parametrize("database", DATABASES)
def test_a_block_that_could_not_read_one_message_gives_the_others_back_uncounted(
    engine: Engine, facade: Facade, database: str
) -> None:
    with engine.begin() as connection:
        rows.ON[database]["a codec nobody knows"].write(connection, max_attempts="1")
    queue = facade.queue("hostile", retry=AT_ONCE)
    queue.push_many(["innocent"] * 3)
    claims = queue.claim_many(4)

    with pytest.raises(UnknownCodecError), queue.working_on(claims) as held:
        _ = [claim.payload for claim in held]

    assert queue.counts().dead_letters == 1
    assert [message.attempts for message in queue.peek(9)] == [0, 0, 0]


@pytest.mark.parametrize("database", DATABASES)
def test_a_stream_hands_out_nothing_of_a_batch_that_cannot_be_read(
    engine: Engine, facade: Facade, database: str
) -> None:
    with engine.begin() as connection:
        rows.ON[database]["a deep payload"].write(connection)
        rows.ON[database]["a deep payload"].write(connection)
    queue = facade.queue("hostile", retry=AT_ONCE)
    queue.push("innocent")

    seen = [claim.payload for claim in queue.stream(batch=2)]

    assert seen == ["innocent"]
    assert queue.counts().dead_letters == 2


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("work", [by_stream, by_consume_many])
def test_a_worker_without_the_key_stops_after_a_hundred_messages(facade: Facade, work: Any) -> None:
    facade.queue("hostile", payloads=Payloads(keys=KEY)).push_many(range(150))
    keyless = facade.queue("hostile")

    with pytest.raises(EncryptionKeyError, match="XCLAIM_FERNET_KEYS"):
        work(keyless)

    assert (len(keyless.failing(200)), len(keyless.peek(200))) == (100, 50)


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("work", [by_stream, by_consume_many])
def test_a_hundred_messages_of_another_key_among_good_ones_stop_nothing(
    facade: Facade, work: Any
) -> None:
    mine = facade.queue("hostile", payloads=Payloads(keys=KEY), retry=AT_ONCE)
    theirs = facade.queue("hostile", payloads=Payloads(keys=Fernet.generate_key().decode()))
    for number in range(60):
        theirs.push_many([0, 0], max_attempts=1)
        mine.push({"innocent": number})

    assert work(mine) == list(range(60))
    assert mine.counts().dead_letters == 120


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("work", [by_stream, by_consume_many])
def test_a_loop_ends_where_only_the_unreadable_comes_back_at_once(
    engine: Engine, facade: Facade, database: str, work: Any
) -> None:
    with engine.begin() as connection:
        rows.ON[database]["a codec nobody knows"].write(connection, max_attempts="NULL")
    queue = facade.queue("hostile", retry=AT_ONCE)
    queue.push_many([{"innocent": 1}, {"innocent": 2}])

    assert sorted(work(queue)) == [1, 2]
    assert queue.counts().available == 1


def write_encoded(engine: Engine, database: str) -> None:
    """Write a message that nobody here can read, and that is decoded beside an event loop."""
    with engine.begin() as connection:
        rows.ON[database]["a codec nobody knows"].write(connection, max_attempts="NULL")


def let_the_unreadable_be_next(engine: Engine) -> None:
    """Order what is there: SQLite's clock has milliseconds, which the tests are quicker than."""
    change = "UPDATE xclaim_message SET available_at = {} WHERE status = 'available' AND codec {}"
    with engine.begin() as connection:
        connection.exec_driver_sql(change.format(rows.PAST, "IS NOT NULL"))
        connection.exec_driver_sql(change.format(LATER, "IS NULL"))


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_a_stream_acks_what_was_finished_before_the_unreadable_came_back(
    engine: Engine, facade: Facade, database: str, batch: int
) -> None:
    queue = facade.queue("hostile", retry=AT_ONCE)
    queue.push("first", priority=1)
    write_encoded(engine, database)
    queue.push_many(range(5))
    let_the_unreadable_be_next(engine)

    seen = [claim.payload for claim in queue.stream(batch=batch)]

    assert seen == ["first", *range(5)]
    counts = queue.counts()
    assert (counts.consumed, counts.claimed, counts.available) == (6, 0, 1)


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_stream_goes_on_with_what_was_pushed_since_the_unreadable_came_back(
    engine: Engine, facade: Facade, database: str, batch: int
) -> None:
    queue = facade.queue("hostile", retry=AT_ONCE)
    write_encoded(engine, database)
    queue.push("first")
    seen: list[Any] = []

    for claim in queue.stream(batch=batch):
        seen.append(claim.payload)
        if claim.payload == "first":
            queue.push_many(["a", "b", "c"])
            let_the_unreadable_be_next(engine)

    assert seen == ["first", "a", "b", "c"]
    assert (queue.counts().consumed, queue.counts().available) == (4, 1)


def blocks_of(queue: Queue, size: int) -> list[list[Any]]:
    done: list[list[Any]] = []
    while True:
        with queue.consume_many(size) as claims:
            if not claims:
                return done
            done.append([claim.payload for claim in claims])


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_loop_gets_past_the_unreadable_of_a_higher_priority(
    engine: Engine, facade: Facade, database: str, batch: int
) -> None:
    queue = facade.queue("hostile", retry=AT_ONCE)
    for _ in range(3):
        write_encoded(engine, database)
    queue.push_many(["a", "b"], priority=-1)
    assert [claim.payload for claim in queue.stream(batch=batch)] == ["a", "b"]
    queue.push_many(["c", "d", "e"], priority=-1)

    blocks = blocks_of(queue, batch)

    assert [payload for block in blocks for payload in block] == ["c", "d", "e"]
    assert max(map(len, blocks)) <= batch
    assert (queue.counts().consumed, queue.counts().available) == (5, 3)


@pytest.mark.parametrize("database", DATABASES)
def test_a_stream_claims_no_more_ahead_however_much_cannot_be_read(
    engine: Engine, facade: Facade, database: str
) -> None:
    with engine.begin() as connection:
        for _ in range(20):
            rows.ON[database]["headers that are a list"].write(connection)
    queue = facade.queue("hostile")
    queue.push_many(range(30))

    claimed = [queue.counts().claimed for _ in queue.stream(batch=2)]

    assert max(claimed) == 2
    assert queue.counts().dead_letters == 20


@pytest.mark.parametrize("database", ["postgresql"])
def test_an_error_of_the_driver_itself_is_not_taken_for_a_database_that_is_away(
    engine: Engine, facade: Facade, caplog: pytest.LogCaptureFixture
) -> None:
    queue = facade.queue("hostile")
    queue.counts()
    raised = DataError("SELECT", {}, ValueError("timestamp too small"))

    with engine.begin() as connection:
        rows.ON_POSTGRESQL["available since ever"].write(connection)
    with caplog.at_level(logging.WARNING, "xclaim"), queue.consume() as claim:
        assert claim is not None

    assert not is_passing(raised, has_connected=True)
    assert "the database is away" not in caplog.text
