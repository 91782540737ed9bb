"""The command as a process: which database, which status, and one line for an error."""

from __future__ import annotations

import logging
import signal
import subprocess
from collections.abc import Callable

import pytest
from sqlalchemy import make_url, text

from tests.cli.command_line import UNREACHABLE, XCLAIM, CommandLine, NewCommandLine
from tests.databases import temporary_database
from tests.eventually import PATIENCE
from xclaim import Message, Queue, __version__, create_engine
from xclaim.cli import main
from xclaim.operations import migrate

COMMANDS = (
    *("upgrade", "downgrade", "push", "claim", "ack", "release", "extend", "peek", "stats"),
    *("expire", "redrive", "prune", "demo", "grants", "get", "find", "failures"),
    *("claims", "withdraw", "rotate-keys", "audit", "doctor", "dashboard", "ordering"),
)


@pytest.fixture
def nowhere(nowhere: CommandLine) -> CommandLine:
    """Return the command line as it is everywhere, but that each command starts a Python."""
    return NewCommandLine(folder=nowhere.folder, environment=nowhere.environment)


def test_help_lists_every_command(nowhere: CommandLine) -> None:
    shown = nowhere("--help")

    assert shown.status == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in shown.stdout] == []


def test_version_is_the_package_s(nowhere: CommandLine) -> None:
    assert nowhere("--version").stdout == f"xclaim, version {__version__}\n"


def test_help_loads_nothing_heavy(nowhere: CommandLine) -> None:
    program = (
        "import sys; from xclaim.cli.app import group; group(['--help'], standalone_mode=False);"
        "print(sorted({'sqlalchemy', 'alembic', 'rich'} & set(sys.modules)))"
    )

    shown = subprocess.run(
        [XCLAIM[0], "-c", program], env=nowhere.environment, capture_output=True, check=True
    )

    assert shown.stdout.decode().splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [(), ("ordering",)], ids=["xclaim", "xclaim ordering"])
def test_no_command_shows_the_help_as_wrong_use(
    nowhere: CommandLine, words: tuple[str, ...]
) -> None:
    shown = nowhere(*words)

    assert (shown.status, shown.stdout) == (2, "")
    assert "Commands:" in shown.stderr


def test_without_a_url_it_is_the_file_in_the_current_folder(nowhere: CommandLine) -> None:
    upgraded = nowhere("upgrade")

    assert upgraded.stderr == "database: sqlite:///xclaim.db\n"
    assert (nowhere.folder / "xclaim.db").exists()


def test_the_environment_chooses_the_database_and_the_option_overrules(
    nowhere: CommandLine, sqlite_url: str
) -> None:
    with Queue("orders", sqlite_url) as orders:
        orders.push(1)
    chosen = nowhere.at(sqlite_url)("peek", "orders")
    overruled = nowhere.at(UNREACHABLE)("peek", "orders", "--url", sqlite_url)

    assert chosen.stderr == overruled.stderr == f"database: {sqlite_url}\n"
    assert chosen.status == overruled.status == 0


def test_options_may_stand_before_the_command(nowhere: CommandLine, sqlite_url: str) -> None:
    before = nowhere("--url", sqlite_url, "--quiet", "peek", "orders")
    overruled = nowhere("--url", UNREACHABLE, "peek", "orders", "--url", sqlite_url)

    assert (before.status, before.stderr) == (0, "")
    assert overruled.status == 0


