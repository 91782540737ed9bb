"""Settle a claim: by id and token, and nothing else."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Table,
    Text,
    Update,
    Uuid,
    and_,
    case,
    cast,
    null,
    true,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.parts import (
    CONSUMED,
    DEAD,
    DELAY,
    ERROR,
    ID,
    LEASE,
    ONE,
    TOKEN,
    Statement,
    freed,
    is_exhausted,
    message_columns,
    notified,
)


@lru_cache
def ack(table: Table, dialect: Dialect) -> Statement:
    """Consume the claimed message. By the primary key, so that no partial index is walked."""
    return acking(table, dialect, one=True)


@lru_cache
def ack_many(table: Table, dialect: Dialect) -> Statement:
    """Consume each claimed message that is still held, and return their ids."""
    return acking(table, dialect)


@lru_cache
def ack_reduced(table: Table, dialect: Dialect) -> Statement:
    """Consume each claimed message that is still held, and leave less of its payload."""
    item = dialect.rows(id=BigInteger(), token=Uuid(), payload=Text(), codec=Text())
    return (
        _consume(table, dialect)
        .values(payload=dialect.json(item.c.payload), codec=cast(item.c.codec, Text))
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .returning(table.c.id)
    )


def acking(
    table: Table, dialect: Dialect, *, one: bool = False
) -> ReturningUpdate[*tuple[Any, ...]]:
    """Return ``ack_many``, or ``ack``, so that it can be a part of another statement."""
    if one:
        return _consume(table, dialect).where(_held(table)).returning(table.c.id)
    item = dialect.rows(id=BigInteger(), token=Uuid())
    return (
        _consume(table, dialect)
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .returning(table.c.id)
    )


def _consume(table: Table, dialect: Dialect) -> Update:
    return update(table).values(
        status=CONSUMED,
        consumed_at=dialect.now(),
        consumed_by=table.c.claimed_by,
        claim_expires_at=null(),
        claimed_by=null(),
        claim_key=null(),
        claim_token=null(),
    )


@lru_cache
def release(
    table: Table, dialect: Dialect, *, delayed: bool, counted: bool, notifies: bool = False
) -> Statement:
    """Make the claimed message available again, or a dead letter if its attempts are used up.

    It keeps its place in the queue unless delayed; not counted, the attempt is taken back.
    """
    exhausted = is_exhausted(table) if counted else ~true()
    return (
        update(table)
        .where(_held(table))
        .values(
            **freed(),
            queue=case((exhausted, DEAD), else_=table.c.queue) if counted else table.c.queue,
            available_at=dialect.from_now(DELAY) if delayed else table.c.available_at,
            attempts=table.c.attempts if counted else table.c.attempts - ONE,
            last_error=ERROR,
        )
        .returning(*message_columns(table), *([notified()] if notifies else []))
    )


@lru_cache
def hand_back(table: Table, dialect: Dialect) -> Statement:
    """Make claimed messages available again, at their places, and take the attempts back."""
    item = dialect.rows(id=BigInteger(), token=Uuid())
    return (
        update(table)
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .values(**freed(), attempts=table.c.attempts - ONE, last_error=ERROR)
        .returning(table.c.id)
    )


@lru_cache
def extend(table: Table, dialect: Dialect) -> Statement:
    """Set the end of the lease, counted from now."""
    return (
        update(table)
        .where(_held(table))
        .values(claim_expires_at=dialect.from_now(LEASE))
        .returning(table.c.claim_expires_at)
    )


@lru_cache
def extend_many(table: Table, dialect: Dialect) -> Statement:
    """Set the end of the lease of each claim that is still held, and return their ids."""
    item = dialect.rows(id=BigInteger(), token=Uuid())
    return (
        update(table)
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .values(claim_expires_at=dialect.from_now(LEASE))
        .returning(table.c.id)
    )


def _held(table: Table) -> ColumnElement[bool]:
    return and_(table.c.id == ID, table.c.claim_token == TOKEN)
