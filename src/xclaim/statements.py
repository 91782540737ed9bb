"""Every SQL statement of the verbs: pure functions of the table and the dialect.

One statement, one promise. They are built once and cached; what each database receives stands in
docs/sql. Statuses are literals: a generic plan cannot use a partial index for ``status = $1``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Float,
    Integer,
    Select,
    SmallInteger,
    Table,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy import table as lightweight_table
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql.selectable import FromClause, TypedReturnsRows

from xclaim.dialects import POSTGRESQL, CrossJoin, Dialect, seconds_parameter
from xclaim.schema import VIEW_NAME

Statement = TypedReturnsRows[*tuple[Any, ...]]

_AVAILABLE: ColumnElement[str] = literal_column("'available'", Text)
_CLAIMED: ColumnElement[str] = literal_column("'claimed'", Text)
_CONSUMED: ColumnElement[str] = literal_column("'consumed'", Text)
_ONE: ColumnElement[int] = literal_column("1", Integer)
_ZERO: ColumnElement[int] = literal_column("0", Integer)

_QUEUE = bindparam("queue_name", type_=Text)
_DEAD = bindparam("dead_letter_queue", type_=Text)
_LIMIT = bindparam("message_limit", type_=Integer)
_ID = bindparam("message_id", type_=BigInteger)
_TOKEN = bindparam("token", type_=Uuid)
_ERROR = bindparam("error", type_=Text)
_LEASE = seconds_parameter("lease_seconds")
_DELAY = seconds_parameter("delay_seconds")

_CLAIM_COLUMNS = ("claimed_at", "claim_expires_at", "claimed_by", "claim_key", "claim_token")


def message_columns(table: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns of a Message, in its order of fields; the token stays out."""
    return [column for column in table.c if column.name != "claim_token"]


# --- push ---------------------------------------------------------------------------------------


@lru_cache
def push(table: Table, dialect: Dialect) -> Statement:
    """Insert the payloads in their order."""
    item = dialect.rows(payload=Text())
    names, values = _pushed(item, dialect, unique_key=null())
    rows = select(*values).order_by(item.c.position)
    return insert(table).from_select(names, rows).returning(*message_columns(table))


@lru_cache
def push_once(table: Table, dialect: Dialect) -> Statement:
    """Insert the payloads whose unique key is new and return those that are already there.

    The last column, ``is_same``, is false where the key is taken by another payload; then nothing
    is inserted at all.
    """
    if dialect is POSTGRESQL:
        return _push_once_postgresql(table, dialect)
    return _push_once_sqlite(table, dialect)


def _push_once_postgresql(table: Table, dialect: Dialect) -> Statement:
    # What is there already is only read, so that a repeated push writes nothing.
    item = dialect.rows(payload=Text(), unique_key=Text())
    incoming = dialect.materialized(
        select(
            dialect.json(item.c.payload).label("payload"),
            item.c.unique_key,
            literal_column("item.position").label("position"),
        ),
        "incoming",
    )
    taken = table.alias("taken")
    is_same = (taken.c.payload == incoming.c.payload).label("is_same")
    existing = dialect.materialized(
        select(*message_columns(taken), is_same).join_from(
            incoming,
            taken,
            and_(taken.c.origin_queue == _QUEUE, taken.c.unique_key == incoming.c.unique_key),
        ),
        "existing",
    )
    targets, values = _pushed(
        incoming, dialect, unique_key=incoming.c.unique_key, payload=incoming.c.payload
    )
    fresh = (
        select(*values)
        .where(~exists(select(existing.c.id).where(~existing.c.is_same)))
        .where(~exists(select(existing.c.id).where(existing.c.unique_key == incoming.c.unique_key)))
        .order_by(incoming.c.position)
    )
    pushed = (
        _refuse_other_payload(postgresql_insert(table).from_select(targets, fresh), table)
        .returning(*message_columns(table))
        .cte("pushed")
    )
    names = [column.name for column in message_columns(table)]
    return union_all(
        select(*[existing.c[name] for name in names], existing.c.is_same),
        select(*[pushed.c[name] for name in names], true().label("is_same")),
    )


