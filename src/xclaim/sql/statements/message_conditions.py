"""What is tested of each message that a search goes through, beyond what its index knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    ONE,
    ZERO,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readable:
    """Which of the confidential columns the role may read."""

    payload: bool = True
    headers: bool = True
    last_error: bool = True
    failures: bool = True


class Trait(StrEnum):
    """What is tested of each message; those about text are named as the terms are."""

    AVAILABLE = "available"
    DELAYED = "delayed"
    RETRYING = "retrying"
    CLAIMED = "claimed"
    LAPSED = "lapsed"
    CONSUMED = "consumed"
    DEAD = "dead"
    QUEUE = "queue"
    KEY = "key"
    BY = "by"
    RUN = "run"
    DAG = "dag"
    TASK = "task"
    CLASS = "class"
    ERROR = "error"
    IDS = "ids"
    RANGE = "range"
    PAYLOAD = "payload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A test without its values, which are parameters that end in its ``number``."""

    test: Trait
    number: int
    is_prefix: bool = False
    is_negated: bool = False
    steps: int = 0
    kind: str = ""  # of a value in JSON


def condition_of(
    row: FromClause, dialect: Dialect, condition: Condition, may: Readable
) -> ColumnElement[bool]:
    """Return whether a row passes a test; one that cannot be told of passes it if negated."""
    test = _test(row, dialect, condition, may)
    if not condition.is_negated:
        return test
    return ~func.coalesce(test, literal_column("1 = 0"))


def _test(  # noqa: C901, PLR0911  (one for each term)
    row: FromClause, dialect: Dialect, condition: Condition, may: Readable
) -> ColumnElement[bool]:
    number = condition.number
    text = bindparam(f"text_{number}", type_=Text)
    match condition.test:
        case Trait.IDS:
            # With a comma at both ends, so that they are one parameter on both databases.
            comma: ColumnElement[Any] = literal_column("','", Text)
            one = comma.concat(cast(row.c.id, Text)).concat(comma)
            return dialect.position_in(text, one) > ZERO
        case Trait.RANGE:
            first = bindparam(f"first_{number}", type_=BigInteger)
            last = bindparam(f"last_{number}", type_=BigInteger)
            return and_(row.c.id >= first, row.c.id <= last)
        case Trait.PAYLOAD:
            steps = [f"step_{number}_{each}" for each in range(condition.steps)]
            has = dialect.has_value(row.c.payload, steps, f"text_{number}", condition.kind)
            return case((row.c.codec.is_(None), has), else_=literal_column("1 = 0"))
        case Trait.QUEUE if condition.is_prefix:
            return begins_with(row.c.queue, text)
        case Trait.QUEUE:
            return row.c.queue.in_([text, bindparam(f"dead_{number}", type_=Text)])
        case Trait.KEY:
            return _is(row.c.unique_key, text, condition)
        case Trait.BY:
            return _is(_claimant(row), text, condition)
        case Trait.RUN | Trait.DAG | Trait.TASK:
            return _is_of_airflow(row, dialect, condition, text, may)
        case Trait.CLASS:
            return _has_class(row, text, condition)
        case Trait.ERROR:
            return _has_error(row, text, condition, may)
        case _:
            return _has_status(row, dialect, condition.test)


def _is(
    value: ColumnElement[str], text: ColumnElement[str], condition: Condition
) -> ColumnElement[bool]:
    return begins_with(value, text) if condition.is_prefix else value == text


def begins_with(value: ColumnElement[str], text: ColumnElement[str]) -> ColumnElement[bool]:
    """Return whether a text begins with another."""
    # Not LIKE, to which some characters mean more than themselves.
    return func.substr(value, ONE, func.length(text), type_=Text()) == text


def _claimant(row: FromClause) -> ColumnElement[str]:
    return func.coalesce(row.c.consumed_by, row.c.claimed_by, type_=Text())


def _has_status(  # noqa: PLR0911  (one for each word)
    row: FromClause, dialect: Dialect, test: Trait
) -> ColumnElement[bool]:
    dead: ColumnElement[str] = literal_column("'.dead'", Text)
    four: ColumnElement[int] = literal_column("4", Integer)
    is_dead = func.substr(row.c.queue, func.length(row.c.queue) - four, type_=Text()) == dead
    waits = and_(row.c.status == AVAILABLE, ~is_dead)
    match test:
        case Trait.AVAILABLE:
            return and_(waits, row.c.available_at <= dialect.now())
        case Trait.DELAYED:
            return and_(waits, row.c.available_at > dialect.now())
        case Trait.RETRYING:
            return and_(waits, row.c.attempts > ZERO)
        case Trait.CLAIMED:
            return row.c.status == CLAIMED
        case Trait.LAPSED:
            return and_(row.c.status == CLAIMED, row.c.claim_expires_at <= dialect.now())
        case Trait.CONSUMED:
            return row.c.status == CONSUMED
        case _:
            return and_(row.c.status == AVAILABLE, is_dead)


def _has_class(
    row: FromClause, text: ColumnElement[str], condition: Condition
) -> ColumnElement[bool]:
    """Return whether the last error is of a class, with its module or without."""
    named = row.c.last_error_class
    if condition.is_prefix:
        return begins_with(named, text)
    dot: ColumnElement[Any] = literal_column("'.'", Text)
    begins: Any = func.length(named) - func.length(text)
    return or_(named == text, func.substr(named, begins, type_=Text()) == dot.concat(text))


def _has_error(
    row: FromClause, text: ColumnElement[str], condition: Condition, may: Readable
) -> ColumnElement[bool]:
    conditions = [_has_class(row, text, condition)]
    if may.last_error:
        without = func.replace(row.c.last_error, text, literal_column("''"), type_=Text())
        conditions.append(without != row.c.last_error)
    return or_(*conditions)


def _is_of_airflow(
    row: FromClause,
    dialect: Dialect,
    condition: Condition,
    text: ColumnElement[str],
    may: Readable,
) -> ColumnElement[bool]:
    """Return whether the producer or the consumer is of an Airflow DAG, run or task.

    A consumer is ``dag/run/task[map]#try@host``; the first slash ends the DAG, the last one begins
    the task (the view ``xclaim_lineage`` and ``xclaim.task_names``).
    """
    name, claimant = f"{condition.test}_id", _claimant(row)
    slash: ColumnElement[Any] = literal_column("'/'", Text)
    first = dialect.position_in(claimant, slash)
    is_task = and_(first > ONE, dialect.position_in(claimant, literal_column("'#'", Text)) > ZERO)
    match condition.test:
        case Trait.DAG:
            is_it = begins_with(claimant, text if condition.is_prefix else text.concat(slash))
            is_it = and_(is_it, first > func.length(text))
        case Trait.RUN:
            rest = func.substr(claimant, first + ONE, type_=Text())
            is_it = begins_with(rest, text)
            if not condition.is_prefix:
                behind = func.substr(rest, func.length(text) + ONE, type_=Text())
                is_it = and_(
                    is_it,
                    begins_with(behind, slash),
                    dialect.after_last_slash(behind)
                    == func.substr(behind, literal_column("2", Integer), type_=Text()),
                )
        case _:
            task = dialect.after_last_slash(claimant)
            ends = [literal_column("'['", Text), literal_column("'#'", Text)]
            is_it = begins_with(task, text)
            if not condition.is_prefix:
                is_it = or_(*[begins_with(task, text.concat(end)) for end in ends])
    consumes = and_(is_task, is_it)
    if not may.headers:
        return consumes
    return or_(_is(dialect.field(row.c.headers, name), text, condition), consumes)
