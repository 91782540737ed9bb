"""Lines beside open transactions, with limited rights, and with many messages: PostgreSQL alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError

from tests.eventually import until
from tests.people import People, people
from tests.plans import MODES, explain
from xclaim import AsyncQueue, OrderingNotEnabledError, Queue, create_engine
from xclaim.operations import audit, doctor, migrate, ordering
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table
from xclaim.verbs import ordering as ordering_verbs


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url)
    ordering.enable(engine)
    yield engine
    engine.dispose()


def claimed(queue: Queue) -> Any:
    found: list[Any] = []

    def is_there() -> bool:
        found.extend(queue.claim_many(1))
        return bool(found)

    until(is_there)
    return found[0]


def test_an_ack_does_not_wait_for_who_pushes_behind_it(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1, ordering_key="a")
    with engine.begin() as connection:
        Queue("orders", connection).push(2, ordering_key="a")
        queue.ack(claimed(queue))
        assert queue.claim() is None

    assert claimed(queue).payload == 2


def test_who_pushes_behind_the_last_but_one_is_not_forgotten(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2], ordering_keys=["a", "a"])
    with engine.begin() as connection:
        Queue("orders", connection).push(3, ordering_key="a")
        queue.ack(claimed(queue))
        queue.ack(claimed(queue))

    assert claimed(queue).payload == 3


def test_the_next_producer_passes_on_what_is_owed(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1, ordering_key="a")
    with engine.begin() as connection:
        Queue("orders", connection).push(2, ordering_key="a")
        queue.ack(claimed(queue))
        queue.push(3, ordering_key="a")

        assert claimed(queue).payload == 3


def test_a_push_that_waited_for_an_ack_leads_its_line(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1, ordering_key="a")
    claim = claimed(queue)
    pushing = threading.Thread(target=lambda: queue.push(2, ordering_key="a"))
    with engine.begin() as connection:
        Queue("orders", connection).ack(claim)
        pushing.start()
        until(lambda: waits_for_a_lock(engine))
    pushing.join()

    assert claimed(queue).payload == 2


def test_of_two_that_begin_a_line_the_second_stands_behind(engine: Engine) -> None:
    queue = Queue("orders", engine)
    pushing = threading.Thread(target=lambda: queue.push(2, ordering_key="a"))
    with engine.begin() as connection:
        Queue("orders", connection).push(1, ordering_key="a")
        pushing.start()
        until(lambda: waits_for_a_lock(engine))
    pushing.join()

    assert [claim.payload for claim in queue.claim_many(10)] == [1]


def test_an_ack_with_an_old_snapshot_leaves_no_line_alone(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1, ordering_key="a")
    claim = claimed(queue)
    isolated = engine.execution_options(isolation_level="REPEATABLE READ")
    with isolated.begin() as connection:
        joined = Queue("orders", connection)
        joined.peek()
        queue.push(2, ordering_key="a")
        joined.ack(claim)

    assert claimed(queue).payload == 2


def test_a_push_with_an_old_snapshot_stands_behind_nobody_who_has_gone(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1, ordering_key="a")
    isolated = engine.execution_options(isolation_level="REPEATABLE READ")
    with pytest.raises(DBAPIError, match="could not serialize"), isolated.begin() as connection:
        joined = Queue("orders", connection)
        joined.peek()
        queue.ack(claimed(queue))
        joined.push(2, ordering_key="a")

    assert queue.claim() is None


def waits_for_a_lock(engine: Engine) -> bool:
    with engine.connect() as connection:
        waiting = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(waiting.scalar())


def test_without_its_triggers_a_push_with_a_key_is_refused(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    ordering.disable(engine)

    with pytest.raises(OrderingNotEnabledError, match="xclaim ordering enable"):
        Queue("orders", engine).push(1, ordering_key="a")

    engine.dispose()


def test_the_error_names_the_schema_that_is_to_be_enabled(fresh_postgresql_url: str) -> None:
    migrate.upgrade(fresh_postgresql_url, schema="shop")
    engine = create_engine(fresh_postgresql_url)

    with pytest.raises(OrderingNotEnabledError, match=r"schema 'shop' .* enable --schema shop`"):
        Queue("orders", engine, schema="shop").push(1, ordering_key="a")

    engine.dispose()


def test_ordering_is_disabled_only_when_nobody_has_a_key(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1, ordering_key="a")
    with pytest.raises(ValueError, match="has an ordering key"):
        ordering.disable(engine)
    queue.ack(claimed(queue))

    assert ordering.disable(engine)
    assert not ordering.disable(engine)


def test_the_doctor_says_what_is_missing_and_enable_makes_it(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER xclaim_pass_turn ON xclaim_message")

    (found,) = [each for each in doctor.examine(engine) if each.name == "ordering"]

    assert "xclaim_pass_turn" in found.found
    assert ordering.enable(engine)
    assert not ordering.enable(engine)


def test_the_audit_finds_a_line_that_nobody_leads(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2], ordering_keys=["a", "a"])
    assert audit.audit(engine).is_sound
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE xclaim_message DISABLE TRIGGER USER")
        connection.exec_driver_sql("DELETE FROM xclaim_message WHERE available_at IS NOT NULL")

    (broken,) = [check for check in audit.audit(engine).checks if check.broken]

    assert broken.name == "lines"


@pytest.fixture(params=[(), ("orders",)], ids=["all queues", "one queue"])
def office(
    request: pytest.FixtureRequest, postgresql_server: str, _template_url: str
) -> Iterator[People]:
    with people(postgresql_server, _template_url, request.param) as office:
        ordering.enable(office.owner)  # after the grants
        yield office


def test_each_role_does_its_part_for_a_line(office: People) -> None:
    producer, consumer = office.queue("producer"), office.queue("consumer")
    producer.push_many([1, 2, 3], ordering_keys=["a"] * 3, unique_keys=["x", "y", "z"])
    consumer.ack(claimed(consumer))
    consumer.claim(lease=timedelta(0))
    office.queue("maintainer").expire()
    office.owned().withdraw(["y"])

    assert claimed(consumer).payload == 3


def test_a_consumer_passes_on_what_is_owed(office: People) -> None:
    producer, consumer = office.queue("producer"), office.queue("consumer")
    producer.push(1, ordering_key="a")
    with office.engines["producer"].begin() as connection:
        Queue("orders", connection).push(2, ordering_key="a")
        consumer.ack(claimed(consumer))

    assert claimed(consumer).payload == 2


def test_who_stands_in_no_line_locks_none(office: People) -> None:
    (message,) = office.owned("invoices").push_many([1], ordering_keys=["a"])

    (lined_up,) = office.run("producer", f"SELECT xclaim_line_up(ARRAY[{message.id}::bigint])")

    assert lined_up[0] == []


def test_who_stands_in_line_hears_nothing_of_other_queues(office: People) -> None:
    other = office.owned("invoices").push(1)

    (lined_up,) = office.run(
        "producer",
        "WITH pushed AS (INSERT INTO xclaim_message (queue, origin_queue, payload, headers,"
        " ordering_key, created_at, available_at, due_at)"
        " VALUES ('orders', 'orders', '1', '{}', 'a', now(), NULL, now()) RETURNING id)"
        f" SELECT array_agg(id), xclaim_line_up(array_agg(id) || {other.id}::bigint) FROM pushed",
    )

    assert lined_up[0] == lined_up[1]


@pytest.mark.parametrize("mode", MODES)
def test_a_claim_reads_no_line(engine: Engine, mode: str) -> None:
    queue = Queue("load", engine)
    queue.push_many([0] * 20_000, ordering_keys=["long"] * 20_000)
    assert queue.claim() is not None
    queue.push_many([0] * 2_000, ordering_keys=[f"key-{number}" for number in range(2_000)])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")

    plan = explain(engine, statements.claim(message_table(), POSTGRESQL, limit=1), mode)

    assert "ix_xclaim_message_claim" in plan.text
    assert plan.buffers <= 40, plan.text


def batches(engine: Engine, limit: int, *, whole_lines: bool = True) -> Iterator[Any]:
    for mode in MODES:
        statement = statements.claim(
            message_table(), POSTGRESQL, limit=limit, whole_lines=whole_lines
        )
        yield explain(engine, statement, mode)


def fill(engine: Engine, messages: int, keys: int | None) -> None:
    queue = Queue("load", engine)
    for first in range(0, messages, 20_000):
        numbers = range(first, min(first + 20_000, messages))
        named = None if keys is None else [f"key-{number % keys}" for number in numbers]
        queue.push_many([0] * len(numbers), ordering_keys=named)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")


@pytest.mark.parametrize(("messages", "keys"), [(200_000, 1), (20_000, 200), (100_000, 100_000)])
def test_a_batch_of_whole_lines_reads_no_more_of_them_than_it_claims(
    engine: Engine, messages: int, keys: int
) -> None:
    fill(engine, messages, keys)

    for limit in (2, 10, 100):
        for plan in batches(engine, limit):
            assert plan.buffers <= 30 * limit, plan.text
            assert plan.rows <= 2 * limit + 32, plan.text


def test_a_batch_of_whole_lines_is_an_ordinary_one_where_nothing_has_a_key(engine: Engine) -> None:
    ordering.disable(engine)
    fill(engine, 20_000, None)

    for lines, ordinary in zip(
        batches(engine, 10), batches(engine, 10, whole_lines=False), strict=True
    ):
        assert lines.buffers <= ordinary.buffers + 10, lines.text


@pytest.fixture
def sent(engine: Engine) -> list[str]:
    """The statements that are sent."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return statements


