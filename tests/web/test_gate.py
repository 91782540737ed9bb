"""Nothing is answered before it is known who asks; and what each answer carries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route

from tests.web.dashboards import OPERATOR, Browser, Dashboard, SignedIn, shop
from xclaim.errors import InvalidArgumentError
from xclaim.web import AccessDeniedError, Person, create_app

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
OPEN = {"/healthz", "/static/{name}"}


class Broken:
    """Says of nobody who he is."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome

    async def identify(self, request: Request) -> Person:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return cast("Person", self._outcome)


def addresses(app: Starlette) -> list[tuple[str, str]]:
    """Return the methods and paths of the routes that are not open to everybody."""
    assert all(isinstance(route, Route) for route in app.routes)
    return [
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route) and route.path not in OPEN
        for method in sorted(route.methods or ())
    ]


def with_access(unused: Dashboard, access: Any, **options: Any) -> Browser:
    place = shop(unused.engine)
    return Browser(create_app(place, access, **options))


@dataclass
class Seen(SignedIn):
    """Lets everybody in, and remembers the fields of the addresses."""

    fields: list[list[tuple[str, str]]] = field(default_factory=list)

    async def identify(self, request: Request) -> Person:
        self.fields.append(request.query_params.multi_items())
        return await super().identify(request)


@pytest.mark.parametrize(
    "query", ["dag*=a%250Ab&run=r%25", "dag%2A=a%250Ab&run=r%25", "dag=a%0Ab&run%2a=r%25"]
)
def test_who_lets_in_sees_the_fields_that_a_page_sees(unused: Dashboard, query: str) -> None:
    access = Seen()

    page = with_access(unused, access).get(f"/task?{query}")

    assert access.fields == [[("dag", "a\nb"), ("run", "r%")]]
    assert page.status_code == 200


@pytest.mark.parametrize("query", ["filter=key:a*", "filter=key:a"])
def test_what_is_around_a_dashboard_sees_where_a_request_went(
    unused: Dashboard, query: str
) -> None:
    seen: dict[str, Any] = {}

    async def around(scope: Any, receive: Any, send: Any) -> None:
        await unused.app(scope, receive, send)
        seen.update(scope)

    page = Browser(around).get(f"/messages?{query}")

    assert page.status_code == 200
    assert {"endpoint", "path_params"} <= seen.keys()


def test_no_route_is_open_to_nobody(unused: Dashboard) -> None:
    unused.access.person = None

    answers = {each: unused.browser.send(*each) for each in addresses(unused.app)}

    assert answers
    assert {answer.status_code for answer in answers.values()} == {401}
    assert all(
        "sign in first" in answer.text
        for (method, _), answer in answers.items()
        if method != "HEAD"
    )


@pytest.mark.parametrize(
    "outcome",
    [ValueError("hunter2"), PermissionError("hunter2"), None, "ada", object(), {"name": "ada"}],
    ids=["an error", "no right", "nobody", "a name", "an object", "a mapping"],
)
def test_the_door_is_closed_if_it_cannot_be_told_who_asks(
    unused: Dashboard, outcome: object
) -> None:
    browser = with_access(unused, Broken(outcome))

    answers = [browser.send(*each) for each in addresses(unused.app)]

    assert {answer.status_code for answer in answers} <= {403, 500}
    assert all("hunter2" not in answer.text for answer in answers)


@pytest.mark.parametrize(
    "path", ["/nothing", "/queues/", "/static", "/healthz/x", "/./queues", "//"]
)
def test_what_there_is_not_is_closed_too(unused: Dashboard, path: str) -> None:
    unused.access.person = None

    answer = unused.browser.get(path)

    assert answer.status_code == 401


def test_health_says_ok_to_everybody_and_nothing_else(unused: Dashboard) -> None:
    unused.access.person = None

    answer = unused.get("healthz")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_access_may_send_somebody_elsewhere_and_ask_for_a_password(unused: Dashboard) -> None:
    elsewhere = with_access(unused, Broken(AccessDeniedError(303, "", {"location": "/login"})))
    asked = with_access(
        unused, Broken(AccessDeniedError(401, "who?", {"www-authenticate": "Basic"}))
    )

    answers = elsewhere.get("/queues"), asked.get("/queues")

    assert (answers[0].status_code, answers[0].headers["location"]) == (303, "/login")
    assert (answers[1].status_code, answers[1].headers["www-authenticate"]) == (401, "Basic")


