"""The narrow door: what libpq is given as it is does what it does with a cursor of psycopg.

``work`` is code on a connection, blocking or within asyncio; ``narrow`` counts what went through.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from inspect import isawaitable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.util import await_only

from xclaim import AsyncQueue, Queue
from xclaim.connections import direct, libpq
from xclaim.connections.engine import create_async_verb_engine, create_verb_engine

Work = Callable[[Connection], Any]

SUMMER = timezone(timedelta(hours=5, minutes=30))
# A type, and a value that a statement casts to it.
VALUES: list[tuple[str, Any]] = [
    ("text", "plain"),
    ("text", ""),
    ("text", "é 日本 🐘 \\ ' \" %"),
    ("text", None),
    ("bigint", -(2**63)),
    ("bigint", 2**63 - 1),
    ("smallint", 0),
    ("integer", None),
    ("double precision", 0.1),
    ("double precision", 1e300),
    ("double precision", float("-inf")),
    ("boolean", True),
    ("boolean", False),
    ("uuid", UUID(int=2**127 + 1)),
    ("bytea", b"\x00\xff\\"),
    ("timestamptz", datetime(2026, 11, 27, 7, 8, 9, 123456, tzinfo=UTC)),
    ("timestamptz", datetime(1, 1, 3, tzinfo=SUMMER)),
    ("jsonb", '{"a": [1, "é"]}'),
    ("bigint[]", "{1,-2,3}"),
    ("numeric", "123456789012345678901234567890.5"),
    ("interval", "3 seconds"),
]
# What is refused, by the driver or by the server.
REFUSED: list[tuple[str, Any]] = [
    ("text", "a\x00b"),
    ("text", "\ud800"),
    ("bigint", "no number"),
    ("smallint", 2**40),
    ("timestamptz", "infinity"),
    ("text", object()),
]


@pytest.fixture(params=["blocking", "asyncio"])
def work(request: pytest.FixtureRequest, postgresql_url: str) -> Callable[[Work], Any]:
    """Return what runs code on a new connection in autocommit."""

    async def awaited(code: Work) -> Any:
        engine = create_async_verb_engine(postgresql_url)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(code)
        finally:
            await engine.dispose()

    def blocking(code: Work) -> Any:
        engine = create_verb_engine(postgresql_url)
        try:
            with engine.connect() as connection:
                return code(connection)
        finally:
            engine.dispose()

    if request.param == "asyncio":
        return lambda code: asyncio.run(awaited(code))
    return blocking


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the texts that went through the narrow door."""
    passed: list[bytes] = []
    run = libpq.Door.run

    def noted(door: libpq.Door, sent: bytes, *given: Any, **options: Any) -> Any:
        passed.append(sent)
        return run(door, sent, *given, **options)

    monkeypatch.setattr(libpq.Door, "run", noted)
    return passed


def driver_of(connection: Connection) -> Any:
    """Return the connection of psycopg."""
    return connection.connection.driver_connection


def ask(connection: Connection, statement: Any, times: int = 1, **parameters: Any) -> Any:
    """Run a statement and return its one value, of the last time."""
    for _ in range(times - 1):
        direct.run(connection, statement, parameters, named=False)
    ((value,),) = direct.run(connection, statement, parameters, named=False)
    return value


def by_hand(connection: Connection, statement: str) -> None:
    """Run a statement on the connection past everything that is tested here."""
    connection.exec_driver_sql(statement)
    connection.rollback()  # SQLAlchemy's idea of a transaction, in autocommit


def outcome_of(connection: Connection, kind: str, value: Any) -> Any:
    """Return a value as it comes back, and as text; or what was raised: its class, the driver's."""
    statement = text(f"SELECT (:value)::{kind} AS value, (:value)::{kind}::text AS written")
    try:
        return repr(direct.run(connection, statement, {"value": value}, named=False))
    except DBAPIError as error:
        return type(error), type(error.orig)
    except Exception as error:  # noqa: BLE001  (it is compared)
        return type(error), str(error)


