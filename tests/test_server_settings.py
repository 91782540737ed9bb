"""What a server, a database or a role sets does not change what a verb does, or is refused first.

Each setting in each way in: a URL, an engine of ours or of SQLAlchemy, a transaction, an ORM
session, asyncio, and through pgbouncer.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine as sqlalchemy_create_async_engine
from sqlalchemy.orm import Session

from tests.contract.facades import AsyncFacade, Blocking, queue_by
from tests.databases import temporary_database
from tests.every_verb import TEXT, every_verb
from tests.migrating import at_once
from tests.pgbouncer import Bouncer, needs_pgbouncer
from xclaim import AsyncQueue, DatabaseUrlError, InvalidArgumentError, Queue, create_engine
from xclaim.connections.autocommit import needs_transaction
from xclaim.connections.engine import create_verb_engine
from xclaim.operations import audit, doctor, migrate

# What others have set, and we live with.
HARMLESS = {
    "IntervalStyle": "'iso_8601'",
    "timezone": "'Asia/Kathmandu'",
    "TimeZone": "'<+03>-3'",
    "bytea_output": "'escape'",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "extra_float_digits": "-15",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "'serializable'",
    "Default_Transaction_Isolation": "'repeatable read'",
    "default_transaction_deferrable": "on",
    "escape_string_warning": "on",
    "client_min_messages": "error",
    "plan_cache_mode": "'force_generic_plan'",
}
# In which the driver does not read what a verb returns: our engines set others, those of others
# are refused.
UNREAD = {
    "client_encoding": "'LATIN1'",
    "DateStyle": "'German, DMY'",
    "datestyle": "'SQL, MDY'",
    "DATESTYLE": "'Postgres, YMD'",
}


def configure(url: str, name: str, value: str) -> None:
    """Set something for all who connect to the database from now on."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {make_url(url).database} SET {name} = {value}"))
    engine.dispose()


@contextmanager
def of_a_url(url: str) -> Iterator[Queue]:
    with Queue("orders", url, notify=True) as queue:
        yield queue


@contextmanager
def of_an_engine(url: str) -> Iterator[Queue]:
    engine = create_engine(url)
    yield Queue("orders", engine)
    engine.dispose()


@contextmanager
def in_a_transaction(url: str) -> Iterator[Queue]:
    engine = create_engine(url)
    with engine.begin() as connection:
        yield Queue("orders", connection)
    engine.dispose()


@contextmanager
def in_asyncio(url: str) -> Iterator[Queue]:
    with queue_by("AsyncQueue", url) as queue:
        yield queue


@contextmanager
def of_an_engine_in_asyncio(url: str) -> Iterator[Queue]:
    facade = AsyncFacade(url)
    yield facade.queue("orders")
    facade.close()


@contextmanager
def of_an_engine_of_others(url: str) -> Iterator[Queue]:
    engine = sqlalchemy.create_engine(url)
    yield Queue("orders", engine)
    engine.dispose()


@contextmanager
def of_a_strict_engine_of_others(url: str) -> Iterator[Queue]:
    engine = sqlalchemy.create_engine(url, isolation_level="READ COMMITTED")
    yield Queue("orders", engine)
    engine.dispose()


@contextmanager
def in_a_session_of_others(url: str) -> Iterator[Queue]:
    engine = sqlalchemy.create_engine(url)
    with Session(engine) as session:
        yield Queue("orders", session)
        session.commit()
    engine.dispose()


@contextmanager
def in_asyncio_of_others(url: str) -> Iterator[Queue]:
    address = make_url(url).set(drivername="postgresql+psycopg_async")
    with asyncio.Runner() as runner:
        engine = sqlalchemy_create_async_engine(address)
        yield cast(Queue, Blocking(AsyncQueue("orders", engine), runner.run))
        runner.run(engine.dispose())


Way = Callable[[str], AbstractContextManager[Queue]]
OURS: list[Way] = [of_a_url, of_an_engine, in_a_transaction, in_asyncio, of_an_engine_in_asyncio]
THEIRS: list[Way] = [
    of_an_engine_of_others,
    of_a_strict_engine_of_others,
    in_a_session_of_others,
    in_asyncio_of_others,
]


