"""Give back lapsed claims, move dead letters, delete what was consumed."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
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
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import FromClause

from xclaim.message import LEASE_EXPIRED
from xclaim.sql.dialects import Dialect, seconds_parameter
from xclaim.sql.schema import DELETE_NAME, PASS_OWED_NAME
from xclaim.sql.statements.failing import after_pause, claimant, lapsed, or_dead
from xclaim.sql.statements.letters import EVERY_LETTER, Letters, dead_letters_of
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    ID,
    KEY,
    LIMIT,
    ONE,
    QUEUE,
    ZERO,
    Statement,
    can_change,
    freed,
    notifying,
    package,
)

_OF_AN_ENCRYPTED_ROW = ("status", "origin_queue", "unique_key", "codec", "payload")


@lru_cache
def expire_others(table: Table, dialect: Dialect) -> Statement:
    """Give back lapsed claims but for those of a claim key, which takes them back itself."""
    return expire(table, dialect, spares_key=True)


@lru_cache
def expire(table: Table, dialect: Dialect, *, spares_key: bool = False) -> Statement:
    """Give back lapsed claims, after a pause that began with the claim, or as dead letters.

    Locks and re-checks in one statement: a claim that is acked or extended meanwhile is left alone.
    The time is checked in the locking SELECT only: repeated in the UPDATE, it made the planner walk
    the expiry index instead of the primary key. The status is checked there as well: rows that got
    past a CHECK would fill the limit each time.
    """
    error = literal_column("'lease expired, claimed by '", Text).concat(claimant(table))
    overdue_ids = dialect.materialized(
        _first_lapsed(table, dialect, spares_key=spares_key).limit(LIMIT), "lapsed"
    )
    return (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(overdue_ids.c.id)), table.c.status == CLAIMED)
        .values(
            **freed()
            | or_dead(table, after_pause(table, dialect, table.c.claimed_at), dialect)
            | lapsed(table, dialect, error, literal_column(f"'{LEASE_EXPIRED}'", Text))
        )
        # Not the error, which not all who expire may read.
        .returning(
            table.c.id,
            *[dialect.readable(table.c[name]) for name in ("queue", "attempts", "available_at")],
        )
    )


@lru_cache
def any_lapsed(table: Table, dialect: Dialect) -> Statement:
    """Return a row if the queue may have lapsed claims: what is read first by a new process.

    PostgreSQL plans ``expire`` for milliseconds on a new connection, and who claims once claims on
    one. The order has it take the index, however few rows it expects. No value of the row is
    returned: a time by somebody else's hand may be one that Python has not.
    """
    ends_at = table.c.claim_expires_at
    return (
        select(ONE.label("may_have_lapsed"))
        .where(table.c.queue == QUEUE, ends_at <= dialect.now())
        .order_by(ends_at)
        .limit(ONE)
    )


def _first_lapsed(table: Table, dialect: Dialect, *, spares_key: bool) -> Select[Any]:
    """Return the ids of the claims that can be given back, the first to lapse first, locked.

    When many have lapsed since the table was analyzed PostgreSQL takes them for a few, and reads
    and sorts all of them for the first hundred. So it is told to find the ends of leases one by
    one, by a descent each, and for each the rows; both only until there are as many as wanted.
    Those that somebody else has locked are not counted: they may be more than are wanted.
    """
    held = table.alias("held")
    can_be_given_back = partial(_can_be_given_back, spares_key=spares_key)
    claims = select(held.c.id).where(held.c.queue == QUEUE, *can_be_given_back(held))
    if not dialect.has_lateral:
        overdue = claims.where(held.c.claim_expires_at <= dialect.now())
        return dialect.locked(overdue.order_by(held.c.claim_expires_at))
    first, later = table.alias("first_end"), table.alias("later_end")
    first_end = _first_end(first, dialect, *can_be_given_back(first))
    ends = select(first_end.label("ends_at")).cte("ends", recursive=True)
    is_later = later.c.claim_expires_at > ends.c.ends_at
    following = _first_end(later, dialect, is_later, *can_be_given_back(later))
    ends = ends.union_all(select(following).where(ends.c.ends_at.is_not(None)))
    of_end = claims.where(held.c.claim_expires_at == ends.c.ends_at).correlate(ends)
    each = dialect.locked(of_end).lateral("of_end")
    return select(each.c.id).select_from(ends.join(each, true()))


def _can_be_given_back(held: FromClause, *, spares_key: bool) -> list[ColumnElement[bool]]:
    conditions = [held.c.status == CLAIMED, can_change(held)]
    return [*conditions, held.c.claim_key.is_distinct_from(KEY)] if spares_key else conditions


def _first_end(
    alias: FromClause, dialect: Dialect, *conditions: ColumnElement[bool]
) -> ColumnElement[datetime]:
    return (
        select(alias.c.claim_expires_at)
        .where(alias.c.queue == QUEUE, alias.c.claim_expires_at <= dialect.now(), *conditions)
        .order_by(alias.c.claim_expires_at)
        .limit(ONE)
        .scalar_subquery()
    )


@lru_cache
def pass_owed(table: Table, _dialect: Dialect) -> Statement:
    """Pass turns of ordering keys on that could not be when their holders ended (PostgreSQL only).

    Producers were just writing behind them. Return how many were looked at. Only where ordering is
    enabled.
    """
    call = Function(PASS_OWED_NAME, QUEUE, type_=Integer, packagenames=package(table))
    return select(call.label("looked_at"))


@lru_cache
def still_ordered(table: Table, dialect: Dialect) -> Statement:
    """Return one message that has an ordering key and is not consumed, if there is one."""
    return (
        select(table.c.id, dialect.readable(table.c.queue))
        .where(table.c.ordering_key.is_not(None), table.c.consumed_at.is_(None))
        .limit(ONE)
    )


@lru_cache
def redrive(
    table: Table, dialect: Dialect, *, which: Letters = EVERY_LETTER, notifies: bool = False
) -> Statement:
    """Move dead letters to a queue, the next one first, available now and with no attempts used.

    What is left of a claim, where a hand has made a dead letter of it, goes.
    """
    chosen = dead_letters_of(table.alias("letter"), dialect, which)
    dead = dialect.materialized(dialect.locked(chosen), "dead")
    redriven = (
        update(table)
        .where(dialect.in_subquery(table.c.id, select(dead.c.id)), table.c.status == AVAILABLE)
        .values(**freed(), queue=QUEUE, attempts=ZERO, available_at=_again_at(table, dialect))
        .returning(table.c.id)
    )
    return notifying(redriven) if notifies else redriven


def _again_at(table: Table, dialect: Dialect) -> ColumnElement[Any]:
    """Return when a dead letter is available: now, or in its own queue in the line of its key."""
    stands_in_line = and_(table.c.ordering_key.is_not(None), table.c.origin_queue == QUEUE)
    return dialect.apart(case((stands_in_line, null()), else_=dialect.now()), table)


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
        .returning(table.c.id, *(_named(table, dialect) if objects else []))
    )


@lru_cache
def prune_as_maintainer(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Do as ``prune``, by the function that a maintainer may call (PostgreSQL only)."""
    old = table.alias("old")
    chosen = _old(old, dialect).add_columns(*(_named(old, dialect) if objects else []))
    return _called(table, dialect, chosen, CONSUMED)


