"""The dbt project: its models push and consume messages in their own transactions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from tests.eventually import until
from tests.languages.conftest import EXAMPLES, Place, Program, Start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHECKOUT = EXAMPLES.parent
VERSIONS = EXAMPLES / "dbt" / "requirements.txt"
FOLDER = CHECKOUT / ".matrix" / "dbt"


@pytest.fixture(scope="module")
def dbt() -> Path:
    """Return dbt, in an environment of its own: installed once, at the versions of the example.

    Without the package registry, the first time, the tests fail: nobody finds out from a skip.
    """
    stamp, wanted = FOLDER / ".installed", f"{sys.version}\n{VERSIONS.read_text()}"
    if not stamp.exists() or stamp.read_text() != wanted:
        install(FOLDER)
        stamp.write_text(wanted)
    return FOLDER / "bin" / "dbt"


def install(folder: Path) -> None:
    """Make the environment, with uv where there is one."""
    python, uv = str(folder / "bin" / "python"), shutil.which("uv")
    shutil.rmtree(folder, ignore_errors=True)
    make = [sys.executable, "-m", "venv", str(folder)]
    add = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if uv:
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
        add = [uv, "pip", "install", "--quiet", "--python", python]
    subprocess.run(make, check=True)
    subprocess.run([*add, "--requirement", str(VERSIONS)], check=True)


Build = Callable[..., Program]


@pytest.fixture
def build(start: Start, place: Place, dbt: Path, tmp_path: Path) -> Build:
    """Return what starts `dbt build` in a copy of the project."""
    project = shutil.copytree(EXAMPLES / "dbt", tmp_path / "project")

    def run(*words: str) -> Program:
        command = [dbt, "--no-send-anonymous-usage-stats", "build", "--project-dir", project]
        return start([*command, "--profiles-dir", project, *words], **place.variables)

    return run


def built(program: Program) -> str:
    """Wait for the end of a build that does well, and return what it printed."""
    assert program.process.wait() == 0, program.printed()
    return program.printed()


def test_rows_and_their_messages_are_committed_together_and_once(
    place: Place, build: Build
) -> None:
    late, sales = place.queue("late-orders"), place.queue("sales")
    sales.push_many([{"item": "cup"}, {"item": "pot"}])

    built(build())

    assert [message.payload["order_number"] for message in late.peek(9)] == [2, 3]
    assert place.run("SELECT payload ->> 'item' FROM analytics.sales ORDER BY message") == [
        ("cup",),
        ("pot",),
    ]
    assert sales.counts().consumed == 2

    sales.push({"item": "spoon"})
    built(build())

    assert late.counts().available == 2  # those were told of
    assert place.run("SELECT count(*) FROM analytics.sales") == [(3,)]
    assert (sales.counts().consumed, sales.counts().available) == (3, 0)


def test_what_dbt_cannot_read_is_released_and_the_rest_loaded(place: Place, build: Build) -> None:
    sales = place.queue("sales")
    message = sales.push({"day": date(2026, 11, 28)}, max_attempts=1)
    sales.push({"item": "cup"})

    built(build("--select", "sales"))

    assert place.run("SELECT payload FROM analytics.sales") == [({"item": "cup"},)]
    assert (sales.counts().consumed, sales.counts().dead_letters) == (1, 1)
    dead = sales.get(message.id)
    assert dead is not None
    assert "only Python can read a payload with the codec" in str(dead.last_error)


def test_a_build_that_is_killed_loses_no_message(place: Place, build: Build) -> None:
    sales = place.queue("sales")
    sales.push({"item": "cup"})
    place.run("CREATE SCHEMA analytics")
    place.run("CREATE TABLE analytics.sales (message bigint, sold_at timestamptz, payload jsonb)")
    with place.locked("analytics.sales"):
        program = build("--select", "sales")
        until(place.is_anyone_waiting)
        program.kill()

    until(lambda: sales.counts().available == 1)
    assert place.run("SELECT count(*) FROM analytics.sales") == [(0,)]


def test_a_row_that_says_something_else_under_its_key_fails_the_model(
    place: Place, build: Build
) -> None:
    place.queue("late-orders").push({"order_number": 2}, unique_key="2-2026-11-27")

    program = build("--select", "+late_orders")

    assert program.process.wait() != 0
    assert "is taken in queue" in program.printed()
    assert place.queue("late-orders").counts().available == 1
    assert place.run("SELECT to_regclass('analytics.late_orders')") == [(None,)]
