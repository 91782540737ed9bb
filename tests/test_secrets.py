"""What is confidential appears in no repr, no error and no log: passwords, payloads, tokens."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.eventually import until
from tests.retrying import AT_ONCE
from xclaim import (
    AsyncQueue,
    Claim,
    ClaimLostError,
    DatabaseUrlError,
    DuplicateMessageError,
    InvalidArgumentError,
    Queue,
    SchemaVersionError,
    create_engine,
)

SECRET = "hunter2"
PAYLOAD = {"card": SECRET}
BROKEN = "ALTER TABLE xclaim_message RENAME COLUMN priority TO rank"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine, retry=AT_ONCE)


def claimed(queue: Queue, **options: Any) -> Claim:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def everything_of(error: BaseException) -> str:
    """Return what a log shows of the error: its causes, their causes, and the notes."""
    return "".join(traceback.format_exception(error))


def test_a_repr_shows_neither_payload_nor_token(queue: Queue) -> None:
    pushed = queue.push(PAYLOAD, headers={"note": SECRET}, unique_key="order-1")
    queue.release(claimed(queue), error=SECRET)
    claim = claimed(queue)

    for shown in (repr(pushed), repr(claim), str(claim), f"{[claim]}"):
        assert SECRET not in shown
        assert str(claim.token) not in shown
        assert "order-1" in shown


@pytest.mark.parametrize("facade", [Queue, AsyncQueue])
def test_a_queue_shows_no_password(facade: Callable[..., object]) -> None:
    for url in (
        f"postgresql://user:{SECRET}@host/db",
        f"postgresql://user@host/db?password={SECRET}&sslpassword={SECRET}",
    ):
        assert SECRET not in repr(facade("orders", url))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}",
        f"postgresql://user:x@host:{SECRET}/db",
        f"user:{SECRET}@host/db",
        f"mysql://user:{SECRET}@host/db",
        f"postgresql+asyncpg://user:{SECRET}@host/db",
        f"postgresql://user:{SECRET}@host/db?prepare_threshold=soon",
    ],
)
def test_a_url_that_cannot_be_used_is_not_quoted(url: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        Queue("orders", url)

    assert SECRET not in everything_of(caught.value)


@pytest.mark.parametrize("facade", [Queue, AsyncQueue])
@pytest.mark.parametrize(
    "password",
    ["p@hunter2", "p@hunter2/w:rd", "@hunter2", "hunter2@", "p@1234/hunter2", "p@hunter2#?x"],
)
def test_an_unescaped_at_shows_no_part_of_the_password(
    facade: Callable[..., object], password: str
) -> None:
    url = f"postgresql://user:{password}@db.example:5432/orders"

    with pytest.raises(DatabaseUrlError, match="write %40 for @, %2F for /") as caught:
        facade("orders", url)

    assert SECRET not in everything_of(caught.value)


@pytest.mark.parametrize("password", ["p@ss", "a/b", "a#b", "a?b=c", "a%b", "a:b", " ", "p@1/2@h"])
def test_a_password_that_is_escaped_arrives_as_it_is(password: str) -> None:
    url = f"postgresql://us%40er:{quote(password, safe='')}@db.example:5432/orders"

    parsed = create_engine(url).url

    assert (parsed.username, parsed.password) == ("us@er", password)
    assert (parsed.host, parsed.port, parsed.database) == ("db.example", 5432, "orders")
    assert quote(password, safe="") not in repr(parsed) or password == " "


@pytest.mark.parametrize("password", ["a/hunter2", "a#hunter2", "a?hunter2", "a:hunter2"])
def test_what_needs_no_escape_is_hidden_as_well(password: str) -> None:
    engine = create_engine(f"postgresql://user:{password}@127.0.0.1:1/db?connect_timeout=2")

    assert engine.url.password == password
    with pytest.raises(SQLAlchemyError) as caught:
        engine.connect()
    assert SECRET not in repr(engine) + everything_of(caught.value)


def test_a_password_in_the_query_is_hidden_by_sqlalchemy_too() -> None:
    engine = create_engine(f"postgresql:///db?user=me&password={SECRET}&host=/run")

    assert SECRET not in repr(engine)
    assert (engine.url.username, engine.url.password) == ("me", SECRET)
    assert dict(engine.url.query) == {"host": "/run"}


def test_a_server_that_cannot_be_reached_hears_no_password_in_the_error() -> None:
    url = f"postgresql://nobody:{SECRET}@127.0.0.1:1/orders?connect_timeout=2"

    with Queue("orders", url) as queue, pytest.raises(SQLAlchemyError) as caught:
        queue.push(PAYLOAD)

    assert SECRET not in everything_of(caught.value)


def test_a_key_that_is_taken_shows_no_payload(queue: Queue) -> None:
    queue.push(PAYLOAD, unique_key="key")

    with pytest.raises(DuplicateMessageError) as caught:
        queue.push([SECRET], unique_key="key")

    assert SECRET not in everything_of(caught.value)


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_key_that_is_taken_meanwhile_shows_no_payload(
    fresh_postgresql_url: str, in_transaction: bool
) -> None:
    engine = create_engine(fresh_postgresql_url)

    def push() -> None:
        if not in_transaction:
            Queue("orders", engine).push([SECRET], unique_key="key")
            return
        with engine.begin() as connection:
            Queue("orders", connection).push([SECRET], unique_key="key")

    with ThreadPoolExecutor(1) as pool, engine.begin() as connection:
        Queue("orders", connection).push(PAYLOAD, unique_key="key")
        waiting = pool.submit(push)
        until(lambda: _waits_for_a_lock(engine))
        connection.commit()
        error = waiting.exception()

    engine.dispose()
    assert isinstance(error, DuplicateMessageError)
    assert SECRET not in everything_of(error)


def _waits_for_a_lock(engine: Engine) -> bool:
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(text(waiting)))


def test_a_lost_claim_shows_neither_payload_nor_token(queue: Queue) -> None:
    queue.push(PAYLOAD)
    claim = claimed(queue)
    queue.release(claim)

    with pytest.raises(ClaimLostError) as caught:
        queue.ack(claim)
    with pytest.raises(InvalidArgumentError) as wrong:
        Queue("others", queue._queue.bind).ack(claim)

    for error in (caught.value, wrong.value):
        assert SECRET not in everything_of(error)
        assert str(claim.token) not in everything_of(error)


def test_a_statement_that_fails_shows_neither_payload_nor_token(
    engine: Engine, queue: Queue
) -> None:
    queue.push(PAYLOAD)
    claim = claimed(queue)
    with engine.begin() as connection:
        connection.execute(text(BROKEN))
        connection.execute(text("UPDATE xclaim_alembic_version SET version_num = '0001'"))

    verbs: list[Callable[[], object]] = [
        lambda: queue.push(PAYLOAD, unique_key="key"),
        lambda: queue.release(claim, error=SECRET),
    ]
    for verb in verbs:
        with pytest.raises(SchemaVersionError) as caught:
            verb()
        assert SECRET not in everything_of(caught.value)
        assert str(claim.token) not in everything_of(caught.value)
        assert "UPDATE" in everything_of(caught.value) or "INSERT" in everything_of(caught.value)


def test_the_log_shows_neither_payload_nor_token(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_engine(sqlite_url)
    queue = Queue("orders", engine)
    tokens: list[str] = []
    caplog.set_level(logging.DEBUG, logger="xclaim")
    queue.push_many([PAYLOAD, PAYLOAD], unique_keys=["key", None])
    with queue.consume() as claim:
        assert claim is not None

    with pytest.raises(ZeroDivisionError) as caught:  # noqa: SIM117  (the claim is made first)
        with queue.consume(lease=timedelta(milliseconds=30)) as claim:
            assert claim is not None
            tokens.append(str(claim.token))
            with engine.begin() as connection:
                refuse = "BEGIN SELECT RAISE(ABORT, 'no'); END"
                connection.exec_driver_sql(
                    f"CREATE TRIGGER no BEFORE UPDATE ON xclaim_message {refuse}"
                )
            until(lambda: "extending the lease failed" in caplog.text)
            raise ZeroDivisionError("the work")

    engine.dispose()
    assert "was not released" in caplog.text
    for shown in (caplog.text, *caught.value.__notes__):
        assert SECRET not in shown
        assert tokens[0] not in shown
        assert tokens[0].replace("-", "") not in shown
