"""Clean environments with an installed xclaim, and what is tried in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TRIALS = Path(__file__).parent / "trials"
AIRFLOW_EXTRAS = frozenset({"airflow", "messaging"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A clean environment, and a folder for what is made there."""

    folder: Path

    @property
    def python(self) -> Path:
        """The Python of the environment."""
        return self.folder / "bin" / "python"

    @property
    def work(self) -> Path:
        """Where programs run."""
        return self.folder / "work"

    def run(self, *command: str, given: str = "", **variables: str) -> str:
        """Run a program of the environment and return its output.

        It sees nothing of the checkout, and no setting of xclaim, Airflow or Python that is set
        for whoever makes the release. Raise CalledProcessError if it fails.
        """
        return subprocess.run(
            [str(self.folder / "bin" / command[0]), *command[1:]],
            input=given,
            cwd=self.work,
            env=_without_settings() | {"AIRFLOW_HOME": str(self.work / "airflow")} | variables,
            check=True,
            text=True,
            capture_output=True,
        ).stdout


def install(python: str, folder: Path, requirement: str, constraints: Path) -> Environment:
    """Make an environment with what is required, by uv where there is one, else by pip."""
    environment = Environment(folder=folder)
    if _has_uv():
        _run("uv", "venv", "--quiet", "--clear", "--python", python, str(folder))
        installer = ["uv", "pip", "install", "--quiet", "--python", str(environment.python)]
    else:
        _run(python, "-m", "venv", "--clear", str(folder))
        installer = [str(environment.python), "-m", "pip", "install", "--quiet"]
    _run(*installer, "--constraint", str(constraints), requirement)
    environment.work.mkdir()
    return environment


def try_core(environment: Environment) -> None:
    """Use the command line and both facades on SQLite."""
    environment.run("xclaim", "upgrade")
    environment.run("xclaim", "push", "orders", '{"id": 1}')
    claim = environment.run("xclaim", "claim", "orders")
    acked = environment.run("xclaim", "ack", given=claim)
    if json.loads(acked)["status"] != "consumed":
        raise ValueError(f"the message was not consumed: {acked}")
    _run_trial(environment, "core")


def try_extras(environment: Environment) -> None:
    """Use what the extras without Airflow bring, on PostgreSQL."""
    _run_trial(environment, "extras")


def try_airflow(environment: Environment) -> None:
    """Make the schema through a connection of Airflow, and use its hook."""
    connection = {"AIRFLOW_CONN_XCLAIM_DEFAULT": f"sqlite:///{environment.work}/messages.db"}
    environment.run("airflow", "xclaim", "upgrade", "--conn-id", "xclaim_default", **connection)
    _run_trial(environment, "in_airflow", **connection)


def write_bill(environment: Environment, root: Path, version: str, path: Path, epoch: str) -> None:
    """Write which packages were there when the extras were tried, as CycloneDX (an SBOM)."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    project = ["--mc-type", "library", "--pyproject", str(root / "pyproject.toml")]
    bill = json.loads(_run(*command, *project, str(environment.python), SOURCE_DATE_EPOCH=epoch))
    # The version is dynamic, which the program leaves out.
    bill["metadata"]["component"] |= {"version": version, "purl": f"pkg:pypi/xclaim@{version}"}
    path.write_text(json.dumps(bill, indent=2) + "\n")


def _run_trial(environment: Environment, name: str, **variables: str) -> None:
    environment.run("python", "-I", str(_TRIALS / f"{name}.py"), **variables)


def _has_uv() -> bool:
    """Whether uv runs: what pyenv puts on the PATH may not."""
    uv = shutil.which("uv")
    if uv is None:
        return False
    return subprocess.run([uv, "--version"], capture_output=True, check=False).returncode == 0


def _without_settings() -> dict[str, str]:
    ours = ("XCLAIM", "AIRFLOW", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _run(*command: str, **variables: str) -> str:
    done = subprocess.run(
        command,
        env=_without_settings() | variables,
        check=True,
        text=True,
        capture_output=True,
    )
    return done.stdout
