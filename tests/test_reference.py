"""docs/reference: what the pages say is what the code says, and nothing is left out."""

from __future__ import annotations

import logging
import re

import pytest
from sqlalchemy import create_engine

pytest.importorskip("airflow")

from tests.reference import PAGES, configuration, errors, log_lines, path_of, schema, views
from xclaim.connections import log_lines as lines_of_verbs
from xclaim.sql.schema import message_table, queue_table, slot_table

pytestmark = pytest.mark.airflow


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_the_code_says(name: str) -> None:
    expected = PAGES[name]()

    assert path_of(name).read_text() == expected, "run `python -m tests.reference`"


def test_each_variable_of_the_code_is_on_the_page_and_no_other() -> None:
    page = path_of("configuration").read_text()

    named = set(re.findall(r"^\| `(XCLAIM_[A-Z_]+)`", page, re.MULTILINE))

    assert named == configuration.names_in_the_code()


def test_each_error_of_the_code_is_on_the_page() -> None:
    ours = "|".join(kind.__name__ for kind in errors.kinds())
    defined = re.compile(rf"^class ([A-Z]\w+)\((?:{ours})\b", re.MULTILINE)
    sources = (path.read_text() for path in configuration.SOURCES.rglob("*.py"))

    found = {name for text in sources for name in defined.findall(text)}

    page = path_of("errors").read_text()
    assert len(found) >= 18
    assert [name for name in found if f"\n## {name}\n" not in page] == []


def test_no_meaning_is_left_of_what_is_gone() -> None:
    texts = {line.text for line in log_lines.lines_in_the_code()}

    assert set(log_lines.MEANINGS) == texts
    assert set(schema.COLUMNS) == set(message_table().columns.keys())
    assert set(schema.QUEUE_COLUMNS) == set(queue_table().columns.keys())
    assert set(schema.SLOT_COLUMNS) == set(slot_table().columns.keys())


def test_each_call_that_logs_is_found() -> None:
    logs = re.compile(rf"(?:_logger|_log|self\.log)\.(?:{'|'.join(log_lines.LEVELS)})\b")
    sources = configuration.SOURCES.rglob("*.py")

    calling = {path.stem for path in sources if logs.search(path.read_text())}

    assert calling == {line.module.rpartition(".")[2] for line in log_lines.lines_in_the_code()}


def test_each_verb_that_logs_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "xclaim")
    page = path_of("log-lines").read_text()

    said: tuple[str, ...] = (
        "pushed",
        "claimed",
        "acked",
        "handed back",
        "released",
        "kept",
        "redrove",
        "pruned",
    )
    said += ("withdrew", "ran out", "lost", "paused", "unpaused", "limits set", "may wait")
    said += ("it is full",)

    assert [verb for verb in said if verb not in page] == []
    makers = {make.__name__ for _, make in lines_of_verbs._LINES.values()}
    assert len(makers) == 14  # a new one is to be shown too: add a scene, and count it here


def test_the_views_have_the_same_columns_on_postgresql(postgresql_url: str) -> None:
    engine = create_engine(postgresql_url.replace("postgresql://", "postgresql+psycopg://"))
    page = path_of("views").read_text()

    found = views.columns(engine)

    engine.dispose()
    listed = {
        section.partition("\n")[0]: re.findall(r"^\| `(\w+)` ", section, re.MULTILINE)
        for section in page.split("\n## ")[1:]
    }
    assert listed == found
