"""The floors of the house stand in pyproject.toml, name every room, and are those of the docs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import xclaim

ROOT = Path(__file__).parents[1]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PACKAGE = Path(xclaim.__file__).parent


def floors() -> list[tuple[str, ...]]:
    """Return the rooms of each floor, the highest floor first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [each["layers"] for each in contracts["contracts"] if each["type"] == "layers"]
    return [tuple(re.split(r"\s*[|:]\s*", layer)) for layer in layers]


def shown_floors(page: str) -> list[tuple[str, ...]]:
    """Return the rooms of each row of the table under the heading `The floors`."""
    _, _, section = page.partition("\n## The floors\n")
    section, _, _ = section.partition("\n## ")
    _names, _line, *rows = [line for line in section.splitlines() if line.startswith("|")]
    return [tuple(re.findall(r"`(\w+)`", row.split("|")[1])) for row in rows]


def test_every_module_of_the_package_has_one_floor() -> None:
    rooms = [room for floor in floors() for room in floor]
    modules = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }

    assert sorted(rooms) == sorted(modules - {"__init__"})


def test_the_docs_show_these_floors() -> None:
    shown = shown_floors(ARCHITECTURE.read_text())

    assert shown == [floor for floor in floors() if floor != ("__main__",)]  # which only starts cli
