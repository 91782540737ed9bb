"""`airflow xclaim ...`: the commands of xclaim through an Airflow connection.

And `python -m xclaim.airflow ...`, which is the same on every Airflow.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.hook.conftest import Parse, connection_uri
from xclaim import Queue
from xclaim.cli.app import COMMANDS

pytestmark = pytest.mark.airflow


def run(parser: Parse, *words: str) -> object:
    """Run a command and return its exit status."""
    arguments = parser(words)
    with pytest.raises(SystemExit) as ending:
        arguments.func(arguments)
    return ending.value.code


def test_every_command_but_the_demo_is_there() -> None:
    from xclaim.airflow.commands import get_commands

    (group,) = get_commands()

    names = {command.name for command in group.subcommands}
    assert names == {str(command.name) for command in COMMANDS} - {"demo"} | {"clean-xcoms"}


@pytest.mark.parametrize("name", [command.name for command in COMMANDS if command.name != "demo"])
def test_every_command_has_its_help(
    parser: Parse, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        parser([name, "--help"])

    shown = capsys.readouterr().out
    assert ending.value.code == 0
    assert "--conn-id" in shown
    assert "--url" not in shown


def test_the_schema_is_upgraded_through_a_connection(
    parser: Parse,
    empty_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", connection_uri(empty_database_url))

    status = run(parser, "upgrade", "--conn-id", "shop")

    assert status == 0
    assert json.loads(capsys.readouterr().out) == {"revision": "0001"}


@pytest.mark.parametrize("which", ["enable", "disable"])
def test_a_command_of_a_group_is_run(
    parser: Parse, connected: str, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connected
    status = run(parser, "ordering", which)

    assert status == 0
    assert json.loads(capsys.readouterr().out)["enabled"] is (which == "enable")


def test_arguments_reach_the_command(
    parser: Parse, connected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connected
    pushed = run(
        *(parser, "push", "orders", '{"id": 1}', "--priority", "-7", "--max-attempts", "none"),
        *("--header", "a=b", "--header", "c=d", "--unique-key", "-key"[1:], "--quiet"),
    )
    message = json.loads(capsys.readouterr().out)
    claimed = run(parser, "claim", "orders", "--claimed-by", "me")
    released = run(parser, "release", "orders", str(message["id"]), "--no-count")

    assert (pushed, claimed, released) == (0, 0, 0)
    assert (message["priority"], message["max_attempts"]) == (-7, None)
    assert message["headers"] == {"a": "b", "c": "d"}
    *_, line = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["attempts"], json.loads(line)["held_by"]) == (0, "me")


def test_a_status_is_handed_on(
    parser: Parse, connected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connected

    assert run(parser, "claim", "orders") == 1
    assert run(parser, "downgrade", "base") == 2
    assert "--yes" in capsys.readouterr().err


def test_a_connection_that_is_not_there_is_named(
    parser: Parse, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(parser, "stats", "--conn-id", "nobody_s")

    assert status == 2
    assert "Airflow has no connection 'nobody_s'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("exported", "said"),
    [
        ("xclaim://bob:hunter2@h:abc/db", "its port must be a number"),
        ("xclaim://bob:hunter2@h:99999999/db", "its port must be a number"),
        ('{"conn_type": "xclaim", "host": "h", "port": "hunter2"}', "its port must be a number"),
        ('{"conn_type": "xclaim", "host": "h", "extra": "{hunter2"}', "its extra is no JSON"),
        ('{"conn_type": "xclaim", "password": "hunter2"', "begins as JSON"),
        ('{"conn_type": "xclaim", "host": "h", "extra": ["hunter2"]}', "its extra is no JSON"),
        ("xclaim://bob:hunter2@h/db?__extra__=%7Bbad", "its extra is no JSON"),
    ],
)
def test_a_connection_that_cannot_be_read_is_not_said_to_be_missing(
    parser: Parse,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    exported: str,
    said: str,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", exported)

    status = run(parser, "stats", "--conn-id", "broken")

    error = capsys.readouterr().err
    assert status == 2
    assert "cannot read connection 'broken'" in error
    assert said in error
    assert "hunter2" not in error


def test_one_that_is_stored_and_cannot_be_read_is_not_said_to_be_missing_either(
    parser: Parse, unreadable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(parser, "stats", "--conn-id", unreadable)

    error = capsys.readouterr().err
    assert status == 2
    assert "cannot read connection 'unreadable', which is in its database" in error
    assert "hunter2" not in error


def test_the_password_of_a_connection_is_not_shown(
    parser: Parse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", "postgresql://me:hunter2@127.0.0.1:1/shop")

    status = run(parser, "stats", "--conn-id", "shop")

    captured = capsys.readouterr()
    assert status == 4
    assert "hunter2" not in captured.out + captured.err


def test_a_connection_whose_id_airflow_drops_is_used(
    parser: Parse,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_MY SHOP;", connection_uri(database_url))

    status = run(parser, "push", "orders", "1", "--conn-id", "my shop;")

    assert status == 0
    assert json.loads(capsys.readouterr().out)["queue"] == "orders"


@pytest.mark.parametrize("words", ["push orders 1", "stats"])
def test_stdout_has_json_only_whatever_airflow_logs(connected: str, words: str) -> None:
    code = """
import logging, sys
from airflow.models import connection
from xclaim.airflow.__main__ import main

ask = connection.Connection.get_connection_from_secrets
log = logging.StreamHandler(sys.stdout)
logging.getLogger("noisy").addHandler(log)

def noisy(conn_id):
    logging.getLogger("noisy").warning("a line of Airflow's")
    return ask(conn_id)

connection.Connection.get_connection_from_secrets = noisy
main(sys.argv[1:])
"""
    with Queue("orders", connected) as queue:
        queue.push(1)

    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], check=False, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["queue"] for line in done.stdout.splitlines()] == ["orders"]
    assert "a line of Airflow's" in done.stderr


def test_objects_of_xcoms_without_a_storage_are_wrong_use(
    parser: Parse, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(parser, "clean-xcoms", "--dry-run")

    assert status == 2
    assert "error: " in capsys.readouterr().err