@lru_cache
def prunable(table: Table, dialect: Dialect) -> Statement:
    """Count the messages that ``prune`` would delete."""
    return _counted(_old(table.alias("old"), dialect))


def _old(old: FromClause, dialect: Dialect) -> Select[Any]:
    age: ColumnElement[Any] = seconds_parameter("age_seconds")
    return (
        select(old.c.id)
        .where(old.c.queue == QUEUE, old.c.status == CONSUMED)
        .where(old.c.consumed_at <= dialect.from_now(-cast(age, Float)))
        .order_by(old.c.consumed_at)
        .limit(LIMIT)
    )


def _counted(ids: Select[Any]) -> Statement:
    return select(func.count().label("messages")).select_from(ids.subquery("chosen"))


@lru_cache
def withdraw_by_id(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Delete the messages with these ids that nobody has claimed, also dead letters."""
    return (
        delete(table)
        .where(*_with_ids(table, dialect))
        .returning(table.c.id, *(_named(table, dialect) if objects else []))
    )


@lru_cache
def withdraw_by_id_as_maintainer(
    table: Table, dialect: Dialect, *, objects: bool = False
) -> Statement:
    """Do as ``withdraw_by_id``, by the function that a maintainer may call (PostgreSQL only)."""
    uris = _named(table, dialect) if objects else []
    chosen = select(table.c.id, *uris).where(*_with_ids(table, dialect))
    return _called(table, dialect, chosen, AVAILABLE)


def _with_ids(table: Table, dialect: Dialect) -> list[ColumnElement[bool]]:
    ids = select(dialect.rows(id=BigInteger()).c.id)
    return [
        dialect.in_subquery(table.c.id, ids),
        or_(table.c.origin_queue == QUEUE, table.c.queue == QUEUE),
        table.c.status == AVAILABLE,
    ]


@lru_cache
def withdraw(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Delete the messages under these unique keys that nobody has claimed, also dead letters."""
    return (
        delete(table)
        .where(*_with_keys(table, dialect))
        .returning(table.c.id, *(_named(table, dialect) if objects else []))
    )


@lru_cache
def withdraw_as_maintainer(table: Table, dialect: Dialect, *, objects: bool = False) -> Statement:
    """Do as ``withdraw``, by the function that a maintainer may call (PostgreSQL only)."""
    uris = _named(table, dialect) if objects else []
    chosen = select(table.c.id, *uris).where(*_with_keys(table, dialect))
    return _called(table, dialect, chosen, AVAILABLE)


def _with_keys(table: Table, dialect: Dialect) -> list[ColumnElement[bool]]:
    keys = select(dialect.rows(unique_key=Text()).c.unique_key)
    return [
        table.c.origin_queue == QUEUE,
        dialect.in_subquery(table.c.unique_key, keys),
        table.c.status == AVAILABLE,
    ]


def _called(
    table: Table, dialect: Dialect, chosen: Select[Any], status: ColumnElement[str]
) -> Statement:
    """Return the statement that deletes what is chosen, unless its status is another by then."""
    found = dialect.materialized(chosen, "found")
    ids = func.array(select(found.c.id).scalar_subquery(), type_=ARRAY(BigInteger))
    call = Function(
        DELETE_NAME, ids, cast(status, Text), type_=ARRAY(BigInteger), packagenames=package(table)
    )
    deleted = dialect.materialized(select(func.unnest(call).label("id")), "deleted")
    return select(*found.c).where(dialect.in_subquery(found.c.id, select(deleted.c.id)))


def _named(table: FromClause, dialect: Dialect) -> list[ColumnElement[Any]]:
    """Return the object that a row names, and the queue in whose folder it has to lie."""
    # Only if asked for: it takes the right to read payloads.
    stored = dialect.field(table.c.payload, "uri")
    uri: ColumnElement[Any] = case((table.c.codec.is_not(None), stored))
    return [dialect.readable(uri.label("uri")), dialect.readable(table.c.origin_queue)]


@lru_cache
def stored_objects(table: Table, dialect: Dialect) -> Statement:
    """Return which of the objects a message names, and the queue it was pushed to.

    It reads the whole table: an index would cost every claim, and this is asked for thousands at
    once.
    """
    uris = select(dialect.rows(uri=Text()).c.uri)
    uri = dialect.field(table.c.payload, "uri")
    named = (uri.label("uri"), table.c.origin_queue)
    return select(*map(dialect.readable, named)).where(
        table.c.codec.is_not(None), dialect.in_subquery(uri, uris)
    )


@lru_cache
def encrypted(table: Table, dialect: Dialect) -> Statement:
    """Return messages whose payload is encrypted with another key, in the order of their ids.

    Also one that does not say with which key, as a hand may have written it.
    """
    key = dialect.field(table.c.payload, "key")
    return (
        select(table.c.id, *[dialect.readable(table.c[name]) for name in _OF_AN_ENCRYPTED_ROW])
        .where(table.c.id >= ID, table.c.codec.like(literal_column("'%fernet'")))
        .where(key.is_distinct_from(bindparam("key_id", type_=Text)))
        .order_by(table.c.id)
        .limit(LIMIT)
    )


@lru_cache
def unencrypted(table: Table, dialect: Dialect) -> Statement:
    """Count what is not consumed and not encrypted, by the queue that it was pushed to."""
    is_plain = or_(table.c.codec.is_(None), table.c.codec.not_like(literal_column("'%fernet'")))
    return (
        select(dialect.readable(table.c.origin_queue), func.count().label("messages"))
        .where(table.c.status != CONSUMED, is_plain)
        .group_by(table.c.origin_queue)
        .order_by(table.c.origin_queue)
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
