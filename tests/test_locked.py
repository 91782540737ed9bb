"""What CI installs is locked: one version of each package, and its digests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKED = (ROOT / "requirements-dev.txt").read_text()
PINNED = re.compile(r"^([a-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def test_each_package_of_ci_has_its_digests() -> None:
    entries = [entry for entry in re.split(r"\n(?=[a-z])", LOCKED) if entry.strip()]

    assert len(entries) > 100
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert [entry for entry in entries if not PINNED.match(entry)] == []


def test_its_versions_are_those_of_the_constraints() -> None:
    constrained = set(PINNED.findall((ROOT / "constraints.txt").read_text()))

    assert set(PINNED.findall(LOCKED)) <= constrained


def test_it_names_no_index() -> None:
    assert "://" not in LOCKED
    assert "--index" not in LOCKED


def test_make_installs_by_digest() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert makefile.count("--require-hashes --requirement requirements-dev.txt") == 2
    assert "@$(call install_hashed,$(VENV))" in makefile
