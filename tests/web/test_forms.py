"""What is posted is done only if a page of ours posts it, for the person who saw it."""

from __future__ import annotations

import time
from threading import get_ident
from typing import Any
from urllib.parse import parse_qsl

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response

from tests.web.dashboards import OPERATOR, Browser, SignedIn, shop
from xclaim import create_engine
from xclaim.arguments import HIGHEST_ID
from xclaim.web import Person, forms, selections
from xclaim.web.actions import MOST
from xclaim.web.forms import MOST_BYTES, Form, form_token
from xclaim.web.gate import Gate
from xclaim.web.live import Live
from xclaim.web.pages.queues import Flows
from xclaim.web.routes import action
from xclaim.web.settings import Settings
from xclaim.web.signing import Signer
from xclaim.web.visits import Visit

SIGNER = Signer(b"a secret of this test")
OURS = {"sec-fetch-site": "same-origin"}


class Deeds:
    """An application with one action, which remembers what it was asked for."""

    def __init__(self, engine: Engine) -> None:
        self.done: list[dict[str, str]] = []
        self.access = SignedIn()
        settings = Settings(places=shop(engine), access=self.access, signer=SIGNER)
        app = Starlette(
            routes=[action("/act", self._act)], middleware=[Middleware(Gate, settings=settings)]
        )
        app.state.live, app.state.flows = Live({}), Flows()
        self.browser = Browser(app)

    def _act(self, visit: Visit, form: Form) -> Response:
        self.done.append(dict(form))
        return PlainTextResponse(visit.person.name)


@pytest.fixture
def deeds(sqlite_url: str) -> Any:
    engine = create_engine(sqlite_url)
    yield Deeds(engine)
    engine.dispose()


def test_a_form_of_ours_is_done(deeds: Deeds) -> None:
    data = {"csrf_token": form_token(SIGNER, OPERATOR), "queue": "örders & more"}

    answer = deeds.browser.post("/act", data=data, headers=OURS)

    assert (answer.status_code, answer.text) == (200, "ada")
    assert deeds.done[0]["queue"] == "örders & more"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "..",
        "é.ü",
        form_token(SIGNER, Person(name="eve")),
        form_token(Signer(b"another secret"), OPERATOR),
        form_token(SIGNER, OPERATOR)[:-3],
        SIGNER.sign("flash", OPERATOR, ""),
    ],
    ids=["empty", "short", "dots", "letters", "of another", "of another secret", "cut", "a flash"],
)
def test_a_form_without_a_token_for_the_person_is_refused(deeds: Deeds, token: str) -> None:
    answer = deeds.browser.post("/act", data={"csrf_token": token}, headers=OURS)

    assert answer.status_code == 403
    assert "reload the page" in answer.text
    assert deeds.done == []


def test_a_form_that_is_days_old_is_refused(deeds: Deeds, monkeypatch: pytest.MonkeyPatch) -> None:
    token = form_token(SIGNER, OPERATOR)
    later = time.time() + 24 * 60 * 60
    monkeypatch.setattr("xclaim.web.signing.time.time", lambda: later)

    answer = deeds.browser.post("/act", data={"csrf_token": token}, headers=OURS)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "cross-site", "origin": "http://dashboard.example"},
        {"origin": "http://evil.example"},
        {"origin": "http://dashboard.example.evil.example"},
        {"origin": "http://dashboard.example:81"},
        {"origin": "null"},
        {"origin": "http://["},
    ],
)
def test_a_form_of_another_site_is_refused(deeds: Deeds, headers: dict[str, str]) -> None:
    data = {"csrf_token": form_token(SIGNER, OPERATOR)}

    answer = deeds.browser.post("/act", data=data, headers=headers)

    assert answer.status_code == 403
    assert deeds.done == []


@pytest.mark.parametrize("headers", [{"origin": "http://dashboard.example"}, {}])
def test_older_browsers_are_believed_by_their_origin(deeds: Deeds, headers: dict[str, str]) -> None:
    data = {"csrf_token": form_token(SIGNER, OPERATOR)}

    answer = deeds.browser.post("/act", data=data, headers=headers)

    assert answer.status_code == 200


def test_nothing_is_done_by_get(deeds: Deeds) -> None:
    token = form_token(SIGNER, OPERATOR)

    answers = [
        deeds.browser.send(method, "/act", params={"csrf_token": token})
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
    ]

    assert {answer.status_code for answer in answers} == {405}
    assert deeds.done == []


@pytest.mark.parametrize(
    ("kind", "status"),
    [("text/plain", 415), ("application/json", 415), ("multipart/form-data; boundary=x", 415)],
)
def test_what_a_form_of_another_kind_says_is_not_read(deeds: Deeds, kind: str, status: int) -> None:
    content = f"csrf_token={form_token(SIGNER, OPERATOR)}"

    answer = deeds.browser.post("/act", content=content, headers=OURS | {"content-type": kind})

    assert answer.status_code == status
    assert deeds.done == []


@pytest.mark.parametrize(
    "content", ["a=" + "x" * (256 << 10), "a=1&" * 6_000], ids=["long", "many"]
)
def test_too_much_is_refused(deeds: Deeds, content: str) -> None:
    headers = OURS | {"content-type": "application/x-www-form-urlencoded"}

    answer = deeds.browser.post("/act", content=content, headers=headers)

    assert answer.status_code == 413
    assert deeds.done == []


def test_the_ids_of_the_largest_preview_fit_into_a_form() -> None:
    far_apart = range(1, HIGHEST_ID, HIGHEST_ID // MOST)

    shown = selections.as_text(far_apart[:MOST])

    assert len(shown) < MOST_BYTES * 3 / 4


def test_a_form_is_read_beside_the_event_loop(
    deeds: Deeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def remember(*arguments: Any, **options: Any) -> Any:
        threads.append(get_ident())
        return parse_qsl(*arguments, **options)

    monkeypatch.setattr(forms, "parse_qsl", remember)

    deeds.browser.post("/act", data={"csrf_token": form_token(SIGNER, OPERATOR)}, headers=OURS)

    assert threads
    assert get_ident() not in threads


def test_what_is_no_text_does_not_break_a_form(deeds: Deeds) -> None:
    token = form_token(SIGNER, OPERATOR)
    content = b"\xff\xfe=\x00&%ff=%00&csrf_token=" + token.encode()
    headers = OURS | {"content-type": "application/x-www-form-urlencoded"}

    answer = deeds.browser.post("/act", content=content, headers=headers)

    assert answer.status_code == 200


def test_what_is_signed_for_one_purpose_is_read_for_no_other() -> None:
    signed = SIGNER.sign("flash", OPERATOR, ["done", 3])

    assert SIGNER.read("flash", OPERATOR, signed, lifetime=60) == ["done", 3]
    assert SIGNER.read("form", OPERATOR, signed, lifetime=60) is None
    assert SIGNER.read("flash", OPERATOR, signed, lifetime=0) is None
    assert SIGNER.read("flash", Person(name="eve"), signed, lifetime=60) is None
