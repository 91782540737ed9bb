"""Whole lines: what a claim takes along with a message that has the turn of its ordering key."""

from __future__ import annotations

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    Table,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import CrossJoin, Dialect
from xclaim.sql.statements.parts import AVAILABLE, QUEUE, ZERO, can_change


def with_lines(table: Table, dialect: Dialect, candidate: CTE, limit: int) -> CTE:
    """Return the ids of the candidates, each followed by those of its line, up to the limit.

    In this order, so that the first ones of them are a batch as well. Of a line all up to the first
    that cannot be claimed now: it is delayed or rests, it holds the line should it die, or somebody
    is just withdrawing it. The candidates are locked already.
    """
    wanted = dialect.materialized(_wanted(table, dialect, candidate, limit), "wanted")
    along = table.alias("along")
    behind = select(wanted.c.id).where(wanted.c.nth > ZERO)
    taken = dialect.materialized(
        dialect.locked(
            select(along.c.id)
            .where(dialect.in_subquery(along.c.id, behind))
            .where(along.c.status == AVAILABLE, along.c.available_at.is_(None))
            .where(or_(along.c.due_at.is_(None), along.c.due_at <= dialect.now()))
            .where(_lets_others_follow(along), can_change(along))
        ),
        "taken_along",
    )
    # Of those up to it, how many can be had: all, or it is behind one that cannot.
    had = func.count(taken.c.id).over(partition_by=wanted.c.place, order_by=wanted.c.nth)
    counted = (
        select(wanted.c.id, wanted.c.place, wanted.c.nth, had.label("had"))
        .select_from(wanted.outerjoin(taken, taken.c.id == wanted.c.id))
        .subquery("counted")
    )
    return dialect.materialized(
        select(counted.c.id)
        .where(counted.c.had == counted.c.nth)
        .order_by(counted.c.place, counted.c.nth),
        "whole_lines",
    )


def _wanted(table: Table, dialect: Dialect, candidate: CTE, limit: int) -> Select[tuple[int, ...]]:
    head = table.alias("head")
    order = (head.c.priority.desc(), head.c.available_at, head.c.id)
    # What was redriven to this queue from another one has a key, and leads no line of it.
    leads = and_(head.c.origin_queue == QUEUE, _lets_others_follow(head))
    heads = (
        select(
            head.c.id,
            case((leads, head.c.ordering_key)).label("ordering_key"),
            func.row_number().over(order_by=order).label("place"),
        )
        .where(dialect.in_subquery(head.c.id, select(candidate.c.id)))
        .order_by(*order)
        .subquery("heads")
    )
    size: ColumnElement[int] = literal_column(str(limit), Integer)
    behind: ColumnElement[int] = literal_column(str(limit - 1), Integer)
    if dialect.has_lateral:
        itself = select(heads.c.id, ZERO.label("nth")).correlate(heads)
        line = _line(table, heads, behind)
        following = line.add_columns(
            func.row_number().over(order_by=line.selected_columns.id).label("nth")
        )
        each = union_all(itself, following.correlate(heads)).lateral("each")
        # Line by line, until there are enough: to sort them it would read all lines first. Which
        # lines come first is all that the order could change.
        return (
            select(each.c.id, heads.c.place, each.c.nth)
            .select_from(CrossJoin(heads, each))
            .limit(size)
        )
    follower = table.alias("follower")
    ids = _line(table, heads, behind).correlate(heads)
    nth = func.row_number().over(partition_by=heads.c.place, order_by=follower.c.id)
    both = union_all(
        select(heads.c.id, heads.c.place, ZERO.label("nth")),
        select(follower.c.id, heads.c.place, nth.label("nth"))
        .select_from(CrossJoin(heads, follower))
        .where(heads.c.ordering_key.is_not(None), follower.c.id.in_(ids)),
    ).subquery("each")
    return (
        select(both.c.id, both.c.place, both.c.nth).order_by(both.c.place, both.c.nth).limit(size)
    )


def _line(table: Table, heads: FromClause, most: ColumnElement[int]) -> Select[tuple[int]]:
    line = table.alias("line")
    return (
        select(line.c.id)
        .where(line.c.queue == QUEUE, line.c.origin_queue == QUEUE)
        # Without a key no line is looked for: where ordering is not enabled no index has it.
        .where(heads.c.ordering_key.is_not(None), line.c.ordering_key.is_not(None))
        .where(line.c.ordering_key == heads.c.ordering_key)
        .where(line.c.status == AVAILABLE, line.c.available_at.is_(None))
        .order_by(line.c.queue, line.c.ordering_key, line.c.id)
        .limit(most)
    )


def _lets_others_follow(row: FromClause) -> ColumnElement[bool]:
    """Return whether a message is claimed together with others of its line.

    Not what holds the line as a dead letter: nobody is to have what is behind it by then.
    """
    return row.c.keeps_turn.is_not(true())