def _push_once_sqlite(table: Table, dialect: Dialect) -> Statement:
    item = dialect.rows(payload=Text(), unique_key=Text())
    names, values = _pushed(item, dialect, unique_key=item.c.unique_key)
    # WHERE true: without it SQLite reads ON CONFLICT as the ON of a join.
    rows = select(*values).where(true()).order_by(item.c.position)
    pushed = _refuse_other_payload(sqlite_insert(table).from_select(names, rows), table)
    is_same: ColumnElement[Any] = literal_column("1").label("is_same")
    statement: Statement = pushed.returning(*message_columns(table), is_same)
    return statement


def _refuse_other_payload(statement: Any, table: Table) -> Any:
    # A key that appears meanwhile: an equal payload is returned as it is, another one breaks the
    # CHECK on attempts, and with it the whole statement.
    return statement.on_conflict_do_update(
        index_elements=[table.c.origin_queue, table.c.unique_key],
        index_where=table.c.unique_key.is_not(None),
        set_={
            "attempts": case(
                (table.c.payload == statement.excluded.payload, table.c.attempts),
                else_=literal_column("-1"),
            )
        },
    )


def _pushed(
    item: FromClause,
    dialect: Dialect,
    *,
    unique_key: ColumnElement[Any],
    payload: ColumnElement[Any] | None = None,
) -> tuple[list[str], list[ColumnElement[Any]]]:
    values: dict[str, ColumnElement[Any]] = {
        "queue": _QUEUE,
        "origin_queue": _QUEUE,
        "priority": bindparam("message_priority", type_=SmallInteger),
        "payload": dialect.json(item.c.payload) if payload is None else payload,
        "headers": dialect.json(bindparam("message_headers", type_=Text)),
        "unique_key": cast(unique_key, Text),
        "max_attempts": bindparam("attempts_limit", type_=Integer),
        "created_at": dialect.now(),
        "available_at": dialect.from_now(_DELAY),
    }
    return list(values), [value.label(name) for name, value in values.items()]


@lru_cache
def clashing_keys(table: Table, dialect: Dialect) -> Statement:
    """Return the unique keys that are taken by another payload."""
    item = dialect.rows(payload=Text(), unique_key=Text())
    return select(table.c.unique_key).join_from(
        item,
        table,
        and_(
            table.c.origin_queue == _QUEUE,
            table.c.unique_key == item.c.unique_key,
            table.c.payload != dialect.json(item.c.payload),
        ),
    )


# --- claim --------------------------------------------------------------------------------------


@lru_cache
def claim(table: Table, dialect: Dialect) -> Statement:
    """Claim the next messages: highest priority, then longest available, then lowest id."""
    candidate = dialect.materialized(_next(table, dialect, lock=True), "candidate")
    return _take(table, dialect, select(candidate.c.id), table.c.status == _AVAILABLE)


@lru_cache
def claim_again(table: Table, dialect: Dialect) -> Statement:
    """Take back what an earlier attempt of the same claim key holds; only if nothing, claim anew.

    An exhausted message is not taken back: it is left for ``expire`` to dead-letter.
    """
    held = table.alias("held")
    resumable = dialect.materialized(
        dialect.locked(
            select(held.c.id)
            .where(held.c.claim_key == bindparam("key", type_=Text))
            .where(held.c.queue == _QUEUE, held.c.status == _CLAIMED)
            .where(held.c.claimed_by != bindparam("claimant", type_=Text))
            .where(or_(held.c.max_attempts.is_(None), held.c.attempts < held.c.max_attempts))
            .order_by(held.c.id)
            .limit(_LIMIT)
        ),
        "resumable",
    )
    candidate = dialect.materialized(
        _next(table, dialect, lock=True, unless=exists(select(resumable.c.id))), "candidate"
    )
    taken = union_all(select(resumable.c.id), select(candidate.c.id)).subquery("taken")
    return _take(table, dialect, select(taken.c.id), table.c.status != _CONSUMED)


def _take(
    table: Table, dialect: Dialect, ids: Select[Any], guard: ColumnElement[bool]
) -> Statement:
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, ids), guard)
        .values(
            status=_CLAIMED,
            attempts=table.c.attempts + _ONE,
            claimed_at=dialect.now(),
            claim_expires_at=dialect.from_now(_LEASE),
            claimed_by=bindparam("claimant", type_=Text),
            claim_key=bindparam("key", type_=Text),
            claim_token=dialect.new_token(),
        )
        .returning(*message_columns(table), table.c.claim_token)
    )


