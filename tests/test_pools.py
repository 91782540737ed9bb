"""The places of a pool: how many there are, who says so, and what is said when all are taken."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import sqlalchemy.exc
from sqlalchemy import NullPool

from xclaim import AsyncQueue, DatabaseUrlError, Queue, create_async_engine, create_engine
from xclaim.connections.engine import create_async_verb_engine, create_verb_engine
from xclaim.errors import NoConnectionError

MAKERS = {
    "blocking": create_engine,
    "asyncio": create_async_engine,
    "of a queue": create_verb_engine,
    "of an asyncio queue": create_async_verb_engine,
}


def with_size(url: str, size: object) -> str:
    return f"{url}{'&' if '?' in url else '?'}pool_size={size}"


def test_a_verb_without_a_connection_says_how_many_there_are_and_what_to_do(
    database_url: str,
) -> None:
    engine = create_engine(database_url, pool_size=2, pool_timeout=0.1)
    queue = Queue("orders", engine)

    with engine.connect(), engine.connect(), pytest.raises(NoConnectionError) as raised:
        queue.push(1)

    engine.dispose()
    assert (raised.value.places, raised.value.seconds) == (2, 0.1)
    assert "all 2 connections" in str(raised.value)
    assert "pool_size=" in str(raised.value)
    assert isinstance(raised.value, sqlalchemy.exc.TimeoutError)  # for who handles that already


def test_an_asyncio_verb_without_a_connection_says_the_same(database_url: str) -> None:
    async def work() -> NoConnectionError:
        engine = create_async_engine(database_url, pool_size=1, pool_timeout=0.1)
        async with engine.connect():
            with pytest.raises(NoConnectionError) as raised:
                await AsyncQueue("orders", engine).push(1)
        await engine.dispose()
        return raised.value

    error = asyncio.run(work())

    assert (error.places, error.seconds) == (1, 0.1)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(("size", "places"), [(None, 96), (3, 3)])
def test_every_engine_has_as_many_places_as_its_url_says(
    database_url: str, make: Any, size: int | None, places: int
) -> None:
    engine = make(database_url if size is None else with_size(database_url, size))

    assert engine.pool.size() == places
    assert engine.pool._max_overflow == 0
    assert "pool_size" not in engine.url.query


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_a_pool_logs_is_no_line_of_xclaim(
    database_url: str, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "xclaim")
    caplog.set_level(logging.DEBUG, "sqlalchemy.pool")

    engine = make(database_url)
    getattr(engine, "sync_engine", engine).dispose()

    assert "Pool recreating" in caplog.messages
    assert not [each for each in caplog.records if each.name.startswith("xclaim")]


def test_an_option_counts_more_than_the_url(database_url: str) -> None:
    engine = create_engine(with_size(database_url, 3), pool_size=4)

    assert engine.pool.size() == 4  # type: ignore[attr-defined]


def test_a_pool_of_ones_own_stays(database_url: str) -> None:
    assert isinstance(create_engine(with_size(database_url, 3), poolclass=NullPool).pool, NullPool)


@pytest.mark.parametrize("size", ["0", "-1", "many", "1.5", "\u0663"])
def test_a_size_that_is_none_is_refused(database_url: str, size: str) -> None:
    with pytest.raises(DatabaseUrlError, match="pool_size"):
        create_engine(with_size(database_url, size))


def test_a_database_in_memory_has_one_connection() -> None:
    with pytest.raises(DatabaseUrlError, match="pool_size"):
        create_engine("sqlite://?pool_size=2")


@pytest.mark.parametrize("size", [1, 2, 6])
def test_a_queue_works_with_few_places(database_url: str, size: int) -> None:
    with Queue("orders", with_size(database_url, size)) as queue:
        queue.push(1)
        with queue.consume():
            pass

        assert queue.counts().consumed == 1
