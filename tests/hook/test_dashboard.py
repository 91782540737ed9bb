"""The dashboard inside Airflow's own API server: who is let in, on which databases."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.fernet import Fernet

from tests.airflow_versions import since
from tests.looks import PATIENT
from tests.web.dashboards import Browser
from xclaim import Queue
from xclaim.airflow.hooks import XclaimHook
from xclaim.observing.observer import TIMEOUT

if TYPE_CHECKING:
    from fastapi import FastAPI

pytestmark = pytest.mark.airflow

USERS = "ada:admin,olaf:op,uma:user,vic:viewer"
COOKIE = "_token"


@pytest.fixture(scope="module")
def server(_metadata: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """Airflow's application with users of the Simple auth manager; it takes seconds to make."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    assert _metadata is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "False")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", USERS)
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "of the tests " * 8)
        patch.setenv("AIRFLOW__API__SECRET_KEY", "of the tests " * 8)
        patch.setenv("AIRFLOW__XCLAIM__DASHBOARD_TIMEOUT", str(PATIENT.total_seconds()))
        passwords = tmp_path_factory.mktemp("airflow") / "passwords.json"
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        purge_cached_app()
        yield create_app()
        purge_cached_app()


@pytest.fixture(autouse=True)
def _forgets_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a connection lead elsewhere in each test, whatever the one before was told."""
    from xclaim.airflow.dashboard import databases

    monkeypatch.setattr(databases, "KEPT_FOR", 0.0)


@pytest.fixture
def browser_of(server: FastAPI) -> Callable[[str | None], Browser]:
    """Return what signs somebody in and returns their browser; None is nobody."""

    def sign_in(name: str | None) -> Browser:
        browser = Browser(server)
        if name is not None:
            browser.cookies.set(COOKIE, token_of(name))
        return browser

    return sign_in


def token_of(name: str, seconds: int = 600) -> str:
    """Return a token as the auth manager gives it to a user who signs in."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    roles = dict(user.split(":") for user in USERS.split(","))
    user = SimpleAuthManagerUser(username=name, role=roles[name])
    return get_auth_manager().generate_jwt(user=user, expiration_time_in_seconds=seconds)


PAGES = ["", "queues", "queue?name=orders", "task?dag=shop&run=r", "events?topic=queues", "nothing"]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("page", PAGES)
def test_nobody_sees_a_page_without_signing_in(
    browser_of: Callable[[str | None], Browser], page: str
) -> None:
    answer = browser_of(None).get(f"/xclaim/{page}")

    assert answer.status_code == 401
    assert "not signed in to Airflow" in answer.text
    assert (
        'href="/api/v2/auth/login?next=%2Fplugin%2Fxclaim" data-leaves>Sign in</a>' in answer.text
    )


def test_with_the_cookie_of_airflow_an_admin_sees_the_queues(
    connected: str, browser_of: Callable[[str | None], Browser]
) -> None:
    push(connected)

    answer = browser_of("ada").get("/xclaim/queues")

    assert answer.status_code == 200
    assert "orders" in answer.text
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert "x-frame-options" not in answer.headers


@pytest.mark.usefixtures("connected")
def test_a_bearer_token_is_as_good_as_the_cookie(
    browser_of: Callable[[str | None], Browser],
) -> None:
    headers = {"authorization": f"Bearer {token_of('olaf')}"}

    answer = browser_of(None).get("/xclaim/queues", headers=headers)

    assert answer.status_code == 200
    assert "olaf" in answer.text


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("name", ["vic", "uma"])
@pytest.mark.parametrize("page", ["queues", "task?dag=shop&run=r", "events?topic=queues"])
def test_who_may_read_no_connection_is_refused(
    browser_of: Callable[[str | None], Browser], name: str, page: str
) -> None:
    answer = browser_of(name).get(f"/xclaim/{page}")

    assert answer.status_code == 403
    assert f"You ({name}) may not read the connection xclaim_default." in answer.text
    assert "Sign in as somebody else</a>" in answer.text


def test_who_follows_the_link_to_sign_in_comes_to_the_dashboard(
    browser_of: Callable[[str | None], Browser],
) -> None:
    from xclaim.airflow.dashboard import api_server

    answer = browser_of(None).get(api_server.sign_in())

    assert answer.status_code in (302, 307)
    # Airflow 3.1 leaves the slashes as they are.
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["next"] == ["/plugin/xclaim"]


