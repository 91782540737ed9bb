"""The image of Airflow that `docker compose --profile airflow up --build` makes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound
from docker.utils.build import exclude_paths

from releasing import distributions, tree
from tests.databases import docker_answers

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()

pytestmark = pytest.mark.wheel


def context_of(folder: Path) -> set[str]:
    """Return the files that a COPY in the Dockerfile can see."""
    sent = {name for name in exclude_paths(folder, IGNORED) if (folder / name).is_file()}
    return sent - {".dockerignore", "Dockerfile"}  # they are for the engine only


def test_what_the_image_is_made_of_is_enough_for_the_wheel(tmp_path: Path) -> None:
    for name in context_of(ROOT):
        (tmp_path / "context" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "context" / name)
    build = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path)]

    subprocess.run([*build, str(tmp_path / "context")], check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    assert distributions.names_in_wheel(wheel) == distributions.expected_in_wheel(ROOT)


def test_nothing_else_of_the_checkout_gets_into_the_image(tmp_path: Path) -> None:
    for name in (*tree.files(ROOT), ".env", "orders.db", "src/xclaim/__pycache__/keys.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    context = context_of(tmp_path)

    assert {name for name in context if "/" not in name} == {
        "LICENSE",
        "README.md",
        "pyproject.toml",
    }
    assert {name.partition("/")[0] for name in context if "/" in name} == {"migrations", "src"}
    assert "src/xclaim/__pycache__/keys.pyc" not in context


def test_compose_builds_it_and_finds_the_example_dags() -> None:
    import yaml  # not in the environments of the core

    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    airflow = services["airflow"]
    (volume,) = airflow["volumes"]
    here, there, rights = volume.split(":")

    assert set(airflow["build"]["args"]) == set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert "pip" not in " ".join(airflow["command"])
    assert rights == "ro"
    dags = airflow["environment"]["AIRFLOW__CORE__DAGS_FOLDER"].replace(there, str(ROOT / here), 1)
    assert list(Path(dags).glob("share_out.py"))


def test_compose_and_the_image_name_the_same_airflow() -> None:
    (image,) = re.findall(r"^ARG AIRFLOW_IMAGE=(\S+)", DOCKERFILE, re.MULTILINE)

    assert f"${{XCLAIM_AIRFLOW_IMAGE:-{image}}}" in (ROOT / "docker-compose.yml").read_text()


def test_it_is_built_where_an_engine_has_the_image_of_airflow() -> None:
    if not docker_answers():
        pytest.skip("no Docker engine answers")
    (official,) = re.findall(r"^ARG AIRFLOW_IMAGE=(\S+)", DOCKERFILE, re.MULTILINE)
    with closing(docker.from_env(timeout=600)) as client:
        try:
            client.images.get(official)
        except ImageNotFound:
            pytest.skip(f"the engine has no {official}: docker pull {official}")
        image, _log = client.images.build(path=str(ROOT), network_mode="host", rm=True)

        said = client.containers.run(
            image.id, ["bash", "-c", "id --user && xclaim --version"], remove=True
        )

    assert said.decode().split() == ["50000", "xclaim,", "version", tree.version(ROOT)]
