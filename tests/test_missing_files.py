"""A SQLite file that is not there: only a migration makes it, others say that it is missing."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from xclaim import AsyncQueue, Queue, SchemaVersionError, create_engine
from xclaim.connections.direct import is_direct
from xclaim.connections.engine import create_verb_engine
from xclaim.connections.missing_files import MAKES_NO_FILE
from xclaim.errors import Commands
from xclaim.operations import migrate
from xclaim.operations.audit import audit
from xclaim.operations.doctor import Level, examine
from xclaim.sql.revision import COMMANDS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder."""
    return tmp_path


@pytest.fixture
def url(folder: Path) -> str:
    """Return the URL of a file that is not there."""
    return f"sqlite:///{folder / 'my shop.db'}"


def count(url: str) -> object:
    with Queue("orders", url) as queue:
        return queue.counts()


def push(url: str) -> object:
    with Queue("orders", url) as queue:
        return queue.push(1)


def count_async(url: str) -> object:
    async def run() -> object:
        async with AsyncQueue("orders", url) as queue:
            return await queue.counts()

    return asyncio.run(run())


LOOKS: dict[str, Callable[[str], object]] = {
    "audit": lambda url: audit(create_engine(url)),
    "check": migrate.check,
    "check by engine": lambda url: migrate.check(create_engine(url)),
    "count": count,
    "count with asyncio": count_async,
    "push": push,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_nobody_but_a_migration_makes_the_file(
    folder: Path, url: str, look: Callable[[str], object]
) -> None:
    with pytest.raises(SchemaVersionError) as caught:
        look(url)

    path = folder / "my shop.db"
    assert caught.value.missing_file == path
    assert str(caught.value) == (
        f"there is no SQLite file {path}: run `xclaim upgrade --url 'sqlite:///{path}'`, which "
        "makes it"
    )
    assert list(folder.iterdir()) == []


def test_a_doctor_makes_no_file_either_and_names_what_does(folder: Path, url: str) -> None:
    (found,) = examine(create_engine(url))

    assert found.level is Level.PROBLEM
    assert (
        found.remedy
        == f"run `xclaim upgrade --url 'sqlite:///{folder / 'my shop.db'}'`, which makes it"
    )
    assert list(folder.iterdir()) == []


def test_what_an_engine_is_told_of_commands_keeps_its_statements_on_the_short_way(
    database_url: str, sqlite_url: str
) -> None:
    told = {COMMANDS: Commands(program="airflow xclaim"), MAKES_NO_FILE: True}
    of_airflow = create_engine(database_url, execution_options=told)
    of_a_queue = create_verb_engine(sqlite_url)

    for engine in (of_airflow, of_a_queue):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            assert is_direct(connection)
        engine.dispose()


def test_there_is_no_revision_and_nothing_to_take_back_where_there_is_no_file(
    folder: Path, url: str
) -> None:
    migrate.downgrade(url, "base")

    assert migrate.current(url) is None
    assert migrate.messages_lost(url, "base") is None
    assert list(folder.iterdir()) == []


def test_a_missing_folder_is_named(folder: Path) -> None:
    with pytest.raises(SchemaVersionError, match="no folder for it") as caught:
        count(f"sqlite:///{folder}/not here/queue.db")

    assert f"`mkdir -p '{folder}/not here'`" in str(caught.value)


def test_a_file_in_the_place_of_a_folder_is_named(folder: Path) -> None:
    (folder / "shop").write_text("no folder")

    with pytest.raises(SchemaVersionError, match=f"as {folder}/shop is no folder") as caught:
        count(f"sqlite:///{folder}/shop/new/queue.db")

    assert "mkdir" not in str(caught.value)


def test_what_cannot_be_seen_sqlite_says_itself(folder: Path) -> None:
    with pytest.raises(OperationalError, match="unable to open database file"):
        count(f"sqlite:///{folder}/{'x' * 300}.db")


def test_a_folder_that_others_may_not_enter_is_no_error_of_ours(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:  # root, who runs the tests elsewhere, may enter any
        raise PermissionError(path)

    (folder / "folder.db").mkdir()
    monkeypatch.setattr(Path, "exists", refuse)

    with pytest.raises(OperationalError, match="unable to open database file"):
        count(f"sqlite:///{folder}/folder.db")


@pytest.mark.parametrize("mode", ["", "mode=rwc&", "mode=rw&", "mode=ro&"])
def test_a_uri_makes_no_file_either(folder: Path, mode: str) -> None:
    path = folder / "my shop.db"

    with pytest.raises(SchemaVersionError) as caught:
        count(f"sqlite:///file:{path}?{mode}uri=true")

    assert f"run `xclaim upgrade --url 'sqlite:///{path}'`" in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_uri_in_memory_has_no_file() -> None:
    with pytest.raises(SchemaVersionError, match=r"run `xclaim upgrade`$"):
        count("sqlite:///file:shop?mode=memory&uri=true")


@pytest.mark.parametrize("name", ["it's.db", "50%.db", "a b#c.db", "a%41.db"])
@pytest.mark.parametrize("is_there", [True, False])
def test_the_command_upgrades_that_very_file(folder: Path, name: str, is_there: bool) -> None:
    path = folder / name
    if is_there:
        path.touch()
    engine = create_engine(URL.create("sqlite", database=str(path)))

    with pytest.raises(SchemaVersionError) as caught, Queue("orders", engine) as queue:
        queue.counts()

    engine.dispose()
    command = str(caught.value).partition("`")[2].rpartition("`")[0]
    *_, upgraded = shlex.split(command)
    migrate.upgrade(upgraded)
    assert [each.name for each in folder.iterdir() if each.stat().st_size] == [name]


@pytest.mark.parametrize("bind", [str, create_engine])
def test_a_migration_makes_the_file(url: str, bind: Callable[[str], object]) -> None:
    migrate.upgrade(bind(url))  # type: ignore[arg-type]

    with Queue("orders", url) as queue:
        queue.push(1)
        assert queue.counts().available == 1


def test_a_file_that_goes_away_is_not_made_again(folder: Path, url: str) -> None:
    migrate.upgrade(url)
    (folder / "my shop.db").unlink()

    with pytest.raises(SchemaVersionError, match="there is no SQLite file"):
        count(url)

    assert list(folder.iterdir()) == []


def test_an_application_makes_its_own_file(folder: Path, url: str) -> None:
    engine = create_engine(url)

    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE shop (id INTEGER)")

    engine.dispose()
    assert (folder / "my shop.db").exists()


def test_a_database_in_memory_has_no_file() -> None:
    queue = Queue("orders", "sqlite://")

    with pytest.raises(SchemaVersionError, match="no xclaim schema in this database"):
        queue.counts()

    queue.close()
