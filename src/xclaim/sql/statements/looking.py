"""Look without changing anything."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnClause,
    ColumnElement,
    Float,
    Integer,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    exists,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy import table as lightweight_table
from sqlalchemy.sql.selectable import FromClause, ScalarSelect

from xclaim.sql.dialects import Dialect, UtcTimestamp, seconds_parameter
from xclaim.sql.revision import qualified
from xclaim.sql.schema import TURN_NAME, VIEW_NAME
from xclaim.sql.statements.failing import is_exhausted
from xclaim.sql.statements.order import newest_per_level, next_ids
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMANT,
    CLAIMED,
    DEAD,
    ID,
    KEY,
    LIMIT,
    QUEUE,
    ZERO,
    Statement,
    message_columns,
)
from xclaim.sql.statements.pausing import is_paused

HOLDER_COLUMNS = (
    "id",
    "queue",
    "claimed_by",
    "attempts",
    "claimed_at",
    "claim_expires_at",
    "claim_key",
    "last_error_class",
)


@lru_cache
def peek(table: Table, dialect: Dialect, *, ids_only: bool = False) -> Statement:
    """Return the messages that would be claimed next, without claiming them.

    ``ids_only``: for those who wait for one to claim. Of a paused queue there is none.
    """
    ids = next_ids(table, dialect, limit=LIMIT, is_closed=is_paused(table) if ids_only else None)
    upcoming = dialect.materialized(ids, "upcoming")
    return (
        select(*([table.c.id] if ids_only else message_columns(table, dialect)))
        .where(dialect.in_subquery(table.c.id, select(upcoming.c.id)))
        .order_by(table.c.priority.desc(), table.c.available_at, table.c.id)
    )


@lru_cache
def newest(table: Table, dialect: Dialect) -> Statement:
    """Return when the newest of the messages that can be claimed now became available."""
    per_level = newest_per_level(table, dialect, is_closed=is_paused(table))
    level = per_level.subquery("newest")
    return select(dialect.readable(func.max(level.c.available_at).label("available_at")))


@lru_cache
def clock(_table: Table, dialect: Dialect) -> Statement:
    """Return the time of the database, under the name of a column that is read as a time."""
    return select(dialect.now().label("available_at"))


@lru_cache
def get(table: Table, dialect: Dialect) -> Select[Any]:
    """Return the message if it is in the queue or was pushed to it."""
    return select(*message_columns(table, dialect)).where(
        table.c.id == ID, or_(table.c.queue == QUEUE, table.c.origin_queue == QUEUE)
    )


@lru_cache
def failures(table: Table, dialect: Dialect) -> Statement:
    """Return what failed attempts at the message have left."""
    return select(dialect.readable(table.c.failures)).where(
        table.c.id == ID, or_(table.c.queue == QUEUE, table.c.origin_queue == QUEUE)
    )


@lru_cache
def spent(table: Table, dialect: Dialect) -> Statement:
    """Return what earlier attempts of the same claim key have used up: dead, or about to be.

    The last ``LIMIT`` of them, by the partial index on the claim key.
    """
    is_dead = and_(table.c.queue == DEAD, table.c.status == AVAILABLE)
    is_dying = and_(
        table.c.queue == QUEUE,
        table.c.status == CLAIMED,
        table.c.claimed_by != CLAIMANT,
        is_exhausted(table),
    )
    return (
        select(*message_columns(table, dialect))
        .where(table.c.claim_key == KEY, or_(is_dead, is_dying))
        .order_by(table.c.id.desc())
        .limit(LIMIT)
    )


@lru_cache
def get_many(table: Table, dialect: Dialect) -> Statement:
    """Return the messages with these ids, whatever their queue."""
    ids = select(dialect.rows(id=BigInteger()).c.id)
    return select(*message_columns(table, dialect)).where(dialect.in_subquery(table.c.id, ids))


@lru_cache
def find(table: Table, dialect: Dialect) -> Statement:
    """Return the messages that were pushed to the queue under these unique keys."""
    keys = select(dialect.rows(unique_key=Text()).c.unique_key)
    return select(*message_columns(table, dialect)).where(
        table.c.origin_queue == QUEUE, dialect.in_subquery(table.c.unique_key, keys)
    )


@lru_cache
def counts(table: Table, dialect: Dialect) -> Statement:
    """Count the messages of the queue, and of its dead-letter queue, by state.

    A question for each partial index, because there is none on the queue alone. Who stands in line
    is counted where ordering keys are enabled: elsewhere nobody does, and no index would tell.
    """
    here = table.c.queue.in_([QUEUE, DEAD])
    is_dead = and_(table.c.queue == DEAD, table.c.queue != QUEUE)
    due = table.c.available_at <= dialect.now()
    is_claimed = (table.c.status == CLAIMED, table.c.claim_expires_at.is_not(None))
    stands = (table.c.available_at.is_(None), table.c.ordering_key.is_not(None))
    in_line = _number(table, here, table.c.status == AVAILABLE, *stands)
    has_lines = dialect.has_index(qualified(TURN_NAME, table.schema))
    return (
        select(
            func.count().filter(~is_dead, due).label("available"),
            func.count().filter(~is_dead, ~due).label("delayed"),
            _number(table, here, *is_claimed).label("claimed"),
            _number(table, here, table.c.consumed_at.is_not(None)).label("consumed"),
            func.count().filter(is_dead).label("dead_letters"),
            case((has_lines, in_line), else_=ZERO).label("in_line"),
        )
        .select_from(table)
        .where(here, table.c.status == AVAILABLE, dialect.is_present(table.c.available_at))
    )


def _number(table: Table, *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """Return how many messages there are of which all of this is true."""
    counted = select(func.count()).select_from(table).where(*conditions)
    return counted.correlate(None).scalar_subquery()


@lru_cache
def queue_stats(table: Table, dialect: Dialect) -> Statement:
    """Return the lines of the view for people, by name of queue; ages in seconds."""
    names = ("available", "delayed", "claimed", "consumed", "dead_letters", "in_line")
    ages = ("oldest_available_age", "oldest_claim_age")
    columns: list[ColumnClause[Any]] = [
        column("queue", Text),
        *[column(name) for name in (*names, *ages, "retrying")],
        column("head_attempts", Integer),
        column("next_try_at", UtcTimestamp),
    ]
    view = lightweight_table(VIEW_NAME, *columns, schema=table.schema)
    shown = [
        dialect.age(each).label(each.name) if each.name in ages else dialect.readable(each)
        for each in view.c
    ]
    return select(*shown).order_by(view.c.queue)


@lru_cache
def is_known(table: Table, dialect: Dialect) -> Statement:
    """Return whether the queue, or its dead-letter queue, has a message, whatever its status.

    A question for each partial index, because there is none on the queue alone.
    """
    here = table.c.queue.in_([QUEUE, DEAD])
    states = (
        and_(table.c.status == AVAILABLE, dialect.is_present(table.c.available_at)),
        table.c.claim_expires_at.is_not(None),
        table.c.consumed_at.is_not(None),
    )
    found = [exists(select(table.c.id).where(here, state)) for state in states]
    return select(or_(*found).label("is_known"))


@lru_cache
def failing_messages(table: Table, dialect: Dialect) -> Statement:
    """Return the messages of the queue that failed and are tried again, the next try first."""
    return (
        select(*message_columns(table, dialect))
        .where(table.c.queue == QUEUE, table.c.status == AVAILABLE)
        .where(dialect.is_present(table.c.available_at), table.c.attempts > ZERO)
        .order_by(table.c.available_at, table.c.id)
        .limit(LIMIT)
    )


@lru_cache
def failing_queues(table: Table, dialect: Dialect) -> Statement:
    """Count by queue and class of the last error what is tried again. It reads the claim index."""
    is_waiting = (table.c.status == AVAILABLE, dialect.is_present(table.c.available_at))
    return failing_queues_among(table, dialect).where(*is_waiting, ~_is_dead(table))


def failing_queues_among(row: FromClause, dialect: Dialect) -> Select[Any]:
    """Count by queue and class of the last error what has been tried among waiting messages."""
    return (
        select(
            dialect.readable(row.c.queue),
            dialect.readable(row.c.last_error_class),
            func.count().label("messages"),
            dialect.readable(func.min(row.c.available_at).label("available_at")),
            dialect.readable(func.max(row.c.attempts).label("attempts")),
        )
        .where(row.c.attempts > ZERO)
        .group_by(row.c.queue, row.c.last_error_class)
        .order_by(row.c.queue, func.count().desc())
    )


@lru_cache
def holders(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return who holds what, the longest held first: neither payloads nor tokens."""
    lapsed = (table.c.claim_expires_at <= dialect.now()).label("is_lapsed")
    found = (
        select(*[dialect.readable(table.c[name]) for name in HOLDER_COLUMNS], lapsed)
        .where(table.c.claim_expires_at.is_not(None))
        .order_by(table.c.claimed_at, table.c.id)
        .limit(LIMIT)
    )
    return found.where(table.c.queue.in_([QUEUE, DEAD])) if of_queue else found


