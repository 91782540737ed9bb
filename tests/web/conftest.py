from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests import databases
from tests.web.dashboards import Dashboard, dashboard_of
from xclaim import create_engine


@pytest.fixture
def dashboard(database_url: str) -> Iterator[Dashboard]:
    """A dashboard on either database, and somebody signed in who may do everything."""
    with dashboard_of(database_url) as shown:
        yield shown


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Engine]]:
    """Return what makes a database that the tests of a module share: those that only look."""
    with ExitStack() as stack:

        def new_sqlite() -> str:
            path = tmp_path_factory.mktemp("shared") / "xclaim.db"
            template: Path = request.getfixturevalue("_sqlite_template")
            databases.copy_sqlite(template, path)
            return databases.sqlite_url(path)

        def new_postgresql() -> str:
            server, template = map(request.getfixturevalue, ("postgresql_server", "_template_url"))
            return stack.enter_context(databases.temporary_database(server, template=template))

        def make() -> Engine:
            engine = create_engine(new_sqlite() if request.param == "sqlite" else new_postgresql())
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