def expired() -> str:
    return token_of("ada", seconds=-60)


def forged() -> str:
    return jwt.encode({"sub": "ada", "role": "ADMIN", "exp": time.time() + 600}, "guessed " * 8)


def unsigned() -> str:
    return jwt.encode({"sub": "ada", "role": "ADMIN", "exp": time.time() + 600}, "", "none")


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("make", [expired, forged, unsigned, lambda: "no token at all"])
@pytest.mark.parametrize("sent_as", ["cookie", "bearer"])
def test_a_token_that_is_not_good_opens_nothing(
    browser_of: Callable[[str | None], Browser], make: Callable[[], str], sent_as: str
) -> None:
    browser, token = browser_of(None), make()
    headers = {"authorization": f"Bearer {token}"} if sent_as == "bearer" else {}
    if sent_as == "cookie":
        browser.cookies.set(COOKIE, token)

    answer = browser.get("/xclaim/queues", headers=headers)

    assert answer.status_code in (401, 403)
    assert "orders" not in answer.text


@since("3.2", "revokes a token when its user signs out")
@pytest.mark.usefixtures("connected")
def test_after_signing_out_the_token_opens_nothing(
    browser_of: Callable[[str | None], Browser],
) -> None:
    browser = browser_of("ada")
    token = browser.cookies[COOKIE]
    before = browser.get("/xclaim/queues")

    browser.get("/api/v2/auth/logout")
    browser.cookies.set(COOKIE, token)  # as if somebody had kept it
    after = browser.get("/xclaim/queues")

    assert before.status_code == 200
    assert after.status_code in (401, 403)