@pytest.mark.parametrize(("kind", "value"), VALUES + REFUSED)
def test_a_value_is_what_it_is_with_a_cursor(
    work: Any, monkeypatch: pytest.MonkeyPatch, kind: str, value: Any
) -> None:
    through_the_door = work(lambda connection: outcome_of(connection, kind, value))
    monkeypatch.setattr(libpq, "_MOST", 0)
    by_cursor = work(lambda connection: outcome_of(connection, kind, value))

    assert through_the_door == by_cursor
    assert isinstance(through_the_door, str) == ((kind, value) in VALUES)


def test_rows_have_the_names_of_their_columns(work: Any, narrow: list[bytes]) -> None:
    statement = text("SELECT 1 AS first, 'two' AS second")

    (row,) = work(lambda connection: direct.run(connection, statement, {}))

    assert (row.first, row.second) == (1, "two")
    assert narrow


def test_verbs_go_through_it(postgresql_url: str, narrow: list[bytes]) -> None:
    with Queue("narrow", postgresql_url) as queue:
        queue.push({"n": 1})
        claim = queue.claim()
        assert claim is not None
        queue.ack(claim)

    assert [number for number, each in enumerate(narrow) if b"INSERT" in each] == [0]
    assert any(b"claimed" in each for each in narrow)


def test_verbs_of_asyncio_go_through_it(postgresql_url: str, narrow: list[bytes]) -> None:
    async def push_and_ack() -> None:
        async with AsyncQueue("narrow", postgresql_url) as queue:
            await queue.push({"n": 1})
            claim = await queue.claim()
            assert claim is not None
            await queue.ack(claim)

    asyncio.run(push_and_ack())

    assert len(narrow) >= 3


def prepared_in(connection: Connection) -> int:
    """Return how many statements the narrow door has prepared."""
    count = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'xclaim%%'"
    found: int = connection.exec_driver_sql(count).scalar_one()
    connection.rollback()
    return found


@pytest.mark.parametrize(("threshold", "times", "prepared"), [(5, 5, 0), (5, 6, 1), (None, 9, 0)])
def test_statements_are_prepared_as_psycopg_does(
    work: Any, threshold: int | None, times: int, prepared: int
) -> None:
    def code(connection: Connection) -> int:
        driver_of(connection).prepare_threshold = threshold
        ask(connection, text("SELECT 7 AS seven"), times)
        return prepared_in(connection)

    assert work(code) == prepared


@pytest.mark.parametrize("lost_by", ["DISCARD ALL", "DEALLOCATE ALL"])
def test_prepared_statements_that_are_gone_are_not_missed(
    work: Any, narrow: list[bytes], lost_by: str
) -> None:
    def code(connection: Connection) -> Any:
        ask(connection, text("SELECT 8 AS eight"), 7)
        by_hand(connection, lost_by)
        return ask(connection, text("SELECT 8 AS eight"), 2), prepared_in(connection)

    assert work(code) == (8, 1)
    assert len(narrow) == 9


def test_a_prepared_statement_that_is_there_already_is_used(work: Any) -> None:
    def code(connection: Connection) -> Any:
        ask(connection, text("SELECT 9 AS nine"), 7)
        connection.info.clear()  # as of another client behind the same pooler
        return ask(connection, text("SELECT 9 AS nine"), 7), prepared_in(connection)

    assert work(code) == (9, 1)


def test_a_column_that_has_another_type_now_is_read(work: Any) -> None:
    statement = text("SELECT value FROM pg_temp.changing")

    def code(connection: Connection) -> Any:
        by_hand(connection, "CREATE TEMPORARY TABLE changing AS SELECT 1::smallint AS value")
        ask(connection, statement, 7)
        by_hand(connection, "ALTER TABLE pg_temp.changing ALTER value TYPE text")
        return ask(connection, statement)

    assert work(code) == "1"