def test_an_empty_claim_asks_once_whether_ordering_is_enabled(
    engine: Engine, sent: list[str]
) -> None:
    queue = Queue("orders", engine)

    def questions_of_a_claim() -> tuple[int, int]:
        sent.clear()
        assert queue.claim() is None
        return sum("has_function_privilege" in each for each in sent), len(sent)

    asked_first, _ = questions_of_a_claim()

    assert asked_first == 1
    assert questions_of_a_claim() == (0, 3)  # the claim, what has lapsed, what is owed


def test_a_worker_that_was_there_before_it_was_enabled_leaves_no_line_stuck(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordering_verbs, "_ASKED_EVERY", float("inf"))
    engine = create_engine(fresh_postgresql_url)
    producer, worker = create_engine(fresh_postgresql_url), Queue("orders", engine)
    assert worker.claim() is None  # and it is not enabled, as it remembers
    ordering.enable(producer)
    Queue("orders", producer).push(1, ordering_key="a")
    head = claimed(worker)
    with producer.begin() as connection:
        Queue("orders", connection).push(2, ordering_key="a")
        worker.ack(head)

    until(lambda: worker.claim() is not None)

    for each in (engine, producer):
        each.dispose()


def test_what_was_disabled_meanwhile_is_missed_by_nobody(engine: Engine) -> None:
    queue = Queue("orders", engine)
    assert queue.claim() is None
    other = create_engine(engine.url)
    ordering.disable(other)
    other.dispose()
    queue.push(1)

    assert queue.expire() == 0
    assert claimed(queue).payload == 1
    assert queue.claim() is None
    with engine.begin() as connection:
        assert Queue("orders", connection).expire() == 0
        assert Queue("orders", connection).push(2).id


