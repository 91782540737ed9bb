"""What is shown of a message in a list: of long texts only the beginning.

Columns that a role may not read are in none of the statements it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Integer, Text, and_, func, literal_column
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.message_conditions import Condition, Readable, Trait
from xclaim.sql.statements.parts import AVAILABLE, OF_A_MESSAGE, ONE

LONGEST = 1_000  # characters of each text of a list
CONFIDENTIAL = ("payload", "headers", "last_error", "failures")
SHOWN = tuple(name for name in OF_A_MESSAGE if name not in CONFIDENTIAL)


def columns_for(conditions: Iterable[Condition], may: Readable) -> tuple[str, ...]:
    """Return the names of the columns that a search reads."""
    names = {*SHOWN}
    if may.last_error:
        names.add("last_error")
    for each in conditions:
        if each.test is Trait.PAYLOAD:
            names.add("payload")
        if each.test in (Trait.RUN, Trait.DAG, Trait.TASK) and may.headers:
            names.add("headers")
    return tuple(sorted(names))


def listed(
    row: FromClause, dialect: Dialect, may: Readable, *, error: int = LONGEST
) -> list[ColumnElement[Any]]:
    """Return the columns of a message in a list. Its times are compared by the database's clock."""
    columns = [column_of(row, dialect, name) for name in SHOWN]
    if may.last_error:
        columns.append(text_of(dialect, beginning_of(row.c.last_error, error), "last_error"))
    later = row.c.available_at > dialect.now()
    columns.append(and_(row.c.status == AVAILABLE, later).label("is_later"))
    columns.append((row.c.claim_expires_at <= dialect.now()).label("is_lapsed"))
    return columns


def column_of(row: FromClause, dialect: Dialect, name: str) -> ColumnElement[Any]:
    """Return a column to be shown, a text without its end."""
    column = row.c[name]
    if isinstance(column.type, Text):
        return text_of(dialect, beginning_of(column, LONGEST), name)
    return dialect.readable(column)


def beginning_of(text: ColumnElement[Any], characters: int) -> ColumnElement[str]:
    """Return the first characters of a text."""
    return func.substr(text, ONE, literal_column(str(characters), Integer), type_=Text())


def text_of(dialect: Dialect, text: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return a text so that the driver can read it, under a name."""
    return dialect.readable(text.label(name))
