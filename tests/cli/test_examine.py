"""`xclaim audit` and `xclaim doctor`."""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import create_engine as sqlalchemy_create_engine

from tests.cli.command_line import CommandLine
from xclaim import Queue


def break_a_row(sqlite_url: str) -> None:
    engine = sqlalchemy_create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection.exec_driver_sql("UPDATE xclaim_message SET attempts = -1")
    engine.dispose()


def test_a_sound_queue_is_reported_promise_by_promise(xclaim: CommandLine, queue: Queue) -> None:
    queue.push_many([1, 2, 3])

    audited = xclaim("audit")

    *checks, summary = audited.values
    assert audited.status == 0
    assert {check["broken"] for check in checks} == {0}
    assert {check["name"] for check in checks} >= {"claimed", "unique_keys", "indexes"}
    assert summary == {
        "is_sound": True,
        "rows": {"available": 3, "claimed": 0, "consumed": 0},
        "gone": 0,
    }


def test_a_broken_row_is_named_and_ends_with_a_status_of_its_own(
    nowhere: CommandLine, sqlite_url: str, tmp_path: Path
) -> None:
    with Queue("orders", sqlite_url) as queue:
        queue.push(1)
    break_a_row(sqlite_url)
    document = tmp_path / "audit.json"

    audited = nowhere("audit", "orders", "--url", sqlite_url, "--output", str(document))

    written = json.loads(document.read_text())
    (broken,) = [check for check in written["checks"] if check["broken"]]
    assert audited.status == 5
    assert broken["examples"] == ["message 1 in 'orders'"]
    assert broken in audited.values


def test_an_audit_for_people_is_a_table(xclaim: CommandLine) -> None:
    shown = xclaim("audit", "--table").stdout

    assert shown.splitlines()[0].split() == [
        "name",
        "promise",
        "checked",
        "broken",
        "examples",
        "remedy",
    ]


def test_the_doctor_names_what_is_wrong_and_the_remedy(xclaim: CommandLine, queue: Queue) -> None:
    queue.push(1, max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed)

    examined = xclaim("doctor")

    (found,) = [each for each in examined.values if each["name"] == "dead_letters"]
    assert examined.status == 0
    assert found["level"] == "warning"
    assert "xclaim redrive orders" in found["remedy"]


def test_a_problem_ends_with_a_status_of_its_own(nowhere: CommandLine, sqlite_url: str) -> None:
    engine = sqlalchemy_create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX ix_xclaim_message_claim")
    engine.dispose()

    examined = nowhere("doctor", "--url", sqlite_url)

    assert examined.status == 5
    assert "problem" in [finding["level"] for finding in examined.values]


def test_without_a_table_both_say_what_to_run(nowhere: CommandLine, empty_sqlite_url: str) -> None:
    outcomes = [nowhere(name, "--url", empty_sqlite_url) for name in ("audit", "doctor")]

    assert [outcome.status for outcome in outcomes] == [4, 4]
    assert all("xclaim upgrade" in outcome.stderr for outcome in outcomes)
