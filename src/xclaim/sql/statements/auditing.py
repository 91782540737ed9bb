"""Look for rows that break a promise: read-only, a part of the table at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Integer,
    Subquery,
    Table,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
)

from xclaim.sql.dialects import SQLITE, Dialect
from xclaim.sql.schema import CHECKS
from xclaim.sql.statements.parts import AVAILABLE, CLAIMED, CONSUMED, LIMIT, QUEUE, Statement

# What each row promises. The table's own CHECKs come first: they may have been dropped, or added
# NOT VALID. As with a CHECK, NULL breaks nothing.
PROMISES = {
    "status": CHECKS["ck_xclaim_message_status"],
    "claimed": CHECKS["ck_xclaim_message_claimed"],
    "consumed": CHECKS["ck_xclaim_message_consumed"],
    "attempts": CHECKS["ck_xclaim_message_attempts"],
    "queue": CHECKS["ck_xclaim_message_queue"],
    "attempted": "status = 'available' OR attempts >= 1",
    "attempts_bounded": "queue LIKE '%.dead' OR attempts <= max_attempts",
    "exhausted_is_dead": (
        "queue LIKE '%.dead' OR status <> 'available' OR attempts < max_attempts"
    ),
    "order_of_times": (
        "coalesce(created_at <= claimed_at, true) AND coalesce(claimed_at <= consumed_at, true)"
        " AND coalesce(claimed_at <= claim_expires_at, true)"
    ),
}
IN_THE_PAST = "in_the_past"
READABLE = "readable"
_AFTER = bindparam("after_id", type_=BigInteger)
_SAMPLE = 10  # broken rows that are named


@lru_cache
def audit_rows(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Count the next rows by id, how many of them break each promise, and where they end."""
    part = _part(table, of_queue=of_queue)
    counted = [
        func.count().filter(broken).label(name) for name, broken in _broken(part, dialect).items()
    ]
    statuses = [
        func.count().filter(part.c.status == status).label(f"rows_{name}")
        for name, status in (("available", AVAILABLE), ("claimed", CLAIMED), ("consumed", CONSUMED))
    ]
    return select(
        func.count().label("rows"), func.max(part.c.id).label("last"), *statuses, *counted
    )


@lru_cache
def broken_rows(table: Table, dialect: Dialect, *, promise: str, of_queue: bool) -> Statement:
    """Return a few of the next rows that break a promise."""
    part = _part(table, of_queue=of_queue)
    broken = _broken(part, dialect)[promise]
    return select(part.c.id, part.c.queue).where(broken).order_by(part.c.id).limit(_SAMPLE)


@lru_cache
def repeated_keys(table: Table, _dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return a few unique keys that more than one message of a queue has."""
    return (
        select(table.c.origin_queue.label("queue"), func.min(table.c.id).label("id"))
        .where(table.c.unique_key.is_not(None), *_chosen(table, of_queue=of_queue))
        .group_by(table.c.origin_queue, table.c.unique_key)
        .having(func.count() > literal_column("1", Integer))
        .limit(_SAMPLE)
    )


@lru_cache
def repeated_tokens(table: Table, _dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return a few tokens that more than one claim has."""
    return (
        select(func.min(table.c.queue).label("queue"), func.min(table.c.id).label("id"))
        .where(table.c.claim_expires_at.is_not(None), *_chosen(table, of_queue=of_queue))
        .group_by(table.c.claim_token)
        .having(func.count() > literal_column("1", Integer))
        .limit(_SAMPLE)
    )


@lru_cache
def nth_newest(table: Table, _dialect: Dialect) -> Statement:
    """Return the id of the message that as many as the limit are newer than."""
    return select(table.c.id).order_by(table.c.id.desc()).limit(1).offset(LIMIT)


def _part(table: Table, *, of_queue: bool) -> Subquery:
    rows = select(*table.c).where(*_chosen(table, of_queue=of_queue))
    return rows.order_by(table.c.id).limit(LIMIT).subquery("part")


def _chosen(table: Table, *, of_queue: bool) -> Iterator[ColumnElement[bool]]:
    yield table.c.id > _AFTER
    if of_queue:
        yield or_(table.c.queue == QUEUE, table.c.origin_queue == QUEUE)


def _broken(part: Subquery, dialect: Dialect) -> dict[str, ColumnElement[bool]]:
    column = part.c
    broken: dict[str, ColumnElement[bool]] = {
        name: literal_column(f"({condition}) IS FALSE", Boolean)
        for name, condition in PROMISES.items()
    }
    now = dialect.now()
    broken[IN_THE_PAST] = or_(
        column.created_at > now, column.claimed_at > now, column.consumed_at > now
    )
    if dialect is SQLITE:  # PostgreSQL's jsonb is JSON whatever happens
        broken[READABLE] = or_(_is_no_json(column.payload), _is_no_json(column.headers))
    return broken


def _is_no_json(column: ColumnElement[object]) -> ColumnElement[bool]:
    valid: ColumnElement[int] = func.json_valid(column, type_=Integer)
    return case((valid == literal_column("1", Integer), literal_column("0")), else_=1) == 1


__all__ = [
    "IN_THE_PAST",
    "PROMISES",
    "READABLE",
    "audit_rows",
    "broken_rows",
    "nth_newest",
    "repeated_keys",
    "repeated_tokens",
]