@lru_cache
def receipt(table: Table, dialect: Dialect) -> Statement:
    """Return the message with the token of the claim that is on it now, NULL if there is none."""
    return get(table, dialect).add_columns(dialect.readable(table.c.claim_token))


@lru_cache
def stuck_claims(table: Table, dialect: Dialect) -> Statement:
    """Count by queue the claims whose lease ran out a while ago, and those held for very long."""
    return stuck_claims_among(table, dialect).where(table.c.claim_expires_at.is_not(None))


def stuck_claims_among(row: FromClause, dialect: Dialect) -> Select[Any]:
    """Count by queue what is stuck among claims."""
    seconds = seconds_parameter("lapsed_seconds")
    held = seconds_parameter("held_seconds")
    lapsed = row.c.claim_expires_at <= dialect.from_now(-cast(seconds, Float))
    return (
        select(
            dialect.readable(row.c.queue),
            func.count().filter(lapsed).label("lapsed"),
            func.count()
            .filter(row.c.claimed_at <= dialect.from_now(-cast(held, Float)))
            .label("held_long"),
        )
        .group_by(row.c.queue)
        .order_by(row.c.queue)
    )


@lru_cache
def reads_errors(_table: Table, _dialect: Dialect) -> Statement:
    """Return whether the role may read the texts of errors (PostgreSQL only)."""
    name = bindparam("message_table", type_=Text)
    texts = (literal_column("'last_error'", Text), literal_column("'SELECT'", Text))
    return select(func.has_column_privilege(name, *texts).label("is_allowed"))


@lru_cache
def may_delete(_table: Table, _dialect: Dialect) -> Statement:
    """Return whether the role may delete from the table by itself (PostgreSQL only)."""
    name = bindparam("message_table", type_=Text)
    right: ColumnElement[str] = literal_column("'DELETE'", Text)
    return select(func.has_table_privilege(name, right).label("is_allowed"))


@lru_cache
def dead_letters(table: Table, dialect: Dialect) -> Statement:
    """Count the dead letters by queue and class of error. It reads the claim index to its end."""
    is_waiting = (table.c.status == AVAILABLE, dialect.is_present(table.c.available_at))
    return dead_letters_among(table, dialect).where(*is_waiting, _is_dead(table))


def dead_letters_among(row: FromClause, dialect: Dialect) -> Select[Any]:
    """Count dead letters by queue and class of error."""
    return (
        select(
            dialect.readable(row.c.queue),
            dialect.readable(row.c.last_error_class),
            func.count().label("letters"),
        )
        .group_by(row.c.queue, row.c.last_error_class)
        .order_by(row.c.queue, func.count().desc())
    )


def _is_dead(table: Table) -> ColumnElement[bool]:
    return table.c.queue.like(literal_column("'%.dead'", Text))
