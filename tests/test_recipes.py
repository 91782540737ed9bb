"""The page of recipes: its examples run as they stand there, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_readme import BLOCK

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page: dict[str, Any] = {"__name__": "recipes_page"}

    for _, language, no_run, code in BLOCK.findall(PAGE.read_text()):
        if language == "python" and not no_run:
            exec(compile(code, str(PAGE), "exec", dont_inherit=True), page)  # noqa: S102  (our own)

    page["engine"].dispose()
    assert capsys.readouterr().out == "send 1 teapot\n"