@pytest.mark.parametrize("name", HARMLESS)
def test_a_setting_changes_nothing(fresh_postgresql_url: str, name: str) -> None:
    configure(fresh_postgresql_url, name, HARMLESS[name])

    payloads = []
    for way in [*OURS, *THEIRS]:
        with way(fresh_postgresql_url) as queue:
            payloads.append(every_verb(queue))
            queue.prune(older_than=timedelta(0))

    assert payloads == [payloads[0]] * len(payloads)
    assert {"text": TEXT} in payloads[0]


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("way", OURS)
def test_our_connections_speak_as_the_driver_reads(
    fresh_postgresql_url: str, name: str, way: Way
) -> None:
    configure(fresh_postgresql_url, name, UNREAD[name])

    with way(fresh_postgresql_url) as queue:
        payloads = every_verb(queue)

    assert {"text": TEXT} in payloads


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("way", THEIRS)
def test_a_connection_of_others_that_speaks_otherwise_is_refused_before_anything_is_written(
    fresh_postgresql_url: str, name: str, way: Way
) -> None:
    configure(fresh_postgresql_url, name, UNREAD[name])

    setting = f"(?i){name}"
    with (
        way(fresh_postgresql_url) as queue,
        pytest.raises(InvalidArgumentError, match=setting),
    ):
        queue.push({"text": TEXT})

    with Queue("orders", fresh_postgresql_url) as queue:
        assert queue.counts().available == 0


@pytest.mark.parametrize(("name", "value"), [*HARMLESS.items(), *UNREAD.items()])
def test_a_database_is_migrated_and_looked_after(
    empty_postgresql_url: str, name: str, value: str
) -> None:
    configure(empty_postgresql_url, name, value)

    migrate.upgrade(empty_postgresql_url)

    engine = create_engine(empty_postgresql_url)
    queue = Queue("orders", engine)
    queue.push_many([1, 2], max_attempts=1)
    claimed = queue.claim(claimed_by="dag/run/task[3]#1@host")
    assert claimed is not None
    queue.ack(claimed)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT consumer_task_id, consumer_map_index FROM xclaim_lineage WHERE id = :id"),
            {"id": claimed.message.id},
        ).all()
    assert rows == [("task", "3")]
    assert audit.audit(engine).is_sound
    assert not [each for each in doctor.examine(engine) if "could not look" in each.found]
    engine.dispose()
    migrate.downgrade(empty_postgresql_url, "base")


# Encodings

TEXTS = {"LATIN1": "naïve café", "EUC_JP": "日本語", "UTF8": "日本語 naïve 🎉"}


@pytest.fixture(params=TEXTS)
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def encoded_url(postgresql_server: str, encoding: str) -> Iterator[str]:
    with temporary_database(postgresql_server, encoding=encoding) as url:
        migrate.upgrade(url)
        yield url


@pytest.mark.parametrize("way", OURS)
def test_a_text_that_the_database_can_hold_comes_back(
    encoded_url: str, encoding: str, way: Way
) -> None:
    said = TEXTS[encoding]

    with way(encoded_url) as queue:
        queue.push({said: said}, headers={said: said}, unique_key=said)
        claimed = queue.claim(claimed_by=said)

    assert claimed is not None
    message = claimed.message
    assert (message.payload, message.headers, message.unique_key, claimed.claimed_by) == (
        {said: said},
        {said: said},
        said,
        said,
    )


# What the database refuses, and what it would give back as another letter.
NOT_HELD = [("LATIN1", "🎉"), ("EUC_JP", "🎉"), ("EUC_JP", "¦")]


@pytest.mark.parametrize("facade", [of_a_url, in_asyncio])
@pytest.mark.parametrize(("encoding", "letter"), NOT_HELD, indirect=["encoding"])
def test_a_text_that_it_cannot_hold_is_refused_at_push(
    encoded_url: str, encoding: str, letter: str, facade: Way
) -> None:
    text = TEXTS[encoding] + letter
    refused: dict[str, dict[str, Any]] = {
        "payload 1": {"payloads": [1, {"text": text}]},
        f"unique_key '{text}'": {"payloads": [1, 2], "unique_keys": [None, text]},
        "headers": {"payloads": [1], "headers": {"note": text}},
    }
    with facade(encoded_url) as queue:
        for part, said in refused.items():
            with pytest.raises(InvalidArgumentError, match=f"{letter}.*ENCODING 'UTF8'") as caught:
                queue.push_many(**said)
            assert str(caught.value).startswith(part)

        assert queue.counts().available == 0


