"""What CI and a release install is locked: one version of each package, and its digests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PINNED = re.compile(r"^([a-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
NAMED = re.compile(r"^[A-Za-z0-9._-]+")

locked = pytest.mark.parametrize(
    "locked",
    [(ROOT / name).read_text() for name in ("requirements-dev.txt", "requirements-release.txt")],
    ids=["dev", "release"],
)


def names_in(requirements: list[str | dict[str, str]]) -> set[str]:
    """Return the packages that a group or an extra names, in their normal form."""
    texts = [requirement for requirement in requirements if isinstance(requirement, str)]
    found = [NAMED.match(text) for text in texts]
    return {re.sub(r"[-_.]+", "-", name[0]).lower() for name in found if name is not None}


@locked
def test_each_package_of_ci_has_its_digests(locked: str) -> None:
    entries = [entry for entry in re.split(r"\n(?=[a-z])", locked) if entry.strip()]

    assert len(entries) > 50
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert [entry for entry in entries if not PINNED.match(entry)] == []


@locked
def test_its_versions_are_those_of_the_constraints(locked: str) -> None:
    assert set(PINNED.findall(locked)) <= set(PINNED.findall(CONSTRAINTS))


@locked
def test_it_names_no_index(locked: str) -> None:
    assert "://" not in locked
    assert "--index" not in locked


@pytest.mark.parametrize("group", PROJECT["dependency-groups"])
def test_each_package_of_a_group_has_a_constraint(group: str) -> None:
    constrained = {name for name, _version in PINNED.findall(CONSTRAINTS)}

    assert names_in(PROJECT["dependency-groups"][group]) <= constrained


@pytest.mark.parametrize("group", ["dev", "release"])
def test_each_package_of_a_group_is_locked(group: str) -> None:
    locked = PINNED.findall((ROOT / f"requirements-{group}.txt").read_text())

    assert names_in(PROJECT["dependency-groups"][group]) <= {name for name, _version in locked}


@pytest.mark.parametrize("group", PROJECT["dependency-groups"])
def test_no_group_asks_an_index_for_xclaim(group: str) -> None:
    assert "xclaim" not in names_in(PROJECT["dependency-groups"][group])


def test_make_refreshes_the_constraints_of_each_group() -> None:
    (named,) = re.findall(r"^GROUPS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    named_in_dev = {"docs", "test"}

    assert {*named.split(), *named_in_dev} == set(PROJECT["dependency-groups"])


def test_make_installs_by_digest() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert "$$install --require-hashes --requirement $(2)" in makefile
    assert "@$(call install_hashed,$(VENV),requirements-dev.txt)" in makefile
    assert "@$(call install_hashed,$(VENV_RELEASE),requirements-release.txt)" in makefile
