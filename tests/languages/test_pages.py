"""What the guide shows of an example stands in it."""

from __future__ import annotations

import pytest

from tests.languages.conftest import EXAMPLES
from tests.pages import ROOT, read_page

EXCERPTS = [
    block.code
    for block in read_page(ROOT / "docs" / "guides" / "other-languages.md").blocks
    if block.language == "text" and "output" not in block.words
]


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=[each.split()[0] for each in EXCERPTS])
def test_what_the_page_shows_stands_in_an_example(excerpt: str) -> None:
    patterns = ("node/worker.js", "java/Worker.java", "dbt/models/*.sql")
    files = [path for pattern in patterns for path in EXAMPLES.glob(pattern)]
    lines = [line.strip() for line in excerpt.splitlines()]

    found = [path.name for path in files if stands_in(lines, path.read_text())]

    assert len(found) == 1


def stands_in(lines: list[str], text: str) -> bool:
    return "\n".join(lines) in "\n".join(line.strip() for line in text.splitlines())
