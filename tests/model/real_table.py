"""The real table, read and turned into what the model knows, and its clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Connection, Float, Select, and_, literal, select, text, true

from tests.model.model import Failed, Row, Table
from tests.model.promises import REMEMBERED, require
from xclaim import Status
from xclaim.sql.dialects import dialect_of
from xclaim.sql.schema import message_table, queue_table, slot_table
from xclaim.sql.statements.auditing import PROMISES

_TABLE = message_table()
_FIELDS = [*[field.name for field in fields(Row) if field.compare], "keeps_turn"]
_TIMES = [column.name for column in _TABLE.columns if column.name.endswith("_at")]
_JSON = ("payload", "failures")
_ASKED = [PROMISES[name] for name in ("status", "claimed", "consumed", "attempts", "queue")]
_TOLERANCE = timedelta(minutes=1)  # far less than the leases and delays of the state machine
_EARLIER = {
    "postgresql": "{0} - :seconds * interval '1 second'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', {0}, '-' || :seconds || ' seconds')",
}


def read(connection: Connection) -> Table:
    """Return the committed messages, and the time of the database. Each is sound."""
    found = connection.execute(_read_statement(connection.dialect.name)).all()
    rows: dict[int, Row] = {}
    for _, is_sound, *values in found:
        if values[0] is not None:
            assert is_sound, f"message {values[0]} breaks a promise that the audit looks for"
            said = dict(zip(_FIELDS, values, strict=True))
            if connection.dialect.name == "sqlite":  # which hands out text
                said |= {name: json.loads(said[name] or "null") for name in _JSON}
            row = _as_row(said)
            rows[row.id] = row
    return Table(now=found[0].now, rows=rows)


def _as_row(values: dict[str, Any]) -> Row:
    kept = [dict(each) for each in values["failures"] or ()]
    times = [datetime.fromisoformat(each.pop("at")) for each in kept]
    require(times == sorted(times), REMEMBERED, f"not in their order: {values}")
    failed_at = times[-1] if times else None
    if failed_at is not None and failed_at.tzinfo is None:
        failed_at = failed_at.replace(tzinfo=UTC)
    changed = {
        "status": Status(values["status"]),
        "failures": tuple(Failed(**each) for each in kept),
        # The column says of the others what they will do as a dead letter.
        "keeps_turn": bool(values["keeps_turn"]) and values["queue"] != values["origin_queue"],
    }
    return Row(**{**values, **changed}, failed_at=failed_at)


def empty(connection: Connection) -> None:
    """Delete all messages, and the settings of all queues."""
    connection.execute(_TABLE.delete())
    connection.execute(queue_table().delete())
    connection.execute(slot_table().delete())


def age(connection: Connection, by: timedelta) -> None:
    """Let time pass: every time in the tables is so much longer ago, or so much nearer."""
    earlier = _EARLIER[connection.dialect.name]
    for table, names in ((_TABLE, _TIMES), (slot_table(), ["taken_at"])):
        assignments = ", ".join(f"{name} = {earlier.format(name)}" for name in names)
        statement = text(f"UPDATE {table.name} SET {assignments}")
        connection.execute(statement, {"seconds": int(by.total_seconds())})


def postpone(connection: Connection, pauses: Mapping[int, timedelta]) -> None:
    """Let messages rest for so long from now, to the millisecond."""
    now = dialect_of(connection.dialect.name).from_now
    for id_, pause in pauses.items():
        connection.execute(
            _TABLE.update()
            .where(_TABLE.c.id == id_)
            .values(available_at=now(literal(pause.total_seconds(), Float)))
        )


def on_the_clock_of(expected: Table, real: Table) -> dict[int, Row]:
    """Return the real messages with the times of the expected ones, where these are about right."""
    return {
        id_: _aligned(row, expected.rows[id_], expected, real) if id_ in expected.rows else row
        for id_, row in real.rows.items()
    }


def _aligned(row: Row, wanted: Row, expected: Table, real: Table) -> Row:
    times: dict[str, Any] = {}
    if wanted.rest is not None:  # which is judged more exactly
        times["available_at"] = wanted.available_at
    for name in (name for name in _FIELDS if name.endswith("_at")):
        time, wanted_time = getattr(row, name), getattr(wanted, name)
        if time is None or wanted_time is None:
            continue
        if abs((time - real.now) - (wanted_time - expected.now)) < _TOLERANCE:
            times[name] = wanted_time
    return replace(row, **times)


@cache
def _read_statement(database: str) -> Select[Any]:
    # The join gives a row with the time also when there is no message.
    clock = select(dialect_of(database).now().label("now")).subquery("clock")
    columns = [_TABLE.columns[name] for name in _FIELDS]
    # As the audit does: what is unknown is no violation.
    is_sound = and_(*[text(f"({promise}) IS NOT FALSE") for promise in _ASKED])
    return select(clock.c.now, is_sound.label("is_sound"), *columns).select_from(
        clock.outerjoin(_TABLE, true())
    )