def test_a_schema_is_an_option_or_in_the_environment(
    nowhere: CommandLine, empty_postgresql_url: str
) -> None:
    xclaim = nowhere.at(empty_postgresql_url)
    engine = create_engine(empty_postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA shop"))

    upgraded = xclaim("upgrade", "--schema", "shop")
    pushed = xclaim("--schema", "shop", "push", "orders", "1")
    stats = xclaim.shell("XCLAIM_SCHEMA=shop $xclaim stats")

    assert (upgraded.status, pushed.status) == (0, 0)
    assert [line["available"] for line in stats.values] == [1]
    assert migrate.current(engine, schema="shop") is not None
    assert migrate.current(engine) is None
    engine.dispose()


@pytest.mark.parametrize(
    "arguments",
    [
        ("push", "orders", "1"),
        ("claim", "orders"),
        ("stats",),
        ("downgrade", "base"),
    ],
)
def test_a_missing_file_is_not_created_but_explained(
    nowhere: CommandLine, arguments: tuple[str, ...]
) -> None:
    done = nowhere(*arguments)

    assert done.status == 4
    missing = f"there is no SQLite file {nowhere.folder / 'xclaim.db'}"
    assert done.errors == [f"error: {missing}: run `xclaim upgrade`, which makes it"]
    assert list(nowhere.folder.iterdir()) == []


@pytest.mark.parametrize("command", ["claim", "stats"])
def test_a_missing_table_says_what_to_run(
    nowhere: CommandLine, empty_postgresql_url: str, command: str
) -> None:
    done = nowhere(command, "orders", "--url", empty_postgresql_url)

    assert done.status == 4
    assert done.errors == ["error: no xclaim schema in this database: run `xclaim upgrade`"]


@pytest.mark.parametrize("command", ["claim", "stats", "doctor"])
def test_a_missing_schema_is_named_in_the_remedy(
    nowhere: CommandLine, empty_postgresql_url: str, command: str
) -> None:
    named = () if command == "doctor" else ("orders",)

    done = nowhere(command, *named, "--schema", "my shop", "--url", empty_postgresql_url)

    assert "xclaim upgrade --schema 'my shop'" in done.stdout + done.stderr


def test_an_unforeseen_error_is_a_line_and_no_traceback(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError("secret")

    monkeypatch.setattr(Queue, "peek", fail)

    with pytest.raises(SystemExit) as ending:
        main(["peek", "orders", "--quiet", "--url", sqlite_url])

    error = capsys.readouterr().err
    assert ending.value.code == 70
    assert error.startswith("error: a fault of xclaim or of what it uses (LookupError)")
    assert error.count("\n") == 1
    assert "secret" not in error


def test_what_is_logged_is_a_line_and_no_traceback(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(*_: object, **__: object) -> list[Message]:
        try:
            raise LookupError("secret")
        except LookupError:
            logging.getLogger("xclaim").warning("it went wrong", exc_info=True)
        return []

    monkeypatch.setattr(Queue, "peek", warn)

    with pytest.raises(SystemExit):
        main(["peek", "orders", "--quiet", "--url", sqlite_url])

    assert capsys.readouterr().err == "it went wrong\n"


def test_an_unreachable_server_is_named_without_its_password(nowhere: CommandLine) -> None:
    done = nowhere("peek", "orders", "--url", UNREACHABLE)

    database, error = done.stderr.splitlines()
    assert done.status == 4
    assert database == "database: postgresql://somebody:***@127.0.0.1:1/shop"
    assert error.startswith("error: cannot connect to PostgreSQL at 127.0.0.1:1 (")
    assert "pg_isready -h 127.0.0.1 -p 1" in error
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1:1/shop?password=hunter2",
        "postgresql://somebody:hunter2@127.0.0.1:1/shop?connect_timeout=soon",
        "postgresql://somebody:hunter2@127.0.0.1:1/shop?no_such_option=1",
        f"postgresql://somebody:hunter2@{'a' * 70}.example/shop",
    ],
)
def test_a_password_is_never_shown(nowhere: CommandLine, url: str) -> None:
    done = nowhere("peek", "orders", "--url", url)

    assert done.status == 4
    assert len(done.errors) == 1
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "somebody:hunter2@127.0.0.1/shop",
        "mysql://somebody:hunter2@127.0.0.1/shop",
        "postgresql://somebody:hunter2@127.0.0.1:port/shop",
        "postgresql+asyncpg://somebody:hunter2@127.0.0.1/shop",
    ],
)
def test_a_url_that_cannot_be_used_is_wrong_use(refused: Callable[..., str], url: str) -> None:
    assert "hunter2" not in refused("peek", "orders", "--url", url)


def test_a_refused_password_is_not_shown(nowhere: CommandLine, postgresql_url: str) -> None:
    url = make_url(postgresql_url).set(username="nobody_of_that_name", password="hunter2")

    done = nowhere("peek", "orders", "--url", url.render_as_string(hide_password=False))

    assert done.status == 4
    assert len(done.errors) == 1
    assert "hunter2" not in done.stderr


