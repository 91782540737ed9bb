"""Look without changing anything."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import (
    BigInteger,
    Float,
    Table,
    Text,
    and_,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy import table as lightweight_table

from xclaim.sql.dialects import Dialect, seconds_parameter
from xclaim.sql.schema import VIEW_NAME
from xclaim.sql.statements.order import newest_per_level, next_ids
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    DEAD,
    ID,
    LIMIT,
    QUEUE,
    Statement,
    message_columns,
)


@lru_cache
def peek(table: Table, dialect: Dialect) -> Statement:
    """Return the messages that would be claimed next, without claiming them."""
    upcoming = dialect.materialized(next_ids(table, dialect, limit=LIMIT), "upcoming")
    return (
        select(*message_columns(table))
        .where(dialect.in_subquery(table.c.id, select(upcoming.c.id)))
        .order_by(table.c.priority.desc(), table.c.available_at, table.c.id)
    )


@lru_cache
def newest(table: Table, dialect: Dialect) -> Statement:
    """Return when the newest of the messages that can be claimed now became available."""
    level = newest_per_level(table, dialect).subquery("newest")
    return select(func.max(level.c.available_at).label("available_at"))


@lru_cache
def get(table: Table, _dialect: Dialect) -> Statement:
    """Return the message if it is in the queue or was pushed to it."""
    return select(*message_columns(table)).where(
        table.c.id == ID, or_(table.c.queue == QUEUE, table.c.origin_queue == QUEUE)
    )


@lru_cache
def get_many(table: Table, dialect: Dialect) -> Statement:
    """Return the messages with these ids, whatever their queue."""
    ids = select(dialect.rows(id=BigInteger()).c.id)
    return select(*message_columns(table)).where(dialect.in_subquery(table.c.id, ids))


@lru_cache
def find(table: Table, dialect: Dialect) -> Statement:
    """Return the messages that were pushed to the queue under these unique keys."""
    keys = select(dialect.rows(unique_key=Text()).c.unique_key)
    return select(*message_columns(table)).where(
        table.c.origin_queue == QUEUE, dialect.in_subquery(table.c.unique_key, keys)
    )


@lru_cache
def counts(table: Table, dialect: Dialect) -> Statement:
    """Count the messages of the queue, and of its dead-letter queue, by state."""
    is_dead = and_(table.c.queue == DEAD, table.c.queue != QUEUE)
    available = table.c.status == AVAILABLE
    due = table.c.available_at <= dialect.now()
    states = {
        "available": and_(~is_dead, available, due),
        "delayed": and_(~is_dead, available, ~due),
        "claimed": table.c.status == CLAIMED,
        "consumed": table.c.status == CONSUMED,
        "dead_letters": and_(is_dead, available),
    }
    columns = [func.count().filter(state).label(name) for name, state in states.items()]
    return select(*columns).select_from(table).where(table.c.queue.in_([QUEUE, DEAD]))


@lru_cache
def queue_stats(schema: str | None) -> Statement:
    """Return the lines of the view for people, by name of queue."""
    names = ("available", "delayed", "claimed", "consumed", "dead_letters")
    ages = ("oldest_available_age", "oldest_claim_age")
    view = lightweight_table(
        VIEW_NAME, column("queue"), *[column(name) for name in (*names, *ages)], schema=schema
    )
    return select(view).order_by(view.c.queue)


@lru_cache
def stuck_claims(table: Table, dialect: Dialect) -> Statement:
    """Count by queue the claims whose lease ran out a while ago, and those held for very long."""
    seconds = seconds_parameter("lapsed_seconds")
    held = seconds_parameter("held_seconds")
    lapsed = table.c.claim_expires_at <= dialect.from_now(-cast(seconds, Float))
    return (
        select(
            table.c.queue,
            func.count().filter(lapsed).label("lapsed"),
            func.count()
            .filter(table.c.claimed_at <= dialect.from_now(-cast(held, Float)))
            .label("held_long"),
        )
        .where(table.c.claim_expires_at.is_not(None))
        .group_by(table.c.queue)
        .order_by(table.c.queue)
    )


@lru_cache
def dead_letters(table: Table, dialect: Dialect) -> Statement:
    """Count the dead letters by their queue. It reads the claim index from end to end."""
    return (
        select(table.c.queue, func.count().label("letters"))
        .where(table.c.status == AVAILABLE, dialect.is_present(table.c.available_at))
        .where(table.c.queue.like(literal_column("'%.dead'", Text)))
        .group_by(table.c.queue)
        .order_by(table.c.queue)
    )