def _next(
    table: Table,
    dialect: Dialect,
    *,
    lock: bool = False,
    unless: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """Return the ids that come next, one index range per priority.

    A recursive CTE finds each priority in use by one index descent (a loose index scan,
    https://wiki.postgresql.org/wiki/Loose_indexscan). Within one, the index holds the claimable
    messages first and the delayed ones behind them, which are never read.
    """
    level = _levels(table, dialect)
    waiting = table.alias("waiting")
    of_level = (
        select(waiting.c.id)
        .where(waiting.c.queue == _QUEUE, waiting.c.status == _AVAILABLE)
        .where(waiting.c.priority == level.c.priority)
        .where(waiting.c.available_at <= dialect.now())
    )
    if unless is not None:
        of_level = of_level.where(~unless)
    if not dialect.has_lateral:
        # No ORDER BY: it would sort all that is claimable, and a cross join reads in index order.
        return of_level.select_from(CrossJoin(level, waiting)).limit(_LIMIT)
    of_level = of_level.order_by(waiting.c.available_at, waiting.c.id).limit(_LIMIT)
    picked = (dialect.locked(of_level) if lock else of_level).lateral("picked")
    return select(picked.c.id).select_from(CrossJoin(level, picked)).limit(_LIMIT)


def _levels(table: Table, dialect: Dialect) -> CTE:
    def highest(alias: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[int]:
        return (
            select(alias.c.priority)
            .where(alias.c.queue == _QUEUE, alias.c.status == _AVAILABLE)
            .where(dialect.is_present(alias.c.available_at), *conditions)
            .order_by(alias.c.priority.desc())
            .limit(_ONE)
            .scalar_subquery()
        )

    level = select(highest(table.alias("top")).label("priority")).cte("level", recursive=True)
    lower = table.alias("lower")
    return level.union_all(
        select(highest(lower, lower.c.priority < level.c.priority)).where(
            level.c.priority.is_not(None)
        )
    )


# --- settle a claim -----------------------------------------------------------------------------


@lru_cache
def ack(table: Table, dialect: Dialect) -> Statement:
    """Consume the claimed message. By the primary key, so that no partial index is walked."""
    return _consume(table, dialect).where(_held(table)).returning(table.c.id)


@lru_cache
def ack_many(table: Table, dialect: Dialect) -> Statement:
    """Consume each claimed message that is still held, and return their ids."""
    item = dialect.rows(id=BigInteger(), token=Uuid())
    return (
        _consume(table, dialect)
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .returning(table.c.id)
    )


def _consume(table: Table, dialect: Dialect) -> Update:
    return update(table).values(
        status=_CONSUMED,
        consumed_at=dialect.now(),
        consumed_by=table.c.claimed_by,
        claim_expires_at=null(),
        claimed_by=null(),
        claim_key=null(),
        claim_token=null(),
    )


@lru_cache
def release(table: Table, dialect: Dialect, *, delayed: bool, counted: bool) -> Statement:
    """Make the claimed message available again, or a dead letter if its attempts are used up.

    It keeps its place in the queue unless delayed; not counted, the attempt is taken back.
    """
    exhausted = _is_exhausted(table) if counted else ~true()
    return (
        update(table)
        .where(_held(table))
        .values(
            **_freed(),
            queue=case((exhausted, _DEAD), else_=table.c.queue) if counted else table.c.queue,
            available_at=dialect.from_now(_DELAY) if delayed else table.c.available_at,
            attempts=table.c.attempts if counted else table.c.attempts - _ONE,
            last_error=_ERROR,
        )
        .returning(*message_columns(table))
    )


@lru_cache
def extend(table: Table, dialect: Dialect) -> Statement:
    """Set the end of the lease, counted from now."""
    return (
        update(table)
        .where(_held(table))
        .values(claim_expires_at=dialect.from_now(_LEASE))
        .returning(table.c.claim_expires_at)
    )


@lru_cache
def extend_many(table: Table, dialect: Dialect) -> Statement:
    """Set the end of the lease of each claim that is still held, and return their ids."""
    item = dialect.rows(id=BigInteger(), token=Uuid())
    return (
        update(table)
        .where(table.c.id == item.c.id, table.c.claim_token == item.c.token)
        .values(claim_expires_at=dialect.from_now(_LEASE))
        .returning(table.c.id)
    )


def _held(table: Table) -> ColumnElement[bool]:
    return and_(table.c.id == _ID, table.c.claim_token == _TOKEN)


def _is_exhausted(table: Table) -> ColumnElement[bool]:
    return table.c.attempts >= table.c.max_attempts


def _freed() -> dict[str, ColumnElement[Any]]:
    return {"status": _AVAILABLE, **{name: null() for name in _CLAIM_COLUMNS}}


# --- upkeep -------------------------------------------------------------------------------------


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
        .where(held.c.queue == _QUEUE, held.c.claim_expires_at <= dialect.now())
        .order_by(held.c.claim_expires_at)
        .limit(_LIMIT)
    )
    if spares_key:
        overdue = overdue.where(held.c.claim_key.is_distinct_from(bindparam("key", type_=Text)))
    lapsed = dialect.materialized(dialect.locked(overdue), "lapsed")
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(lapsed.c.id)), table.c.status == _CLAIMED)
        .values(
            **_freed(),
            queue=case((_is_exhausted(table), _DEAD), else_=table.c.queue),
            last_error=literal_column("'lease expired, claimed by '", Text).concat(
                table.c.claimed_by
            ),
        )
        .returning(table.c.id)
    )


