"""An observer of an empty database, and what adds messages to that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from tests.observing.rows import Rows
from xclaim import create_engine
from xclaim.observing import Observer

PATIENT = timedelta(minutes=2)  # a loaded machine is slow


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def observer(engine: Engine) -> Observer:
    return Observer(engine, timeout=PATIENT)


@pytest.fixture
def rows(engine: Engine) -> Rows:
    return Rows(engine)
