"""A look at the database changes nothing, ends in time, and leaves the session as it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests.eventually import PATIENCE
from xclaim import InvalidArgumentError, SchemaVersionError, create_async_engine, create_engine
from xclaim.connections.engine import create_verb_engine
from xclaim.errors import ObservationTimeoutError
from xclaim.observing import Observer
from xclaim.observing.asking import asking

MOMENT = timedelta(milliseconds=50)
LONG = timedelta(minutes=5)
ENDLESS = {
    "postgresql": text("SELECT pg_sleep(60)"),
    "sqlite": text(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n"
    ),
}
SETTINGS = {
    "postgresql": "SELECT current_setting('statement_timeout'), current_setting('jit'),"
    " current_setting('transaction_read_only')",
    "sqlite": "SELECT busy_timeout.timeout, query_only.query_only"
    " FROM pragma_busy_timeout AS busy_timeout, pragma_query_only AS query_only",
}
ONE = text("SELECT 1 AS one")


@pytest.fixture(params=["for queues", "for anybody"])
def engine(request: pytest.FixtureRequest, database_url: str) -> Iterator[Engine]:
    make = create_verb_engine if request.param == "for queues" else create_engine
    engine = make(database_url)
    yield engine
    engine.dispose()


def test_a_look_that_takes_too_long_is_ended(engine: Engine) -> None:
    with (
        pytest.raises(ObservationTimeoutError, match="did not say how late it is within"),
        asking(engine, None, MOMENT, "how late it is") as question,
    ):
        question.run(ENDLESS[engine.dialect.name])


def test_a_look_of_many_statements_ends_as_soon(engine: Engine) -> None:
    with (
        pytest.raises(ObservationTimeoutError),
        asking(engine, None, MOMENT, "how late it is") as question,
    ):
        for _ in range(10**9):
            question.run(ONE)


def test_a_look_changes_nothing(engine: Engine) -> None:
    insert = text(
        "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)"
        " VALUES ('a', 'a', '1', '2026-01-01', '2026-01-01') RETURNING id"
    )

    with pytest.raises(DBAPIError), asking(engine, None, LONG, "nothing") as question:
        question.run(insert)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM xclaim_message")).scalar() == 0


@pytest.mark.parametrize("is_ended", [False, True])
def test_the_session_is_left_as_it_was(engine: Engine, is_ended: bool) -> None:
    with engine.connect() as connection:
        before = connection.execute(text(SETTINGS[engine.dialect.name])).all()

    try:
        with asking(engine, None, MOMENT if is_ended else LONG, "what") as question:
            question.run(ENDLESS[engine.dialect.name] if is_ended else ONE)
    except ObservationTimeoutError:
        pass

    with engine.connect() as connection:
        assert connection.execute(text(SETTINGS[engine.dialect.name])).all() == before
        connection.execute(text("DELETE FROM xclaim_message"))


def test_a_look_after_one_that_failed_is_answered(engine: Engine) -> None:
    with pytest.raises(DBAPIError), asking(engine, None, LONG, "what") as question:
        question.run(text("SELECT FROM WHERE"))

    with asking(engine, None, LONG, "what") as question:
        assert question.run(ONE)[0].one == 1


def test_all_statements_of_a_look_see_the_same_messages(engine: Engine) -> None:
    count = text("SELECT count(*) AS messages FROM xclaim_message")
    insert = (
        "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)"
        " VALUES ('a', 'a', '1', '2026-01-01', '2026-01-01')"
    )

    with asking(engine, None, LONG, "what") as question:
        before = question.run(count)[0].messages
        with engine.begin() as connection:
            connection.exec_driver_sql(insert)
        after = question.run(count)[0].messages

    assert (before, after) == (0, 0)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "missing.db"

    with (
        pytest.raises(SchemaVersionError, match="there is no SQLite file"),
        asking(create_engine(f"sqlite:///{path}"), None, LONG, "what"),
    ):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_the_table_is_not_waited_for(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE xclaim_message")

        began = time.monotonic()
        with (
            pytest.raises(ObservationTimeoutError) as raised,
            asking(engine, None, MOMENT, "what") as question,
        ):
            question.run(text("SELECT 1 FROM xclaim_message"))

    assert raised.value.is_locked
    assert time.monotonic() - began < PATIENCE
    engine.dispose()


def test_what_the_role_is_set_to_does_not_matter(fresh_postgresql_url: str) -> None:
    options = (
        "-c statement_timeout=0 -c default_transaction_isolation=serializable -c lock_timeout=1"
    )
    engine = create_engine(fresh_postgresql_url, connect_args={"options": options})

    with (
        pytest.raises(ObservationTimeoutError),
        asking(engine, None, MOMENT, "what") as question,
    ):
        question.run(ENDLESS["postgresql"])

    engine.dispose()


def test_an_observer_of_what_is_no_engine_is_refused(sqlite_url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not AsyncEngine: of an asyncio engine pass"):
        Observer(create_async_engine(sqlite_url))  # type: ignore[arg-type]
