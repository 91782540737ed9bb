from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine

from tests.web.dashboards import Dashboard, dashboard_of
from xclaim import create_engine


@pytest.fixture
def dashboard(database_url: str) -> Iterator[Dashboard]:
    """A dashboard on either database, and somebody signed in who may do everything."""
    with dashboard_of(database_url) as shown:
        yield shown


@pytest.fixture(scope="module")
def new_engine(new_database_url: Callable[[], str]) -> Iterator[Callable[[], Engine]]:
    """Return what makes a database that the tests of a module share: those that only look."""
    with ExitStack() as stack:

        def make() -> Engine:
            engine = create_engine(new_database_url())
            stack.callback(engine.dispose)
            return engine

        yield make


@pytest.fixture(scope="module")
def unused_engine(new_engine: Callable[[], Engine]) -> Engine:
    """A database without a message."""
    return new_engine()


@pytest.fixture
def unused(unused_engine: Engine) -> Dashboard:
    """A dashboard on either database, which is shared: look, and write nothing."""
    return Dashboard(unused_engine)