@pytest.mark.usefixtures("connected")
def test_what_cannot_be_told_is_refused_and_logged_without_the_token(
    browser_of: Callable[[str | None], Browser],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from xclaim.airflow.dashboard import api_server

    async def fail(request: Any) -> Any:
        raise RuntimeError(f"no answer for {request.cookies[COOKIE]}")

    browser = browser_of("ada")
    monkeypatch.setattr(api_server, "user_of", fail)
    answer = browser.get("/xclaim/queues")

    assert answer.status_code == 403
    assert "RuntimeError" in caplog.text
    assert browser.cookies[COOKIE] not in caplog.text + answer.text


@pytest.mark.usefixtures("connected")
def test_an_auth_manager_that_fails_lets_nobody_in(
    browser_of: Callable[[str | None], Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xclaim.airflow.dashboard import api_server

    def fail(*_: Any) -> bool:
        raise OSError("the identity provider is away")

    monkeypatch.setattr(api_server, "may_use_connection", fail)
    answer = browser_of("ada").get("/xclaim/queues")

    assert answer.status_code >= 403
    assert "orders" not in answer.text


@pytest.mark.usefixtures("connected")
def test_a_tab_needs_the_right_to_read_the_task_instances_of_its_dag(
    browser_of: Callable[[str | None], Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity

    asked = []

    def refuse(**options: Any) -> bool:
        asked.append((options["method"], options["access_entity"], options["details"].id))
        return bool(options["details"].id != "secret")

    monkeypatch.setattr(get_auth_manager(), "is_authorized_dag", refuse)
    browser = browser_of("ada")

    assert browser.get("/xclaim/task?dag=secret&run=r").status_code == 403
    assert browser.get("/xclaim/task?dag=shop&dag=secret&run=r").status_code == 403
    assert browser.get("/xclaim/task?dag*=secret&run=r").status_code == 403
    assert browser.get("/xclaim/task?dag=shop&dag%2a=secr%2565t&run=r").status_code == 403
    assert browser.get("/xclaim/task?dag=shop&run=r").status_code == 200
    assert ("GET", DagAccessEntity.TASK_INSTANCE, "secret") in asked


ACTION = "/xclaim/pause"


@pytest.mark.usefixtures("connected")
def test_an_action_of_another_site_is_refused(
    connected: str, browser_of: Callable[[str | None], Browser]
) -> None:
    push(connected)
    browser = browser_of("ada")
    fields = {"csrf_token": form_token(browser), "queue": "orders"}

    foreign = browser.post(ACTION, data=fields, headers={"origin": "http://evil.example"})
    without_token = browser.post(ACTION, data={"queue": "orders"})
    anonymous = browser_of(None).post(ACTION, data=fields)

    assert (foreign.status_code, without_token.status_code) == (403, 403)
    assert anonymous.status_code == 401
    with Queue("orders", connected) as queue:
        assert queue.claim_many(1)


def test_an_admin_acts(connected: str, browser_of: Callable[[str | None], Browser]) -> None:
    push(connected)
    browser = browser_of("ada")
    fields = {"csrf_token": form_token(browser), "queue": "orders", "reason": "stocktaking"}

    answer = browser.post(ACTION, data=fields, headers={"sec-fetch-site": "same-origin"})

    assert answer.status_code == 303
    with Queue("orders", connected) as queue:
        assert queue.claim_many(1) == []


def test_who_may_only_read_the_connection_changes_nothing_and_sees_no_payload(
    connected: str,
    browser_of: Callable[[str | None], Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    push(connected)
    monkeypatch.setattr(
        get_auth_manager(),
        "is_authorized_connection",
        lambda **options: options["method"] == "GET",
    )
    browser = browser_of("vic")

    assert_changes_nothing(browser, connected)


def assert_changes_nothing(browser: Browser, url: str) -> None:
    """The pages say that they are read-only, and an action is refused and not done."""
    page = browser.get("/xclaim/queues")
    fields = {"csrf_token": form_token(browser), "queue": "orders"}
    answer = browser.post(ACTION, data=fields, headers={"sec-fetch-site": "same-origin"})

    assert page.status_code == 200
    assert "read-only" in page.text
    assert answer.status_code == 403
    with Queue("orders", url) as queue:
        assert queue.claim_many(1)


@pytest.fixture
def new_browser(server: FastAPI) -> Callable[[], Browser]:
    """Return what makes the dashboard anew, as a restarted server does, and signs in an admin."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from xclaim.airflow.plugin import Dashboard

    assert server is not None

    def sign_in() -> Browser:
        browser = Browser(Starlette(routes=[Mount("/xclaim", Dashboard())]))
        browser.cookies.set(COOKIE, token_of("ada"))
        return browser

    return sign_in


def test_where_it_is_read_only_an_admin_changes_nothing(
    connected: str, new_browser: Callable[[], Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__XCLAIM__DASHBOARD_READ_ONLY", "True")
    push(connected)
    browser = new_browser()

    assert_changes_nothing(browser, connected)


@pytest.mark.parametrize("hides", [False, True])
def test_where_payloads_are_hidden_an_admin_sees_none(
    connected: str, new_browser: Callable[[], Browser], monkeypatch: pytest.MonkeyPatch, hides: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__XCLAIM__DASHBOARD_HIDE_PAYLOADS", str(hides))
    push(connected)

    page = new_browser().get("/xclaim/message?id=1")

    assert page.status_code == 200
    assert ("caviar" in page.text) is not hides


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("option", ["READ_ONLY", "HIDE_PAYLOADS"])
def test_a_switch_that_is_neither_true_nor_false_shows_nothing(
    new_browser: Callable[[], Browser], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv(f"AIRFLOW__XCLAIM__DASHBOARD_{option}", "perhaps")

    answer = new_browser().get("/xclaim/queues")

    assert answer.status_code == 500
    assert "orders" not in answer.text


def form_token(browser: Browser) -> str:
    """Return what the forms of this process carry for the user of the browser."""
    from xclaim.airflow.dashboard import api_server
    from xclaim.web import Person
    from xclaim.web.forms import form_token as made
    from xclaim.web.signing import Signer

    name = jwt.decode(browser.cookies[COOKIE], options={"verify_signature": False})["sub"]
    return made(Signer(api_server.secret()), Person(name=name))


def push(url: str) -> None:
    with Queue("orders", url) as queue:
        queue.push({"secret": "caviar"})


def test_what_is_pushed_is_stored_as_the_connection_says(
    sqlite_url: str,
    browser_of: Callable[[str | None], Browser],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", Fernet.generate_key().decode())
    extra = {
        "xclaim_encryption": "xclaim",
        "xclaim_storage": (tmp_path / "payloads").as_uri(),
        "xclaim_storage_threshold": "1000",
    }
    connect(monkeypatch, sqlite_url, **extra)
    browser = browser_of("ada")

    for payload in ("caviar", "caviar" * 1_000):
        fields = {
            "csrf_token": form_token(browser),
            "queue": "orders",
            "payload": json.dumps(payload),
            "form_key": payload[:7],
        }
        answer = browser.post(
            "/xclaim/push", data=fields, headers={"sec-fetch-site": "same-origin"}
        )
        assert answer.status_code == 303, answer.text

    small, large = XclaimHook().queue("orders").peek(2)
    assert (small.payload, large.payload) == ("caviar", "caviar" * 1_000)
    assert small.codec == "json+fernet"
    (stored,) = [path for path in (tmp_path / "payloads").rglob("*") if path.is_file()]
    assert b"caviar" not in stored.read_bytes()


def test_an_encrypted_connection_keeps_its_engine(
    sqlite_url: str, server: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xclaim.airflow.dashboard.access import AirflowUser
    from xclaim.airflow.dashboard.places import ConnectionPlaces

    assert server is not None
    monkeypatch.setenv("XCLAIM_FERNET_KEYS", Fernet.generate_key().decode())
    connect(monkeypatch, sqlite_url, xclaim_encryption="xclaim")
    asked = asked_of_connections(monkeypatch)
    places, ada = ConnectionPlaces(), AirflowUser(name="ada", user=None)

    first, second = (places.open("xclaim_default", ada) for _ in range(2))

    assert first.engine is second.engine
    assert asked == ["GET", "PUT"] * 2  # of the one that is opened, once each


@since("3.2", "asks for many connections at once")
@pytest.mark.usefixtures("connected")
def test_which_connections_one_may_read_is_asked_at_once(
    server: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.app import get_auth_manager

    from xclaim.airflow.dashboard.access import AirflowUser
    from xclaim.airflow.dashboard.places import ConnectionPlaces

    assert server is not None
    asked: list[set[str]] = []

    def allow(**options: Any) -> set[str]:
        asked.append(options["conn_ids"])
        return {"warehouse", "xclaim_default"}

    monkeypatch.setattr(get_auth_manager(), "filter_authorized_connections", allow)
    monkeypatch.setenv("AIRFLOW__XCLAIM__DASHBOARD_CONNECTIONS", "warehouse,shop")

    names = ConnectionPlaces().names(AirflowUser(name="ada", user=None))

    assert names == ["xclaim_default", "warehouse"]
    assert asked == [{"xclaim_default", "warehouse", "shop"}]


@pytest.mark.usefixtures("connected")
def test_a_secrets_backend_is_asked_once_while_somebody_looks_and_the_rights_each_time(
    server: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xclaim.airflow.dashboard import api_server, databases
    from xclaim.airflow.dashboard.access import AirflowUser
    from xclaim.airflow.dashboard.places import ConnectionPlaces
    from xclaim.web import AccessDeniedError

    assert server is not None
    monkeypatch.setattr(databases, "KEPT_FOR", 600.0)
    rights = asked_of_connections(monkeypatch)
    asked: list[str] = []
    connection = api_server.connection

    def ask(conn_id: str) -> Any:
        asked.append(conn_id)
        return connection(conn_id)

    monkeypatch.setattr(api_server, "connection", ask)
    places, ada = ConnectionPlaces(), AirflowUser(name="ada", user=None)

    for _ in range(3):
        places.open("xclaim_default", ada)

    assert asked == ["xclaim_default"]
    assert rights == ["GET", "PUT"] * 3
    monkeypatch.setattr(api_server, "may_use_connection", lambda *_: False)
    with pytest.raises(AccessDeniedError):
        places.open("xclaim_default", ada)


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **extra: str) -> None:
    """Let xclaim_default lead to a SQLite file, with these extras."""
    path = url.removeprefix("sqlite:///")
    values = {"conn_type": "xclaim", "schema": path, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", json.dumps(values))
    monkeypatch.setenv("AIRFLOW_CONN_ANOTHER", json.dumps(values))


def asked_of_connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the auth manager is asked from now on; it allows everything."""
    from airflow.api_fastapi.app import get_auth_manager

    asked: list[str] = []

    def allow(**options: Any) -> bool:
        asked.append(options["method"])
        return True

    monkeypatch.setattr(get_auth_manager(), "is_authorized_connection", allow)
    return asked


def test_the_connections_of_type_xclaim_are_offered_and_no_others(
    sqlite_url: str,
    browser_of: Callable[[str | None], Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    shop = json.dumps({"conn_type": "xclaim", "schema": path})
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", shop)
    monkeypatch.setenv("AIRFLOW_CONN_BROKEN", "{")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", f"sqlite:///{path}")
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_OTHER", f"xclaim:///{path}")
    browser = browser_of("ada")

    page = browser.get("/xclaim/queues")

    assert page.status_code == 200
    assert 'value="shop" selected' in page.text  # there is no default
    assert 'value="xclaim_other"' in page.text
    assert "warehouse" not in page.text
    assert browser.get("/xclaim/queues?place=warehouse").status_code == 404
    assert browser.get("/xclaim/queues?place=broken").status_code == 404
    monkeypatch.setenv("AIRFLOW__XCLAIM__DASHBOARD_CONNECTIONS", " warehouse, ")
    assert browser.get("/xclaim/queues?place=warehouse").status_code == 200


def test_a_connection_in_airflows_database_is_offered(
    sqlite_url: str, browser_of: Callable[[str | None], Browser]
) -> None:
    from airflow.models import Connection
    from airflow.utils.session import create_session

    path = sqlite_url.removeprefix("sqlite:///")
    with create_session() as session:
        session.add(Connection(conn_id="stored", conn_type="xclaim", schema=path))
    try:
        page = browser_of("ada").get("/xclaim/queues")
    finally:
        with create_session() as session:
            session.query(Connection).filter_by(conn_id="stored").delete()

    assert page.status_code == 200
    assert "stored" in page.text


def test_instead_of_a_default_that_only_names_places_these_are_offered(
    sqlite_url: str,
    browser_of: Callable[[str | None], Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = {"orders*": "rest", "*": "busy"}
    router = {"conn_type": "xclaim", "extra": {"xclaim_places": places}}
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", json.dumps(router))
    for name in ("busy", "rest"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", sqlite_url)

    page = browser_of("ada").get("/xclaim/queues")

    assert page.status_code == 200
    assert 'value="rest" selected' in page.text
    assert 'value="busy"' in page.text
    assert 'value="xclaim_default"' not in page.text


def test_a_connection_that_cannot_be_read_is_named_and_takes_no_other_along(
    unreadable: str,
    sqlite_url: str,
    browser_of: Callable[[str | None], Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"xclaim:///{path}")
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", "xclaim://bob:hunter2@h/db?__extra__=%7Bbad")
    browser = browser_of("ada")

    first = browser.get("/xclaim/queues")
    stored = browser.get(f"/xclaim/queues?place={unreadable}")

    assert "cannot read connection" in first.text
    assert "its extra is no JSON object" in first.text
    assert "cannot read connection" in stored.text
    assert "airflow connections delete unreadable" in stored.text
    for page in (first, stored):
        assert page.status_code == 409
        assert "hunter2" not in page.text
        assert 'href="./queues?place=shop"' in page.text
    assert browser.get("/xclaim/queues?place=shop").status_code == 200


def test_without_any_connection_the_page_says_how_one_is_made(
    browser_of: Callable[[str | None], Browser],
) -> None:
    page = browser_of("ada").get("/xclaim/")

    assert page.status_code < 500
    assert "airflow connections add xclaim_default" in page.text


UNREACHABLE = {
    "no server": "postgresql://user:hush@127.0.0.1:1/shop",
    "no file": "sqlite:////nowhere/at/all.db",
}


@pytest.mark.parametrize("what", UNREACHABLE)
def test_a_database_that_cannot_be_reached_is_a_text(
    browser_of: Callable[[str | None], Browser], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", UNREACHABLE[what])

    page = browser_of("ada").get("/xclaim/")

    assert page.status_code != 500
    assert "hush" not in page.text
    assert "database" in page.text or "file" in page.text


def test_engines_are_kept_until_their_connection_changes(tmp_path: Path) -> None:
    from sqlalchemy import make_url

    from xclaim.airflow.connections import Database
    from xclaim.airflow.dashboard.engines import Engines

    def at(name: str) -> Database:
        url = make_url(f"sqlite:///{tmp_path}/{name}.db")
        return Database(url=url, schema=None, conn_id="shop")

    engines = Engines()
    first = engines.of("shop", at("a"))

    assert engines.of("shop", at("a")) is first
    assert engines.of("shop", at("b")) is not first
    for number in range(40):
        engines.of(f"other {number}", at("a"))
    assert len(engines._kept) == 16


def test_each_thread_finds_a_connection() -> None:
    from sqlalchemy import make_url

    from xclaim.airflow.connections import Database
    from xclaim.airflow.dashboard.engines import Engines
    from xclaim.web.routes import THREADS

    database = Database(url=make_url("postgresql+psycopg://host/shop"), schema=None, conn_id="shop")

    pool: Any = Engines().of("shop", database).pool

    assert pool.size() + pool._max_overflow >= THREADS


def test_the_task_of_a_dag_is_shown_with_what_it_did(
    connected: str, browser_of: Callable[[str | None], Browser]
) -> None:
    headers = {"dag_id": "shop", "run_id": "r+1", "task_id": "g.work", "map_index": -1}
    with Queue("orders", connected) as queue:
        queue.push("ours", headers={**headers, "try_number": 1})
        queue.push("theirs", headers={**headers, "task_id": "other", "try_number": 1})
    browser = browser_of("ada")

    # As Airflow writes it: encoded, and for a task that is not mapped with the name in braces.
    tab = browser.get("/xclaim/task?dag=shop&run=r%2B1&task=g.work&map={MAP_INDEX}")
    run = browser.get("/xclaim/task?dag=shop&run=r%2B1")
    another = browser.get("/xclaim/task?dag=shop&run=r%2B1&task=g.work&map=3")

    assert tab.status_code == 200
    assert "Pushed" in tab.text
    assert ("ours" in tab.text, "theirs" in tab.text) == (True, False)
    assert ("ours" in run.text, "theirs" in run.text) == (True, True)
    assert 'href="/dags/shop/runs/r%2B1"' in run.text
    assert 'href="/dags/shop/runs/r%2B1/tasks/g.work"' in tab.text
    assert "ours" not in another.text
    assert browser.get("/xclaim/task?dag=shop").status_code == 400
    assert browser.get("/xclaim/task?dag=shop&run=r&task=t&map=x").status_code == 400


def test_without_the_extra_a_text_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from xclaim.airflow.plugin import Dashboard

    monkeypatch.setitem(sys.modules, "xclaim.airflow.dashboard.application", None)
    for name in ("jinja2", "xclaim.web"):
        monkeypatch.setitem(sys.modules, name, None)

    answer = Browser(Dashboard()).get("/")

    assert answer.status_code == 503
    assert "xclaim[web]" in answer.text


def test_airflow_offers_a_menu_entry_and_two_tabs(server: FastAPI) -> None:
    browser = Browser(server)
    browser.cookies.set(COOKIE, token_of("ada"))

    plugins = browser.get("/api/v2/plugins").json()["plugins"]

    (ours,) = (plugin for plugin in plugins if plugin["name"] == "xclaim")
    views = {view["destination"]: view for view in ours["external_views"]}
    assert set(views) == {"nav", "dag_run", "task_instance"}
    assert not any(view["href"].startswith("/") for view in views.values())
    assert ours["fastapi_apps"][0]["url_prefix"] == "/xclaim"


def test_how_long_a_look_may_take_is_an_option_of_airflow(
    connected: str, browser_of: Callable[[str | None], Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    from xclaim.airflow.dashboard import api_server

    assert api_server.look_timeout() == PATIENT
    monkeypatch.delenv("AIRFLOW__XCLAIM__DASHBOARD_TIMEOUT")
    assert api_server.look_timeout() == TIMEOUT
    monkeypatch.setenv("AIRFLOW__XCLAIM__DASHBOARD_TIMEOUT", "90.5")
    assert api_server.look_timeout() == timedelta(seconds=90.5)
    push(connected)
    browser = browser_of("ada")
    assert browser.get("/xclaim/queues").status_code == 200
    monkeypatch.setenv("AIRFLOW__XCLAIM__DASHBOARD_TIMEOUT", "soon")

    refused = browser.get("/xclaim/queues")

    assert refused.status_code == 400
    assert "[xclaim] dashboard_timeout" in refused.text
