"""Commands whose packages are not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.command_line import CommandLine
from tests.eventually import PATIENCE


@pytest.mark.parametrize(
    ("arguments", "package", "extra"),
    [
        (["dashboard", "--port", "0"], "uvicorn", "web"),
        (["metrics"], "prometheus_client", "metrics"),
    ],
    ids=["dashboard", "metrics"],
)
def test_without_the_extra_it_says_what_to_install(
    sqlite_xclaim: CommandLine, arguments: list[str], package: str, extra: str
) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None; from xclaim.cli import main;"
        f"main({arguments!r})"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        env=sqlite_xclaim.environment,
        cwd=sqlite_xclaim.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    assert done.returncode == 2
    assert f"pip install 'xclaim[{extra}]'" in done.stderr
