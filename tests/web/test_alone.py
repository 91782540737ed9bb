"""Who is let into a dashboard that runs alone."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.requests import Request

from tests.web.dashboards import Browser, shop
from xclaim import create_engine
from xclaim.cli import showing
from xclaim.errors import InvalidArgumentError
from xclaim.web import Access, AccessDeniedError, Person, create_app
from xclaim.web.alone import passwords
from xclaim.web.alone.hosts import host_name, is_loopback, only_hosts
from xclaim.web.alone.links import OneTimeLinks
from xclaim.web.alone.passwords import OnePassword
from xclaim.web.alone.proxies import ProxyHeader

ADA = Person(name="ada", may_act=True, may_see_payloads=True)
# A page that is there for whoever is let in, and asks no database.
PAGE, LET_IN = "/nothing", 404


@dataclass
class Terminal:
    """What a dashboard has told: the tokens of its links."""

    tokens: list[str] = field(default_factory=list)


@pytest.fixture
def engine(sqlite_url: str) -> Any:
    engine = create_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def browser_of(engine: Engine) -> Callable[..., Browser]:
    def make(access: Access, **options: Any) -> Browser:
        app = create_app(shop(engine), access)
        return Browser(app, **options)

    return make


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def links(terminal: Terminal) -> OneTimeLinks:
    links = OneTimeLinks(ADA, cookie="xclaim-dashboard-8228", told=terminal.tokens.append)
    links.begin()
    return links


def test_a_link_lets_in_and_leaves_the_address(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser]
) -> None:
    browser = browser_of(links)

    led = browser.get("/", params={"token": terminal.tokens[0]})
    page = browser.get(PAGE)

    assert (led.status_code, led.headers["location"]) == (303, "./")
    assert "HttpOnly; SameSite=Strict" in led.headers["set-cookie"]
    assert page.status_code == LET_IN


def test_a_link_keeps_the_page_it_is_for(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser]
) -> None:
    led = browser_of(links).get("/queue", params={"name": "a/b", "token": terminal.tokens[0]})

    assert led.headers["location"] == "./queue?name=a%2Fb"


def test_a_link_lets_in_once(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser]
) -> None:
    first, second = browser_of(links), browser_of(links)
    first.get("/", params={"token": terminal.tokens[0]})

    answer = second.get("/", params={"token": terminal.tokens[0]})

    assert answer.status_code == 401
    assert "shows a new one" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/%E2%82%AC", "/x%0d%0aX-Injected:%20yes%0d%0a"])
def test_a_link_leads_to_the_path_that_was_asked_for(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser], path: str
) -> None:
    answer = browser_of(links).get(f"{path}?token={terminal.tokens[0]}")

    assert answer.status_code == 303
    assert answer.headers["location"].lower() == f".{path}".lower().replace(":", "%3a")
    assert "x-injected" not in answer.headers


def test_the_browser_that_used_a_link_may_open_it_again(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser]
) -> None:
    browser = browser_of(links)
    browser.get("/", params={"token": terminal.tokens[0]})

    again = browser.get("/", params={"token": terminal.tokens[0]})

    assert (again.status_code, again.headers["location"]) == (303, "./")
    assert len(terminal.tokens) == 2


def test_a_used_link_is_followed_by_another(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser]
) -> None:
    browser_of(links).get("/", params={"token": terminal.tokens[0]})
    other = browser_of(links)

    other.get("/", params={"token": terminal.tokens[1]})

    assert other.get(PAGE).status_code == LET_IN
    assert len({*terminal.tokens}) == 3


@pytest.mark.parametrize("token", ["", "x", "é", "\x00", "x" * 10_000])
def test_no_other_token_lets_in(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser], token: str
) -> None:
    answer = browser_of(links).get("/", params={"token": token})

    assert answer.status_code == 401
    assert len(terminal.tokens) == 1


def test_a_link_that_is_only_looked_at_is_not_used_up(
    links: OneTimeLinks, terminal: Terminal, browser_of: Callable[..., Browser]
) -> None:
    browser = browser_of(links)

    browser.send("HEAD", "/", params={"token": terminal.tokens[0]})
    browser.post("/", params={"token": terminal.tokens[0]})

    assert browser.get("/", params={"token": terminal.tokens[0]}).status_code == 303


def test_a_session_ends(
    links: OneTimeLinks,
    terminal: Terminal,
    browser_of: Callable[..., Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from xclaim.web.alone import links as module

    browser = browser_of(links)
    monkeypatch.setattr(module, "_LIFETIME", 0)

    browser.get("/", params={"token": terminal.tokens[0]})

    assert browser.get(PAGE).status_code == 401


def test_sessions_are_bounded_and_the_oldest_ends(
    links: OneTimeLinks,
    terminal: Terminal,
    browser_of: Callable[..., Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from xclaim.web.alone import links as module

    monkeypatch.setattr(module, "_SESSIONS", 2)
    browsers = [browser_of(links) for _ in range(3)]

    for browser in browsers:
        browser.get("/", params={"token": terminal.tokens[-1]})

    assert [browser.get(PAGE).status_code for browser in browsers] == [401, LET_IN, LET_IN]


def test_who_comes_from_another_site_is_told_to_follow_a_link(
    links: OneTimeLinks, browser_of: Callable[..., Browser]
) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    answer = browser_of(links).get("/", headers=headers)

    assert "another site led here" in answer.text
    assert 'href="./"' in answer.text


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_DELAY", 0)


def _basic(user: str, password: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"authorization": f"Basic {encoded}"}


def test_servers_that_one_name_leads_to_have_cookies_of_their_own(
    browser_of: Callable[..., Browser], capsys: pytest.CaptureFixture[str]
) -> None:
    names: set[str] = set()

    for _ in range(2):
        access = showing._links("http://127.0.0.1:8228/")
        token = re.findall(r"[?]token=(\S+)", capsys.readouterr().err)[-1]
        led = browser_of(access).get(PAGE, params={"token": token})
        names.add(led.headers["set-cookie"].partition("=")[0])

    assert len(names) == 2


def test_a_password_lets_in(browser_of: Callable[..., Browser]) -> None:
    browser = browser_of(OnePassword("ops", "correct hörse: battery"))

    answer = browser.get(PAGE, headers=_basic("ops", "correct hörse: battery"))

    assert answer.status_code == LET_IN


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        _basic("ops", "wrong"),
        _basic("ops", ""),
        _basic("", "long enough"),
        _basic("OPS", "long enough"),
        _basic("ops:long enough", ""),
        {"authorization": "Basic"},
        {"authorization": "Basic ***"},
        {"authorization": "Bearer b3BzOmxvbmcgZW5vdWdo"},
    ],
)
def test_no_other_password_lets_in(
    browser_of: Callable[..., Browser], headers: dict[str, str]
) -> None:
    answer = browser_of(OnePassword("ops", "long enough")).get(PAGE, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


def test_who_guesses_is_slowed_down_and_who_knows_is_not() -> None:
    access = OnePassword("ops", "long enough")

    async def ask(headers: dict[str, str]) -> int:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            await access.identify(Request({"type": "http", "headers": raw}))
        except AccessDeniedError as error:
            return error.status
        return 200

    async def flood() -> tuple[list[int], int]:
        guesses = [asyncio.create_task(ask(_basic("ops", f"guess {n}"))) for n in range(50)]
        await asyncio.sleep(0)
        right = await ask(_basic("ops", "long enough"))
        return await asyncio.gather(*guesses), right

    guesses, right = asyncio.run(flood())

    assert right == 200
    assert guesses.count(401) == 5
    assert guesses.count(429) == 45


@pytest.mark.parametrize(("user", "password"), [("", "x" * 20), ("a:b", "x" * 20), ("a", "short")])
def test_a_password_that_protects_nothing_is_refused(user: str, password: str) -> None:
    with pytest.raises(InvalidArgumentError, match="XCLAIM_DASHBOARD_"):
        OnePassword(user, password)


def test_a_proxy_says_who_it_is(browser_of: Callable[..., Browser]) -> None:
    access = ProxyHeader("X-Forwarded-User", ["10.0.0.0/24", "::1"])

    answers = [
        browser_of(access, peer=peer).get(PAGE, headers={"x-forwarded-user": "zoë".encode()})
        for peer in ("10.0.0.7", "::ffff:10.0.0.7", "::1")
    ]

    assert {answer.status_code for answer in answers} == {LET_IN}


@pytest.mark.parametrize("peer", ["10.0.1.7", "127.0.0.1", "::2", "", "unix:", "testclient"])
def test_nobody_else_is_believed(browser_of: Callable[..., Browser], peer: str) -> None:
    access = ProxyHeader("X-Forwarded-User", ["10.0.0.0/24", "::1"])
    headers = {"x-forwarded-user": "ada", "x-forwarded-for": "10.0.0.7", "x-real-ip": "10.0.0.7"}

    answer = browser_of(access, peer=peer).get(PAGE, headers=headers)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("x-forwarded-user", "")],
        [("x-forwarded-user", "   ")],
        [("x-forwarded-user", "ada"), ("x-forwarded-user", "eve")],
        [("x-forwarded-user", "x" * 300)],
        [("x-forwarded-user", "a\u00a0\u0085b".encode())],
        [("x_forwarded_user", "ada")],
    ],
    ids=repr,
)
def test_a_proxy_that_names_nobody_lets_nobody_in(
    browser_of: Callable[..., Browser], headers: Any
) -> None:
    access = ProxyHeader("X-Forwarded-User", ["127.0.0.1"])

    answer = browser_of(access).get(PAGE, headers=headers)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("header", "proxies", "said"),
    [
        ("X User", ["10.0.0.1"], "no name of a header"),
        ("", ["10.0.0.1"], "no name of a header"),
        ("X-User", [], "--trusted-proxies"),
        ("X-User", ["proxy.example"], "no address"),
    ],
)
def test_a_proxy_that_is_not_named_rightly_is_refused(
    header: str, proxies: list[str], said: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=said):
        ProxyHeader(header, proxies)


class Anybody:
    async def identify(self, request: Request) -> Person:
        return ADA


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8228", "LOCALHOST", "127.0.0.1:1", "[::1]:8228", "ops.example:443"],
)
def test_a_name_of_its_own_is_answered(browser_of: Callable[..., Browser], host: str) -> None:
    browser = browser_of(only_hosts(Anybody(), ["Ops.example."]))

    assert browser.get(PAGE, headers={"host": host}).status_code == LET_IN


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil@localhost.x",
        "",
        "[",
        "127.0.0.2",
        "ops.example.evil",
    ],
)
def test_a_name_that_only_leads_here_is_not(browser_of: Callable[..., Browser], host: str) -> None:
    browser = browser_of(only_hosts(Anybody(), ["ops.example"]))

    answer = browser.get(PAGE, headers={"host": host})

    assert answer.status_code == 403
    assert "--allowed-host" in answer.text


def test_names_of_hosts_are_read_without_their_port() -> None:
    assert [host_name(each) for each in ("a.:1", "[::1]:2", "", "[x")] == ["a", "::1", None, None]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_what_only_this_machine_reaches(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "ops.example", ""])  # noqa: S104
def test_no_other_address_is_loopback(host: str) -> None:
    assert not is_loopback(host)