@pytest.mark.parametrize(("encoding", "letter"), NOT_HELD, indirect=["encoding"])
def test_what_it_cannot_hold_ends_no_transaction_of_the_caller(
    encoded_url: str, letter: str
) -> None:
    engine = create_engine(encoded_url)
    with engine.begin() as connection:
        queue = Queue("orders", connection)
        queue.push("before")
        with pytest.raises(InvalidArgumentError):
            queue.push(letter, unique_key=letter)
        queue.push("after")

    assert [message.payload for message in Queue("orders", engine).peek(9)] == ["before", "after"]
    engine.dispose()


@pytest.mark.parametrize("facade", [of_a_url, in_asyncio])
def test_an_error_of_any_letters_releases_its_message(encoded_url: str, facade: Way) -> None:
    with facade(encoded_url) as queue:
        queue.push(1)
        claimed = queue.claim()
        assert claimed is not None

        released = queue.release(claimed, error=ValueError("日本語 é 🎉"))

        (failure,) = queue.failures(released.id)
    assert failure.error == released.last_error
    assert failure.error is not None
    assert failure.error.startswith("ValueError: ")


def test_a_database_without_an_encoding_is_refused_before_anything_is_written(
    postgresql_server: str,
) -> None:
    with temporary_database(postgresql_server, encoding="SQL_ASCII") as url:
        with pytest.raises(InvalidArgumentError, match="SQL_ASCII"):
            migrate.upgrade(url)
        with Queue("orders", url) as queue, pytest.raises(InvalidArgumentError, match="SQL_ASCII"):
            queue.push(1)
        engine = create_engine(url)
        with pytest.raises(InvalidArgumentError), engine.begin() as connection:
            migrate.upgrade(connection)
        assert sqlalchemy.inspect(engine).get_table_names() == []
        engine.dispose()


@pytest.mark.parametrize("said", ["latin1", "SQL_ASCII", "auto"])
def test_a_url_with_another_encoding_is_refused(said: str) -> None:
    with pytest.raises(DatabaseUrlError, match="client_encoding"):
        create_engine(f"postgresql://somebody@somewhere/shop?client_encoding={said}")


@pytest.mark.parametrize("said", ["utf8", "UTF-8", "unicode"])
def test_a_url_with_utf8_is_taken(fresh_postgresql_url: str, said: str) -> None:
    with Queue("orders", f"{fresh_postgresql_url}?client_encoding={said}") as queue:
        queue.push({"text": TEXT})

        assert queue.peek(1)[0].payload == {"text": TEXT}


