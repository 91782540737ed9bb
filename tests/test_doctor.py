"""What the doctor finds, each time with something that is really wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, make_url, text

from tests.eventually import until
from tests.later_xclaim import later_xclaim
from tests.pgbouncer import Bouncer, needs_pgbouncer
from tests.replication import replicated
from xclaim import Queue, Retry, create_engine
from xclaim.connections.missing_files import url_option
from xclaim.embedded import embedded_postgresql
from xclaim.errors import Commands
from xclaim.operations import doctor_of_server, few_of_many, ordering
from xclaim.operations.doctor import Finding, Level, examine
from xclaim.operations.migrate import upgrade
from xclaim.sql import full_names
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.revision import COMMANDS
from xclaim.sql.schema import message_table
from xclaim.sql.statements import examining


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


def finding(engine: Engine, name: str, level: Level = Level.WARNING) -> Finding:
    (found,) = [each for each in examine(engine) if each.name == name and each.level is level]
    return found


def test_a_new_queue_has_no_problem(engine: Engine) -> None:
    Queue("orders", engine).push(1)

    findings = examine(engine)

    # The test's server runs without fsync, and that is worth a warning.
    assert [
        each for each in findings if each.level is not Level.OK and each.name != "durability"
    ] == []
    assert {each.name for each in findings} >= {"schema_version", "indexes", "stuck_claims"}


def test_a_database_without_the_table_is_a_problem(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)

    (found,) = examine(engine)

    engine.dispose()
    assert found.level is Level.PROBLEM
    assert (found.remedy or "").startswith("run `xclaim upgrade")


def test_an_older_schema_is_a_problem(engine: Engine, tmp_path: Path) -> None:
    with later_xclaim(tmp_path):
        (found,) = examine(engine)

    assert (found.name, found.level) == ("schema_version", Level.PROBLEM)
    assert "0001" in found.found


def test_a_missing_index_is_named(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_xclaim_message_claim")

    found = finding(engine, "indexes", Level.PROBLEM)

    assert "ix_xclaim_message_claim" in found.found
    assert found.remedy is not None


def test_claims_nobody_gives_back_are_counted(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2])
    queue.claim_many(2)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE xclaim_message SET claim_expires_at = '2001-01-01 00:00:00.000',"
            " claimed_at = '2001-01-01 00:00:00.000' WHERE id = 1"
        )

    lapsed, held = [each for each in examine(engine) if each.name == "stuck_claims"]

    assert lapsed.found.startswith("1 in 'orders' are past their lease")
    assert lapsed.remedy == f"start a worker, or run `xclaim expire orders{place(engine)}`"
    assert held.found == "1 in 'orders' were claimed more than 12 hours ago"


def test_dead_letters_are_counted_with_their_remedy(engine: Engine) -> None:
    queue = Queue("or ders", engine)
    queue.push(1, max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed)

    found = finding(engine, "dead_letters")

    assert found.found == "1 in 'or ders.dead'"
    assert found.remedy is not None
    assert "xclaim redrive 'or ders'" in found.remedy


def test_an_old_transaction_is_named_with_what_ends_it(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_of_server, "_OLD_SNAPSHOT", 0.0)
    reporting = postgresql.connect().execution_options(isolation_level="REPEATABLE READ")
    with reporting as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()

        found = [each for each in examine(postgresql) if f"backend {pid}" in each.found]

    assert [each.level for each in found] == [Level.WARNING]
    assert f"pg_terminate_backend({pid})" in str(found[0].remedy)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_an_old_snapshot_is_said_to_slow_ordering_keys_where_there_are_any(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch, *, is_enabled: bool
) -> None:
    monkeypatch.setattr(doctor_of_server, "_OLD_SNAPSHOT", 0.0)
    if is_enabled:
        ordering.enable(postgresql)
    reporting = postgresql.connect().execution_options(isolation_level="REPEATABLE READ")
    with reporting as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()

        (found,) = [each for each in examine(postgresql) if f"backend {pid}" in each.found]

    assert ("ordering key" in found.found) == is_enabled


def test_a_prepared_transaction_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_of_server, "_OLD_SNAPSHOT", 0.0)
    settings = {"max_prepared_transactions": "2"}
    with embedded_postgresql(durable=False, settings=settings) as url:
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        upgrade(url)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql("INSERT INTO xclaim_alembic_version VALUES ('x')")
            connection.exec_driver_sql("PREPARE TRANSACTION 'a report'")
            found = [each for each in examine(engine) if each.name == "old_snapshots"]
            connection.exec_driver_sql("ROLLBACK PREPARED 'a report'")
        engine.dispose()

    assert [each.remedy for each in found if "a report" in each.found] == [
        "COMMIT PREPARED or ROLLBACK PREPARED 'a report'"
    ]


def test_a_standby_is_named_only_when_its_snapshot_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    with replicated() as pair:
        upgrade(pair.url)
        pair.standby.execute("ALTER SYSTEM SET hot_standby_feedback = on")
        pair.standby.execute("SELECT pg_reload_conf()")
        feedback = "SELECT backend_xmin::text FROM pg_stat_replication"
        until(lambda: pair.primary.execute(feedback)[0][0])
        engine = create_engine(pair.url)
        usual = [each for each in examine(engine) if "standby" in each.found]
        monkeypatch.setattr(doctor_of_server, "_OLD_TRANSACTIONS", -1)

        old = [each for each in examine(engine) if each.name == "old_snapshots"]

        engine.dispose()
    assert [each.name for each in usual] == ["durability"]  # it follows asynchronously
    assert [each.level for each in old] == [Level.WARNING]
    assert old[0].found.startswith("standby standby (streaming)")
    assert "hot_standby_feedback" in str(old[0].remedy)


def test_settings_that_forget_acks_are_named(postgresql: Engine) -> None:
    found = [each for each in examine(postgresql) if each.name == "durability"]

    off = postgresql.connect().exec_driver_sql("SHOW fsync").scalar_one() == "off"
    assert (found[0].level is Level.WARNING) == off


def test_a_table_without_its_autovacuum_settings_is_named(postgresql: Engine) -> None:
    with postgresql.begin() as connection:
        connection.exec_driver_sql(
            "ALTER TABLE xclaim_message RESET (autovacuum_vacuum_scale_factor)"
        )

    found = finding(postgresql, "autovacuum")

    assert found.remedy == (
        "ALTER TABLE xclaim_message SET (autovacuum_vacuum_scale_factor = 0.01)"
    )


def test_a_bloated_index_is_named(postgresql: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_of_server, "_BLOATED", (0, 0))

    found = [each for each in examine(postgresql) if each.name == "bloat"]

    assert any("ix_xclaim_message_claim " in each.found for each in found)
    assert any("xclaim_slot_pkey " in each.found for each in found)


def test_slots_as_they_were_that_nothing_removes_are_named(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_of_server, "_MANY_DEAD_SLOTS", -1)

    found = [each for each in examine(postgresql) if each.name == "autovacuum"]

    assert any("dead rows in xclaim_slot" in each.found for each in found)
    assert any("VACUUM (VERBOSE) xclaim_slot" in (each.remedy or "") for each in found)


def test_a_client_whose_clock_is_wrong_is_told(
    postgresql: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Late:
            return cls.fromtimestamp(time.time() - 180, tz)

    monkeypatch.setattr(doctor_of_server, "datetime", Late)

    assert finding(postgresql, "clock").found.startswith("the server's is +180.")


def test_what_cannot_be_looked_at_is_a_finding(postgresql: Engine) -> None:
    with postgresql.begin() as connection:
        connection.exec_driver_sql("DROP VIEW xclaim_lineage, xclaim_queue_stats")
        connection.exec_driver_sql("ALTER TABLE xclaim_message RENAME consumed_by TO eaten_by")
        connection.exec_driver_sql("ALTER TABLE xclaim_message RENAME claim_expires_at TO ends_at")

    found = [each for each in examine(postgresql) if each.found.startswith("could not look")]

    assert [each.name for each in found] == ["stuck_claims"]


@needs_pgbouncer
def test_a_pooler_is_noticed(fresh_postgresql_url: str, postgresql: Engine, tmp_path: Path) -> None:
    assert finding(postgresql, "pooler", Level.OK).found == "none in between"
    with Bouncer(fresh_postgresql_url, tmp_path) as url:
        engine = create_engine(make_url(url).difference_update_query(["prepare_threshold"]))
        found = finding(engine, "pooler")
        engine.dispose()

    assert found.found.startswith("one in transaction mode, and prepared statements are on")


def test_what_fails_is_named_with_its_next_try_and_errors(engine: Engine) -> None:
    queue = Queue("or ders", engine)
    queue.push_many([1, 2, 3])
    first, second, third = queue.claim_many(3)
    queue.release(first, error=ValueError("secret"), delay=timedelta(hours=1))
    queue.release(second, error=ValueError("secret"), delay=timedelta(hours=1))
    queue.release(third)

    found = finding(engine, "failing")

    assert found.level is Level.WARNING
    assert found.found.startswith("3 in 'or ders' failed and are tried again, the next at ")
    assert found.found.endswith(
        "2 ValueError, 1 without a class; the head of the queue is being retried, attempts so far 1"
    )
    assert "secret" not in found.found
    assert found.remedy is not None
    assert "xclaim peek 'or ders' --failing" in found.remedy


def test_dead_letters_are_counted_by_their_error(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2, 3], max_attempts=1)
    for claim, error in zip(
        queue.claim_many(3), (ValueError("a"), ValueError("b"), TimeoutError()), strict=True
    ):
        queue.release(claim, error=error)

    found = finding(engine, "dead_letters")

    assert found.found == "3 in 'orders.dead': 2 ValueError, 1 TimeoutError"


def test_a_server_that_can_only_be_read_is_a_problem(postgresql: Engine) -> None:
    with postgresql.begin() as connection:
        name = postgresql.url.database
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    postgresql.dispose()

    found = finding(postgresql, "writable", Level.PROBLEM)

    assert "default_transaction_read_only is on" in found.found


def test_a_standby_can_only_be_read() -> None:
    with replicated() as pair:
        upgrade(pair.url)
        standby = create_engine(pair.standby.address)

        until(lambda: examine(standby)[0].level is Level.OK)  # the table has arrived

        found = finding(standby, "writable", Level.PROBLEM)

        standby.dispose()
    assert "a standby" in found.found


@pytest.mark.parametrize("queue", ["orders", "-rf"])
def test_what_a_finding_says_to_run_can_be_run_for_any_queue(engine: Engine, queue: str) -> None:
    messages = Queue(queue, engine)
    messages.push(1, max_attempts=1)
    messages.release(messages.claim_many(1)[0], error="no")

    remedy = str(finding(engine, "dead_letters").remedy)

    shown = {
        "orders": f"`xclaim redrive orders{place(engine)}`",
        "-rf": f"`xclaim redrive{place(engine)} -- -rf`",
    }
    assert shown[queue] in remedy


def place(engine: Engine) -> str:
    """Return what a command of a remedy says of the database: of a file its path."""
    return url_option(engine.url)


def test_a_paused_queue_is_named_with_who_paused_it_and_why(engine: Engine) -> None:
    Queue("orders", engine).pause(by="ann", reason="the mill is on fire")
    Queue("orders.dead", engine).pause(by="bob")

    orders, letters = [each for each in examine(engine) if each.name == "paused"]

    assert "'orders' hands out nothing: ann paused it at" in orders.found
    assert "(the mill is on fire)" in orders.found
    assert orders.remedy == f"`xclaim unpause orders{place(engine)}` lets it go on"
    assert letters.level is Level.WARNING
    assert "'orders.dead'" in letters.found


def test_no_paused_queue_is_fine(engine: Engine) -> None:
    Queue("orders", engine).pause()
    Queue("orders", engine).unpause()

    assert finding(engine, "paused", Level.OK).found == "no queue is paused"


def test_limits_are_said(engine: Engine) -> None:
    assert finding(engine, "limits", Level.OK).found == "no queue has limits"

    Queue("orders", engine).limit(concurrency=3, rate=10)

    found = finding(engine, "limits", Level.OK).found
    assert found == "'orders' is limited to 3 at once, 10 per 1 s"


def test_what_could_not_be_counted_in_time_is_a_finding(database_url: str) -> None:
    engine = create_engine(database_url)
    Queue("orders", engine).push(1)

    findings = examine(engine, timeout=timedelta(seconds=60))
    engine.dispose()

    assert [each.name for each in findings if "in time" in each.found] == []
    assert {"stuck_claims", "failing", "dead_letters"} <= {each.name for each in findings}


@pytest.mark.parametrize("table", ["xclaim_message", "xclaim_queue", "xclaim_alembic_version"])
def test_a_locked_table_is_a_finding_and_is_not_waited_for(postgresql: Engine, table: str) -> None:
    Queue("orders", postgresql).push(1)
    with postgresql.connect() as other:
        other.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

        findings = examine(postgresql)  # it would wait for ever

    assert [each for each in findings if "somebody has locked it" in each.found]
    assert {"clock", "durability", "session", "writable"} <= {each.name for each in findings}


def test_when_the_time_is_over_nothing_more_is_looked_at(engine: Engine) -> None:
    findings = examine(engine, timeout=timedelta(microseconds=1))

    assert {each.name for each in findings} >= {"paused", "stuck_claims", "failing"}
    assert [each.name for each in findings if "took all the time" in each.found]


def test_within_airflow_remedies_are_commands_of_airflow(engine: Engine) -> None:
    commands = Commands(program="airflow xclaim", place=" --conn-id shop")
    engine.update_execution_options(**{COMMANDS: commands})
    Queue("orders", engine).pause(by="ann")

    remedy = finding(engine, "paused").remedy

    assert remedy == "`airflow xclaim unpause orders --conn-id shop` lets it go on"


def test_a_table_that_was_never_vacuumed_says_so(postgresql: Engine) -> None:
    found = finding(postgresql, "autovacuum", Level.OK).found

    assert "None" not in found
    assert "last vacuum " in found


HURRIED = timedelta(seconds=60)  # less than would be taken by hand


@pytest.fixture
def troubled(engine: Engine) -> Engine:
    """With claims that lapsed, messages that failed and dead letters, six of each."""
    for name in ("orders", "a b"):
        queue = Queue(name, engine, retry=Retry(first=timedelta(hours=1)))
        for priority in (5, -5):
            queue.push_many(range(3), priority=priority)
        for claimed in queue.claim_many(6):
            queue.release(claimed, error=KeyError("cup"))
        queue.push_many(range(6), max_attempts=1)
        for number, claimed in enumerate(queue.claim_many(6)):
            queue.release(claimed, error=ValueError("x") if number else None)
        queue.push_many(range(6))
        queue.claim_many(6)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE xclaim_message SET claim_expires_at = '2001-01-01 00:00:00.000'"
            " WHERE status = 'claimed'"
        )
    return engine


def of_queues(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.name in ("stuck_claims", "failing", "dead_letters")]


def test_who_is_in_a_hurry_is_told_the_same_of_few_messages(troubled: Engine) -> None:
    assert of_queues(examine(troubled, timeout=HURRIED)) == of_queues(examine(troubled))
    assert len(of_queues(examine(troubled))) == 6


def test_who_is_in_a_hurry_is_told_that_there_may_be_more(
    troubled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_of_many, "_MOST", 2)

    stuck, _, failing, _, dead, _ = of_queues(examine(troubled, timeout=HURRIED))

    assert stuck.found.startswith("4 or more in 'a b' are past their lease")
    assert failing.found.startswith("4 or more in 'a b' failed")
    assert "the next of them at" in failing.found
    assert failing.found.endswith(": 4 KeyError")
    assert dead.found.startswith("4 or more in 'a b.dead': ")


def test_who_is_in_a_hurry_is_told_what_was_not_looked_at(
    troubled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_of_many, "MOST_QUEUES", 1)

    findings = of_queues(examine(troubled, timeout=HURRIED))

    assert [each.name for each in findings if "'a b" in each.found] == [*OF_MANY]
    assert [each.name for each in findings if "only the first 1 queues" in each.found] == [*OF_MANY]
    assert not [each for each in findings if "'orders" in each.found]


OF_MANY = ("stuck_claims", "failing", "dead_letters")


def test_in_a_hurry_nothing_is_found_where_there_is_nothing(engine: Engine) -> None:
    Queue("orders", engine).push_many([1, 2])

    findings = of_queues(examine(engine, timeout=HURRIED))

    assert [each.level for each in findings] == [Level.OK] * 3
    assert all(each.found.startswith("none among the first and the last ") for each in findings)


def test_in_a_hurry_few_of_many_messages_are_read(postgresql: Engine) -> None:
    queue = Queue("orders", postgresql)
    queue.push_many([0] * 10_000)
    with postgresql.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("UPDATE xclaim_message SET attempts = 1")
        connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")
        statement = examining.failing_queues(message_table(), POSTGRESQL)
        plan = explained(connection, statement, POSTGRESQL.row_parameters(queue=["orders"]))

    assert "ix_xclaim_message_claim" in plan
    assert "Seq Scan" not in plan
    assert max(map(float, re.findall(r"actual rows=([\d.]+)", plan))) <= 40
    assert int(re.findall(r"Buffers: shared hit=(\d+)", plan)[0]) < 200


def explained(connection: Connection, statement: Any, parameters: dict[str, Any]) -> str:
    sent = str(statement.compile(dialect=full_names.dialect()))
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {sent}"
    found = connection.exec_driver_sql(explain, {**parameters, "look": 20})
    return "\n".join(found.scalars())