def test_a_transaction_is_not_ended_by_what_was_disabled_meanwhile(engine: Engine) -> None:
    queue = Queue("orders", engine)
    assert queue.expire() == 0
    other = create_engine(engine.url)
    ordering.disable(other)
    other.dispose()

    with engine.begin() as connection:
        assert Queue("orders", connection).expire() == 0
        Queue("orders", connection).push(2)

    assert claimed(queue).payload == 2


def test_a_half_of_it_that_is_missing_is_an_error(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push(1, ordering_key="a")
    with engine.begin() as connection:
        Queue("orders", connection).push(2, ordering_key="a")
        queue.ack(claimed(queue))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP FUNCTION xclaim_pass_on(bigint) CASCADE")

    def has_failed() -> bool:
        try:
            queue.expire()
        except DBAPIError as error:
            return getattr(error.orig, "sqlstate", None) == "42883"
        return False

    until(has_failed)


def owing(engine: Engine, lines: int) -> None:
    """Leave a turn of each of so many lines that can be passed on: a message waits in each."""
    queue, keys = Queue("orders", engine), [f"key-{number}" for number in range(lines)]
    queue.push_many([0] * lines, ordering_keys=keys)
    claims = queue.claim_many(lines)
    with engine.begin() as connection:
        Queue("orders", connection).push_many([1] * lines, ordering_keys=keys)
        queue.ack_many(claims)
    until(lambda: owed(engine, "due_at <= clock_timestamp()") == lines)


def owed(engine: Engine, condition: str) -> int:
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT count(*) FROM xclaim_message"
            f" WHERE keeps_turn AND available_at IS NOT NULL AND {condition}"
        )
        return int(found.scalar_one())


def test_an_expire_passes_on_all_that_is_owed(engine: Engine) -> None:
    owing(engine, 300)

    Queue("orders", engine).expire()

    assert owed(engine, "true") == 0
    assert Queue("orders", engine).counts().available == 300


def test_an_empty_claim_passes_on_what_is_owed_in_many_lines(engine: Engine) -> None:
    owing(engine, 300)

    assert len(Queue("orders", engine).claim_many(1_000)) == 300


def test_so_does_one_with_asyncio(engine: Engine, fresh_postgresql_url: str) -> None:
    owing(engine, 300)

    async def claimed_at_once() -> int:
        async with AsyncQueue("orders", fresh_postgresql_url) as queue:
            return len(await queue.claim_many(1_000))

    assert asyncio.run(claimed_at_once()) == 300


@pytest.mark.parametrize("call", ["xclaim_expire('orders')", "xclaim_claim('orders')"])
def test_the_functions_pass_on_what_is_owed_in_many_lines(engine: Engine, call: str) -> None:
    owing(engine, 300)

    with engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT {call}")

    assert owed(engine, "true") == 0


def test_what_is_owed_as_long_as_its_producer_writes_ends_no_expire(engine: Engine) -> None:
    queue, keys = Queue("orders", engine), [f"key-{number}" for number in range(250)]
    queue.push_many([0] * 250, ordering_keys=keys)
    claims = queue.claim_many(250)
    with engine.begin() as connection:
        Queue("orders", connection).push_many([1] * 250, ordering_keys=keys)
        queue.ack_many(claims)
        queue.expire()

        assert owed(engine, "true") == 250
