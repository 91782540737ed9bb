"""Rows that PostgreSQL cannot send: set them aside unread, and describe them without their text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    LargeBinary,
    Select,
    Table,
    Text,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)

from xclaim.sql.dialects import Dialect, Json, seconds_parameter
from xclaim.sql.statements.claiming import HANDED_ON_KEY
from xclaim.sql.statements.failing import ERROR_CHARACTERS, FAILURES
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMANT,
    CLAIMED,
    DEAD,
    ERROR,
    ERROR_CLASS,
    KEY,
    QUEUE,
    Statement,
    attempted,
    freed,
    message_columns,
)

_SHOWN: ColumnElement[int] = literal_column("1000")  # characters of each text
_FIRST: ColumnElement[int] = literal_column("1")


@lru_cache
def set_aside(table: Table, dialect: Dialect) -> Statement:
    """Make dead letters of messages that a claim would take, and count an attempt at each.

    Nothing of their text is read. What is a dead letter already rests, out of the way of others.
    """
    ids = select(dialect.rows(id=BigInteger()).c.id)
    mine = and_(table.c.status == CLAIMED, table.c.claim_key.in_([HANDED_ON_KEY, KEY]))
    failures = dialect.appended(
        table.c.failures,
        FAILURES,
        attempt=attempted(table),
        at=dialect.now_as_text(),
        claimed_by=CLAIMANT,
        error_class=ERROR_CLASS,
        error=func.substr(ERROR, _FIRST, literal_column(str(ERROR_CHARACTERS))),
    )
    rests_until = dialect.from_now(seconds_parameter("rest_seconds"))
    available_at = case((table.c.queue == DEAD, rests_until), else_=dialect.now())
    values = {
        **freed(),
        "queue": DEAD,
        "attempts": attempted(table),
        "available_at": dialect.apart(available_at, table),
        "due_at": case((table.c.queue == DEAD, table.c.due_at)),
        "claim_key": table.c.claim_key,  # who comes back for it learns what became of it
        "last_error": ERROR,
        "last_error_class": ERROR_CLASS,
        "failures": dialect.apart(failures, table),
    }
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, ids), table.c.queue == QUEUE)
        .where(or_(table.c.status == AVAILABLE, mine))
        .values(**values)
        .returning(table.c.id)
    )


@lru_cache
def ids_of(statement: Select[Any]) -> Statement:
    """Return the ids of the messages that a statement returns, and nothing else of them."""
    return statement.with_only_columns(statement.selected_columns["id"])


@lru_cache
def in_bytes(statement: Select[Any]) -> Statement:
    """Return what a statement returns, and of each text the first bytes as the database has it.

    PostgreSQL only: there bytes are sent as they are.
    """
    found = statement.subquery("found")
    return select(
        *[_in_bytes(each, each) if isinstance(each.type, Text) else each for each in found.c]
    )


def _in_bytes(text: ColumnElement[Any], named: ColumnElement[Any]) -> ColumnElement[Any]:
    shown = func.substr(text, _FIRST, _SHOWN)
    encoded = func.convert_to(shown, func.getdatabaseencoding(), type_=LargeBinary())
    return encoded.label(named.key)


@lru_cache
def described(table: Table, dialect: Dialect) -> Statement:
    """Return messages without their JSON, and of each text the first bytes as ``in_bytes`` does."""
    columns: list[ColumnElement[Any]] = []
    for readable in message_columns(table, dialect):
        column = table.c[str(readable.key)]
        if isinstance(column.type, Text):
            columns.append(_in_bytes(column, column))
        elif not isinstance(column.type, Json):
            columns.append(readable)
    ids = select(dialect.rows(id=BigInteger()).c.id)
    return select(*columns).where(dialect.in_subquery(table.c.id, ids))
