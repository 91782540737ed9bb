"""docs/guides/what-airflow-does.md: each line of its tables names the test that shows it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guides" / "what-airflow-does.md"
_NAMED = re.compile(r"`(test_\w+)`")
_DEFINED = re.compile(r"^def (test_\w+)", re.MULTILINE)


def test_each_line_of_the_page_names_a_test_of_a_real_airflow() -> None:
    files = (ROOT / "tests" / "stack").glob("test_*.py")
    defined = {name for file in files for name in _DEFINED.findall(file.read_text())}
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    lines = [row for row in rows if not row.startswith(("| ---", "| what happens |"))]

    named = [set(_NAMED.findall(line)) for line in lines]

    assert [line for line, names in zip(lines, named, strict=True) if not names] == []
    assert set().union(*named) - defined == set()
    assert len(lines) > 15


def test_each_run_that_is_tested_stands_on_the_page() -> None:
    file = ROOT / "tests" / "stack" / "test_runs.py"

    defined = set(_DEFINED.findall(file.read_text()))

    assert defined - set(_NAMED.findall(PAGE.read_text())) == set()
