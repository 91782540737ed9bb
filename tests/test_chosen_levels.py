"""A level of isolation that an engine's user chose changes nothing: each verb is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from xclaim import AsyncQueue, Queue, create_engine

SERIALIZABLE = {"isolation_level": "SERIALIZABLE"}


def by_options_of_the_engine(url: str) -> Engine:
    return sqlalchemy.create_engine(url, execution_options=SERIALIZABLE)


def by_options_of_our_engine(url: str) -> Engine:
    return create_engine(url, execution_options=SERIALIZABLE)


def by_a_copy_with_options(url: str) -> Engine:
    return create_engine(url).execution_options(**SERIALIZABLE)


def by_the_level_itself(url: str) -> Engine:
    return sqlalchemy.create_engine(url, isolation_level="SERIALIZABLE")


def by_a_listener(url: str) -> Engine:
    engine = sqlalchemy.create_engine(url)

    @event.listens_for(engine, "engine_connect")
    def choose(connection: Connection) -> None:
        connection.execution_options(**SERIALIZABLE)

    return engine


@pytest.mark.parametrize(
    "made",
    [
        by_options_of_the_engine,
        by_options_of_our_engine,
        by_a_copy_with_options,
        by_the_level_itself,
        by_a_listener,
    ],
)
def test_verbs_are_committed_whatever_level_an_engine_chooses(
    database_url: str, made: Callable[[str], Engine]
) -> None:
    engine = made(database_url)
    queue = Queue("orders", engine)

    queue.push_many([1, 2, 3])
    with Queue("orders", database_url) as others:
        assert others.counts().available == 3
        assert [claim.payload for claim in queue.stream(batch=2)] == [1, 2, 3]
        assert others.counts().consumed == 3

    engine.dispose()


def test_so_it_is_with_asyncio(database_url: str) -> None:
    driver = {"postgresql+psycopg": "postgresql+psycopg_async", "sqlite": "sqlite+aiosqlite"}
    url = sqlalchemy.make_url(database_url)

    async def push_and_ack() -> None:
        address = url.set(drivername=driver[url.drivername])
        engine = create_async_engine(address, execution_options=SERIALIZABLE)
        queue = AsyncQueue("orders", engine)
        await queue.push(1)
        async with queue.consume() as claimed:
            assert claimed is not None
        await engine.dispose()

    asyncio.run(push_and_ack())

    with Queue("orders", database_url) as others:
        assert others.counts().consumed == 1
