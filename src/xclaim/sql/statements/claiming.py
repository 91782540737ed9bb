"""Claim the next messages, or take back those of an earlier attempt.

The limit is part of the statement's text: for a parameter PostgreSQL assumes a tenth of the queue,
finds no generic plan good enough and plans each claim anew, which takes as long as the claim.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect, Json
from xclaim.sql.statements.failing import is_exhausted
from xclaim.sql.statements.limiting import Room, hands_out_nothing
from xclaim.sql.statements.lines import with_lines
from xclaim.sql.statements.order import next_ids, next_ids_after, next_ids_on_top
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMANT,
    CLAIMED,
    CONSUMED,
    ID,
    KEY,
    LEASE,
    ONE,
    QUEUE,
    ZERO,
    Statement,
    attempted,
    can_change,
)
from xclaim.sql.statements.pausing import is_paused
from xclaim.sql.statements.settling import acking

_KEPT = 128  # statements per builder: each limit that is asked for makes one
_SET_BY_A_CLAIM = ("claimed_at", "claim_expires_at", "claim_token")
HANDED_ON_KEY = bindparam("handed_on_key", type_=Text)
_HANDED_ON_BY = bindparam("handed_on_by", type_=Text)


class ClaimedRow(NamedTuple):
    """What a claimant does not know of a message it claims: the columns these statements return."""

    id: int
    origin_queue: str
    priority: int
    payload: str | bytes  # JSON
    headers: str | bytes | None  # JSON; None: `{}`
    unique_key: str | None
    attempts: int
    max_attempts: int | None
    created_at: datetime
    available_at: datetime | None  # None: it was claimed along with another of its line
    claimed_at: datetime
    claim_expires_at: datetime
    last_error: str | None
    last_error_class: str | None
    claim_token: UUID
    codec: str | None
    ordering_key: str | None


class Start(StrEnum):
    """Where a claim looks for messages. ``TOP`` and ``POSITION``: as many as asked for, or none."""

    HEAD = "head"  # all priorities, the highest first
    LATELY = "lately"  # the same, but of one priority only what is behind a place
    TOP = "top"  # the highest priority in use: quicker to plan than the recursion over all
    POSITION = "position"  # behind a place in the claim index


@lru_cache(_KEPT)
def claim(
    table: Table,
    dialect: Dialect,
    *,
    limit: int = 1,
    start: Start = Start.HEAD,
    resumes: bool = False,
    whole_lines: bool = False,
    within: bool = False,
) -> Statement:
    """Claim the next messages: highest priority, then longest available, then lowest id.

    ``resumes``: take back what an earlier attempt of the same claim key holds; only if nothing,
    claim anew. An exhausted message is not taken back: it is left for ``expire`` to dead-letter.
    ``whole_lines``: behind each message with an ordering key those that stand in line behind it.
    Of a queue with limits nothing is claimed, unless ``within`` them, as the caller has found out.
    """
    claiming = _claim(
        table, dialect, limit, start, resumes=resumes, whole_lines=whole_lines, within=within
    )
    return _returning(table, dialect, claiming)


@lru_cache(_KEPT)
def claim_within(
    table: Table,
    dialect: Dialect,
    *,
    limit: int = 1,
    whole_lines: bool = False,
    one: bool = False,
) -> Statement:
    """Claim the next messages of a queue with limits, as many as these let, each with its slots.

    ``one``: only this very message. Of a queue without limits nothing (PostgreSQL).
    """
    size: ColumnElement[int] = literal_column(str(limit), Integer)
    room = Room(table, dialect, size)
    ids: Select[Any] | CompoundSelect[Any] = (
        _this_one(table, dialect, room.is_closed)
        if one
        else next_ids(table, dialect, limit=size, lock=True, is_closed=room.is_closed)
    )
    candidate = dialect.materialized(ids, "candidate")
    if whole_lines:
        candidate = with_lines(table, dialect, candidate, limit)
    chosen = room.some_of(candidate)
    taken = dialect.in_subquery(table.c.id, select(chosen.c.id))
    claiming = _take(table, dialect).where(taken, table.c.status == AVAILABLE)
    claimed = _returning(table, dialect, claiming).cte("claimed")
    return select(claimed).add_cte(room.taking(claimed))


def _this_one(table: Table, dialect: Dialect, is_closed: ColumnElement[bool]) -> Select[Any]:
    wanted = table.alias("wanted")
    return dialect.locked_in_turn(
        select(wanted.c.id)
        .where(wanted.c.id == ID, wanted.c.queue == QUEUE, wanted.c.status == AVAILABLE)
        .where(wanted.c.available_at <= dialect.now(), can_change(wanted), ~is_closed)
    )


@lru_cache
def claim_this_one(table: Table, dialect: Dialect) -> Statement:
    """Claim this very message, whatever limits its queue has (SQLite)."""
    ids = _this_one(table, dialect, is_paused(table))
    claiming = _take(table, dialect).where(dialect.in_subquery(table.c.id, ids))
    return _returning(table, dialect, claiming)


@lru_cache
def claim_one(table: Table, dialect: Dialect) -> Statement:
    """Claim this very message, or take it back from an earlier attempt of the same claim key.

    By the primary key; it waits for a claim that is just being made and then finds it taken. Not
    what is delayed, lapsed (which is for ``expire`` to give back first) or exhausted. Of a queue
    that is paused or limited it only takes back.
    """
    wanted = table.alias("wanted")
    is_claimable = and_(
        wanted.c.status == AVAILABLE,
        wanted.c.available_at <= dialect.now(),
        ~hands_out_nothing(table),
    )
    earlier = and_(
        wanted.c.status == CLAIMED, wanted.c.claim_key == KEY, _is_of_an_earlier_attempt(wanted)
    )
    taken = dialect.materialized(
        dialect.locked_in_turn(
            select(wanted.c.id)
            .where(wanted.c.id == ID, wanted.c.queue == QUEUE)
            .where(or_(is_claimable, earlier), can_change(wanted))
        ),
        "taken",
    )
    statement = _take(table, dialect).where(
        dialect.in_subquery(table.c.id, select(taken.c.id)), table.c.status != CONSUMED
    )
    return _returning(table, dialect, statement)


@lru_cache(_KEPT)
def take_back(table: Table, dialect: Dialect, *, limit: int = 1) -> Statement:
    """Take back what an earlier attempt of the same claim key holds, and claim nothing anew.

    For a retry whose message may be in another part of its queue.
    """
    resumable = _resumable(table, dialect, literal_column(str(limit), Integer))
    held = dialect.in_subquery(table.c.id, select(resumable.c.id))
    statement = _take(table, dialect).where(held, table.c.status == CLAIMED)
    return _returning(table, dialect, statement)


@lru_cache
def resume(table: Table, dialect: Dialect) -> Statement:
    """Take over what a ticket hands on, or take back what an earlier attempt took over with it.

    To take a ticket up is no attempt: the claim that made the ticket counted it. An exhausted
    message is not taken back.
    """
    # Not skipping what is locked: an extend of the earlier attempt is over in a moment.
    taken = dialect.materialized(dialect.locked_in_turn(handed_on(table, dialect)), "taken")
    statement = (
        _take(table, dialect)
        .values(attempts=attempted(table, case((table.c.claim_key == KEY, ONE), else_=ZERO)))
        .where(dialect.in_subquery(table.c.id, select(taken.c.id)), table.c.status == CLAIMED)
    )
    return _returning(table, dialect, statement)


@lru_cache
def handed_on(table: Table, _dialect: Dialect) -> Select[Any]:
    """Return the ids of what ``resume`` would take over, and take nothing."""
    held = table.alias("held")
    given = and_(held.c.claim_key == HANDED_ON_KEY, held.c.claimed_by == _HANDED_ON_BY)
    earlier = and_(held.c.claim_key == KEY, _is_of_an_earlier_attempt(held))
    return (
        select(held.c.id)
        .where(held.c.claim_key.in_([HANDED_ON_KEY, KEY]))
        .where(held.c.queue == QUEUE, held.c.status == CLAIMED)
        .where(or_(given, earlier), can_change(held))
        .order_by(held.c.id)
    )


@lru_cache(_KEPT)
def ack_and_claim(
    table: Table,
    dialect: Dialect,
    *,
    limit: int = 1,
    start: Start = Start.HEAD,
    resumes: bool = False,
    whole_lines: bool = False,
    acks_one: bool = False,
) -> Statement:
    """Consume what was claimed and claim the next, unless some of it was lost.

    The last column, ``acked_ids``, is NULL when all were acked. Without a claim there is one row,
    otherwise empty. ``acks_one``: by one id and token instead of a list.
    """
    acked = acking(table, dialect, one=acks_one).cte("acked")
    count = select(func.count()).select_from(acked).scalar_subquery()
    all_acked = count == bindparam("ack_count", type_=Integer)
    claiming = _claim(table, dialect, limit, start, resumes=resumes, whole_lines=whole_lines)
    claimed = _returning(table, dialect, claiming.where(all_acked)).cte("claimed")
    ids = func.array(select(acked.c.id).scalar_subquery(), type_=ARRAY(BigInteger))
    done = select(case((~all_acked, ids)).label("acked_ids")).subquery("done")
    return select(claimed, done.c.acked_ids).select_from(done.outerjoin(claimed, true()))


@lru_cache(_KEPT)
def candidates(
    table: Table,
    dialect: Dialect,
    *,
    limit: int = 1,
    start: Start = Start.HEAD,
    resumes: bool = False,
    whole_lines: bool = False,
    within: bool = False,
) -> Statement:
    """Return the ids of what ``claim`` would claim, and claim nothing.

    ``within``: as if the queue had no limits.
    """
    chosen = _chosen(
        table, dialect, limit, start, resumes=resumes, whole_lines=whole_lines, within=within
    )
    return chosen.ids


class _Chosen(NamedTuple):
    """What a claim takes: what it takes back, if it does, or what comes next."""

    ids: Select[Any]
    candidate: CTE
    resumable: CTE | None


def _chosen(
    table: Table,
    dialect: Dialect,
    limit: int,
    start: Start,
    *,
    resumes: bool,
    whole_lines: bool,
    within: bool = False,
) -> _Chosen:
    size: ColumnElement[int] = literal_column(str(limit), Integer)
    resumable = _resumable(table, dialect, size) if resumes else None
    unless = None if resumable is None else exists(select(resumable.c.id))
    ids = _next_ids(table, start, within=within)(table, dialect, limit=size, unless=unless)
    candidate = dialect.materialized(ids, "candidate")
    if whole_lines:
        candidate = with_lines(table, dialect, candidate, limit)
    taken = select(candidate.c.id)
    if resumable is not None:
        both = union_all(select(resumable.c.id), taken).subquery("taken")
        taken = select(both.c.id)
    return _Chosen(taken, candidate, resumable)


def _claim(
    table: Table,
    dialect: Dialect,
    limit: int,
    start: Start,
    *,
    resumes: bool = False,
    whole_lines: bool = False,
    within: bool = False,
) -> Update:
    chosen = _chosen(
        table, dialect, limit, start, resumes=resumes, whole_lines=whole_lines, within=within
    )
    guard = table.c.status != CONSUMED if resumes else table.c.status == AVAILABLE
    statement = _take(table, dialect).where(dialect.in_subquery(table.c.id, chosen.ids), guard)
    if start in (Start.TOP, Start.POSITION) and limit > 1:
        size: ColumnElement[int] = literal_column(str(limit), Integer)
        is_enough = select(func.count()).select_from(chosen.candidate).scalar_subquery() == size
        if chosen.resumable is not None:
            is_enough = or_(is_enough, exists(select(chosen.resumable.c.id)))
        statement = statement.where(is_enough)
    return statement


def _next_ids(
    table: Table, start: Start, *, within: bool = False
) -> Callable[..., Select[Any] | CompoundSelect[Any]]:
    match start:
        case Start.HEAD if within:
            return partial(next_ids, lock=True, is_closed=is_paused(table))
        case Start.HEAD:
            return partial(next_ids, lock=True, is_closed=hands_out_nothing(table))
        case Start.LATELY:
            return partial(next_ids, lock=True, is_closed=hands_out_nothing(table), skips=True)
        case Start.TOP:
            return partial(next_ids_on_top, is_closed=hands_out_nothing(table))
        case Start.POSITION:  # the claim that looked from the head a moment ago has asked
            return next_ids_after


def _resumable(table: Table, dialect: Dialect, limit: ColumnElement[int]) -> CTE:
    held = table.alias("held")
    return dialect.materialized(
        dialect.locked(
            select(held.c.id)
            .where(held.c.claim_key == KEY)
            .where(held.c.queue == QUEUE, held.c.status == CLAIMED)
            .where(_is_of_an_earlier_attempt(held), can_change(held))
            .order_by(held.c.id)
            .limit(limit)
        ),
        "resumable",
    )


def _is_of_an_earlier_attempt(held: FromClause) -> ColumnElement[bool]:
    # An exhausted one is left for `expire`, which makes it a dead letter.
    return and_(held.c.claimed_by != CLAIMANT, ~is_exhausted(held))


def _take(table: Table, dialect: Dialect) -> Update:
    return update(table).values(
        status=CLAIMED,
        attempts=attempted(table),
        claimed_at=dialect.now(),
        claim_expires_at=dialect.from_now(LEASE),
        claimed_by=CLAIMANT,
        claim_key=KEY,
        claim_token=dialect.new_token(table.c.id),
    )


def _returning(
    table: Table, dialect: Dialect, statement: Update
) -> ReturningUpdate[*tuple[Any, ...]]:
    columns: dict[str, ColumnElement[Any]] = {name: table.c[name] for name in ClaimedRow._fields}
    # To read `{}` takes as long as to read a payload.
    columns["headers"] = func.nullif(table.c.headers, literal_column("'{}'"), type_=Json()).label(
        "headers"
    )
    return statement.returning(
        *[
            column if name in _SET_BY_A_CLAIM else dialect.readable(column)
            for name, column in columns.items()
        ]
    )
