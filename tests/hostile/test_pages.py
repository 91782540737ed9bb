"""The dashboard over a table full of rows that no driver reads: none takes a page from others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.hostile.test_surfaces import DATABASES, fill
from tests.looks import patient_observer
from tests.web.asking import form_of, send
from tests.web.dashboards import Dashboard
from xclaim.observing.filters import StatusWord

PAGES = [
    "queues",
    "queue?name=hostile",
    "flows?name=hostile",
    "messages",
    *(f"messages?filter=status:{word}" for word in StatusWord),
    *(f"messages?filter=status:{word}+queue:hostile" for word in StatusWord),
    "completions?text=queue:",
    "dead-letters",
    "dead-letters?queue=hostile",
    "claims",
    "claims?queue=hostile",
    "redrive?queue=hostile",
    "withdraw?queue=hostile",
    "release?queue=hostile",
    "expire?queue=hostile",
    "pause?queue=hostile",
    "task?dag=d&run=r",
    "task?dag=d&run=r&task=t&map=3",
    "doctor",
    "metrics",
]


@pytest.mark.parametrize("database", DATABASES)
def test_every_page_is_shown(engine: Engine, database: str) -> None:
    fill(engine, database)
    dashboard = Dashboard(engine)

    answers = {page: dashboard.get(page) for page in PAGES}

    assert {page: it.text for page, it in answers.items() if it.status_code != 200} == {}
    assert not [page for page, it in answers.items() if "That took too long" in it.text]
    assert "\nxclaim_up 1.0\n" in answers["metrics"].text


@pytest.mark.parametrize("database", DATABASES)
def test_every_list_is_shown_where_somebody_listens_to_what_is_sent(
    engine: Engine, database: str
) -> None:
    fill(engine, database)
    dashboard = Dashboard(engine)
    heard: list[str] = []

    def listen(*of: Any) -> None:
        heard.append(of[2])

    event.listen(engine, "before_cursor_execute", listen)
    try:
        answers = {page: dashboard.get(page) for page in PAGES}
    finally:
        event.remove(engine, "before_cursor_execute", listen)

    assert heard
    assert {page: it.text for page, it in answers.items() if it.status_code != 200} == {}


@pytest.mark.parametrize("database", DATABASES)
def test_every_message_has_its_page(engine: Engine, database: str) -> None:
    fill(engine, database)
    dashboard = Dashboard(engine)
    found = patient_observer(engine).search("", limit=500).messages

    answers = {each.id: dashboard.get("message", id=each.id) for each in found}

    assert len(answers) > 50
    assert {id_: it.text for id_, it in answers.items() if it.status_code != 200} == {}


@pytest.mark.parametrize("database", DATABASES)
def test_an_audit_is_shown(engine: Engine, database: str) -> None:
    fill(engine, database)
    dashboard = Dashboard(engine)

    shown = send(dashboard, form_of(dashboard, "audit"))

    assert shown.status_code == 200
    assert "Not sound" in shown.text
