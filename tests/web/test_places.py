"""Several databases in one dashboard, to each person his own."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from starlette.responses import PlainTextResponse, Response

from tests.looks import PATIENT
from tests.web.dashboards import Browser, SignedIn
from xclaim import Queue, create_engine
from xclaim.operations.migrate import upgrade
from xclaim.web import Person, Place, create_app
from xclaim.web.routes import page
from xclaim.web.visits import Visit

EVE = Person(name="eve")


class Shops:
    """Two databases: the first is for everybody, the second not for eve."""

    def __init__(self, engines: dict[str, Engine]) -> None:
        self._engines = engines

    def names(self, person: Person) -> list[str]:
        return [*self._engines][: 1 if person == EVE else None]

    def open(self, name: str, person: Person) -> Place:
        return Place(name=name, engine=self._engines[name], timeout=PATIENT)


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[Shops]:
    engines = {}
    for number, name in enumerate(("north & co", "south")):
        url = f"sqlite:///{tmp_path / str(number)}.db"
        upgrade(url)
        engines[name] = create_engine(url)
        Queue(f"of {name}", engines[name]).push(1)
    yield Shops(engines)
    for engine in engines.values():
        engine.dispose()


def test_the_first_place_is_shown_and_the_others_are_offered(shops: Shops) -> None:
    shown = Browser(create_app(shops, SignedIn())).get("/queues").text

    assert ">of north &amp; co<" in shown
    assert '<option value="south">south</option>' in shown


def test_links_stay_in_the_place(shops: Shops) -> None:
    shown = Browser(create_app(shops, SignedIn())).get("/queues", params={"place": "south"}).text

    assert 'href="./queue?place=south&amp;name=of+south"' in shown
    assert 'data-live="./events?place=south&amp;topic=queues"' in shown
    assert '<input type="hidden" name="place" value="south">' in shown


def test_a_run_is_the_same_in_another_place(shops: Shops) -> None:
    browser = Browser(create_app(shops, SignedIn()))

    page = browser.get("/task", params={"dag": "d", "run": "one\ntwo %"}).text
    (form,) = re.findall('<form method="get" action="./task".*?</form>', page, re.DOTALL)
    hidden = re.findall('<input type="hidden" name="([^"]*)" value="([^"]*)">', form)

    assert hidden == [("dag", "d"), ("run*", "one%0Atwo%20%25")]
    again = browser.get("/task", params={"place": "south", **dict(hidden)})
    assert "one\\ntwo %" in again.text


def test_a_place_of_others_is_not_there(shops: Shops) -> None:
    browser = Browser(create_app(shops, SignedIn(EVE)))

    answers = [browser.get("/queues", params={"place": name}) for name in ("south", "nowhere")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert "of south" not in answers[0].text
    assert "south" not in browser.get("/queues").text


def test_that_there_is_no_place_is_said() -> None:
    answer = Browser(create_app(Shops({}), SignedIn())).get("/queues")

    assert answer.status_code == 404
    assert "no database that ada may look at" in answer.text


def test_no_page_runs_where_others_are_answered(shops: Shops) -> None:
    ran: list[threading.Thread] = []

    def show(visit: Visit) -> Response:
        ran.append(threading.current_thread())
        return PlainTextResponse(visit.place.name)

    app = create_app(shops, SignedIn())
    app.router.routes.append(page("/thread", show))

    answer = Browser(app).get("/thread")

    assert answer.text == "north & co"
    assert ran[0] is not threading.current_thread()
