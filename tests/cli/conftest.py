"""The command line on each kind of database, as a process; bad input also without one."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.command_line import CommandLine, Outcome
from xclaim import Queue
from xclaim.cli import main

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is tested here: each command is a process."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """Return the command line in an empty folder, with no database chosen."""
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("XCLAIM_")}
    return CommandLine(folder=tmp_path_factory.mktemp("empty"), environment=environment)


@pytest.fixture
def xclaim(nowhere: CommandLine, database_url: str) -> CommandLine:
    """Return the command line on each kind of database."""
    return nowhere.at(database_url)


@pytest.fixture
def queue(database_url: str) -> Iterator[Queue]:
    """Yield the queue that the command line sees as `orders`."""
    with Queue("orders", database_url) as orders:
        yield orders


@pytest.fixture
def sqlite_xclaim(nowhere: CommandLine, sqlite_url: str) -> CommandLine:
    """Return the command line on a SQLite file, for what no database has a part in."""
    return nowhere.at(sqlite_url)


@pytest.fixture
def sqlite_queue(sqlite_url: str) -> Iterator[Queue]:
    """Yield the queue `orders` of that file."""
    with Queue("orders", sqlite_url) as orders:
        yield orders


@pytest.fixture
def refused(
    sqlite_xclaim: CommandLine,
    sqlite_queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Return a function that runs a command within this process, for the many kinds of bad input.

    It must end with status 2, nothing on stdout, one line of an error, which is returned, and the
    queue as it was.
    """

    def run(*arguments: str, stdin: bytes = b"") -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        before = sqlite_queue.counts()
        with pytest.raises(SystemExit) as ending:
            main(arguments)
        captured = capsys.readouterr()
        outcome = Outcome(status=ending.value.code, stdout=captured.out, stderr=captured.err)
        assert (outcome.status, outcome.stdout, len(outcome.errors)) == (2, "", 1)
        assert outcome.errors[0].startswith("error: ")
        assert sqlite_queue.counts() == before
        return outcome.errors[0].removeprefix("error: ")

    monkeypatch.chdir(sqlite_xclaim.folder)
    monkeypatch.setenv("XCLAIM_DATABASE_URL", sqlite_xclaim.environment["XCLAIM_DATABASE_URL"])
    return run