def test_every_answer_carries_the_policy(unused: Dashboard) -> None:
    asked = [*addresses(unused.app), ("GET", "/nothing"), ("DELETE", "/queues")]
    answers = [unused.browser.send(*each) for each in asked]
    answers += [unused.get("healthz"), unused.get("static/dashboard.css")]
    unused.access.person = None
    answers += [unused.get("queues")]

    policies = {answer.headers["content-security-policy"] for answer in answers}

    assert policies == {POLICY}
    assert {answer.headers["x-content-type-options"] for answer in answers} == {"nosniff"}
    assert {answer.headers["x-frame-options"] for answer in answers} == {"DENY"}
    assert {answer.headers["referrer-policy"] for answer in answers} == {"same-origin"}


def test_pages_are_not_kept_and_files_are_for_as_long_as_they_are_the_same(
    unused: Dashboard,
) -> None:
    page = unused.get("nothing")
    address = page.text.partition('rel="stylesheet" href="./')[2].partition('"')[0]

    named, other = unused.get(address), unused.get("static/dashboard.css?v=other")

    assert page.headers["cache-control"] == "no-store"
    assert named.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert other.headers["cache-control"] == "no-cache"
    assert named.content == other.content


@pytest.mark.parametrize("name", ["..%2Fapplication.py", "nothing.css", "../gate.py", "%00"])
def test_no_other_file_is_served(unused: Dashboard, name: str) -> None:
    answer = unused.get(f"static/{name}")

    assert answer.status_code == 404


def test_frames_are_for_those_who_are_named(unused: Dashboard) -> None:
    browser = with_access(unused, SignedIn(), frame_ancestors=("'self'", "https://a.example"))

    headers = browser.get("/healthz").headers

    assert "frame-ancestors 'self' https://a.example" in headers["content-security-policy"]
    assert "x-frame-options" not in headers


@pytest.mark.parametrize("ancestors", ["'self'", ["'self'; script-src *"], ["a\r\nb"], ["a b"]])
def test_frame_ancestors_add_nothing_else_to_the_policy(unused: Dashboard, ancestors: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="frame_ancestors"):
        with_access(unused, SignedIn(), frame_ancestors=ancestors)


@pytest.mark.parametrize("mode", ["no-cors", "cors", "same-origin"])
def test_another_site_loads_nothing(unused: Dashboard, mode: str) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode}

    answer = unused.browser.get("/queues", headers=headers)

    assert answer.status_code == 403
    assert "another site may only link here" in answer.text


def test_a_socket_is_refused(unused: Dashboard) -> None:
    scope = {"type": "websocket", "path": "/events", "headers": []}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(unused.app(scope, receive, send))

    assert [message["type"] for message in sent] == ["websocket.close"]


def test_read_only_and_hidden_payloads_hold_for_everybody(unused: Dashboard) -> None:
    seen: list[Person] = []

    def remember(request: Request) -> Any:
        seen.append(request.scope["xclaim.person"])
        raise AccessDeniedError(403, "seen")

    place = shop(unused.engine)
    app = create_app(place, SignedIn(OPERATOR), read_only=True, hides_payloads=True)
    app.router.routes.append(Route("/remember", remember))
    answer = Browser(app).get("/remember")

    assert answer.status_code == 403
    assert seen == [Person(name="ada", may_act=False, may_see_payloads=False)]


def test_it_is_mounted_under_a_prefix(unused: Dashboard) -> None:
    outer = Starlette(routes=[Mount("/tools/queues", unused.app)])
    browser = Browser(outer)

    page, bare = browser.get("/tools/queues/a/b"), browser.get("/tools/queues")

    assert 'href="../static/dashboard.css?v=' in page.text
    assert browser.get("/tools/queues/static/dashboard.css").status_code == 200
    assert browser.get("/tools/queues/healthz").text == "ok\n"
    assert bare.status_code == 307
    assert bare.headers["location"].endswith("/tools/queues/")


@pytest.mark.parametrize("path", ["/tools", "/tools/queues", "/queues"])
def test_a_proxy_may_take_its_prefix_off_or_leave_it(unused: Dashboard, path: str) -> None:
    from xclaim.web.alone.serving import under

    unused.access.person = None
    browser = Browser(under("/tools", unused.app))

    answer = browser.get(path)

    expected = (307, "./tools/") if path == "/tools" else (401, None)
    assert (answer.status_code, answer.headers.get("location")) == expected


@pytest.mark.parametrize("query", ["sort=-dead&after=a%2Fb", "token=abc", "named=%F0%9F%90%98+x"])
def test_from_the_bare_prefix_one_is_led_on_with_what_was_asked_for(
    unused: Dashboard, query: str
) -> None:
    from xclaim.web.alone.serving import under

    # A proxy that takes it off makes it so of the page /queues/queues, too.
    browser = Browser(under("/queues", unused.app))

    led = browser.get(f"/queues?{query}")

    assert (led.status_code, led.headers["location"]) == (307, f"./queues/?{query}")