@lru_cache
def redrive(table: Table, dialect: Dialect) -> Statement:
    """Move dead letters to a queue, the next one first, available now and with no attempts used."""
    letter = table.alias("letter")
    dead = dialect.materialized(
        dialect.locked(
            select(letter.c.id)
            .where(letter.c.queue == _DEAD, letter.c.status == _AVAILABLE)
            .where(dialect.is_present(letter.c.available_at))
            .order_by(letter.c.priority.desc(), letter.c.available_at, letter.c.id)
            .limit(_LIMIT)
        ),
        "dead",
    )
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(dead.c.id)), table.c.status == _AVAILABLE)
        .values(queue=_QUEUE, attempts=_ZERO, available_at=dialect.now())
        .returning(table.c.id)
    )


@lru_cache
def prune(table: Table, dialect: Dialect) -> Statement:
    """Delete some consumed messages that were consumed so long ago."""
    old = table.alias("old")
    age: ColumnElement[Any] = seconds_parameter("age_seconds")
    pruned = dialect.materialized(
        dialect.locked(
            select(old.c.id)
            .where(old.c.queue.in_([_QUEUE, _DEAD]))
            .where(old.c.consumed_at <= dialect.from_now(-cast(age, Float)))
            .limit(_LIMIT)
        ),
        "pruned",
    )
    return (
        delete(table)
        .where(dialect.in_subquery(table.c.id, select(pruned.c.id)))
        .where(table.c.status == _CONSUMED)
        .returning(table.c.id)
    )


# --- look ---------------------------------------------------------------------------------------


@lru_cache
def peek(table: Table, dialect: Dialect) -> Statement:
    """Return the messages that would be claimed next, without claiming them."""
    upcoming = dialect.materialized(_next(table, dialect), "upcoming")
    return (
        select(*message_columns(table))
        .where(dialect.in_subquery(table.c.id, select(upcoming.c.id)))
        .order_by(table.c.priority.desc(), table.c.available_at, table.c.id)
    )


@lru_cache
def get(table: Table, _dialect: Dialect) -> Statement:
    """Return the message if it is in the queue or was pushed to it."""
    return select(*message_columns(table)).where(
        table.c.id == _ID, or_(table.c.queue == _QUEUE, table.c.origin_queue == _QUEUE)
    )


@lru_cache
def counts(table: Table, dialect: Dialect) -> Statement:
    """Count the messages of the queue, and of its dead-letter queue, by state."""
    is_dead = and_(table.c.queue == _DEAD, table.c.queue != _QUEUE)
    available = table.c.status == _AVAILABLE
    due = table.c.available_at <= dialect.now()
    states = {
        "available": and_(~is_dead, available, due),
        "delayed": and_(~is_dead, available, ~due),
        "claimed": table.c.status == _CLAIMED,
        "consumed": table.c.status == _CONSUMED,
        "dead_letters": and_(is_dead, available),
    }
    columns = [func.count().filter(state).label(name) for name, state in states.items()]
    return select(*columns).select_from(table).where(table.c.queue.in_([_QUEUE, _DEAD]))


@lru_cache
def queue_stats(schema: str | None) -> Statement:
    """Return the lines of the view for people, by name of queue."""
    names = ("available", "delayed", "claimed", "consumed", "dead_letters")
    ages = ("oldest_available_age", "oldest_claim_age")
    view = lightweight_table(
        VIEW_NAME, column("queue"), *[column(name) for name in (*names, *ages)], schema=schema
    )
    return select(view).order_by(view.c.queue)
