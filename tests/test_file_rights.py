"""What xclaim makes on a disk is for its owner only, whatever the umask; what is there is left."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xclaim import Payloads, Queue, create_async_engine, create_engine
from xclaim.cli import main
from xclaim.connections import private_files
from xclaim.operations.doctor import Finding, Level, examine
from xclaim.operations.migrate import upgrade
from xclaim.payloads.stores.storage import Storage

LARGE = "x" * 100_000
UMASKS = [0o000, 0o022, 0o077, 0o277, 0o777]


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def rights(folder: Path) -> dict[str, str]:
    """Return the rights of all that lies below a folder."""
    return {str(path.relative_to(folder)): oct(mode(path)) for path in folder.rglob("*")}


@pytest.mark.usefixtures("umask")
def test_a_sqlite_file_is_its_owners_with_log_and_shared_memory(tmp_path: Path) -> None:
    with Queue("orders", f"sqlite:///{tmp_path}/x.db") as queue:
        upgrade(f"sqlite:///{tmp_path}/x.db")
        queue.push({"secret": 1})

        assert rights(tmp_path) == {"x.db": "0o600", "x.db-wal": "0o600", "x.db-shm": "0o600"}


@pytest.mark.usefixtures("umask")
def test_so_it_is_with_asyncio(tmp_path: Path) -> None:
    async def make() -> None:
        engine = create_async_engine(f"sqlite:///{tmp_path}/y.db")
        async with engine.begin() as connection:
            await connection.exec_driver_sql("CREATE TABLE there (id INTEGER)")
        await engine.dispose()

    asyncio.run(make())

    assert mode(tmp_path / "y.db") == 0o600


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///{}/x.db",
        "sqlite:///file:{}/x.db?uri=true",
        "sqlite:///file:{}/x.db?mode=rwc&uri=true",
        "sqlite:///{}/a b%2520.db",
        "sqlite:///file:{}/a%2520b.db?uri=true",
        "sqlite:///{}/x?y#z.db",
    ],
)
def test_however_the_file_is_named(tmp_path: Path, url: str) -> None:
    engine = create_engine(url.format(tmp_path))

    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE there (id INTEGER)")
    engine.dispose()

    assert {mode(path) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.usefixtures("umask")
def test_a_link_to_a_file_that_is_not_there_makes_it_private(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")

    upgrade(f"sqlite:///{tmp_path}/link.db")

    assert mode(tmp_path / "real.db") == 0o600


def test_a_file_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    path.chmod(0o644)

    upgrade(f"sqlite:///{path}")

    assert mode(path) == 0o644


@pytest.mark.parametrize(
    ("name", "is_uri", "file"),
    [
        ("x.db", False, "x.db"),
        ("file:x.db", False, "file:x.db"),
        ("file:x.db", True, "x.db"),
        ("file:/a/x%20y.db?cache=shared", True, "/a/x y.db"),
        ("file:///a/x.db?mode=rwc", True, "/a/x.db"),
        ("file:/a/x.db?mode=ro", True, None),
        ("file:/a/x.db?mode=rw", True, None),
        ("file:x?mode=memory&cache=shared", True, None),
        ("file::memory:", True, None),
        ("", False, None),
        (":memory:", False, None),
        (b"x.db", False, "x.db"),
        (None, False, None),
    ],
)
def test_the_file_is_the_one_that_sqlite_would_make(
    name: Any, file: str | None, *, is_uri: bool
) -> None:
    assert private_files.file_of(name, is_uri=is_uri) == file


def test_a_file_in_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    private_files.make(str(tmp_path / "missing" / "x.db"))

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def push(sqlite_url: str) -> Callable[..., None]:
    def push(storage: Any, **options: Any) -> None:
        with Queue("a/b", sqlite_url, payloads=Payloads(storage=storage, **options)) as queue:
            queue.push(LARGE)

    return push


@pytest.mark.usefixtures("umask")
def test_folders_and_objects_of_payloads_are_their_owners(
    tmp_path: Path, push: Callable[..., None]
) -> None:
    push(f"file://{tmp_path}/payloads")

    made = rights(tmp_path / "payloads")
    assert mode(tmp_path / "payloads") == 0o700
    assert sorted(set(made.values())) == ["0o600", "0o700"]
    assert made["a~2fb"] == "0o700"


def test_a_payload_folder_that_is_there_keeps_its_rights(
    tmp_path: Path, push: Callable[..., None]
) -> None:
    folder = tmp_path / "payloads"
    (folder / "a~2fb").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "a~2fb").chmod(0o755)

    push(f"file://{folder}")

    assert (mode(folder), mode(folder / "a~2fb")) == (0o755, 0o755)
    (written,) = (folder / "a~2fb").iterdir()
    assert mode(written) == 0o600


@pytest.mark.usefixtures("umask")
def test_a_folder_with_the_setgid_bit_is_shared_with_its_group(
    tmp_path: Path, push: Callable[..., None]
) -> None:
    folder = tmp_path / "payloads"
    folder.mkdir()
    folder.chmod(0o2770)

    push(f"file://{folder}")

    made = rights(folder)
    assert made.pop("a~2fb") == "0o2770"
    assert set(made.values()) == {"0o660"}


def test_an_unfinished_object_is_private_too(tmp_path: Path) -> None:
    writer = Storage(str(tmp_path / "payloads")).create("orders")

    with writer:
        writer.write(b"secret")

        (part,) = (tmp_path / "payloads" / "orders").iterdir()
        assert mode(part) == 0o600


def findings(url: str, name: str) -> list[Finding]:
    engine = create_engine(url)
    found = [each for each in examine(engine) if each.name == name]
    engine.dispose()
    return found


def test_the_doctor_warns_of_a_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "it's a file.db"
    upgrade(f"sqlite:///{path}")
    (fine,) = findings(f"sqlite:///{path}", "file_rights")
    path.chmod(0o640)

    (found,) = findings(f"sqlite:///{path}", "file_rights")

    assert fine.level is Level.OK
    assert found.level is Level.WARNING
    assert found.remedy is not None
    os.system(found.remedy.partition(", unless")[0])  # noqa: S605  (it can be pasted)
    assert mode(path) == 0o600
    (healed,) = findings(f"sqlite:///{path}", "file_rights")
    assert healed.level is Level.OK


def test_the_doctor_says_nothing_of_a_database_in_memory() -> None:
    engine = create_engine("sqlite://")
    upgrade(engine)

    assert [each for each in examine(engine) if each.name == "file_rights"] == []
    engine.dispose()


@pytest.mark.parametrize(
    ("bits", "level"),
    [(0o700, Level.OK), (0o2770, Level.OK), (0o755, Level.WARNING), (0o750, Level.WARNING)],
)
def test_the_doctor_warns_of_a_payload_folder_that_others_may_enter(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, bits: int, level: Level
) -> None:
    folder = tmp_path / "payloads"
    folder.mkdir()
    folder.chmod(bits)
    monkeypatch.setenv("XCLAIM_STORAGE", f"file://{folder}")

    (found,) = findings(database_url, "payload_folder")

    assert found.level is level
    assert (str(folder) in (found.remedy or "")) == (level is Level.WARNING)


@pytest.mark.usefixtures("umask")
def test_the_command_line_makes_a_private_file(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["upgrade", "--quiet", "--url", f"sqlite:///{tmp_path}/cli.db"])

    assert ended.value.code == 0
    assert mode(tmp_path / "cli.db") == 0o600
