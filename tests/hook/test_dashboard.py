"""The dashboard inside Airflow's own API server: who is let in, on which databases."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.hook.conftest import connection_uri
from tests.web.dashboards import Browser
from xclaim import Queue

if TYPE_CHECKING:
    from fastapi import FastAPI

pytestmark = pytest.mark.airflow

USERS = "ada:admin,olaf:op,uma:user,vic:viewer"
COOKIE = "_token"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    """Airflow's application with users of the Simple auth manager; it takes seconds to make."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "False")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", USERS)
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "of the tests " * 8)
        patch.setenv("AIRFLOW__API__SECRET_KEY", "of the tests " * 8)
        passwords = tmp_path_factory.mktemp("airflow") / "passwords.json"
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        purge_cached_app()
        yield create_app()
        purge_cached_app()


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
    assert "sign in to Airflow" in answer.text


def test_with_the_cookie_of_airflow_an_admin_sees_the_queues(
    connected: str, browser_of: Callable[[str | None], Browser]
) -> None:
    push(connected)

    answer = browser_of("ada").get("/xclaim/queues")

    assert answer.status_code == 200
    assert "orders" in answer.text
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


def push(url: str) -> None:
    with Queue("orders", url) as queue:
        queue.push({"secret": "caviar"})
