"""What the statements share: status literals, parameters, and the columns of a message."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Table,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    false,
    func,
    literal_column,
    null,
    select,
    true,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.sql.selectable import FromClause, TypedReturnsRows

from xclaim.sql.dialects import CHANNEL, Dialect, seconds_parameter

Statement = TypedReturnsRows[*tuple[Any, ...]]

AVAILABLE: ColumnElement[str] = literal_column("'available'", Text)
CLAIMED: ColumnElement[str] = literal_column("'claimed'", Text)
CONSUMED: ColumnElement[str] = literal_column("'consumed'", Text)
ONE: ColumnElement[int] = literal_column("1", Integer)
ZERO: ColumnElement[int] = literal_column("0", Integer)

_MOST_ATTEMPTS: ColumnElement[int] = literal_column("2147483647", Integer)

QUEUE = bindparam("queue_name", type_=Text)
DEAD = bindparam("dead_letter_queue", type_=Text)
LIMIT = bindparam("message_limit", type_=Integer)
ID = bindparam("message_id", type_=BigInteger)
KEY = bindparam("key", type_=Text)
CLAIMANT = bindparam("claimant", type_=Text)
TOKEN = bindparam("token", type_=Uuid)
ERROR = bindparam("error", type_=Text)
ERROR_CLASS = bindparam("error_class", type_=Text)
LEASE = seconds_parameter("lease_seconds")
DELAY = seconds_parameter("delay_seconds")

_CLAIM_COLUMNS = ("claimed_at", "claim_expires_at", "claimed_by", "claim_key", "claim_token")
# By name: the order of the table's columns is one for PostgreSQL, not one for people.
OF_A_MESSAGE = (
    "id",
    "queue",
    "origin_queue",
    "status",
    "priority",
    "payload",
    "headers",
    "unique_key",
    "attempts",
    "max_attempts",
    "created_at",
    "available_at",
    "claimed_at",
    "claim_expires_at",
    "consumed_at",
    "claimed_by",
    "consumed_by",
    "claim_key",
    "last_error",
    "last_error_class",
    "codec",
    "ordering_key",
)


def message_columns(table: FromClause, dialect: Dialect) -> list[ColumnElement[Any]]:
    """Return the columns of a Message, in its order of fields; the token stays out."""
    return [dialect.readable(table.c[name]) for name in OF_A_MESSAGE]


def attempted(table: Table, count: ColumnElement[int] = ONE) -> ColumnElement[int]:
    """Return the attempts with one more, or so many; at the end of their type they stay there."""
    return case((table.c.attempts < _MOST_ATTEMPTS, table.c.attempts + count), else_=_MOST_ATTEMPTS)


def can_change(row: FromClause) -> ColumnElement[bool]:
    """Return whether a row keeps the CHECK with what a claim or a sweep leaves as it is.

    One that got past it, while it was dropped or not valid, would fail the statement for all
    others. It is left where it is, and ``audit`` names it. In a CASE: PostgreSQL then does not work
    out anew in each statement how many rows that would be.
    """
    return case((row.c.consumed_at.is_not(None), false()), else_=true())


def unattempted(table: Table) -> ColumnElement[int]:
    """Return the attempts with one less, but no less than none."""
    # Compared first: at the lower end of their type there is no one less.
    return case((table.c.attempts > ONE, table.c.attempts - ONE), else_=ZERO)


def notified() -> ColumnElement[Any]:
    """Return a last column that wakes those who wait for the queue, once for all rows.

    As text: of a sub-SELECT Citus may make a result of its own, which cannot be void. Not in the
    RETURNING of an UPDATE: it calls what is VOLATILE.
    """
    call = cast(func.pg_notify(literal_column(f"'{CHANNEL}'", Text), QUEUE), Text)
    return select(call).scalar_subquery().label("notified")


def notifying(changed: ReturningUpdate[*tuple[Any, ...]]) -> Statement:
    """Return an UPDATE that wakes those who wait for the queue if it has changed a row."""
    done = changed.cte("done")
    return select(*done.c, notified())


def package(table: Table) -> tuple[quoted_name, ...]:
    """Return the schema of a function of ours: that of the table, by the path if it names none."""
    if table.schema is None:
        return ()
    # Of a table SQLAlchemy doubles percent signs for the driver, and of a function it does not.
    return (quoted_name(table.schema.replace("%", "%%"), quote=True),)


def freed() -> dict[str, ColumnElement[Any]]:
    """Return the values that make a claimed message available."""
    return {"status": AVAILABLE, **{name: null() for name in _CLAIM_COLUMNS}}