def test_what_has_changed_is_prepared_anew(
    work: Any, narrow: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = text("SELECT value FROM pg_temp.changing")
    answers: list[None] = []
    answer = libpq._answer

    def noted(results: Sequence[Any]) -> Any:
        answers.append(None)
        return answer(results)

    def code(connection: Connection) -> int:
        by_hand(connection, "CREATE TEMPORARY TABLE changing AS SELECT 1::smallint AS value")
        ask(connection, statement, 7)
        by_hand(connection, "ALTER TABLE pg_temp.changing ALTER value TYPE text")
        ask(connection, statement, 2)
        monkeypatch.setattr(libpq, "_answer", noted)
        ask(connection, statement, 5)
        return len(answers)

    assert work(code) == 5
    assert len(narrow) == 14


def test_what_is_not_supported_is_raised_and_leaves_nothing_behind(work: Any) -> None:
    statement = text("SELECT value FROM pg_temp.refusing")

    def code(connection: Connection) -> int:
        by_hand(
            connection,
            "CREATE FUNCTION pg_temp.refuses() RETURNS int LANGUAGE plpgsql AS "
            "$$BEGIN RAISE feature_not_supported; END$$",
        )
        by_hand(connection, "CREATE TEMPORARY VIEW refusing AS SELECT pg_temp.refuses() AS value")
        for _ in range(9):
            with pytest.raises(DBAPIError) as raised:
                ask(connection, statement)
            assert isinstance(raised.value.orig, psycopg.errors.FeatureNotSupported)
        return prepared_in(connection)

    assert work(code) == 1


def test_beyond_so_many_statements_psycopg_takes_care(
    work: Any, narrow: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libpq, "_MOST", 2)

    def code(connection: Connection) -> list[Any]:
        driver_of(connection).prepare_threshold = 0
        return [ask(connection, text(f"SELECT {n} AS n")) for n in (1, 2, 3, 1)]

    assert work(code) == [1, 2, 3, 1]
    assert len(narrow) == 3


def test_statements_that_are_rare_do_not_shut_it_and_are_forgotten(
    work: Any, narrow: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libpq, "_MOST", 2)

    def code(connection: Connection) -> int:
        ask(connection, text("SELECT 'often' AS n"), times=9)
        for n in range(20):
            ask(connection, text(f"SELECT {n} AS n"))
        ask(connection, text("SELECT 'often' AS n"))
        assert len(libpq.door_of(connection)._sent) <= 3 * 2
        return prepared_in(connection)

    assert work(code) == 1
    assert len(narrow) == 30


def test_notices_and_notifications_reach_psycopgs_handlers(work: Any, narrow: list[bytes]) -> None:
    heard: list[str] = []

    def code(connection: Connection) -> None:
        driver = driver_of(connection)
        by_hand(connection, "LISTEN narrow")
        driver.add_notify_handler(lambda notify: heard.append(notify.payload))
        driver.add_notice_handler(lambda diagnostic: heard.append(diagnostic.message_primary))
        ask(connection, text("SELECT pg_notify('narrow', 'woken') IS NULL AS done"))
        by_hand(
            connection,
            "CREATE FUNCTION pg_temp.warns() RETURNS int LANGUAGE plpgsql AS "
            "$$BEGIN RAISE WARNING 'careful'; RETURN 1; END$$",
        )
        by_hand(connection, "CREATE TEMPORARY VIEW warned AS SELECT pg_temp.warns() AS value")
        ask(connection, text("SELECT value FROM pg_temp.warned"))

    work(code)

    assert heard == ["woken", "careful"]
    assert len(narrow) == 2


def test_a_statement_timeout_is_raised_and_the_connection_goes_on(work: Any) -> None:
    def code(connection: Connection) -> Any:
        by_hand(connection, "SET statement_timeout = 50")
        with pytest.raises(OperationalError) as raised:
            ask(connection, text("SELECT pg_sleep(30) IS NULL AS done"))
        return type(raised.value.orig), ask(connection, text("SELECT 1 AS one"))

    assert work(code) == (psycopg.errors.QueryCanceled, 1)


def test_a_lost_connection_is_noticed(work: Any, narrow: list[bytes]) -> None:
    def code(connection: Connection) -> Any:
        ask(connection, text("SELECT 1 AS one"))
        with pytest.raises(DBAPIError) as raised:
            ask(connection, text("SELECT pg_terminate_backend(pg_backend_pid()) AS done"))
        return raised.value.connection_invalidated, connection.invalidated

    assert work(code) == (True, True)
    assert len(narrow) == 2


def test_an_interrupt_is_raised_at_once_and_ends_the_statement(postgresql_url: str) -> None:
    engine = create_verb_engine(postgresql_url)
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with engine.connect() as connection:
            pgconn = driver_of(connection).pgconn
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(KeyboardInterrupt):
                ask(connection, text("SELECT pg_sleep(3600) IS NULL AS done"))

            assert connection.invalidated
            assert pgconn.status == psycopg.pq.ConnStatus.BAD
    finally:
        signal.signal(signal.SIGALRM, handler)
        engine.dispose()


class _Connection(psycopg.Connection[Any]):
    """A connection of somebody's own."""


class _AsyncConnection(psycopg.AsyncConnection[Any]):
    """One for asyncio."""


def _done(result: Any) -> Any:
    return await_only(result) if isawaitable(result) else result


def _begun(driver: Any) -> None:
    _done(driver.execute("BEGIN"))


def _in_a_pipeline(driver: Any) -> None:
    driver.pgconn.enter_pipeline_mode()


def _of_ones_own(driver: Any) -> None:
    is_async = isinstance(driver, psycopg.AsyncConnection)
    driver.__class__ = _AsyncConnection if is_async else _Connection


def _with_other_cursors(driver: Any) -> None:
    is_async = isinstance(driver, psycopg.AsyncConnection)
    driver.cursor_factory = psycopg.AsyncClientCursor if is_async else psycopg.ClientCursor


def _not_in_autocommit(driver: Any) -> None:
    _done(driver.set_autocommit(False))


@pytest.mark.parametrize(
    "change", [_begun, _in_a_pipeline, _of_ones_own, _with_other_cursors, _not_in_autocommit]
)
def test_it_is_shut_where_somebody_could_notice(work: Any, change: Any) -> None:
    def code(connection: Connection) -> None:
        driver = driver_of(connection)
        assert libpq.door_of(connection).is_open(b"SELECT 1")
        connection.info.clear()

        change(driver)

        assert not libpq.door_of(connection).is_open(b"SELECT 1")
        _done(driver.close())
        assert not libpq.door_of(connection).is_open(b"SELECT 1")
        connection.invalidate()

    work(code)


@pytest.mark.parametrize("is_first", [True, False])
def test_it_is_shut_where_cursors_are_traced(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    seen: list[str] = []
    execute = psycopg.Cursor.execute

    def traced(cursor: Any, query: Any, *given: Any, **options: Any) -> Any:
        seen.append(str(query))
        return execute(cursor, query, *given, **options)

    with Queue("narrow", postgresql_url) as queue:
        if not is_first:
            queue.push(0)
        monkeypatch.setattr(psycopg.Cursor, "execute", traced)
        queue.push(1)

    assert any("INSERT" in each for each in seen)


@pytest.mark.parametrize("is_first", [True, False])
def test_it_is_shut_where_cursors_of_asyncio_are_traced(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    seen: list[str] = []
    execute = psycopg.AsyncCursor.execute

    async def traced(cursor: Any, query: Any, *given: Any, **options: Any) -> Any:
        seen.append(str(query))
        return await execute(cursor, query, *given, **options)

    async def push() -> None:
        async with AsyncQueue("narrow", postgresql_url) as queue:
            if not is_first:
                await queue.push(0)
            monkeypatch.setattr(psycopg.AsyncCursor, "execute", traced)
            await queue.push(1)

    asyncio.run(push())

    assert any("INSERT" in each for each in seen)
