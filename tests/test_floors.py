"""The floors of the house stand in pyproject.toml alone, and name every room."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import xclaim

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
PACKAGE = Path(xclaim.__file__).parent
# A line that shows a floor begins with its rooms, as `cli | airflow   translate` does.
ROOMS = re.compile(r"[\s\"'`]*(\w+(?:\s*\|\s*\w+)*)")
BLOCK = re.compile(r"^```.*?\n(.*?)^```$|((?:^ {4}.*\n)+)", re.DOTALL | re.MULTILINE)
A_LIST = 6  # lines that begin with a room: fewer are about something else


def floors() -> list[tuple[str, ...]]:
    """Return the rooms of each floor, the highest floor first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [each["layers"] for each in contracts["contracts"] if each["type"] == "layers"]
    return [tuple(re.split(r"\s*[|:]\s*", layer)) for layer in layers]


def shown_floors(block: str) -> list[tuple[str, ...]]:
    """Return the floors that a block of a page lists, if it does."""
    rooms = {room for floor in floors() for room in floor}
    begins = [found[1] for line in block.splitlines() if (found := ROOMS.match(line))]
    listed = [tuple(re.split(r"\s*\|\s*", begin)) for begin in begins]
    shown = [floor for floor in listed if set(floor) <= rooms]
    return shown if len(shown) >= A_LIST else []


def test_every_module_of_the_package_has_one_floor() -> None:
    rooms = [room for floor in floors() for room in floor]
    modules = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }

    assert sorted(rooms) == sorted(modules - {"__init__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_that_lists_the_floors_lists_these(page: Path) -> None:
    blocks = [fenced or indented for fenced, indented in BLOCK.findall(page.read_text())]

    shown = [found for block in blocks if (found := shown_floors(block))]

    assert shown in ([], [floors()])


def test_a_list_that_is_out_of_date_is_found() -> None:
    lines = [f"{' | '.join(floor):<20} what it is for" for floor in floors()]

    assert shown_floors("\n".join(lines)) == floors()
    assert shown_floors("\n".join([lines[1], lines[0], *lines[2:]])) != floors()
    assert shown_floors("\n".join(lines[:-1])) != floors()
