"""In your transaction: a queue bound to a connection commits and rolls back with it."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError, ResourceClosedError

from tests.contract.facades import Facade
from xclaim import (
    AsyncQueue,
    ClaimLostError,
    InvalidArgumentError,
    Queue,
    ack,
    claim,
    create_async_engine,
    create_engine,
    push,
)


class RolledBackError(Exception):
    pass


def test_a_rolled_back_push_never_was(facade: Facade, queue: Queue) -> None:
    with suppress(RolledBackError), facade.in_transaction(queue.name) as bound:
        bound.push({"id": 1})
        raise RolledBackError

    assert queue.counts().available == 0


def test_a_rolled_back_ack_leaves_the_message_claimed(facade: Facade, queue: Queue) -> None:
    queue.push({"id": 1})
    claimed = queue.claim()
    assert claimed is not None

    with suppress(RolledBackError), facade.in_transaction(queue.name) as bound:
        bound.ack(claimed)
        raise RolledBackError

    assert queue.counts().claimed == 1


def test_a_committed_transaction_keeps_all(facade: Facade, queue: Queue) -> None:
    with facade.in_transaction(queue.name) as bound:
        bound.push_many([1, 2])
        claimed = bound.claim()
        assert claimed is not None
        bound.ack(claimed)

    assert (queue.counts().available, queue.counts().consumed) == (1, 1)


def test_a_message_pushed_within_a_long_transaction_is_claimed_in_it(
    facade: Facade, queue: Queue
) -> None:
    with facade.in_transaction(queue.name) as bound:
        bound.push(1)
        bound.push(2)
        claims = bound.claim_many(5)

    assert len(claims) == 2


def test_consume_works_within_a_transaction(facade: Facade, queue: Queue) -> None:
    queue.push(1)

    with facade.in_transaction(queue.name) as bound, bound.consume() as claimed:
        assert claimed is not None

    assert queue.counts().consumed == 1


def test_transact_is_refused_where_there_is_a_transaction(facade: Facade, queue: Queue) -> None:
    with (
        facade.in_transaction(queue.name) as bound,
        pytest.raises(InvalidArgumentError, match="needs a queue bound to an engine"),
        bound.transact(),
    ):
        pass


@pytest.fixture
def effects(engine: Engine, name: str) -> Any:
    table = f'"effects {name}"'
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {table} (message_id bigint)"))
    yield table
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {table}"))


def count_of(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


def test_transact_commits_your_writes_with_the_ack(
    queue: Queue, engine: Engine, effects: str
) -> None:
    queue.push(1)

    with queue.transact() as (claimed, connection):
        assert claimed is not None
        connection.execute(text(f"INSERT INTO {effects} VALUES ({claimed.message.id})"))

    assert count_of(engine, effects) == 1
    assert queue.counts().consumed == 1


def test_transact_rolls_back_and_releases_on_an_exception(
    queue: Queue, engine: Engine, effects: str
) -> None:
    queue.push(1)

    with pytest.raises(RolledBackError), queue.transact() as (claimed, connection):
        connection.execute(text(f"INSERT INTO {effects} VALUES (1)"))
        raise RolledBackError("boom")

    assert claimed is not None
    assert count_of(engine, effects) == 0
    (message,) = queue.peek()
    assert message.last_error == "RolledBackError: boom"


@pytest.fixture
def refused(queue: Queue, engine: Engine, name: str) -> Iterator[str]:
    """Return a statement that the database refuses only when it is committed."""
    bind = queue._queue.bind

    def check_foreign_keys(connection: Any, *_: Any) -> None:
        connection.cursor().execute("PRAGMA foreign_keys = ON")

    if engine.dialect.name == "sqlite":
        event.listen(bind, "checkout", check_foreign_keys)
    customer, bill = f'"customer {name}"', f'"bill {name}"'
    deferred = f"REFERENCES {customer} (id) DEFERRABLE INITIALLY DEFERRED"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {customer} (id integer PRIMARY KEY)"))
        connection.execute(text(f"CREATE TABLE {bill} (customer_id integer {deferred})"))
    yield f"INSERT INTO {bill} VALUES (1)"
    if engine.dialect.name == "sqlite":
        event.remove(bind, "checkout", check_foreign_keys)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {bill}"))
        connection.execute(text(f"DROP TABLE {customer}"))


def test_transact_releases_what_cannot_be_committed_and_leaves_no_transaction(
    queue: Queue, refused: str
) -> None:
    queue.push(1)

    with pytest.raises(IntegrityError), queue.transact() as (_, connection):
        connection.execute(text(refused))

    (message,) = queue.peek()
    assert message.last_error_class == "sqlalchemy.exc.IntegrityError"
    with queue.transact() as (claimed, _):
        assert claimed is not None
    assert queue.counts().consumed == 1


def test_transact_releases_where_its_block_has_closed_the_connection(queue: Queue) -> None:
    queue.push(1)

    with pytest.raises(ResourceClosedError), queue.transact() as (_, connection):
        connection.close()

    assert queue.counts().claimed == 0


AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}
ENGINES: Mapping[str, Callable[[str], Any]] = {
    "of xclaim": create_engine,
    "of SQLAlchemy": sqlalchemy.create_engine,
    "in autocommit": lambda url: create_engine(url, **AUTOCOMMIT),
    "in autocommit by an option": lambda url: create_engine(url).execution_options(**AUTOCOMMIT),
    "of SQLAlchemy, in autocommit": lambda url: sqlalchemy.create_engine(url, **AUTOCOMMIT),
    "of asyncio": create_async_engine,
    "of asyncio, in autocommit": lambda url: create_async_engine(url, **AUTOCOMMIT),
}


@pytest.mark.parametrize("kind", ENGINES)
def test_transact_is_a_transaction_on_every_engine(
    contract_url: str, name: str, engine: Engine, effects: str, kind: str
) -> None:
    insert = text(f"INSERT INTO {effects} VALUES (1)")

    async def transact_twice(queue: AsyncQueue) -> None:
        async with queue.transact() as (_, connection):
            await connection.execute(insert)
        with suppress(RolledBackError):
            async with queue.transact() as (_, connection):
                await connection.execute(insert)
                raise RolledBackError
        await other.dispose()

    other = ENGINES[kind](contract_url)
    Queue(name, engine).push_many([1, 2])
    if "asyncio" in kind:
        asyncio.run(transact_twice(AsyncQueue(name, other)))
    else:
        queue = Queue(name, other)
        with queue.transact() as (_, connection):
            connection.execute(insert)
        with suppress(RolledBackError), queue.transact() as (_, connection):
            connection.execute(insert)
            raise RolledBackError
        other.dispose()

    assert count_of(engine, effects) == 1
    counts = Queue(name, engine).counts()
    assert (counts.consumed, counts.delayed) == (1, 1)


def test_transact_rolls_back_when_the_claim_was_lost(
    queue: Queue, engine: Engine, effects: str
) -> None:
    queue.push(1)

    with pytest.raises(ClaimLostError), queue.transact() as (claimed, connection):
        assert claimed is not None
        connection.execute(text(f"INSERT INTO {effects} VALUES (1)"))
        connection.execute(
            text(
                "UPDATE xclaim_message SET status = 'available', claim_token = NULL,"
                " claimed_by = NULL, claimed_at = NULL, claim_expires_at = NULL"
                f" WHERE id = {claimed.message.id}"
            )
        )

    assert count_of(engine, effects) == 0


def test_transact_yields_none_and_still_commits_when_there_is_nothing(
    queue: Queue, engine: Engine, effects: str
) -> None:
    with queue.transact() as (claimed, connection):
        connection.execute(text(f"INSERT INTO {effects} VALUES (1)"))

    assert claimed is None
    assert count_of(engine, effects) == 1


def test_the_plain_functions_are_the_same_verbs(engine: Engine, queue: Queue) -> None:
    with engine.begin() as connection:
        pushed = push(connection, queue.name, {"id": 1}, priority=2)
        claimed = claim(connection, queue.name, claimed_by="me")
        assert claimed is not None
        ack(connection, claimed)

    consumed = queue.get(pushed.id)
    assert consumed is not None
    assert consumed.consumed_by == "me"