def test_a_file_that_cannot_be_opened_is_database_trouble(nowhere: CommandLine) -> None:
    name = f"{'x' * 300}.db"

    done = nowhere("upgrade", "--url", f"sqlite:///{name}")

    assert done.status == 4
    assert done.errors[0].startswith(f"error: cannot open the SQLite file {name}")


def test_an_upgrade_names_the_folder_that_is_not_there(nowhere: CommandLine) -> None:
    done = nowhere("upgrade", "--url", "sqlite:///no/such/folder/xclaim.db")

    assert done.status == 4
    assert f"`mkdir -p {nowhere.folder}/no/such/folder`" in done.errors[0]
    assert "`xclaim upgrade --url sqlite:///no/such/folder/xclaim.db`" in done.errors[0]


def test_a_file_that_is_no_database_is_database_trouble(nowhere: CommandLine) -> None:
    (nowhere.folder / "xclaim.db").write_text("This is a letter. " * 100)

    done = nowhere("peek", "orders")

    assert done.status == 4
    assert len(done.errors) == 1
    assert "not a database" in done.errors[0]


def test_a_statement_that_is_refused_shows_no_payload(
    nowhere: CommandLine, fresh_postgresql_url: str
) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE xclaim_message ADD CHECK (payload <> '\"secret\"')"))
    engine.dispose()

    done = nowhere("push", "orders", '"secret"', "--url", fresh_postgresql_url)

    assert done.status == 4
    assert len(done.errors) == 1
    assert done.errors[0].startswith("error: the database refused (")
    assert "secret" not in done.stderr


def test_a_value_that_the_database_cannot_hold_is_wrong_use(
    nowhere: CommandLine, fresh_postgresql_url: str
) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        connection.execute(
            text("ALTER TABLE xclaim_message ADD CHECK (payload::text::numeric(3) < 999)")
        )
    engine.dispose()

    done = nowhere("push", "orders", "12345", "--url", fresh_postgresql_url)

    assert done.status == 2
    assert "the database cannot hold a value" in done.errors[0]
    assert "what its user may do" not in done.stderr


def test_a_character_that_the_encoding_lacks_is_wrong_use(
    nowhere: CommandLine, postgresql_server: str
) -> None:
    with temporary_database(postgresql_server, encoding="LATIN1") as url:
        nowhere("upgrade", "--url", url)

        done = nowhere("push", "orders", '"\u20ac"', "--url", url)

    assert done.status == 2
    assert "LATIN1" in done.errors[0]
    assert "UTF8" in done.errors[0]
    assert "what its user may do" not in done.stderr


def test_a_server_that_can_only_be_read_is_told_from_a_missing_right(
    nowhere: CommandLine, fresh_postgresql_url: str
) -> None:
    url = fresh_postgresql_url
    engine = create_engine(url)
    with engine.begin() as connection:
        name = make_url(url).database
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    engine.dispose()

    done = nowhere("push", "orders", "1", "--url", url)

    assert done.status == 4
    assert "the database can only be read" in done.errors[0]
    assert "what its user may do" not in done.stderr


def test_a_reader_that_leaves_ends_the_command_quietly(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    sqlite_queue.push_many([1, 2])

    done = sqlite_xclaim.shell("$xclaim peek orders --quiet | true; echo ${PIPESTATUS[0]}")

    assert (done.stdout, done.stderr) == ("141\n", "")


def test_an_interrupt_is_status_130_and_pushes_nothing(
    sqlite_xclaim: CommandLine, sqlite_queue: Queue
) -> None:
    process = subprocess.Popen(
        [*XCLAIM, "push", "orders", "-"],
        cwd=sqlite_xclaim.folder,
        env=sqlite_xclaim.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write("1\n")
    process.stdin.flush()
    assert process.stderr.readline().startswith("database: ")  # it is running, and reads stdin

    process.send_signal(signal.SIGINT)

    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert stderr.strip() == "error: interrupted"
    assert sqlite_queue.counts().available == 0


@pytest.mark.parametrize("command", [["push", "orders"], ["ack"]])
def test_on_a_terminal_nobody_waits_for_lines_nobody_types(
    sqlite_xclaim: CommandLine, command: list[str]
) -> None:
    assert sqlite_xclaim.on_terminal(*command).startswith("error: no ")
