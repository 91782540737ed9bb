"""Give back lapsed claims, move dead letters, delete what was consumed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Select,
    Table,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect, seconds_parameter
from xclaim.sql.statements.failing import after_pause, lapsed, or_dead
from xclaim.sql.statements.letters import EVERY_LETTER, Letters, dead_letters_of
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    ID,
    KEY,
    LIMIT,
    QUEUE,
    ZERO,
    Statement,
    freed,
    notified,
)


@lru_cache
def expire_others(table: Table, dialect: Dialect) -> Statement:
    """Give back lapsed claims but for those of a claim key, which takes them back itself."""
    return expire(table, dialect, spares_key=True)


@lru_cache
def expire(table: Table, dialect: Dialect, *, spares_key: bool = False) -> Statement:
    """Give back lapsed claims, after a pause that began with the claim, or as dead letters.

    Locks and re-checks in one statement: a claim that is acked or extended meanwhile is left alone.
    The check stands in the locking SELECT only: repeated in the UPDATE, it made the planner walk
    the expiry index instead of the primary key.
    """
    error = literal_column("'lease expired, claimed by '", Text).concat(table.c.claimed_by)
    held = table.alias("held")
    overdue = (
        select(held.c.id)
        .where(held.c.queue == QUEUE, held.c.claim_expires_at <= dialect.now())
        .order_by(held.c.claim_expires_at)
        .limit(LIMIT)
    )
    if spares_key:
        overdue = overdue.where(held.c.claim_key.is_distinct_from(KEY))
    overdue_ids = dialect.materialized(dialect.locked(overdue), "lapsed")
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(overdue_ids.c.id)), table.c.status == CLAIMED)
        .values(
            **freed()
            | or_dead(table, after_pause(table, dialect, table.c.claimed_at), dialect)
            | lapsed(table, dialect, error, literal_column("'LeaseExpired'", Text))
        )
        # Not the error, which not all who expire may read.
        .returning(table.c.id, table.c.queue, table.c.attempts, table.c.available_at)
    )


@lru_cache
def redrive(
    table: Table, dialect: Dialect, *, which: Letters = EVERY_LETTER, notifies: bool = False
) -> Statement:
    """Move dead letters to a queue, the next one first, available now and with no attempts used."""
    chosen = dead_letters_of(table.alias("letter"), dialect, which)
    dead = dialect.materialized(dialect.locked(chosen), "dead")
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(dead.c.id)), table.c.status == AVAILABLE)
        .values(queue=QUEUE, attempts=ZERO, available_at=dialect.now(), claim_key=null())
        .returning(table.c.id, *([notified()] if notifies else []))
    )


@lru_cache
def redrivable(table: Table, dialect: Dialect, *, which: Letters = EVERY_LETTER) -> Statement:
    """Count the dead letters that ``redrive`` would move."""
    return _counted(dead_letters_of(table.alias("letter"), dialect, which))


@lru_cache
def letters(table: Table, dialect: Dialect, *, which: Letters) -> Statement:
    """Return the ids of the dead letters that ``redrive`` would move."""
    return dead_letters_of(table.alias("letter"), dialect, which)


@lru_cache
def prune(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Delete some messages that were consumed so long ago, the oldest first.

    Without the order PostgreSQL reads the table from its begin, batch for batch. ``objects``: say
    where their payloads were stored.
    """
    pruned = dialect.materialized(dialect.locked(_old(table.alias("old"), dialect)), "pruned")
    return (
        delete(table)
        .where(dialect.in_subquery(table.c.id, select(pruned.c.id)))
        .where(table.c.status == CONSUMED)
        .returning(table.c.id, *([_uri(table, dialect)] if objects else []))
    )


@lru_cache
def prunable(table: Table, dialect: Dialect) -> Statement:
    """Count the messages that ``prune`` would delete."""
    return _counted(_old(table.alias("old"), dialect))


def _old(old: FromClause, dialect: Dialect) -> Select[Any]:
    age: ColumnElement[Any] = seconds_parameter("age_seconds")
    return (
        select(old.c.id)
        .where(old.c.queue == QUEUE)
        .where(old.c.consumed_at <= dialect.from_now(-cast(age, Float)))
        .order_by(old.c.consumed_at)
        .limit(LIMIT)
    )


def _counted(ids: Select[Any]) -> Statement:
    return select(func.count().label("messages")).select_from(ids.subquery("chosen"))


@lru_cache
def withdraw_by_id(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Delete the messages with these ids that nobody has claimed, also dead letters."""
    ids = select(dialect.rows(id=BigInteger()).c.id)
    return (
        delete(table)
        .where(dialect.in_subquery(table.c.id, ids))
        .where(or_(table.c.origin_queue == QUEUE, table.c.queue == QUEUE))
        .where(table.c.status == AVAILABLE)
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
