"""Look for messages, and at them, as people do: bounded, and of long texts only the beginning.

A search goes through messages in the order of an index, a number of them at a time (``LOOK``), and
tests each for what the index does not know. So whatever is searched for, a statement reads no more
than that. Columns that a role may not read are in none of the statements it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Table,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.message_conditions import Condition, Readable, condition_of
from xclaim.sql.statements.observing_columns import columns_for, listed, text_of
from xclaim.sql.statements.observing_walks import (
    PRIORITY,
    TIMES,
    Walk,
    Way,
    looked_at,
    of_index,
    order_names,
    order_of,
    places_of,
)
from xclaim.sql.statements.parts import ID, KEY, LIMIT, ONE, QUEUE, Statement

MOST_NAMES = 1_000  # queues that a statement looks for
_MOST_ORIGINS = 10_000
_ERROR = 10_000  # of the last error, of one message; as long as a release keeps it
_SMALL = 32 * 1024  # bytes of a payload that is printed for the sake of its beginning
_LARGE = 2**31 - 1
_CHARACTERS = 300
MOST_SHOWN = 100_000


@lru_cache
def readable(_table: Table, _dialect: Dialect) -> Statement:
    """Return which of the confidential columns the role may read (PostgreSQL only)."""
    name = bindparam("message_table", type_=Text)
    right: ColumnElement[str] = literal_column("'SELECT'", Text)
    columns: Iterable[str] = Readable.__slots__
    return select(
        *[
            func.has_column_privilege(name, literal_column(f"'{each}'", Text), right).label(each)
            for each in columns
        ]
    )


@lru_cache(256)
def search(
    table: Table,
    dialect: Dialect,
    *,
    way: Way,
    conditions: tuple[Condition, ...],
    may: Readable,
) -> Statement:
    """Return those of the next ``LOOK`` messages that pass all tests, no more than ``LIMIT``."""
    looked = looked_at(table, dialect, way, columns_for(conditions, may)).subquery("looked")
    found = select(*listed(looked, dialect, may), *places_of(looked, dialect, way))
    return (
        found.where(*[condition_of(looked, dialect, each, may) for each in conditions])
        .order_by(*order_of(looked, way))
        .limit(LIMIT)
    )


@lru_cache(256)
def search_ids(
    table: Table,
    dialect: Dialect,
    *,
    way: Way,
    conditions: tuple[Condition, ...],
    may: Readable,
) -> Statement:
    """Return the ids, queues and statuses of those of the next messages that pass all tests."""
    looked = looked_at(table, dialect, way, columns_for(conditions, may)).subquery("looked")
    shown = [dialect.readable(looked.c[name]) for name in ("id", "queue", "status")]
    return (
        select(*shown, *places_of(looked, dialect, way))
        .where(*[condition_of(looked, dialect, each, may) for each in conditions])
        .order_by(*order_of(looked, way))
        .limit(LIMIT)
    )


@lru_cache(64)
def looked_through(table: Table, dialect: Dialect, *, way: Way) -> Statement:
    """Return how many the next ``LOOK`` messages are, with the last of them."""
    columns = ("id", "created_at", *order_names(way))
    looked = looked_at(table, dialect, way, columns).subquery("looked")
    count = select(func.count()).select_from(looked).scalar_subquery().label("looked_at")
    created = dialect.readable(looked.c.created_at)
    last = select(looked.c.id, created, *places_of(looked, dialect, way), count)
    return last.order_by(*order_of(looked, way, backwards=True)).limit(ONE)


@lru_cache(64)
def counted_to(table: Table, dialect: Dialect, *, way: Way) -> Statement:
    """Count the next ``LOOK`` messages down to one of them."""
    looked = looked_at(table, dialect, way, ("id", *order_names(way))).subquery("looked")
    end: list[ColumnElement[Any]] = [bindparam("end_id", type_=BigInteger)]
    if way.walk in TIMES:
        end.insert(0, dialect.time_at("end"))
    columns = [*(looked.c[name] for name in order_names(way)), looked.c.id]
    is_before = tuple_(*columns) >= tuple_(*end) if way.walk in TIMES else looked.c.id >= end[0]
    return select(func.count().label("looked_at")).select_from(looked).where(is_before)


@lru_cache
def next_queue(table: Table, dialect: Dialect, *, walk: Walk) -> Statement:
    """Return the names of queues behind one, as many as ``LIMIT``: a descent of an index each."""
    first = _next_name(dialect, walk, table.alias("first"), QUEUE)
    found = select(first.label("name"), ONE.label("number")).cte("found", recursive=True)
    following = _next_name(dialect, walk, table.alias("following"), found.c.name)
    found = found.union_all(
        select(following, found.c.number + ONE).where(
            found.c.name.is_not(None), found.c.number < LIMIT
        )
    )
    name = dialect.readable(found.c.name.label("queue"))
    return select(name).where(found.c.name.is_not(None)).order_by(found.c.number)


def _next_name(
    dialect: Dialect, walk: Walk, row: FromClause, after: ColumnElement[str]
) -> ColumnElement[str]:
    return (
        select(row.c.queue)
        .where(of_index(row, dialect, walk), row.c.queue > after)
        .order_by(row.c.queue)
        .limit(ONE)
        .scalar_subquery()
    )


@lru_cache
def next_level(table: Table, dialect: Dialect) -> Statement:
    """Return the next lower priority in which messages of the queue wait."""
    return (
        select(dialect.readable(table.c.priority))
        .where(table.c.queue == QUEUE, of_index(table, dialect, Walk.WAITING))
        .where(table.c.priority < PRIORITY)
        .order_by(table.c.priority.desc())
        .limit(ONE)
    )


@lru_cache
def keyed_ids(table: Table, dialect: Dialect) -> Statement:
    """Return the ids of the messages with a unique key, in whatever queue: a descent for each."""
    del dialect
    first = _next_origin(table.alias("first"))
    origin = select(first.label("name"), ONE.label("number")).cte("origin", recursive=True)
    following = table.alias("following")
    after = _next_origin(following, following.c.origin_queue > origin.c.name)
    most: ColumnElement[int] = literal_column(str(_MOST_ORIGINS), Integer)
    origin = origin.union_all(
        select(after, origin.c.number + ONE).where(
            origin.c.name.is_not(None), origin.c.number < most
        )
    )
    keyed = (
        select(table.c.id)
        .where(table.c.origin_queue == origin.c.name, table.c.unique_key == KEY)
        .correlate(origin)
        .scalar_subquery()
    )
    found = select(keyed.label("id")).select_from(origin).subquery("found")
    return select(found.c.id).where(found.c.id.is_not(None)).order_by(found.c.id)


def _next_origin(row: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[str]:
    return (
        select(row.c.origin_queue)
        .where(row.c.unique_key.is_not(None), *conditions)
        .order_by(row.c.origin_queue)
        .limit(ONE)
        .scalar_subquery()
    )


@lru_cache
def beginnings(table: Table, dialect: Dialect) -> Statement:
    """Return the beginning of the payloads of some messages, unless they are large or encoded."""
    ids = select(dialect.rows(id=BigInteger()).c.id)
    plain = table.c.codec.is_(None)
    shown = case((plain, dialect.beginning(table.c.payload, _CHARACTERS, _SMALL)))
    return select(
        table.c.id,
        text_of(dialect, shown, "excerpt"),
        dialect.size(table.c.payload).label("size"),
    ).where(dialect.in_subquery(table.c.id, ids))


@lru_cache
def look_at(table: Table, dialect: Dialect, *, may: Readable) -> Statement:
    """Return one message, without its JSON."""
    columns = listed(table, dialect, may, error=_ERROR)
    return select(*columns).where(table.c.id == ID)


@lru_cache
def document(table: Table, dialect: Dialect, *, name: str) -> Statement:
    """Return the beginning of a JSON column of a message, and how large it is."""
    column = table.c[name]
    shown = dialect.beginning(column, MOST_SHOWN + 1, _LARGE)
    return select(text_of(dialect, shown, "text"), dialect.size(column).label("size")).where(
        table.c.id == ID
    )


@lru_cache
def place_of_payload(table: Table, dialect: Dialect) -> Statement:
    """Return whether an encoded payload is in the storage, and not in the row."""
    is_there = dialect.field(table.c.payload, "uri").is_not(None)
    return select(is_there.label("is_stored")).where(table.c.id == ID)
