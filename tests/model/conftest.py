"""Databases that are empty at the begin, and stages that a module shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests import databases
from tests.model.stages import Stage, stage_on
from xclaim import create_engine
from xclaim.verbs import hints


@pytest.fixture
def no_hints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each claim look everywhere and give back what lapsed, also on a clock that is moved.

    What these hints may delay has tests of its own, in `tests/test_positions.py`.
    """
    monkeypatch.setattr(hints, "LOOK_BACK_EVERY", 0.0)
    monkeypatch.setattr(hints, "_LOOK_BACK_SELDOM", 0.0)
    monkeypatch.setattr(hints, "_SWEEP_EVERY", 0.0)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def _sqlite_stage_url(shared_sqlite_folder: Path, _sqlite_template: Path) -> str:
    path = shared_sqlite_folder / "stage.db"
    databases.copy_sqlite(_sqlite_template, path)
    return databases.sqlite_url(path)


@pytest.fixture(scope="module")
def _postgresql_stage_url(postgresql_server: str, _template_url: str) -> Iterator[str]:
    with databases.temporary_database(postgresql_server, template=_template_url) as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stage_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"_{request.param}_stage_url"))


@pytest.fixture(scope="module")
def stage(stage_url: str) -> Iterator[Stage]:
    stage = stage_on(stage_url)
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def quick_stage(stage_url: str) -> Iterator[Stage]:
    """The same, but a crash is what the database does when it notices one."""
    stage = stage_on(stage_url, rolls_back=True)
    yield stage
    stage.close()
