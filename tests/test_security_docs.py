"""docs/security.md: each line names the tests that show it, and they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
_NAMED = re.compile(r"`(test_\w+)`")
_DEFINED = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)


def rows_of_tables_with_tests() -> list[str]:
    """Return the rows of those tables whose last column is named `test`."""
    rows, is_inside = [], False
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|"):
            is_inside = False
        elif line.rstrip("| ").endswith("| test"):
            is_inside = True
        elif is_inside and not line.startswith("| ---"):
            rows.append(line)
    return rows


def test_each_test_that_the_page_names_is_there() -> None:
    files = (ROOT / "tests").rglob("*.py")
    defined = {name for file in files for name in _DEFINED.findall(file.read_text())}

    named = set(_NAMED.findall(PAGE.read_text()))

    assert sorted(named - defined) == []


def test_each_line_of_the_page_names_a_test() -> None:
    rows = rows_of_tables_with_tests()

    without = [row for row in rows if not _NAMED.search(row)]

    assert without == []
    assert len(rows) > 60
