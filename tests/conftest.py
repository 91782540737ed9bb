"""Fixtures every test may use: databases, empty or migrated, one's own or shared.

| fixture                  | database                                    | lives for |
| ------------------------ | ------------------------------------------- | --------- |
| `postgresql_server`      | a server; the URL may create databases      | the run   |
| `postgresql16_server`    | the same, always the embedded PostgreSQL 16 | the run   |
| `postgresql_url`         | migrated, shared by all who ask             | the run   |
| `fresh_postgresql_url`   | migrated, a copy of a template              | one test  |
| `empty_postgresql_url`   | without our table                           | one test  |
| `sqlite_folder`          | a folder for SQLite files                   | one test  |
| `shared_sqlite_folder`   | the same                                    | a module  |
| `sqlite_url`             | migrated file                               | one test  |
| `empty_sqlite_url`       | file that does not exist yet                | one test  |
| `database_url`           | `sqlite_url`, then `fresh_postgresql_url`   | one test  |
| `empty_database_url`     | the same, without our table                 | one test  |
| `new_database_url`       | what makes one, on SQLite, then PostgreSQL  | a module  |

In the schema of `XCLAIM_TEST_SCHEMA` the migrated ones are that schema, and only the contract runs.

PostgreSQL is never skipped; the header and the summary of the run say which one it was.
"""

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import databases
from tests.eventually import PATIENCE

_server = pytest.StashKey[str]()

# The same examples in every run, and nothing that depends on the speed of the machine.
settings.register_profile(
    "xclaim", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("xclaim")


def pytest_configure(config: pytest.Config) -> None:
    """Give Airflow a folder of its own before anything imports it; let interrupts be felt.

    A parallel worker ignores SIGINT, and so would every process that a test starts and interrupts.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stack = ExitStack()
    home = stack.enter_context(databases.sqlite_folder())
    config.add_cleanup(stack.close)
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0",  # what fails against hope is seen at once
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: item.path.parent.name != "stack")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let parallel workers (`-n 2`) share out files.

    What starts an Airflow stays together: a second one takes longer than all its tests. Not by
    xdist's own groups, which pytest 9.2 does not show to it.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist shows no types
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.rpartition("/")[0]
            return folder if folder in ("tests/stack", "tests/hook") else file

    return ByFile(config, log)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that began this worker which database was used."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["postgresql"] = session.config.stash.get(_server, None)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    used = getattr(node, "workeroutput", {}).get("postgresql")
    if used is not None:
        node.config.stash[_server] = used


def pytest_report_header() -> str:
    return f"PostgreSQL: {databases.describe_choice()}"


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    used = config.stash.get(_server, "no test asked for it")
    terminalreporter.write_sep("=", "databases")
    terminalreporter.write_line(f"PostgreSQL: {used}")
    terminalreporter.write_line(f"SQLite: {sqlite3.sqlite_version}")


@pytest.fixture(scope="session")
def postgresql_server(pytestconfig: pytest.Config) -> Iterator[str]:
    with databases.postgresql_server() as server:
        pytestconfig.stash[_server] = databases.describe_server(server)
        yield server.url
        databases.disconnect(server.url)


@pytest.fixture(scope="session")
def postgresql16_server() -> Iterator[str]:
    with databases.postgresql_in_memory(version=16) as url:
        yield url
        databases.disconnect(url)


@pytest.fixture(scope="session")
def _template_url(postgresql_server: str) -> Iterator[str]:
    """A migrated database that nobody connects to, or it could not be copied."""
    from xclaim.operations.migrate import upgrade

    with databases.temporary_database(postgresql_server) as url:
        upgrade(url)
        yield url


@pytest.fixture(scope="session")
def postgresql_url(request: pytest.FixtureRequest, postgresql_server: str) -> Iterator[str]:
    schema = databases.given_schema()
    if schema is not None:
        yield from _migrated_schema(postgresql_server, schema)
        return
    template = request.getfixturevalue("_template_url")
    with databases.temporary_database(postgresql_server, template=template) as url:
        yield url


def _migrated_schema(server_url: str, schema: str) -> Iterator[str]:
    from xclaim.operations.migrate import upgrade

    with databases.temporary_schema(server_url, schema) as url, pytest.MonkeyPatch.context() as env:
        env.setenv("XCLAIM_SCHEMA", schema)
        upgrade(url)
        yield url


@pytest.fixture
def fresh_postgresql_url(request: pytest.FixtureRequest, postgresql_server: str) -> Iterator[str]:
    if databases.given_schema() is not None:
        yield request.getfixturevalue("postgresql_url")
        return
    template = request.getfixturevalue("_template_url")
    with databases.temporary_database(postgresql_server, template=template) as url:
        yield url


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    with databases.temporary_database(postgresql_server) as url:
        yield url


@pytest.fixture
def sqlite_folder() -> Iterator[Path]:
    with databases.sqlite_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared_sqlite_folder() -> Iterator[Path]:
    with databases.sqlite_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from xclaim.operations.migrate import upgrade

    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(databases.sqlite_url(path))
    return path


@pytest.fixture
def sqlite_url(sqlite_folder: Path, _sqlite_template: Path) -> str:
    path = sqlite_folder / "xclaim.db"
    databases.copy_sqlite(_sqlite_template, path)
    return databases.sqlite_url(path)


@pytest.fixture
def empty_sqlite_url(sqlite_folder: Path) -> str:
    return databases.sqlite_url(sqlite_folder / "empty.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    names = {"sqlite": "sqlite_url", "postgresql": "fresh_postgresql_url"}
    return str(request.getfixturevalue(names[request.param]))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_database_url(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Return what makes a database that the tests of a module share."""
    with ExitStack() as stack:

        def new_sqlite() -> str:
            path = stack.enter_context(databases.sqlite_folder()) / "xclaim.db"
            template: Path = request.getfixturevalue("_sqlite_template")
            databases.copy_sqlite(template, path)
            return databases.sqlite_url(path)

        def new_postgresql() -> str:
            server, template = map(request.getfixturevalue, ("postgresql_server", "_template_url"))
            return stack.enter_context(databases.temporary_database(server, template=template))

        yield new_sqlite if request.param == "sqlite" else new_postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"empty_{request.param}_url"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, for the tests of one file: what drives it has an event loop in our thread."""
    from tests.browser.chromium import opened

    with opened() as chromium:
        yield chromium


@pytest.fixture
def only_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody look by himself while a test is patient: what is found was found by a wake-up."""
    from xclaim.consuming import waiting

    pause = 2 * PATIENCE
    monkeypatch.setattr(waiting, "_FIRST_PAUSE", pause)
    monkeypatch.setattr(waiting, "_LONGEST_PAUSE", {"postgresql": pause, "sqlite": pause})
