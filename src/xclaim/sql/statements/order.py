"""Which messages come next."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    SmallInteger,
    Table,
    bindparam,
    case,
    func,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import CrossJoin, Dialect, UtcTimestamp
from xclaim.sql.statements.parts import (
    AVAILABLE,
    ONE,
    QUEUE,
    can_change,
)

_LEVELS = 32  # priorities that are looked for one by one
# A place in the claim index.
_AFTER_PRIORITY = bindparam("after_priority", type_=SmallInteger)
_AFTER_AVAILABLE_AT = bindparam("after_available_at", type_=UtcTimestamp)
_AFTER_ID = bindparam("after_id", type_=BigInteger)


def next_ids(
    table: Table,
    dialect: Dialect,
    *,
    limit: ColumnElement[int],
    lock: bool = False,
    unless: ColumnElement[bool] | None = None,
    is_closed: ColumnElement[bool] | None = None,
    skips: bool = False,
) -> CompoundSelect[Any]:
    """Return the ids that come next, one index range per priority; none if the queue is closed.

    ``skips``: of the priority of a place only what is behind that place.

    A recursive CTE finds each priority in use by one index descent (a loose index scan,
    https://wiki.postgresql.org/wiki/Loose_indexscan). Within one, the index holds the claimable
    messages first and the delayed ones behind them, which are never read. A descent takes as long
    as to read a hundred entries one after the other: so is read what is behind the first
    ``_LEVELS`` priorities.
    """
    level = _levels(table, dialect, most=_LEVELS, is_closed=is_closed, skips=skips)
    of_levels = _next_of_levels(
        table, dialect, level, limit=limit, lock=lock, unless=unless, skips=skips
    )
    rest = _next_of_rest(table, dialect, level, limit=limit, lock=lock, unless=unless)
    return union_all(of_levels, rest).limit(limit)


def _next_of_levels(
    table: Table,
    dialect: Dialect,
    level: CTE,
    *,
    limit: ColumnElement[int],
    lock: bool,
    unless: ColumnElement[bool] | None,
    skips: bool,
) -> Select[Any]:
    waiting = table.alias("waiting")
    of_level = (
        select(waiting.c.id)
        .where(waiting.c.queue == QUEUE, waiting.c.status == AVAILABLE)
        .where(waiting.c.priority == level.c.priority)
        .where(waiting.c.available_at <= dialect.now(), can_change(waiting))
    )
    if unless is not None:
        of_level = of_level.where(~unless)
    if skips:
        is_of_the_place = level.c.priority == _AFTER_PRIORITY
        place = tuple_(
            case((is_of_the_place, _AFTER_AVAILABLE_AT), else_=dialect.earliest()),
            case((is_of_the_place, _AFTER_ID), else_=literal_column("0", BigInteger)),
        )
        of_level = of_level.where(tuple_(waiting.c.available_at, waiting.c.id) > place)
    if not dialect.has_lateral:
        # No ORDER BY: it would sort all that is claimable, and a cross join reads in index order.
        of_level = of_level.where(dialect.is_present(waiting.c.available_at))
        return of_level.select_from(CrossJoin(level, waiting))
    of_level = of_level.order_by(waiting.c.available_at, waiting.c.id).limit(limit)
    picked = (dialect.locked(of_level) if lock else of_level).lateral("picked")
    return select(picked.c.id).select_from(CrossJoin(level, picked))


def _next_of_rest(
    table: Table,
    dialect: Dialect,
    level: CTE,
    *,
    limit: ColumnElement[int],
    lock: bool,
    unless: ColumnElement[bool] | None,
) -> Select[Any]:
    """Return the ids behind the last of the levels; if there were fewer, nothing is read."""
    waiting = table.alias("other")
    last = select(level.c.priority).where(level.c.number == literal_column(str(_LEVELS), Integer))
    behind = (
        select(waiting.c.id)
        .where(waiting.c.queue == QUEUE, waiting.c.status == AVAILABLE)
        .where(waiting.c.priority < last.scalar_subquery())
        .where(waiting.c.available_at <= dialect.now())
        .where(dialect.is_present(waiting.c.available_at), can_change(waiting))
        .order_by(waiting.c.priority.desc(), waiting.c.available_at, waiting.c.id)
        .limit(limit)
    )
    if unless is not None:
        behind = behind.where(~unless)
    found = (dialect.locked(behind) if lock else behind).subquery("behind")
    return select(found.c.id)


def next_ids_on_top(
    table: Table,
    dialect: Dialect,
    *,
    limit: ColumnElement[int],
    unless: ColumnElement[bool] | None = None,
    is_closed: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """Return the ids that come next among those of the highest priority in use, locked.

    It takes PostgreSQL a third of the time to plan.
    """
    waiting = table.alias("waiting")
    on_top = (
        select(waiting.c.id)
        .where(waiting.c.queue == QUEUE, waiting.c.status == AVAILABLE)
        .where(waiting.c.priority == _highest(table.alias("top"), dialect))
        .where(waiting.c.available_at <= dialect.now(), can_change(waiting))
        .order_by(waiting.c.available_at, waiting.c.id)
        .limit(limit)
    )
    for no in (unless, is_closed):
        on_top = on_top if no is None else on_top.where(~no)
    return dialect.locked(on_top)


def next_ids_after(
    table: Table,
    dialect: Dialect,
    *,
    limit: ColumnElement[int],
    unless: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """Return the ids behind a position in the claim index, locked.

    The entries before it are not read: with an old snapshot open they are those of all messages
    claimed since, which cannot be removed yet.
    """
    waiting = table.alias("waiting")
    position = tuple_(_AFTER_AVAILABLE_AT, _AFTER_ID)
    behind = (
        select(waiting.c.id)
        .where(waiting.c.queue == QUEUE, waiting.c.status == AVAILABLE)
        .where(waiting.c.priority == _AFTER_PRIORITY)
        .where(waiting.c.available_at <= dialect.now())
        .where(tuple_(waiting.c.available_at, waiting.c.id) > position, can_change(waiting))
        .order_by(waiting.c.available_at, waiting.c.id)
        .limit(limit)
    )
    if not dialect.has_lateral:  # PostgreSQL concludes it from the comparison
        behind = behind.where(dialect.is_present(waiting.c.available_at))
    return dialect.locked(behind if unless is None else behind.where(~unless))


def newest_per_level(
    table: Table, dialect: Dialect, *, is_closed: ColumnElement[bool]
) -> Select[Any]:
    """Return when the newest claimable message of each priority became available, by one descent.

    The last column: NULL for a priority that has delayed messages only. No row if the queue is
    closed.
    """
    level = _levels(table, dialect, is_closed=is_closed)
    waiting = table.alias("waiting")
    newest = (
        select(waiting.c.available_at)
        .where(waiting.c.queue == QUEUE, waiting.c.status == AVAILABLE)
        .where(waiting.c.priority == level.c.priority)
        .where(waiting.c.available_at <= dialect.now())
        .where(dialect.is_present(waiting.c.available_at))
        .order_by(waiting.c.available_at.desc())
        .limit(ONE)
        .correlate(level)
        .scalar_subquery()
    )
    return select(newest.label("available_at")).select_from(level)


def _levels(
    table: Table,
    dialect: Dialect,
    *,
    most: int | None = None,
    is_closed: ColumnElement[bool] | None = None,
    skips: bool = False,
) -> CTE:
    """Return the priorities in use, the highest first, numbered; no more than ``most``.

    ``skips``: the priority of a place is one of them, in use or not, and is not looked for.
    """
    top, lower = table.alias("top"), table.alias("lower")
    highest = _highest(top, dialect)
    if skips:
        above = _highest(top, dialect, top.c.priority > _AFTER_PRIORITY)
        highest = func.coalesce(above, _AFTER_PRIORITY)
    first = select(highest.label("priority"), ONE.label("number"))
    if is_closed is not None:  # without a first one there are no others
        first = first.where(~is_closed)
    level = first.cte("level", recursive=True)
    next_lower = _highest(lower, dialect, lower.c.priority < level.c.priority)
    if skips:
        between = table.alias("between_both")
        is_above = between.c.priority > _AFTER_PRIORITY
        above = _highest(between, dialect, between.c.priority < level.c.priority, is_above)
        next_lower = case(
            (level.c.priority > _AFTER_PRIORITY, func.coalesce(above, _AFTER_PRIORITY)),
            else_=next_lower,
        )
    following = select(next_lower, level.c.number + ONE).where(level.c.priority.is_not(None))
    if most is not None:
        following = following.where(level.c.number < literal_column(str(most), Integer))
    return level.union_all(following)


def _highest(
    alias: FromClause, dialect: Dialect, *conditions: ColumnElement[bool]
) -> ColumnElement[int]:
    return (
        select(alias.c.priority)
        .where(alias.c.queue == QUEUE, alias.c.status == AVAILABLE)
        .where(dialect.is_present(alias.c.available_at), *conditions)
        .order_by(alias.c.priority.desc())
        .limit(ONE)
        .scalar_subquery()
    )
