"""Give back lapsed claims, move dead letters, delete what was consumed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Table,
    Text,
    bindparam,
    case,
    cast,
    delete,
    literal_column,
    select,
    update,
)

from xclaim.sql.dialects import Dialect, seconds_parameter
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    DEAD,
    ID,
    LIMIT,
    QUEUE,
    ZERO,
    Statement,
    freed,
    is_exhausted,
    notified,
)


@lru_cache
def expire_others(table: Table, dialect: Dialect) -> Statement:
    """Give back lapsed claims but for those of a claim key, which takes them back itself."""
    return expire(table, dialect, spares_key=True)


@lru_cache
def expire(table: Table, dialect: Dialect, *, spares_key: bool = False) -> Statement:
    """Give back lapsed claims, at their old place, or as dead letters.

    Locks and re-checks in one statement: a claim that is acked or extended meanwhile is left alone.
    The check stands in the locking SELECT only: repeated in the UPDATE, it made the planner walk
    the expiry index instead of the primary key.
    """
    held = table.alias("held")
    overdue = (
        select(held.c.id)
        .where(held.c.queue == QUEUE, held.c.claim_expires_at <= dialect.now())
        .order_by(held.c.claim_expires_at)
        .limit(LIMIT)
    )
    if spares_key:
        overdue = overdue.where(held.c.claim_key.is_distinct_from(bindparam("key", type_=Text)))
    lapsed = dialect.materialized(dialect.locked(overdue), "lapsed")
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(lapsed.c.id)), table.c.status == CLAIMED)
        .values(
            **freed(),
            queue=case((is_exhausted(table), DEAD), else_=table.c.queue),
            last_error=literal_column("'lease expired, claimed by '", Text).concat(
                table.c.claimed_by
            ),
        )
        .returning(table.c.id)
    )


@lru_cache
def redrive(table: Table, dialect: Dialect, *, notifies: bool = False) -> Statement:
    """Move dead letters to a queue, the next one first, available now and with no attempts used."""
    letter = table.alias("letter")
    dead = dialect.materialized(
        dialect.locked(
            select(letter.c.id)
            .where(letter.c.queue == DEAD, letter.c.status == AVAILABLE)
            .where(dialect.is_present(letter.c.available_at))
            .order_by(letter.c.priority.desc(), letter.c.available_at, letter.c.id)
            .limit(LIMIT)
        ),
        "dead",
    )
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(dead.c.id)), table.c.status == AVAILABLE)
        .values(queue=QUEUE, attempts=ZERO, available_at=dialect.now())
        .returning(table.c.id, *([notified()] if notifies else []))
    )


@lru_cache
def prune(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Delete some messages that were consumed so long ago, the oldest first.

    Without the order PostgreSQL reads the table from its begin, batch for batch. ``objects``: say
    where their payloads were stored.
    """
    old = table.alias("old")
    age: ColumnElement[Any] = seconds_parameter("age_seconds")
    pruned = dialect.materialized(
        dialect.locked(
            select(old.c.id)
            .where(old.c.queue == QUEUE)
            .where(old.c.consumed_at <= dialect.from_now(-cast(age, Float)))
            .order_by(old.c.consumed_at)
            .limit(LIMIT)
        ),
        "pruned",
    )
    return (
        delete(table)
        .where(dialect.in_subquery(table.c.id, select(pruned.c.id)))
        .where(table.c.status == CONSUMED)
        .returning(table.c.id, *([_uri(table, dialect)] if objects else []))
    )


@lru_cache
def withdraw(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Delete the messages under these unique keys that nobody has claimed, also dead letters."""
    item = dialect.rows(unique_key=Text())
    keys = select(item.c.unique_key)
    return (
        delete(table)
        .where(table.c.origin_queue == QUEUE, dialect.in_subquery(table.c.unique_key, keys))
        .where(table.c.status == AVAILABLE)
        .returning(table.c.id, *([_uri(table, dialect)] if objects else []))
    )


def _uri(table: Table, dialect: Dialect) -> ColumnElement[Any]:
    # Only if asked for: it takes the right to read payloads.
    stored = dialect.field(table.c.payload, "uri")
    return case((table.c.codec.is_not(None), stored)).label("uri")


@lru_cache
def stored_objects(table: Table, dialect: Dialect) -> Statement:
    """Return which of the objects are those of a message.

    It reads the whole table: an index would cost every claim, and this is asked for thousands at
    once.
    """
    uris = select(dialect.rows(uri=Text()).c.uri)
    uri = dialect.field(table.c.payload, "uri")
    return select(uri.label("uri")).where(
        table.c.codec.is_not(None), dialect.in_subquery(uri, uris)
    )


@lru_cache
def encrypted(table: Table, dialect: Dialect) -> Statement:
    """Return messages whose payload is encrypted with another key, in the order of their ids."""
    key = dialect.field(table.c.payload, "key")
    return (
        select(table.c.id, table.c.status, table.c.origin_queue, table.c.codec, table.c.payload)
        .where(table.c.id > ID, table.c.codec.like(literal_column("'%fernet'")))
        .where(key != bindparam("key_id", type_=Text))
        .order_by(table.c.id)
        .limit(LIMIT)
    )


@lru_cache
def re_encrypt(table: Table, dialect: Dialect) -> Statement:
    """Replace an encrypted payload, unless it has changed, or somebody has claimed it to read it.

    A claim has what the row says, and reads it later.
    """
    before = dialect.json(bindparam("payload_before", type_=Text))
    return (
        update(table)
        .where(table.c.id == ID, table.c.payload == before, table.c.status != CLAIMED)
        .values(payload=dialect.json(bindparam("payload_after", type_=Text)))
        .returning(table.c.id)
    )
