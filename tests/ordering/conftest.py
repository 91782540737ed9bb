"""Databases in which ordering keys are enabled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.retrying import AT_ONCE
from xclaim import Queue, create_engine
from xclaim.operations import ordering


@pytest.fixture
def ordered_url(database_url: str) -> str:
    ordering.enable(database_url)
    return database_url


@pytest.fixture
def ordered_postgresql_url(fresh_postgresql_url: str) -> str:
    ordering.enable(fresh_postgresql_url)
    return fresh_postgresql_url


@pytest.fixture
def engine(ordered_url: str) -> Iterator[Engine]:
    engine = create_engine(ordered_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine, retry=AT_ONCE)


@pytest.fixture
def postgresql(ordered_postgresql_url: str) -> Iterator[Engine]:
    options = {"options": "-c lock_timeout=20s"}  # a test that waits for itself fails
    engine = create_engine(ordered_postgresql_url, pool_size=10, connect_args=options)
    yield engine
    engine.dispose()
