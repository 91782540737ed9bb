"""Every promise on every database and through both facades."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.contract.facades import AsyncFacade, Facade, SyncFacade
from tests.databases import given_schema, is_citus
from tests.retrying import AT_ONCE
from xclaim import Queue, create_engine
from xclaim.operations import ordering

_numbers = itertools.count()


# SQLite has no schemas.
DATABASES = ["sqlite", "postgresql"] if given_schema() is None else ["postgresql"]
# Who asks for these makes a database of his own: in an encoding, say, or a file of SQLite.
OF_ONES_OWN = {"postgresql_server", "sqlite_url"}
# Ordering keys need triggers, which Citus refuses for tables that it distributes.
IS_CITUS = given_schema() is not None and is_citus()
collect_ignore = ["test_ordering.py", "test_whole_lines.py"] if IS_CITUS else []
if IS_CITUS:
    OF_ONES_OWN.add("with_ordering")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to the run without a given schema what needs a database of its own."""
    if given_schema() is None:
        return
    own = [each for each in items if OF_ONES_OWN.intersection(getattr(each, "fixturenames", ()))]
    config.hook.pytest_deselected(items=own)
    items[:] = [each for each in items if each not in own]


@pytest.fixture
def with_ordering(engine: Engine) -> None:
    """Let messages have ordering keys."""
    ordering.enable(engine)


@pytest.fixture(params=DATABASES)
def contract_url(request: pytest.FixtureRequest) -> str:
    # One PostgreSQL database for all: each test has a queue of its own.
    names = {"sqlite": "sqlite_url", "postgresql": "postgresql_url"}
    return str(request.getfixturevalue(names[request.param]))


@pytest.fixture
def engine(contract_url: str) -> Iterator[Engine]:
    engine = create_engine(contract_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["Queue", "AsyncQueue"])
def facade(request: pytest.FixtureRequest, engine: Engine, contract_url: str) -> Iterator[Facade]:
    facade: Facade = SyncFacade(engine) if request.param == "Queue" else AsyncFacade(contract_url)
    yield facade
    facade.close()


@pytest.fixture
def name() -> str:
    return f"contract-{next(_numbers)}"


@pytest.fixture
def queue(facade: Facade, name: str) -> Queue:
    return facade.queue(name, retry=AT_ONCE)


@pytest.fixture
def dead_letters(facade: Facade, name: str) -> Queue:
    return facade.queue(f"{name}.dead", retry=AT_ONCE)
