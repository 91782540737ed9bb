"""Tests of the tests: an end is judged unless nothing tells it apart from one that was.

That each mutant shows at an end is what `test_turn_mutants` and `test_slots` say.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column

from tests.model import endings
from tests.model.explorer import explore
from tests.model.model import Table
from tests.model.stages import Stage
from tests.model.turns import TurnLedger, _Push
from xclaim.sql.schema import message_table, queue_table, slot_table

TABLES = {table.name: table for table in (message_table(), queue_table(), slot_table())}
COLUMNS = [column for table in TABLES.values() for column in table.columns]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
Left = Callable[..., Hashable]
Row = dict[str, Any]


class Nothing:
    """Goes by the tables alone."""

    def ids(self) -> Iterable[int]:
        return ()

    def goes_by(self, _: endings.Place) -> Hashable:
        return ()


def at(time: datetime) -> str:
    return time.isoformat()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Left:
    """Return what says how these rows were left, of messages if nothing else is said."""

    def left_by(*rows: Row, now: datetime = NOW, table: str = "xclaim_message") -> Hashable:
        found = [*[(table, row) for row in rows], ("now", {"now": at(now)})]
        monkeypatch.setattr(endings, "_read", lambda _: found)
        return endings.left(None, Nothing())  # type: ignore[arg-type]

    return left_by


@pytest.mark.slow
def test_all_columns_of_all_tables_are_read(quick_stage: Stage) -> None:
    quick_stage.reset(quick_stage.setting("one of two slots taken"))

    found = dict(endings._read(quick_stage.observer))

    columns = {name: {column.name for column in table.columns} for name, table in TABLES.items()}
    assert {name: set(row) for name, row in found.items() if name != "now"} == columns


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_another_value_in_any_column_is_another_end(left: Left, column: Column[Any]) -> None:
    row: Row = {each.name: None for each in column.table.columns}
    values = ["one", "two", 1]
    if column.name.endswith("_at"):
        values = [at(NOW), at(NOW + SECOND), at(NOW - SECOND)]
    elif column.name in {"id", "message_id", "awaited_ids", "claim_token"}:
        values = [1] if column.name != "awaited_ids" else [[1], [1, 2]]  # others are but names

    ends = {left(row | {column.name: value}, table=column.table.name) for value in [None, *values]}

    assert len(ends) == len(values) + 1


def test_other_names_at_another_time_are_the_same_end(left: Left) -> None:
    def rows(id_: int, token: str, now: datetime) -> list[Row]:
        return [
            {"id": id_, "claim_token": token, "claim_expires_at": at(now + 24 * HOUR)},
            {"id": id_ + 3, "awaited_ids": [id_], "available_at": at(now - SECOND)},
            {"id": id_ + 5, "failures": [{"at": at(now - HOUR), "error": "boom"}]},
        ]

    later = NOW + timedelta(days=1, minutes=7)

    assert left(*rows(1, "a", NOW)) == left(*rows(40, "b", later), now=later)


# Two messages, apart in one thing from all others here.
APART: list[list[Row]] = [
    [{"id": 2}, {"id": 1}],
    [{"id": 1, "claim_token": "a"}, {"id": 2, "claim_token": "a"}],
    [{"id": 1, "awaited_ids": [2]}, {"id": 2}],
    [{"id": 1, "due_at": at(NOW - SECOND)}, {"id": 2, "due_at": at(NOW + SECOND)}],
    [{"id": 1, "due_at": at(NOW - 2 * SECOND)}, {"id": 2, "due_at": at(NOW - SECOND)}],
    [{"id": 1, "due_at": at(NOW - SECOND)}, {"id": 2, "due_at": at(NOW - 2 * SECOND)}],
    [{"id": 1, "due_at": at(NOW - SECOND)}, {"id": 2, "due_at": at(NOW - 2 * SECOND + HOUR)}],
    [{"id": 1, "due_at": at(NOW - SECOND)}, {"id": 2, "due_at": at(NOW - SECOND - HOUR)}],
    [{"id": 1, "failures": [{"attempt": 1}]}, {"id": 2, "failures": [{"attempt": 2}]}],
    [{"id": 1, "failures": [{"attempt": 2}]}, {"id": 2, "failures": [{"attempt": 1}]}],
    [{"id": 1, "failures": [{"attempt": 1}, {"attempt": 2}]}, {"id": 2, "failures": []}],
]


def test_what_tells_rows_apart_is_another_end(left: Left) -> None:
    ends = {left(*rows) for rows in APART}

    assert len(ends) == len(APART)


def test_what_a_ledger_of_turns_knows_makes_another_end() -> None:
    def ledger(**known: Any) -> TurnLedger:
        made = TurnLedger(Table(now=NOW), None)  # type: ignore[arg-type]
        made._pushes = {1: _Push(began=1, committed=3), 2: _Push(began=2, committed=4)}
        for name, value in known.items():
            setattr(made, name, value)
        return made

    def place(id_: int) -> int:
        return id_

    later = {1: _Push(began=11, committed=13), 2: _Push(began=12, committed=14)}
    behind = {1: _Push(began=1, committed=2), 2: _Push(began=3, committed=4)}
    others = [ledger(_buried={1}), ledger(_given_back={1}), ledger(_gone={1})]
    ends = [each.goes_by(place) for each in (ledger(), ledger(_pushes=behind), *others)]

    assert ledger(_pushes=later).goes_by(place) == ends[0]
    assert len(set(ends)) == len(ends)


@pytest.mark.slow
def test_each_end_is_judged_once_or_each_time(
    quick_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, finished = TurnLedger.finish, list[TurnLedger]()

    def finish_and_note(ledger: TurnLedger) -> None:
        finished.append(ledger)
        finish(ledger)

    monkeypatch.setattr(TurnLedger, "finish", finish_and_note)
    monkeypatch.setattr(quick_stage, "judged", set())
    scene, verbs = "head claimed with a line", ("ack the head", "consume")

    count = explore(quick_stage, scene, verbs)
    assert 0 < len(finished) == len(quick_stage.judged) < count

    finished.clear()
    monkeypatch.setattr(quick_stage, "judges_each_end", True)
    assert explore(quick_stage, scene, verbs) == count
    assert len(finished) >= count  # one that was overtaken is judged, and not counted
