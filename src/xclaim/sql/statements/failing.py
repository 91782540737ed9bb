"""What an attempt that failed leaves: its error, a pause, or a dead letter."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Integer,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
)

from xclaim.arguments import MAX_KEY_BYTES
from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.parts import DEAD

FAILURES = 20  # that are kept of a message: all that it may have by default
ERROR_CHARACTERS = 1_000  # of each; the last one is kept longer, in last_error

_PAUSES = bindparam("pauses", type_=Text)  # seconds, a JSON array
_PAUSE_COUNT = bindparam("pause_count", type_=Integer)
_JITTER = bindparam("jitter", type_=Double)
_DRAWN = bindparam("drawn", type_=Integer)
_SHARES = 97  # of the jitter that are told apart; a prime, so that regular ids get all of them


def is_exhausted(table: Any) -> ColumnElement[bool]:
    """Return the test whether the attempts of a message are used up; never true without a limit.

    The limit is the consumer's if it has one, else the message's.
    """
    given = bindparam("is_limited", type_=Boolean)
    limit = case((given, bindparam("most_attempts", type_=Integer)), else_=table.c.max_attempts)
    return func.coalesce(table.c.attempts >= limit, literal_column("1 = 0"))


def after_pause(
    table: Table, dialect: Dialect, since: ColumnElement[datetime]
) -> ColumnElement[datetime]:
    """Return when a message can be claimed again whose attempt has failed.

    The random part is drawn by the client once for a statement, and spread by the id over its rows:
    with a volatile function PostgreSQL would not use its indexes as it should.
    """
    pause = dialect.element(_PAUSES, table.c.attempts, _PAUSE_COUNT)
    shares: ColumnElement[Any] = literal_column(str(_SHARES))
    of_them: ColumnElement[Any] = cast(literal_column(f"{_SHARES}.0"), Double)
    # First the rest of the id: with the highest one the sum would be none that the type holds.
    drawn = (table.c.id % shares + _DRAWN) % shares
    share: ColumnElement[Any] = drawn.op("/", return_type=Double())(of_them)
    return dialect.later(since, pause * (literal_column("1.0", Double) - _JITTER * share))


def failed(
    table: Table,
    dialect: Dialect,
    error: ColumnElement[Any],
    error_class: ColumnElement[Any],
) -> dict[str, ColumnElement[Any]]:
    """Return the values that keep the error of an attempt."""
    kept = _failed(table, dialect, error, error_class)
    return {**kept, "failures": dialect.apart(kept["failures"], table)}


def _failed(
    table: Table,
    dialect: Dialect,
    error: ColumnElement[Any],
    error_class: ColumnElement[Any],
) -> dict[str, ColumnElement[Any]]:
    failures = dialect.appended(
        table.c.failures,
        FAILURES,
        attempt=_attempt(table),
        at=dialect.now_as_text(),
        claimed_by=claimant(table),
        error_class=error_class,
        error=func.substr(error, literal_column("1"), literal_column(str(ERROR_CHARACTERS))),
    )
    return {"last_error": error, "last_error_class": error_class, "failures": failures}


def claimant(table: Table) -> ColumnElement[str]:
    """Return who has claimed, as text of a length that JSON can hold, whatever the row has."""
    most: ColumnElement[int] = literal_column(str(MAX_KEY_BYTES))
    return cast(func.substr(table.c.claimed_by, literal_column("1"), most), Text)


def _attempt(table: Table) -> ColumnElement[int]:
    """Return which attempt it was, as a number: on SQLite a row may have bytes, JSON has none."""
    return cast(table.c.attempts, Integer)


def lapsed(
    table: Table, dialect: Dialect, error: ColumnElement[Any], error_class: ColumnElement[Any]
) -> dict[str, ColumnElement[Any]]:
    """Return the values that keep a lapsed lease, unless the error of the attempt is kept already.

    That is so where its claimant kept the claim for another try of its own.
    """
    is_noted = func.coalesce(
        and_(
            dialect.field_of_last(table.c.failures, "attempt") == cast(_attempt(table), Text),
            dialect.field_of_last(table.c.failures, "claimed_by") == claimant(table),
        ),
        literal_column("1 = 0"),
    )
    kept = _failed(table, dialect, error, error_class)
    # Not from the column of the last error, which whoever looks after leases may not read.
    before: dict[str, ColumnElement[Any]] = {
        "last_error": dialect.unicode(dialect.field_of_last(table.c.failures, "error")),
        "last_error_class": dialect.unicode(dialect.field_of_last(table.c.failures, "error_class")),
        "failures": table.c.failures,
    }
    values = {name: case((is_noted, before[name]), else_=value) for name, value in kept.items()}
    return {**values, "failures": dialect.apart(values["failures"], table)}


def again_at(
    table: Table,
    available_at: ColumnElement[Any],
    dialect: Dialect,
    dies: ColumnElement[bool] | None = None,
) -> dict[str, ColumnElement[Any]]:
    """Return the values of a message that is available again then, or now if it dies.

    One that was claimed along with another of its line has no such time: it stands in line again,
    where it is due then.
    """
    is_along = table.c.available_at.is_(None)
    now = [] if dies is None else [(dies, dialect.now())]
    never = [] if dies is None else [(and_(is_along, dies), null())]
    # Not that of others: a dead letter may owe the turn of its line, until then.
    due_at = case(*never, (is_along, available_at), else_=table.c.due_at)
    return {
        "available_at": dialect.apart(case(*now, (is_along, null()), else_=available_at), table),
        "due_at": dialect.apart(due_at, table),
    }


def or_dead(
    table: Table, available_at: ColumnElement[Any], dialect: Dialect
) -> dict[str, ColumnElement[Any]]:
    """Return the values of a message that is tried again then, or is dead from now on.

    One that was claimed as a dead letter rests as well: nothing is left to be used up.
    """
    exhausted = is_exhausted(table)
    dies = and_(exhausted, table.c.queue != DEAD)
    return {
        "queue": case((exhausted, DEAD), else_=table.c.queue),
        **again_at(table, available_at, dialect, dies),
        # Who comes back for the message learns what became of it.
        "claim_key": case((exhausted, table.c.claim_key), else_=null()),
    }
