"""The wheel, installed in a clean environment, does what the checkout does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from releasing import distributions, environments, tree
from releasing.distributions import Distributions
from releasing.environments import Environment
from xclaim import __version__

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
MADE_AT = "1800000000"
CODE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return distributions.build(ROOT, tmp_path_factory.mktemp("dist"), made_at=MADE_AT)


@pytest.fixture(scope="module")
def installed(built: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return a clean environment with the wheel."""
    folder = tmp_path_factory.mktemp("clean") / "environment"
    return environments.install(sys.executable, folder, str(built.wheel), ROOT / "constraints.txt")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of the checkout in another place, of another time and for its owner only."""
    copy = tmp_path / "copy"
    for name in tree.files(ROOT):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
        (copy / name).chmod((ROOT / name).stat().st_mode & 0o700)
    return copy


def test_the_wheel_holds_the_migrations_and_nothing_of_the_tests(built: Distributions) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()

    assert "xclaim/migrations/env.py" in names
    assert "xclaim/migrations/versions/0001_create_the_message_table.py" in names
    assert "xclaim/migrations/versions/0001_functions.sql" in names
    assert "xclaim/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "examples", "migrations"))]


def test_the_distributions_have_all_files_that_belong_there_and_no_other(
    built: Distributions,
) -> None:
    assert list(distributions.faults(ROOT, built)) == []


def test_a_file_too_many_and_one_too_few_are_named(built: Distributions, tmp_path: Path) -> None:
    wheel = tmp_path / built.wheel.name
    with zipfile.ZipFile(built.wheel) as good, zipfile.ZipFile(wheel, "w") as bad:
        for name in set(good.namelist()) - {"xclaim/py.typed"}:
            bad.writestr(name, good.read(name))
        bad.writestr("xclaim/keys.env", "")

    faults = list(distributions.faults(ROOT, Distributions(sdist=built.sdist, wheel=wheel)))

    assert faults == [
        "the wheel has xclaim/keys.env, which does not belong there",
        "the wheel lacks xclaim/py.typed",
    ]


def test_the_same_files_elsewhere_give_the_same_bytes(
    built: Distributions, copied: Path, tmp_path: Path
) -> None:
    again = distributions.build(copied, tmp_path / "dist", made_at=MADE_AT)

    assert distributions.digests([*again]) == distributions.digests([*built])


def test_the_wheel_has_the_version_that_the_package_says(built: Distributions) -> None:
    assert built.wheel.name.startswith(f"xclaim-{__version__}-")


def test_pypi_renders_the_readme_without_a_dead_link(built: Distributions) -> None:
    text = distributions.description(distributions.metadata(built.wheel))

    assert distributions.dead_links(README.read_text()) != []
    assert distributions.dead_links(text) == []


def test_pypi_shows_the_code_of_the_readme_as_it_is(built: Distributions) -> None:
    text = distributions.description(distributions.metadata(built.wheel))

    assert CODE.findall(text) == CODE.findall(README.read_text())
    assert len(CODE.findall(text)) > 5


def test_the_installed_command_and_both_facades_push_claim_and_ack(installed: Environment) -> None:
    environments.try_core(installed)


def test_postgresql_without_its_driver_says_what_to_install(installed: Environment) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        installed.run("xclaim", "upgrade", "--url", "postgresql://localhost/orders")

    assert failed.value.returncode == 2
    assert 'pip install "xclaim[postgresql]"' in failed.value.stderr
