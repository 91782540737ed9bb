"""`xclaim ordering enable` and `disable` on a table in use: PostgreSQL alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from tests.eventually import until
from tests.migrating import at_once
from tests.pgbouncer import Bouncer, needs_pgbouncer
from tests.replication import replicated
from xclaim import InvalidArgumentError, OrderingNotEnabledError, Queue, create_engine
from xclaim.cli.app import group
from xclaim.operations import beside_writers, doctor, migrate, ordering
from xclaim.sql.ordering import IN_LINE_NAME, INDEXES, KEYED_NAME
from xclaim.sql.schema import TURN_NAME


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


@contextmanager
def writing(engine: Engine) -> Iterator[None]:
    """Somebody has written to the table, and not committed yet."""
    with engine.connect() as connection, connection.begin():
        Queue("orders", connection).push("open")
        yield


def is_building(engine: Engine) -> bool:
    return any(not is_valid for is_valid in indexes(engine).values())


def indexes(engine: Engine) -> dict[str, bool]:
    with engine.connect() as connection:
        return beside_writers.indexes_of(connection, None)


def is_complete(engine: Engine) -> bool:
    with engine.connect() as connection:
        return ordering.missing_parts(connection, None) == []


def is_there(engine: Engine) -> bool:
    with engine.connect() as connection:
        return ordering.is_begun(connection, None)


def of_the_doctor(engine: Engine) -> list[doctor.Finding]:
    return [each for each in doctor.examine(engine) if each.name == "ordering"]


def test_others_go_on_writing_while_it_is_enabled(engine: Engine) -> None:
    queue = Queue("orders", engine)
    with ThreadPoolExecutor() as threads:
        with writing(engine):
            enabling = threads.submit(ordering.enable, engine)
            until(lambda: is_building(engine))
            queue.push("beside it")
            with pytest.raises(OrderingNotEnabledError):
                queue.push("too early", ordering_key="a")
            assert queue.claim() is not None

        assert enabling.result()

    queue.push("in line", ordering_key="a")
    assert is_complete(engine)


def test_the_doctor_says_that_it_is_begun(engine: Engine) -> None:
    assert of_the_doctor(engine) == []
    with ThreadPoolExecutor() as threads:
        with writing(engine):
            enabling = threads.submit(ordering.enable, engine)
            until(lambda: is_building(engine))

            (found,) = of_the_doctor(engine)

        enabling.result()

    assert found.level is doctor.Level.WARNING
    assert "begun" in found.found
    assert TURN_NAME in found.found
    assert "ordering enable`, which goes on" in str(found.remedy)
    assert [each.level for each in of_the_doctor(engine)] == [doctor.Level.OK]


@pytest.mark.slow
def test_what_was_killed_while_it_was_enabled_goes_on(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with writing(engine):
        killed = subprocess.Popen(
            [sys.executable, "-m", "xclaim", "ordering", "enable"],
            env=os.environ | {"XCLAIM_DATABASE_URL": url},
        )
        until(lambda: is_building(engine))
        killed.kill()
        killed.wait()

    assert ordering.enable(engine)  # beside what the server may still do for the one that is gone
    assert is_complete(engine)
    assert not ordering.enable(engine)


def test_it_does_not_begin_while_an_index_is_still_built_for_one_that_is_gone(
    engine: Engine,
) -> None:
    ordering.enable(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP INDEX {IN_LINE_NAME}")
    tries: list[object] = []
    with create_engine(engine.url).connect() as builder, ThreadPoolExecutor() as threads:
        builder.execution_options(isolation_level="AUTOCOMMIT")
        with writing(engine):
            statement = f"CREATE INDEX CONCURRENTLY {IN_LINE_NAME} ON xclaim_message (id)"
            building = threads.submit(builder.exec_driver_sql, statement)
            until(lambda: is_building(engine))
            event.listen(engine.pool, "checkout", lambda *_: tries.append(None))
            enabling = threads.submit(ordering.enable, engine)
            until(lambda: len(tries) > 3)  # it tries again, and holds no transaction meanwhile

        building.result()
        assert enabling.result()

    assert is_complete(engine)


def test_an_index_that_is_not_valid_is_built_again(engine: Engine) -> None:
    with ThreadPoolExecutor() as threads, writing(engine):
        enabling = threads.submit(ordering.enable, engine)
        until(lambda: is_building(engine))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'CREATE UNIQUE INDEX %%' AND datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
        with pytest.raises(DBAPIError, match="canceling") as raised:
            enabling.result()

    assert "it goes on from there" in raised.value.__notes__[-1]
    assert indexes(engine)[TURN_NAME] is False
    assert ordering.enable(engine)
    assert is_complete(engine)


class _Cut(Exception):  # noqa: N818  (no error, a kill)
    pass


def cut(engine: Engine, moment: str, number: int) -> None:
    """Raise before or after the statement of that number that changes the table or functions."""
    seen = 0

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        nonlocal seen
        if statement.startswith(("CREATE", "DROP", "LOCK", "REVOKE", "DO", "SELECT")):
            seen += 1
            if seen == number:
                raise _Cut

    event.listen(engine, f"{moment}_cursor_execute", count)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("change", [ordering.enable, ordering.disable])
def test_wherever_it_is_cut_the_next_run_goes_on(
    fresh_postgresql_url: str, change: Any, moment: str
) -> None:
    settled = create_engine(fresh_postgresql_url)
    if change is ordering.disable:
        ordering.enable(settled)
    number, is_cut = 0, True
    while is_cut:
        number += 1
        engine = create_engine(fresh_postgresql_url)
        cut(engine, moment, number)
        try:
            change(engine)
            is_cut = False
        except _Cut:
            with settled.connect() as connection:  # nothing is half there that a push would use
                assert not ordering.is_enabled(connection, None) or is_complete(settled)
        finally:
            engine.dispose()

    assert is_complete(settled) if change is ordering.enable else not is_there(settled)
    assert number > 10
    settled.dispose()


def test_of_several_at_once_one_makes_it(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    made: list[bool] = []

    at_once(4, lambda _: made.append(ordering.enable(url)))

    assert sorted(made) == [False, False, False, True]
    assert is_complete(engine)


def test_enabling_and_disabling_at_once_leaves_one_of_them(engine: Engine) -> None:
    at_once(4, lambda number: (ordering.disable if number % 2 else ordering.enable)(engine))

    assert is_complete(engine) or not is_there(engine)


def test_an_upgrade_beside_it_does_not_stop_it(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)

    at_once(4, lambda number: (migrate.upgrade if number % 2 else ordering.enable)(url))

    assert is_complete(engine)


def test_who_holds_the_table_keeps_nobody_else_waiting(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside_writers, "_TRIES", 2)
    ordering.enable(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER xclaim_pass_turn ON xclaim_message")
    with writing(engine):
        with pytest.raises(DBAPIError, match="lock timeout") as raised:
            ordering.enable(engine)
        Queue("orders", engine).push("after it")

    assert "another transaction uses the table" in " ".join(raised.value.__notes__)
    assert ordering.enable(engine)
    assert is_complete(engine)


def test_two_that_come_to_lead_a_line_meanwhile_are_named_by_the_audit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordering.enable(engine)
    Queue("orders", engine).push_many([1, 2], ordering_keys=["a", "a"])
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP INDEX {TURN_NAME}")
        connection.exec_driver_sql("UPDATE xclaim_message SET available_at = now()")

    with monkeypatch.context() as meanwhile, pytest.raises(DBAPIError) as raised:
        meanwhile.setattr(ordering, "refuse_two_leaders", lambda *_: None)  # it saw one of them
        ordering.enable(engine)

    assert "could not create unique index" in str(raised.value)
    assert "`xclaim audit --schema public`" in raised.value.__notes__[0]
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM xclaim_message")
    assert ordering.enable(engine)
    assert is_complete(engine)


@pytest.mark.parametrize("again", [ordering.enable, ordering.disable])
def test_nothing_is_left_of_a_disabling_that_was_cut_short(engine: Engine, again: Any) -> None:
    ordering.enable(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE INDEX {KEYED_NAME} ON xclaim_message (id)")

    assert again(engine) is (again is ordering.disable)

    assert KEYED_NAME not in indexes(engine)
    assert not is_there(engine) or is_complete(engine)


def test_it_is_disabled_in_a_transaction_after_it_was_cut_short(engine: Engine) -> None:
    ordering.enable(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE INDEX {KEYED_NAME} ON xclaim_message (id)")

    with engine.begin() as connection:
        assert ordering.disable(connection)

    assert not is_there(engine)


def test_the_command_says_the_way_out(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_writers, "_TRIES", 1)
    ordering.enable(engine)
    url = engine.url.render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER xclaim_pass_turn ON xclaim_message")

    with writing(engine):
        result = CliRunner().invoke(group, ["ordering", "enable", "--url", url])

    assert result.exit_code != 0
    assert "another transaction uses the table" in result.stderr
    assert "migrate.upgrade" not in result.stderr


def test_a_missing_index_is_built_and_the_triggers_stay(engine: Engine) -> None:
    ordering.enable(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP INDEX {INDEXES[-1]}")
        before = functions(connection)

    assert ordering.enable(engine)

    with engine.begin() as connection:
        assert functions(connection) == before


def functions(connection: Connection) -> list[Any]:
    found = connection.exec_driver_sql(
        "SELECT oid FROM pg_proc WHERE proname = 'xclaim_pass_turn'"
        " UNION ALL SELECT oid FROM pg_trigger WHERE tgname LIKE 'xclaim_%%'"
    )
    return sorted(found.scalars())


def test_what_is_pushed_while_it_is_disabled_keeps_it(engine: Engine) -> None:
    ordering.enable(engine)
    url = engine.url.render_as_string(hide_password=False)
    disabling = create_engine(url)

    def push(_: Any, __: Any, statement: str, *___: Any) -> None:
        if KEYED_NAME in statement and statement.startswith("CREATE"):
            Queue("orders", engine).push("late", ordering_key="a")

    event.listen(disabling, "after_cursor_execute", push)
    with pytest.raises(InvalidArgumentError, match="has an ordering key"):
        ordering.disable(disabling)

    assert is_complete(engine)
    assert KEYED_NAME not in indexes(engine)
    disabling.dispose()


def test_others_go_on_writing_while_it_is_disabled(engine: Engine) -> None:
    ordering.enable(engine)
    queue = Queue("orders", engine)
    with ThreadPoolExecutor() as threads:
        with writing(engine):
            disabling = threads.submit(ordering.disable, engine)
            until(lambda: KEYED_NAME in indexes(engine))
            queue.push("beside it")

        assert disabling.result()

    assert not is_there(engine)
    assert of_the_doctor(engine) == []


def test_a_transaction_of_the_caller_makes_all_of_it_or_nothing(engine: Engine) -> None:
    with suppress(_Cut), engine.begin() as connection:
        ordering.enable(connection)
        raise _Cut
    assert not is_there(engine)

    with engine.begin() as connection:
        assert ordering.enable(connection)

    assert is_complete(engine)


def test_a_transaction_of_the_caller_does_not_wait_for_who_builds(engine: Engine) -> None:
    with ThreadPoolExecutor() as threads:
        with writing(engine):
            enabling = threads.submit(ordering.enable, engine)
            until(lambda: is_building(engine))
            with (
                pytest.raises(InvalidArgumentError, match="another run is at work"),
                engine.begin() as connection,
            ):
                ordering.enable(connection)

        assert enabling.result()


@needs_pgbouncer
def test_a_pooler_that_shares_sessions_is_no_hindrance(
    fresh_postgresql_url: str, tmp_path: Path
) -> None:
    with Bouncer(fresh_postgresql_url, tmp_path, pool_size=5) as url:
        made: list[bool] = []
        at_once(2, lambda _: made.append(ordering.enable(url)))

        assert sorted(made) == [False, True]
        assert ordering.disable(url)


@pytest.mark.parametrize("change", [ordering.enable, ordering.disable])
def test_where_nothing_can_be_written_it_is_refused(fresh_postgresql_url: str, change: Any) -> None:
    options = {"options": "-c default_transaction_read_only=on"}
    reading = create_engine(fresh_postgresql_url, connect_args=options)

    with pytest.raises(InvalidArgumentError, match="default_transaction_read_only is on"):
        change(reading)

    reading.dispose()


@pytest.mark.slow
def test_a_standby_refers_to_its_primary() -> None:
    with replicated() as pair:
        migrate.upgrade(pair.url)
        pair.catch_up()

        with pytest.raises(InvalidArgumentError, match=r"standby.*run it on the primary"):
            ordering.enable(pair.standby.address)


CHANGES = [ordering.enable, ordering.disable]


def test_two_connections_are_enough_also_for_two_at_once(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url, pool_size=2, max_overflow=0, pool_timeout=60)
    made: list[bool] = []

    at_once(2, lambda _: made.append(ordering.enable(engine)))

    assert sorted(made) == [False, True]
    assert ordering.disable(engine)
    engine.dispose()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("pool", "named"),
    [
        ({"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}, "Pool size: 1 "),
        ({"poolclass": StaticPool}, "StaticPool"),
    ],
    ids=["QueuePool", "StaticPool"],
)
def test_an_engine_with_one_connection_is_told_so(
    fresh_postgresql_url: str, change: Any, pool: dict[str, Any], named: str
) -> None:
    engine = create_engine(fresh_postgresql_url, **pool)

    with pytest.raises(InvalidArgumentError, match=f"two connections.*{named}.*pool_size=2"):
        change(engine)
    with engine.begin() as connection:
        assert change(connection) is (change is ordering.enable)  # as the error says

    engine.dispose()


@needs_pgbouncer
@pytest.mark.parametrize("change", CHANGES)
def test_a_pooler_with_one_session_is_told_so(
    fresh_postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    monkeypatch.setattr(beside_writers, "_ANSWERS_WITHIN", 1.0)
    with (
        Bouncer(fresh_postgresql_url, tmp_path, pool_size=1) as url,
        pytest.raises(InvalidArgumentError, match=r"no answer within 1 s .*pooler.* 2 or more"),
    ):
        change(url)

    assert ordering.enable(fresh_postgresql_url)  # nothing holds the lock any more


@needs_pgbouncer
def test_a_pooler_with_two_sessions_is_enough(fresh_postgresql_url: str, tmp_path: Path) -> None:
    with Bouncer(fresh_postgresql_url, tmp_path, pool_size=2) as url:
        assert ordering.enable(url)
        assert ordering.disable(url)