def test_the_environment_does_not_choose_the_encoding(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGDATESTYLE", "German")

    with Queue("orders", fresh_postgresql_url) as queue:
        queue.push({"text": TEXT})

        assert queue.peek(1)[0].payload == {"text": TEXT}


def test_the_doctor_names_what_is_not_as_it_should_be(postgresql_server: str) -> None:
    with temporary_database(postgresql_server, encoding="LATIN1") as url:
        migrate.upgrade(url)
        configure(url, "default_transaction_isolation", "'serializable'")
        engine = sqlalchemy.create_engine(url, connect_args={"client_encoding": "utf8"})

        found = [each.found for each in doctor.examine(engine) if each.name == "session"]

        engine.dispose()
    assert len(found) == 2
    assert "in LATIN1" in found[0]
    assert "two more round trips" in found[1]


# Isolation

STRICT = ["serializable", "repeatable read"]


@pytest.mark.parametrize("level", STRICT)
@pytest.mark.parametrize("create", [create_engine, create_verb_engine, sqlalchemy.create_engine])
def test_verbs_do_not_collide_where_transactions_are_stricter(
    fresh_postgresql_url: str, level: str, create: Callable[[str], Engine]
) -> None:
    configure(fresh_postgresql_url, "default_transaction_isolation", f"'{level}'")
    engine = create(fresh_postgresql_url)
    Queue("orders", engine).push_many(range(120))

    def work(_number: int) -> None:
        queue = Queue("orders", engine)
        while (claimed := queue.claim()) is not None:
            queue.ack(claimed)

    at_once(4, work)

    assert Queue("orders", engine).counts().consumed == 120
    engine.dispose()


@pytest.mark.parametrize("level", STRICT)
def test_a_transaction_of_our_engines_is_read_committed(
    fresh_postgresql_url: str, level: str
) -> None:
    configure(fresh_postgresql_url, "default_transaction_isolation", f"'{level}'")
    engine = create_engine(fresh_postgresql_url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SELECT 1")  # and resets it when it is given back

    with Queue("orders", fresh_postgresql_url) as queue, queue.transact() as (_, of_the_queue):
        found = [of_the_queue.exec_driver_sql("SHOW transaction_isolation").scalar_one()]
    with engine.connect() as connection:
        found.append(connection.exec_driver_sql("SHOW transaction_isolation").scalar_one())

    engine.dispose()
    assert found == ["read committed"] * 2


@pytest.mark.parametrize("create", [create_engine, create_verb_engine])
def test_a_verb_is_one_statement_where_the_role_is_stricter(
    fresh_postgresql_url: str, create: Callable[[str], Engine]
) -> None:
    configure(fresh_postgresql_url, "default_transaction_isolation", "'serializable'")
    engine = create(fresh_postgresql_url)

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver = connection.connection.driver_connection
        needs = needs_transaction(connection, driver)
        level = connection.exec_driver_sql("SHOW default_transaction_isolation").scalar_one()

    engine.dispose()
    assert (needs, level) == (False, "read committed")


@needs_pgbouncer
def test_the_sessions_of_a_pooler_are_not_changed(
    fresh_postgresql_url: str, tmp_path: Path
) -> None:
    configure(fresh_postgresql_url, "default_transaction_isolation", "'serializable'")

    with Bouncer(fresh_postgresql_url, tmp_path, pool_size=1) as url:
        with Queue("orders", url) as queue:
            queue.push(1)
        engine = sqlalchemy.create_engine(url.partition("?")[0])
        with engine.connect() as connection:
            level = connection.exec_driver_sql("SHOW default_transaction_isolation").scalar_one()
        engine.dispose()

    assert level == "serializable"


def test_a_level_that_was_asked_for_is_kept(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url, isolation_level="SERIALIZABLE")

    with engine.connect() as connection:
        found = connection.exec_driver_sql("SHOW transaction_isolation").scalar_one()
    Queue("orders", engine).push(1)

    engine.dispose()
    assert found == "serializable"


def test_a_verb_is_one_statement_where_nothing_is_stricter(fresh_postgresql_url: str) -> None:
    engine = create_verb_engine(fresh_postgresql_url)

    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert not needs_transaction(connection, driver)

    engine.dispose()


def test_to_connect_takes_no_statement(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = create_engine(fresh_postgresql_url)
    sent: list[Any] = []
    execute = psycopg.Cursor.execute

    def noted(cursor: Any, query: Any, *given: Any, **options: Any) -> Any:
        sent.append(query)
        return execute(cursor, query, *given, **options)

    with engine.connect():  # SQLAlchemy asks what it wants to know, once per engine
        monkeypatch.setattr(psycopg.Cursor, "execute", noted)
        with engine.connect() as second:
            driver: Any = second.connection.driver_connection
            transaction = driver.pgconn.transaction_status

    engine.dispose()
    assert (sent, transaction) == ([], 0)


@pytest.mark.slow
@pytest.mark.parametrize("level", STRICT)
def test_parallel_upgrades_all_succeed_where_transactions_are_stricter(
    empty_postgresql_url: str, level: str
) -> None:
    configure(empty_postgresql_url, "default_transaction_isolation", f"'{level}'")
    code = f"from xclaim.operations import migrate; migrate.upgrade({empty_postgresql_url!r})"

    upgrades = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(5)]

    assert [upgrade.wait() for upgrade in upgrades] == [0] * 5
    migrate.check(empty_postgresql_url)


def test_an_upgrade_in_a_transaction_that_is_too_old_is_refused_before_anything_is_written(
    empty_postgresql_url: str,
) -> None:
    engine = sqlalchemy.create_engine(empty_postgresql_url, isolation_level="SERIALIZABLE")

    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM pg_class")
        migrate.upgrade(empty_postgresql_url)

        with pytest.raises(InvalidArgumentError, match="run this one again"):
            migrate.upgrade(connection)

    with engine.begin() as connection:
        migrate.upgrade(connection)
    engine.dispose()
    migrate.check(empty_postgresql_url)


# Read-only


def test_a_role_that_may_only_read_is_refused(fresh_postgresql_url: str) -> None:
    configure(fresh_postgresql_url, "default_transaction_read_only", "on")

    with Queue("orders", fresh_postgresql_url) as queue:
        with pytest.raises(DBAPIError) as caught:
            queue.push(1)

        assert getattr(caught.value.orig, "sqlstate", None) == "25006"
        assert queue.counts().available == 0


@pytest.mark.parametrize("way", [of_a_url, in_asyncio, of_an_engine_of_others])
def test_a_connection_to_a_server_that_became_read_only_is_dropped(
    fresh_postgresql_url: str, way: Way
) -> None:
    with way(fresh_postgresql_url) as queue:
        queue.push(1)
        configure(fresh_postgresql_url, "default_transaction_read_only", "on")
        terminate(fresh_postgresql_url)
        with pytest.raises(DBAPIError):  # which connects anew, to what is read-only
            while True:
                queue.push(2)
        make_writable(fresh_postgresql_url)

        queue.push(3)

        assert [message.payload for message in queue.peek(3)] == [1, 3]


def terminate(url: str) -> None:
    """End all connections to the database but this."""
    engine = create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    engine.dispose()


def make_writable(url: str) -> None:
    """Undo what makes the database read-only, which whoever undoes it has, too."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("SET default_transaction_read_only = off")
        name = make_url(url).database
        connection.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    engine.dispose()


def test_a_loop_goes_on_when_its_server_can_be_written_again(
    fresh_postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "xclaim")

    class Mending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "read-only" in record.getMessage():
                make_writable(fresh_postgresql_url)

    handler = Mending()
    with Queue("orders", fresh_postgresql_url) as queue:
        queue.push_many(range(4))
        logging.getLogger("xclaim").addHandler(handler)
        try:
            payloads = []
            for claimed in queue.stream(batch=1):
                payloads.append(claimed.payload)
                if len(payloads) == 2:
                    configure(fresh_postgresql_url, "default_transaction_read_only", "on")
                    terminate(fresh_postgresql_url)
        finally:
            logging.getLogger("xclaim").removeHandler(handler)

    assert sorted(set(payloads)) == [0, 1, 2, 3]
    assert "read-only" in caplog.text


# Through a pooler


@needs_pgbouncer
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DateStyle", "'German, DMY'"),
        ("IntervalStyle", "'iso_8601'"),
        ("client_encoding", "'LATIN1'"),
        ("default_transaction_isolation", "'serializable'"),
        ("timezone", "'Asia/Kathmandu'"),
        ("standard_conforming_strings", "off"),
    ],
)
@pytest.mark.parametrize("way", [of_a_url, in_asyncio, in_a_transaction])
def test_a_setting_changes_nothing_through_pgbouncer(
    fresh_postgresql_url: str, tmp_path: Path, name: str, value: str, way: Way
) -> None:
    configure(fresh_postgresql_url, name, value)

    with Bouncer(fresh_postgresql_url, tmp_path) as url, way(url) as queue:
        payloads = every_verb(queue)

    assert {"text": TEXT} in payloads


@needs_pgbouncer
def test_an_upgrade_through_pgbouncer_meets_no_setting(
    empty_postgresql_url: str, tmp_path: Path
) -> None:
    configure(empty_postgresql_url, "DateStyle", "'German, DMY'")
    configure(empty_postgresql_url, "default_transaction_isolation", "'serializable'")

    with Bouncer(empty_postgresql_url, tmp_path) as url:
        at_once(3, lambda _: migrate.upgrade(url))

        migrate.check(url)


def test_times_are_those_of_the_clock_whatever_the_zone(fresh_postgresql_url: str) -> None:
    configure(fresh_postgresql_url, "timezone", "'<+03>-3'")

    with Queue("orders", fresh_postgresql_url) as queue:
        message = queue.push(1)

    assert message.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - message.created_at) < timedelta(minutes=10)
