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
    cast,
    null,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.failing import after_pause, again_at, failed, or_dead
from xclaim.sql.statements.parts import (
    CONSUMED,
    DELAY,
    ERROR,
    ERROR_CLASS,
    ID,
    LEASE,
    TOKEN,
    Statement,
    freed,
    message_columns,
    notifying,
    unattempted,
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
        .values(
            payload=dialect.json(item.c.payload), codec=cast(dialect.optional(item.c.codec), Text)
        )
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .returning(table.c.id)
    )


def acking(
    table: Table, dialect: Dialect, *, one: bool = False
) -> ReturningUpdate[*tuple[Any, ...]]:
    """Return ``ack_many``, or ``ack``, so that it can be a part of another statement."""
    if one:
        return _consume(table, dialect).where(_held(table)).returning(table.c.id)
    item = dialect.receipts()
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
    table: Table,
    dialect: Dialect,
    *,
    delayed: bool,
    counted: bool,
    with_error: bool,
    notifies: bool = False,
) -> Statement:
    """Make the claimed message available again, or a dead letter if its attempts are used up.

    It keeps its place in the queue, unless it is delayed or its attempt has failed: that is one
    that counts and has an error. Not counted, the attempt is taken back.
    """
    fails = counted and with_error
    if delayed:
        available_at: ColumnElement[Any] = dialect.from_now(DELAY)
    elif fails:
        available_at = after_pause(table, dialect, dialect.now())
    else:
        available_at = table.c.available_at
    values = freed()
    if delayed and not counted:
        values |= again_at(table, available_at, dialect)
    if counted:
        values |= or_dead(table, available_at, dialect)
    else:
        values |= {"attempts": unattempted(table)}
    if fails:
        values |= failed(table, dialect, ERROR, ERROR_CLASS)
    elif with_error:
        values |= {"last_error": ERROR, "last_error_class": ERROR_CLASS}
    released = (
        update(table)
        .where(_held(table))
        .values(**values)
        .returning(*message_columns(table, dialect))
    )
    return notifying(released) if notifies else released


@lru_cache
def note_failure(table: Table, dialect: Dialect) -> Statement:
    """Keep the error of an attempt and the claim, whose lease ends so long from now."""
    return (
        update(table)
        .where(_held(table))
        .values(
            claim_expires_at=dialect.from_now(LEASE), **failed(table, dialect, ERROR, ERROR_CLASS)
        )
        .returning(*message_columns(table, dialect))
    )


@lru_cache
def hand_back(table: Table, dialect: Dialect, *, notifies: bool = False) -> Statement:
    """Make claimed messages available again, at their places, and take the attempts back."""
    item = dialect.receipts()
    handed_back = (
        update(table)
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .values(**freed(), attempts=unattempted(table))
        .returning(table.c.id)
    )
    return notifying(handed_back) if notifies else handed_back


@lru_cache
def extend(table: Table, dialect: Dialect) -> Statement:
    """Set the end of the lease, counted from now."""
    return (
        update(table)
        .where(_held(table))
        .values(claim_expires_at=dialect.from_now(LEASE))
        .returning(table.c.claim_expires_at)  # as it was just set
    )


@lru_cache
def extend_many(table: Table, dialect: Dialect) -> Statement:
    """Set the end of the lease of each claim that is still held, and return their ids."""
    item = dialect.receipts()
    return (
        update(table)
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .values(claim_expires_at=dialect.from_now(LEASE))
        .returning(table.c.id)
    )


def _held(table: Table) -> ColumnElement[bool]:
    return and_(table.c.id == ID, table.c.claim_token == TOKEN)
