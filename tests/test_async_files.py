"""SQLite with asyncio, where each step of the driver goes to a thread and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from xclaim import AsyncQueue, Queue, create_async_engine, create_engine

Story = Callable[[AsyncEngine], Coroutine[Any, Any, Any]]


@asynccontextmanager
async def engine_of(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


def told(url: str, story: Story) -> Any:
    async def run() -> Any:
        async with engine_of(url) as engine:
            return await story(engine)

    return asyncio.run(run())


async def _set_a_level(engine: AsyncEngine) -> None:
    """Leave a connection in the pool on which Python's driver opens transactions itself."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        assert driver.isolation_level == ""


def test_a_verb_goes_to_the_thread_twice(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    go: Any = aiosqlite.Connection._execute

    async def note(self: Any, step: Any, *given: Any, **options: Any) -> Any:
        gone.append(step.__name__)
        return await go(self, step, *given, **options)

    async def story(engine: AsyncEngine) -> list[str]:
        queue: AsyncQueue = AsyncQueue("orders", engine)
        await queue.push_many([1, 2, 3])
        for measured in (False, False, True):
            if measured:
                monkeypatch.setattr(aiosqlite.Connection, "_execute", note)
            claim = await queue.claim()
            assert claim is not None
            await queue.ack(claim)
        return gone.copy()

    # A claim and its ack, and each time what the pool does when a connection comes back.
    assert told(sqlite_url, story) == ["_execute_fetchall", "rollback"] * 2


def test_each_verb_is_committed_whatever_level_somebody_has_left(sqlite_url: str) -> None:
    async def story(engine: AsyncEngine) -> None:
        await _set_a_level(engine)
        queue: AsyncQueue = AsyncQueue("orders", engine)
        await queue.push("a")
        claim = await queue.claim()
        assert claim is not None
        await queue.ack(claim)

    told(sqlite_url, story)

    assert Queue("orders", create_engine(sqlite_url)).counts().consumed == 1


def test_so_are_those_of_blocking_code(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.isolation_level == ""

    queue = Queue("orders", engine)
    queue.push("a")
    claim = queue.claim()
    assert claim is not None
    queue.ack(claim)

    assert _consumed(create_engine(sqlite_url)) == 1
    engine.dispose()


def test_a_transaction_of_the_caller_is_one(sqlite_url: str) -> None:
    async def story(engine: AsyncEngine) -> int:
        queue: AsyncQueue = AsyncQueue("orders", engine)
        await queue.push("kept")
        async with engine.connect() as connection, connection.begin() as transaction:
            bound: AsyncQueue = AsyncQueue("orders", connection)
            await bound.push("not kept")
            assert await bound.claim() is not None
            await transaction.rollback()
        async with queue.transact() as (claim, _):
            assert claim is not None
            assert claim.payload == "kept"
        return (await queue.counts()).consumed

    assert told(sqlite_url, story) == 1


def test_a_connection_that_somebody_has_closed_is_made_anew(sqlite_url: str) -> None:
    async def story(engine: AsyncEngine) -> Any:
        queue: AsyncQueue = AsyncQueue("orders", engine)
        await queue.push("a")
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
        await driver.close()
        claim = await queue.claim()
        return claim and claim.payload

    assert told(sqlite_url, story) == "a"


def test_one_that_is_closed_under_a_verb_is_an_error_of_the_database(sqlite_url: str) -> None:
    async def story(engine: AsyncEngine) -> Any:
        await AsyncQueue("orders", engine).push("a")
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            queue: AsyncQueue = AsyncQueue("orders", connection)
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            await driver.close()
            with pytest.raises(OperationalError) as lost:
                await queue.claim()
            assert lost.value.connection_invalidated
            claim = await queue.claim()
        return claim and claim.payload

    assert told(sqlite_url, story) == "a"


def _consumed(engine: Engine) -> int:
    with engine.connect() as connection:
        count: int = connection.scalar(
            text("SELECT count(*) FROM xclaim_message WHERE consumed_at IS NOT NULL")
        )
    engine.dispose()
    return count
