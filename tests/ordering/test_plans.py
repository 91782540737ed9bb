"""What is asked about lines reads a few rows of them, however many keys there are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.databases import temporary_database
from tests.plans import MODES, Plan, explain
from xclaim import create_engine
from xclaim.operations import ordering
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.ordering import IN_LINE_NAME, KEYED_NAME, built_to_look
from xclaim.sql.schema import message_table
from xclaim.sql.statements import auditing

# 30,000 keys: of each one that leads its line, and one in it. Half as many that are consumed, of
# which some owe the turn of a line, an hour from now.
MANY_KEYS = """
INSERT INTO xclaim_message (queue, origin_queue, payload, ordering_key, created_at, available_at,
    due_at)
SELECT 'load', 'load', '1', 'key-' || key, now(), CASE number WHEN 0 THEN now() END,
       CASE number WHEN 1 THEN now() END
  FROM generate_series(1, 30000) AS key CROSS JOIN generate_series(0, 1) AS number;
INSERT INTO xclaim_message (queue, origin_queue, payload, ordering_key, created_at, available_at,
    status, consumed_at, consumed_by, keeps_turn, awaited_ids, due_at)
SELECT 'load', 'load', '1', 'former-' || key, now(), now(), 'consumed', now(), 'me',
       CASE WHEN key <= 20000 THEN true END, CASE WHEN key <= 20000 THEN '{1}'::bigint[] END,
       CASE WHEN key <= 20000 THEN now() + interval '1 hour' END
  FROM generate_series(1, 30000) AS key;
"""


@pytest.fixture(scope="module")
def lines(postgresql_server: str, _template_url: str) -> Iterator[Engine]:
    with temporary_database(postgresql_server, template=_template_url) as url:
        engine = create_engine(url)
        ordering.enable(engine)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ALTER TABLE xclaim_message DISABLE TRIGGER USER")
            connection.exec_driver_sql(MANY_KEYS)
            connection.exec_driver_sql("ALTER TABLE xclaim_message ENABLE TRIGGER USER")
            connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")
        yield engine
        engine.dispose()


def planned(engine: Engine, build: Any, mode: str, **parameters: Any) -> Plan:
    return explain(engine, build(message_table(), POSTGRESQL), mode, **parameters)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_owed_later_is_not_read(lines: Engine, mode: str) -> None:
    plan = planned(lines, statements.pass_owed, mode)

    assert plan.buffers < 40, plan.text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lead", ["new", "key"], ids=["new lines", "lines that are led"])
def test_a_push_with_keys_reads_the_ends_of_its_lines(lines: Engine, mode: str, lead: str) -> None:
    keys = "{" + ",".join(f'"{lead}-{number}"' for number in range(1, 101)) + "}"
    payloads = "{" + ",".join(['"1"'] * 100) + "}"
    push = partial(statements.push, ordered=True)

    plan = planned(lines, push, mode, payloads=payloads, ordering_keys=keys, holds_turn=None)

    assert "Seq Scan" not in plan.text, plan.text
    assert plan.buffers < 100 * 80, plan.text


@pytest.mark.parametrize("mode", MODES)
def test_a_backlog_with_its_lines_is_counted_no_further_than_asked(
    lines: Engine, mode: str
) -> None:
    plan = planned(lines, partial(statements.backlog, in_line=True), mode)

    assert IN_LINE_NAME in plan.text, plan.text
    assert "Seq Scan" not in plan.text, plan.text
    assert plan.rows <= 1_000, plan.text


@pytest.mark.parametrize("of_queue", [False, True], ids=["all queues", "one queue"])
@pytest.mark.parametrize("mode", MODES)
def test_an_audit_of_lines_looks_each_leader_up_once(
    lines: Engine, mode: str, *, of_queue: bool
) -> None:
    build = partial(auditing.lines_without_a_leader, of_queue=of_queue)

    plan = planned(lines, build, mode, first_id=0, param_1=10)

    assert plan.buffers < 30_000, plan.text  # no line is compared with all others
    assert plan.rows <= 30_000 * 6, plan.text  # as each step of the plan passes them on


@pytest.mark.parametrize("of_queue", [False, True], ids=["all queues", "one queue"])
@pytest.mark.parametrize("mode", MODES)
def test_an_audit_of_turns_reads_each_holder_once(
    lines: Engine, mode: str, *, of_queue: bool
) -> None:
    build = partial(auditing.repeated_turns, of_queue=of_queue)

    plan = planned(lines, build, mode, first_id=0, param_1=10)

    assert plan.rows <= 90_000 * 2, plan.text


def test_what_forbids_to_disable_is_found_by_the_index_that_is_built_for_it(
    lines: Engine,
) -> None:
    with lines.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(built_to_look("public"))

    plan = planned(lines, statements.still_ordered, "force_custom_plan")

    assert plan.rows <= 1, plan.text
    assert plan.buffers < 10, plan.text
    with lines.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"DROP INDEX {KEYED_NAME}")
