"""Which dead letters: all of a queue, or those with an error, of an age, or by their ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Select,
    bindparam,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect, UtcTimestamp, seconds_parameter
from xclaim.sql.statements.parts import AVAILABLE, DEAD, ERROR, LIMIT, can_change


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """By what dead letters are chosen; each is a parameter more of the statement.

    ``by_class``: by the class of the last error, with its module or without. ``by_text``: or by
    what its text contains, which takes the right to read it. ``aged``: dead for so long.
    ``before``: dead by a time of the database's clock.
    """

    by_class: bool = False
    by_text: bool = False
    aged: bool = False
    before: bool = False
    by_id: bool = False


EVERY_LETTER = Letters()


def dead_letters_of(letter: FromClause, dialect: Dialect, which: Letters) -> Select[Any]:
    """Return the ids of the dead letters of a queue, the next one first."""
    chosen = (
        select(letter.c.id)
        .where(letter.c.queue == DEAD, letter.c.status == AVAILABLE)
        .where(dialect.is_present(letter.c.available_at), can_change(letter))
        .order_by(letter.c.priority.desc(), letter.c.available_at, letter.c.id)
        .limit(LIMIT)
    )
    if which.by_class:
        chosen = chosen.where(or_(*_has_error(letter, by_text=which.by_text)))
    if which.aged:  # it is available as a dead letter since it died
        age: ColumnElement[Any] = seconds_parameter("age_seconds")
        chosen = chosen.where(letter.c.available_at <= dialect.from_now(-cast(age, Float)))
    if which.before:
        died_before = bindparam("died_before", type_=UtcTimestamp)
        chosen = chosen.where(letter.c.available_at <= died_before)
    if which.by_id:
        ids = select(dialect.rows(id=BigInteger()).c.id)
        chosen = chosen.where(dialect.in_subquery(letter.c.id, ids))
    return chosen


def _has_error(letter: FromClause, *, by_text: bool) -> list[ColumnElement[bool]]:
    named, text = letter.c.last_error_class, letter.c.last_error
    end = func.substr(named, func.length(named) - func.length(ERROR))
    dot: ColumnElement[Any] = literal_column("'.'")
    conditions = [named == ERROR, end == dot.concat(ERROR)]
    if by_text:  # not LIKE, which on SQLite takes capitals and small letters for the same
        conditions.append(func.replace(text, ERROR, literal_column("''")) != text)
    return conditions
