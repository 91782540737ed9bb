"""Dead letters by their error."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Table, Text, case, func, literal_column, select, true
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.message_conditions import Readable
from xclaim.sql.statements.observing_columns import LONGEST, beginning_of, text_of
from xclaim.sql.statements.observing_walks import LOOK, Walk, of_index
from xclaim.sql.statements.parts import ONE, QUEUE, ZERO, Statement

_FIRST_LINE = 300


@lru_cache
def letters_by_error(table: Table, dialect: Dialect, *, may: Readable) -> Statement:
    """Count the newest dead letters of a queue, ``LOOK`` of them, by their error.

    On PostgreSQL of some queues, as ``rows`` has them, of each so many.
    """
    line: ColumnElement[Any] = literal_column("NULL", Text)
    names = ["id", "available_at", "last_error_class"]
    if may.last_error:
        names.append("last_error")
    newest = _newest_letters(table, dialect, names)
    if may.last_error:
        line = _first_line(dialect, newest.c.last_error)
    said = select(
        newest.c.position,
        newest.c.id,
        newest.c.available_at,
        beginning_of(newest.c.last_error_class, LONGEST).label("last_error_class"),
        line.label("first_line"),
    ).subquery("said")
    return (
        select(
            said.c.position,
            text_of(dialect, said.c.last_error_class, "last_error_class"),
            text_of(dialect, said.c.first_line, "first_line"),
            func.count().label("letters"),
            dialect.readable(func.min(said.c.available_at).label("available_at")),
            dialect.readable(func.max(said.c.available_at).label("claimed_at")),
            func.max(said.c.id).label("id"),
        )
        .group_by(said.c.position, said.c.last_error_class, said.c.first_line)
        .order_by(said.c.position, func.count().desc(), func.max(said.c.id).desc())
    )


def _newest_letters(table: Table, dialect: Dialect, names: Iterable[str]) -> FromClause:
    columns = [table.c[name] for name in names]
    order = (table.c.priority, table.c.available_at.desc(), table.c.id.desc())
    is_waiting = of_index(table, dialect, Walk.WAITING)
    if not dialect.has_lateral:
        of_queue = select(ONE.label("position"), *columns).where(table.c.queue == QUEUE, is_waiting)
        return of_queue.order_by(*order).limit(LOOK).subquery("newest")
    named = dialect.rows(queue=Text())
    of_each = select(*columns).where(table.c.queue == named.c.queue, is_waiting)
    rows = of_each.order_by(*order).limit(LOOK).lateral("of_each")
    found = select(named.c.position, *rows.c).select_from(named.join(rows, true()))
    return found.subquery("newest")


def _first_line(dialect: Dialect, text: ColumnElement[str]) -> ColumnElement[str]:
    shown = beginning_of(text, _FIRST_LINE)
    line_feed = func.chr(literal_column("10"), type_=Text())
    if not dialect.has_lateral:
        line_feed = func.char(literal_column("10"), type_=Text())
    end = dialect.position_in(shown, line_feed)
    before = func.substr(shown, ONE, end - ONE, type_=Text())
    return case((end > ZERO, before), else_=shown)
