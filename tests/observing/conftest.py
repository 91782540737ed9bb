"""An observer of an empty database, and what adds messages to that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.looks import patient_observer
from tests.observing.rows import Rows
from xclaim import create_engine
from xclaim.observing import Observer


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def observer(engine: Engine) -> Observer:
    return patient_observer(engine)


@pytest.fixture
def rows(engine: Engine) -> Rows:
    return Rows(engine)
