"""Hints switched off: what they may delay has tests of its own, in `tests/test_positions.py`."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from xclaim import create_engine
from xclaim.verbs import memory


@pytest.fixture
def no_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each claim look everywhere and give back what lapsed, on a clock that is moved, too."""
    monkeypatch.setattr(memory, "_LOOK_BACK_EVERY", 0.0)
    monkeypatch.setattr(memory, "_SWEEP_EVERY", 0.0)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()
