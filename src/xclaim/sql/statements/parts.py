"""What the statements share: status literals, parameters, and the columns of a message."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    Uuid,
    bindparam,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.sql.selectable import FromClause, TypedReturnsRows

from xclaim.sql.dialects import CHANNEL, seconds_parameter

Statement = TypedReturnsRows[*tuple[Any, ...]]

AVAILABLE: ColumnElement[str] = literal_column("'available'", Text)
CLAIMED: ColumnElement[str] = literal_column("'claimed'", Text)
CONSUMED: ColumnElement[str] = literal_column("'consumed'", Text)
ONE: ColumnElement[int] = literal_column("1", Integer)
ZERO: ColumnElement[int] = literal_column("0", Integer)

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
_OF_A_MESSAGE = (
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
)


def message_columns(table: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns of a Message, in its order of fields; the token stays out."""
    return [table.c[name] for name in _OF_A_MESSAGE]


def notified() -> ColumnElement[Any]:
    """Return a last column that wakes those who wait for the queue, once for all rows."""
    call = func.pg_notify(literal_column(f"'{CHANNEL}'", Text), QUEUE)
    return select(call).scalar_subquery().label("notified")


def freed() -> dict[str, ColumnElement[Any]]:
    """Return the values that make a claimed message available."""
    return {"status": AVAILABLE, **{name: null() for name in _CLAIM_COLUMNS}}
