"""The README's blocks, run in their order as a newcomer would; and the links of every page."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from xclaim import Queue, create_engine
from xclaim.operations import migrate

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md")]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
BLOCK = re.compile(r"^( *)```(\w+)( no-run| airflow)?\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r" <<'END'\n(.*?)^END$", re.DOTALL | re.MULTILINE)


def blocks() -> list[tuple[str, bool, str]]:
    """Return language, whether it is to be run by itself, and code of each block."""
    return [
        (language, not kind, textwrap.dedent(body))
        for _indent, language, kind, body in BLOCK.findall(README.read_text())
    ]


def airflow_commands() -> list[str]:
    """Return what the README says of Airflow, command by command; a file goes with its command."""
    found = "".join(
        body for _, _, kind, body in BLOCK.findall(README.read_text()) if kind == " airflow"
    )
    files = FILE.findall(found)
    return [
        command.replace("<<FILE", f"<<'END'\n{files.pop(0)}END") if "<<FILE" in command else command
        for command in FILE.sub(" <<FILE", found).splitlines()
    ]


def run_in_airflow(commands: list[str], home: Path) -> None:
    """Run the commands in one shell whose user has nothing but the programs of this environment."""
    scripts = Path(sys.executable).parent
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "_AIRFLOW", "XCLAIM"))
    }
    environment |= {"HOME": str(home), "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-ec", "\n".join(commands)],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def run_block(language: str, code: str, folder: Path, namespace: dict[str, Any]) -> None:
    """Run a block; the python ones share their names, as in one session."""
    if language == "python":
        exec(compile(code, str(README), "exec"), namespace)  # noqa: S102  (our own README)
        return
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    bash = ["/bin/bash", "-o", "pipefail", "-ec", code]
    subprocess.run(bash, cwd=folder, env=environment, check=True)


@pytest.mark.slow
def test_the_blocks_run_from_install_to_the_first_ack(
    sqlite_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sqlite_folder)
    monkeypatch.delenv("XCLAIM_DATABASE_URL", raising=False)
    namespace: dict[str, Any] = {}

    for language, is_run, code in blocks():
        if is_run and language in ("bash", "python"):
            run_block(language, code, sqlite_folder, namespace)

    with Queue("orders", "sqlite:///xclaim.db") as queue:
        assert queue.counts().consumed == 2
        assert queue.counts().available == 0


def test_the_queries_run_on_every_database(database_url: str) -> None:
    sql = "".join(code for language, _, code in blocks() if language == "sql")
    statements = [query for query in sql.split(";") if query.strip()]
    engine = create_engine(database_url)
    migrate.upgrade(engine)

    with engine.connect() as connection:
        results = [connection.execute(text(query)).all() for query in statements]

    engine.dispose()
    assert len(results) == 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_stays_short() -> None:
    assert len(README.read_text().splitlines()) < 200


def test_the_first_ack_in_airflow_takes_six_commands() -> None:
    commands = [" ".join(command.split()[:2]) for command in airflow_commands()]

    assert commands == [
        "pip install",
        'export AIRFLOW_CONN_XCLAIM_DEFAULT="sqlite:///$PWD/xclaim.db"',
        "airflow xclaim",
        "mkdir -p",
        "airflow standalone",
        "airflow dags",
        "xclaim stats",  # after the ack
    ]


@pytest.mark.slow
@pytest.mark.airflow
def test_the_commands_of_airflow_lead_to_acked_messages(tmp_path: Path) -> None:
    """Word by word, but for what downloads, and `airflow standalone` with its trigger.

    In their place the DAG runs in one process, which takes seconds and not minutes.
    """
    pytest.importorskip("airflow")
    _install, *said, _standalone, _trigger, look = airflow_commands()

    run_in_airflow([*said, "airflow db migrate", "airflow dags test parcels", look], tmp_path)

    with Queue("parcels", f"sqlite:///{tmp_path}/xclaim.db") as queue:
        assert queue.counts().consumed == 100
        assert queue.counts().available == 0


@pytest.mark.airflow
def test_the_dag_of_the_readme_is_a_dag() -> None:
    pytest.importorskip("airflow")
    (code,) = [file for command in airflow_commands() for file in FILE.findall(command)]
    namespace: dict[str, Any] = {}

    exec(compile(code.replace("\nparcels()", "\nbuilt = parcels()"), "readme", "exec"), namespace)  # noqa: S102

    assert sorted(namespace["built"].task_ids) == ["pack", "push_parcels"]
