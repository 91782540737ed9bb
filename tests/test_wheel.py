"""The wheel, installed in a clean environment, does what the checkout does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from xclaim import __version__

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of scripts of a clean environment with the wheel."""
    folder = tmp_path_factory.mktemp("clean")
    python = folder / "bin" / "python"
    constraints = str(ROOT / "constraints.txt")
    uv = shutil.which("uv")
    if uv is not None and subprocess.run([uv, "--version"], check=False).returncode == 0:
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "-q", "--python", str(python)]
    else:
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q"]
    subprocess.run([*install, "-c", constraints, str(wheel)], check=True)
    return python.parent


def test_the_wheel_holds_the_migrations_and_nothing_of_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert "xclaim/migrations/env.py" in names
    assert "xclaim/migrations/versions/0001_create_the_message_table.py" in names
    assert "xclaim/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "examples", "migrations"))]


def test_the_wheel_has_the_version_that_the_package_says(wheel: Path) -> None:
    assert wheel.name.startswith(f"xclaim-{__version__}-")


def test_the_installed_command_upgrades_pushes_claims_and_acks(
    scripts: Path, tmp_path: Path
) -> None:
    environment = {key: os.environ[key] for key in os.environ if not key.startswith("XCLAIM")}
    command = str(scripts / "xclaim")

    def xclaim(*arguments: str, given: str = "") -> str:
        return subprocess.run(
            [command, *arguments],
            input=given,
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    xclaim("upgrade")
    xclaim("push", "orders", '{"id": 1}')
    claim = xclaim("claim", "orders")
    acked = xclaim("ack", given=claim)

    assert json.loads(claim)["message"]["payload"] == {"id": 1}
    assert json.loads(acked)["status"] == "consumed"


def test_postgresql_without_its_driver_says_what_to_install(scripts: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [str(scripts / "xclaim"), "upgrade", "--url", "postgresql://localhost/orders"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert 'pip install "xclaim[postgresql]"' in result.stderr
