"""An error is a page that says the way out, and shows nothing of the database or the code."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine as sqlalchemy_create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from starlette.routing import Route

from tests.cli.command_line import UNREACHABLE
from tests.web.dashboards import Browser, Dashboard, SignedIn, dashboard_of, shop
from xclaim import create_engine
from xclaim.connections.pools import NoConnectionError as PoolIsTakenError
from xclaim.errors import InvalidArgumentError, ObservationTimeoutError
from xclaim.web import Place, create_app
from xclaim.web.failures import failure_of


def test_a_database_without_the_table_says_what_makes_it(empty_database_url: str) -> None:
    with dashboard_of(empty_database_url) as dashboard:
        answer = dashboard.get("queues")

    assert answer.status_code == 503
    assert "xclaim upgrade" in answer.text


def test_a_database_that_is_down_is_no_fault_of_the_page() -> None:
    with dashboard_of(UNREACHABLE) as dashboard:
        answer = dashboard.get("queues")

    assert answer.status_code == 503
    assert "The database cannot be reached" in answer.text
    assert "hunter2" not in answer.text


def test_a_place_that_is_not_his_is_not_said_to_be_there(dashboard: Dashboard) -> None:
    answer = dashboard.get("queues", place="<b>other</b>")

    assert answer.status_code == 404
    assert "&lt;b&gt;other&lt;/b&gt;" in answer.text


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ObservationTimeoutError("the queues", 2), 503, "That took too long"),
        (NoConnectionError("QueuePool limit, hunter2"), 503, "All connections are in use"),
        (PoolIsTakenError(96, 30.0), 503, "All connections are in use"),
        (ZeroDivisionError("<script>hunter2"), 500, "Something broke"),
        (OperationalError("SELECT 'hunter2'", {}, ValueError("hunter2")), 503, "cannot be reached"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_fails_is_said_without_what_it_says_itself(
    dashboard: Dashboard, error: Exception, status: int, said: str
) -> None:
    def fail(_request: Any) -> Any:
        raise error

    dashboard.app.router.routes.append(Route("/fail", fail))

    answer = dashboard.get("fail")

    assert answer.status_code == status
    assert said in answer.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("page", ["<script>alert(1)</script>", "%22onload=x", "\u202eabc", "a/b/c"])
def test_what_is_asked_for_is_escaped(dashboard: Dashboard, page: str) -> None:
    answer = dashboard.get(page)

    assert answer.status_code == 404
    assert "<script>alert" not in answer.text
    assert "\u202e" not in answer.text


def test_engines_of_others_are_shown_too(sqlite_url: str) -> None:
    engine = sqlalchemy_create_engine(sqlite_url)
    app = create_app(shop(engine), SignedIn())

    answer = Browser(app).get("/queues")

    engine.dispose()
    assert answer.status_code == 200


def test_a_file_that_is_gone_is_said_and_not_made_anew(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'gone.db'}", execution_options={})
    app = create_app(shop(engine), SignedIn())

    answer = Browser(app).get("/queues")

    engine.dispose()
    assert answer.status_code == 503


@pytest.mark.parametrize(("is_locked", "way_out"), [(False, "--timeout of"), (True, "pg_locks")])
def test_what_took_too_long_says_who_can_give_it_more_time(
    *, is_locked: bool, way_out: str
) -> None:
    error = ObservationTimeoutError("the queues", 2, is_locked=is_locked)

    failure = failure_of(error)

    assert failure.text.endswith("within 2 seconds, and the look was ended")
    assert way_out in failure.way_out


@pytest.mark.parametrize("page", ["queues", "messages", "doctor"])
def test_each_look_ends_with_the_time_of_its_place(fresh_postgresql_url: str, page: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    dashboard = Dashboard(engine, timeout=timedelta(milliseconds=300))
    with engine.connect() as other:
        other.exec_driver_sql("LOCK TABLE xclaim_message, xclaim_queue IN ACCESS EXCLUSIVE MODE")
        answer = dashboard.get(page)
        other.rollback()
    engine.dispose()

    assert "0.3 seconds" in answer.text or "could not look in time" in answer.text


@pytest.mark.parametrize("timeout", [timedelta(0), 2, timedelta(days=-1)])
def test_a_time_that_is_none_is_refused_with_the_place(sqlite_url: str, timeout: Any) -> None:
    engine = create_engine(sqlite_url)

    with pytest.raises(InvalidArgumentError, match="timeout"):
        Place(name="shop", engine=engine, timeout=timeout)

    engine.dispose()
