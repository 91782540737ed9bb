"""The messages that a part of a DAG run has had to do with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Table,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.message_conditions import Readable, begins_with
from xclaim.sql.statements.observing_columns import CONFIDENTIAL, SHOWN, listed
from xclaim.sql.statements.observing_walks import Way, looked_at, order_of, places_of
from xclaim.sql.statements.parts import CLAIMED, CONSUMED, LIMIT, ONE, ZERO, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Of which part of a DAG run: a task, or one of its mapped instances, or all of it.

    ``is_cut``: the name of the task may be too long for a claimant, which has a digest of it then.
    """

    is_task: bool
    is_mapped: bool
    is_cut: bool = False


@lru_cache
def work(table: Table, dialect: Dialect, *, way: Way, part: Part, may: Readable) -> Statement:
    """Return those of the next ``LOOK`` messages that a part of a DAG run has had to do with.

    With what: ``is_pushed``, ``is_held``, ``is_consumed``, ``is_failed``.
    """
    names = {*SHOWN, *(name for name in CONFIDENTIAL if getattr(may, name))} - {"payload"}
    looked = looked_at(table, dialect, way, tuple(sorted(names))).subquery("looked")
    no: ColumnElement[Any] = literal_column("1 = 0")

    def is_it(claimant: ColumnElement[Any]) -> ColumnElement[bool]:
        begins = [begins_with(claimant, name) for name in _claimants(part)]
        if part.is_cut:
            digest: ColumnElement[str] = bindparam("claimant_digest", type_=Text)
            begins.append(dialect.position_in(claimant, digest) > ZERO)
        if part.is_task:
            return or_(*begins)
        # The last slash begins the task: a run may have slashes in its name, and begin as another.
        (run,) = _claimants(part)
        behind = func.substr(claimant, func.length(run) + ONE, type_=Text())
        return and_(*begins, dialect.after_last_slash(claimant) == behind)

    is_pushed = _is_producer(looked, dialect, part) if may.headers else no
    has_failed: ColumnElement[bool] = no
    if may.failures:
        # Most messages never fail: a column that is NULL is not looked into.
        kept = dialect.has_element_with(looked.c.failures, "claimed_by", is_it)
        has_failed = case((looked.c.failures.is_not(None), kept), else_=no)
    does: dict[str, ColumnElement[Any]] = {
        "is_pushed": is_pushed,
        "is_held": and_(looked.c.status == CLAIMED, is_it(looked.c.claimed_by)),
        "is_consumed": and_(looked.c.status == CONSUMED, is_it(looked.c.consumed_by)),
        "is_failed": has_failed,
    }
    said = {name: func.coalesce(test, no) for name, test in does.items()}
    return (
        select(
            *listed(looked, dialect, may),
            *[test.label(name) for name, test in said.items()],
            *places_of(looked, dialect, way),
        )
        .where(or_(*said.values()))
        .order_by(*order_of(looked, way))
        .limit(LIMIT)
    )


def _claimants(part: Part) -> list[ColumnElement[str]]:
    """Return the beginnings of the names by which it claims."""
    names = ["claimant_0"]
    if part.is_task and not part.is_mapped:  # one that is not mapped, or all that are
        names.append("claimant_1")
    return [bindparam(name, type_=Text) for name in names]


def _is_producer(row: FromClause, dialect: Dialect, part: Part) -> ColumnElement[bool]:
    fields = ["dag_id", "run_id"]
    if part.is_task:
        fields.append("task_id")
    if part.is_mapped:
        fields.append("map_index")
    return and_(
        *[
            dialect.field(row.c.headers, name) == bindparam(f"producer_{name}", type_=Text)
            for name in fields
        ]
    )
