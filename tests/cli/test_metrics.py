"""`xclaim metrics`: once, as a file, and served."""

from __future__ import annotations

import json
import signal
import stat
import urllib.error
import urllib.request
from importlib.resources import files
from pathlib import Path

import pytest
from click import Command

from tests import programs
from tests.cli.command_line import UNREACHABLE, XCLAIM, CommandLine
from tests.eventually import PATIENCE
from xclaim import create_engine
from xclaim.cli import measuring, showing
from xclaim.cli.options import duration
from xclaim.errors import ObservationTimeoutError
from xclaim.observing.observer import TIMEOUT

PATIENTLY = ("--timeout", "60s")  # a loaded machine is slow


def test_it_prints_what_a_scrape_would_get(xclaim: CommandLine) -> None:
    xclaim("push", "orders", "1")

    printed = xclaim("metrics", *PATIENTLY)

    assert printed.status == 0
    assert 'xclaim_backlog{bound="exact",queue="orders"} 1.0' in printed.stdout
    assert "xclaim_up 1.0" in printed.stdout
    assert "xclaim_consumed_total" not in printed.stdout  # a single look cannot add up


def test_while_the_database_is_down_it_says_so_as_a_metric(xclaim: CommandLine) -> None:
    printed = xclaim("metrics", "--url", UNREACHABLE)

    assert printed.status == 4
    assert "xclaim_up 0.0" in printed.stdout
    assert "does not answer" in "".join(printed.errors)
    assert "hunter2" not in printed.stdout + printed.stderr


@pytest.mark.parametrize("command", [measuring.metrics, showing.dashboard])
def test_a_look_has_the_time_of_an_observer_unless_another_is_given(command: Command) -> None:
    (option,) = [each for each in command.params if each.name == "timeout"]

    assert duration(str(option.default)) == TIMEOUT


def test_a_look_that_waits_for_a_lock_says_so_in_the_time_that_it_has(
    nowhere: CommandLine, fresh_postgresql_url: str
) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.connect() as other:
        other.exec_driver_sql("LOCK TABLE xclaim_message IN ACCESS EXCLUSIVE MODE")
        printed = nowhere.at(fresh_postgresql_url)("metrics", "--timeout", "300ms")
        other.rollback()
    engine.dispose()

    assert printed.status == 4
    assert "within 0.3 seconds" in printed.stderr
    assert "somebody has locked the table" in printed.stderr


def test_a_look_that_takes_too_long_says_which_option_gives_it_more_time() -> None:
    said = str(ObservationTimeoutError("which queues there are", 2))

    assert "--timeout of `xclaim dashboard` and `xclaim metrics`" in said


def test_no_time_at_all_is_wrong_use(xclaim: CommandLine) -> None:
    refused = xclaim("metrics", "--timeout", "0s")

    assert refused.status == 2
    assert "timeout must be a millisecond or more" in refused.stderr


def test_a_file_is_replaced_as_a_whole_and_others_may_read_it(
    xclaim: CommandLine, tmp_path: Path
) -> None:
    xclaim("push", "orders", "1")
    path = tmp_path / "xclaim.prom"
    path.write_text("before")

    done = xclaim("metrics", *PATIENTLY, "--output", str(path))

    assert (done.status, done.stdout) == (0, "")
    assert 'queue="orders"' in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir() if "xclaim.prom" in each.name] == [path.name]


def test_a_folder_that_is_not_there_is_said_in_a_line(xclaim: CommandLine) -> None:
    xclaim("push", "orders", "1")

    done = xclaim("metrics", *PATIENTLY, "--output", "nowhere/xclaim.prom")

    assert done.status == 74
    (error,) = done.errors
    assert "'nowhere/xclaim.prom'" in error


@pytest.mark.parametrize(
    "options",
    [
        ["--host", "0.0.0.0"],  # noqa: S104  (it is refused)
        ["--port", "0", "--output", "x.prom"],
        ["--port", "70000"],
        ["--alerts", "--port", "0"],
        ["--board", "--output", "x"],
    ],
)
def test_options_that_do_not_go_together_are_wrong_use(
    xclaim: CommandLine, options: list[str]
) -> None:
    assert xclaim("metrics", *options).status == 2


def test_the_alerts_and_the_board_are_printed_without_a_database(xclaim: CommandLine) -> None:
    alerts, board = xclaim("metrics", "--alerts"), xclaim("metrics", "--board")

    package = files("xclaim.telemetry") / "monitoring"
    assert alerts.stdout == (package / "alerts.yml").read_text()
    assert json.loads(board.stdout)["title"] == "xclaim"
    assert not list(xclaim.folder.glob("*.db"))


def test_it_serves_until_it_is_interrupted(xclaim: CommandLine) -> None:
    xclaim("push", "orders", "1")
    port = programs.free_port()
    server = programs.start(
        [*XCLAIM, "metrics", *PATIENTLY, "--port", str(port)],
        port,
        cwd=xclaim.folder,
        env=xclaim.environment,
    )
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            body = answer.read().decode()
        server.send_signal(signal.SIGINT)
        status = server.wait(timeout=PATIENCE)
    finally:
        programs.stop(server)

    assert 'xclaim_consumed_total{queue="orders"} 0.0' in body
    assert status == 130


def test_a_port_that_is_taken_is_said_in_a_line(xclaim: CommandLine) -> None:
    import socket

    xclaim("push", "orders", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        port = taken.getsockname()[1]

        done = xclaim("metrics", "--port", str(port))

    assert done.status == 2
    (error,) = done.errors
    assert f"cannot listen at 127.0.0.1:{port}" in error
    assert "in use" in error
    assert "--port" in error


def test_a_host_that_is_none_of_this_machine_is_said_in_a_line(xclaim: CommandLine) -> None:
    xclaim("push", "orders", "1")

    done = xclaim("metrics", "--port", "0", "--host", "no such host")

    assert done.status == 2
    (error,) = done.errors
    assert "cannot listen at no such host:0" in error
    assert "--host" in error
