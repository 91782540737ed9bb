"""The page on payloads: its examples run as they stand there, one after the other."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import text

from tests.test_readme import BLOCK
from xclaim import create_engine

PAGE = Path(__file__).parents[1] / "docs" / "payloads.md"


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ModuleType("payloads_page")  # dataclasses and pydantic look their module up
    monkeypatch.setitem(sys.modules, page.__name__, page)

    blocks = [block for block in BLOCK.findall(PAGE.read_text()) if not block[2]]
    for _, language, _, code in blocks:
        if language == "python":
            compiled = compile(code, str(PAGE), "exec", dont_inherit=True)
            exec(compiled, page.__dict__)  # noqa: S102  (our own page)
    engine = create_engine("sqlite:///payloads.db")
    with engine.connect() as connection:
        rows = [
            connection.execute(text(code)).all()
            for _, language, _, code in blocks
            if language == "sql"
        ]

    engine.dispose()
    assert [len(found) for found in rows] == [5]
    assert len(list((tmp_path / "payloads" / "reports").iterdir())) == 1
