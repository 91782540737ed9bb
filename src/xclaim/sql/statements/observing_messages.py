"""Look for messages, and at them, as people do: bounded, and of long texts only the beginning.

A search goes through messages in the order of an index, a number of them at a time (``LOOK``), and
tests each for what the index does not know. So whatever is searched for, a statement reads no more
than that. Columns that a role may not read are in none of the statements it is given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.message_conditions import (
    Condition,
    Readable,
    Trait,
    begins_with,
    condition_of,
)
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    ID,
    KEY,
    LIMIT,
    OF_A_MESSAGE,
    ONE,
    QUEUE,
    ZERO,
    Statement,
)

MOST_NAMES = 1_000  # queues that a statement looks for
_MOST_ORIGINS = 10_000
_TEXT = 1_000  # characters of each text of a list
_ERROR = 10_000  # of the last error, of one message; as long as a release keeps it
_FIRST_LINE = 300
_SMALL = 32 * 1024  # bytes of a payload that is printed for the sake of its beginning
_LARGE = 2**31 - 1

FROM_ID = bindparam("from_id", type_=BigInteger)
TO_ID = bindparam("to_id", type_=BigInteger)
PLACE_ID = bindparam("place_id", type_=BigInteger)
PRIORITY = bindparam("priority", type_=Integer)
LOOK = bindparam("look", type_=Integer)
_CHARACTERS = 300
MOST_SHOWN = 100_000

_CONFIDENTIAL = ("payload", "headers", "last_error", "failures")
_SHOWN = tuple(name for name in OF_A_MESSAGE if name not in _CONFIDENTIAL)


class Walk(StrEnum):
    """In which order messages are gone through, the newest first, and by which index."""

    IDS = "ids"  # all, by the primary key
    CHOSEN = "chosen"  # those with certain ids
    WAITING = "waiting"  # of a queue and a priority, by the claim index
    HELD = "held"  # of a queue, by the end of the lease
    CONSUMED = "consumed"  # of a queue, by the index on consumed messages


TIMES = {
    Walk.WAITING: "available_at",
    Walk.HELD: "claim_expires_at",
    Walk.CONSUMED: "consumed_at",
}


class Due(StrEnum):
    """Which of the waiting messages."""

    NOW = "now"
    LATER = "later"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A walk, and from where on: ``is_begun`` goes on behind a place.

    ``is_grouped``: through several parts of the index that are small, ``LOOK`` of each at most
    (PostgreSQL). A part is a queue, of what waits also a priority.
    """

    walk: Walk
    due: Due = Due.ANY
    is_begun: bool = False
    is_grouped: bool = False


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
    looked = _looked(table, dialect, way, _columns_for(conditions, may)).subquery("looked")
    found = select(*_listed(looked, dialect, may), *_places(looked, dialect, way))
    return (
        found.where(*[condition_of(looked, dialect, each, may) for each in conditions])
        .order_by(*_order(looked, way))
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
    looked = _looked(table, dialect, way, _columns_for(conditions, may)).subquery("looked")
    shown = [dialect.readable(looked.c[name]) for name in ("id", "queue", "status")]
    return (
        select(*shown, *_places(looked, dialect, way))
        .where(*[condition_of(looked, dialect, each, may) for each in conditions])
        .order_by(*_order(looked, way))
        .limit(LIMIT)
    )


@lru_cache(64)
def looked_through(table: Table, dialect: Dialect, *, way: Way) -> Statement:
    """Return how many the next ``LOOK`` messages are, with the last of them."""
    columns = ("id", "created_at", *_order_names(way))
    looked = _looked(table, dialect, way, columns).subquery("looked")
    count = select(func.count()).select_from(looked).scalar_subquery().label("looked_at")
    created = dialect.readable(looked.c.created_at)
    last = select(looked.c.id, created, *_places(looked, dialect, way), count)
    return last.order_by(*_order(looked, way, backwards=True)).limit(ONE)


@lru_cache(64)
def counted_to(table: Table, dialect: Dialect, *, way: Way) -> Statement:
    """Count the next ``LOOK`` messages down to one of them."""
    looked = _looked(table, dialect, way, ("id", *_order_names(way))).subquery("looked")
    end: list[ColumnElement[Any]] = [bindparam("end_id", type_=BigInteger)]
    if way.walk in TIMES:
        end.insert(0, dialect.time_at("end"))
    columns = [*(looked.c[name] for name in _order_names(way)), looked.c.id]
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
        .where(_of_index(row, dialect, walk), row.c.queue > after)
        .order_by(row.c.queue)
        .limit(ONE)
        .scalar_subquery()
    )


@lru_cache
def next_level(table: Table, dialect: Dialect) -> Statement:
    """Return the next lower priority in which messages of the queue wait."""
    return (
        select(dialect.readable(table.c.priority))
        .where(table.c.queue == QUEUE, _of_index(table, dialect, Walk.WAITING))
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
        _text(dialect, shown, "excerpt"),
        dialect.size(table.c.payload).label("size"),
    ).where(dialect.in_subquery(table.c.id, ids))


@lru_cache
def look_at(table: Table, dialect: Dialect, *, may: Readable) -> Statement:
    """Return one message, without its JSON."""
    columns = _listed(table, dialect, may, error=_ERROR)
    return select(*columns).where(table.c.id == ID)


@lru_cache
def document(table: Table, dialect: Dialect, *, name: str) -> Statement:
    """Return the beginning of a JSON column of a message, and how large it is."""
    column = table.c[name]
    shown = dialect.beginning(column, MOST_SHOWN + 1, _LARGE)
    return select(_text(dialect, shown, "text"), dialect.size(column).label("size")).where(
        table.c.id == ID
    )


@lru_cache
def place_of_payload(table: Table, dialect: Dialect) -> Statement:
    """Return whether an encoded payload is in the storage, and not in the row."""
    is_there = dialect.field(table.c.payload, "uri").is_not(None)
    return select(is_there.label("is_stored")).where(table.c.id == ID)


@lru_cache
def held(table: Table, dialect: Dialect, *, is_of_queue: bool, is_begun: bool) -> Statement:
    """Return who holds what, by queue and by the end of the lease: no tokens.

    Of all queues or of one; from the beginning on, or behind a place.
    """
    found = select(
        *[_column(table, dialect, name) for name in _HELD],
        (table.c.claim_expires_at <= dialect.now()).label("is_lapsed"),
        dialect.place(table.c.claim_expires_at).label("place"),
    ).where(table.c.claim_expires_at.is_not(None))
    place = [dialect.time_at("place"), PLACE_ID]
    by: list[Any] = [table.c.claim_expires_at, table.c.id]
    if is_of_queue:
        found = found.where(table.c.queue == QUEUE)
    else:
        by.insert(0, table.c.queue)
        place.insert(0, QUEUE)
    if is_begun:
        found = found.where(tuple_(*by) > tuple_(*place))
    return found.order_by(*by).limit(LIMIT)


_HELD = (
    "id",
    "queue",
    "claimed_by",
    "attempts",
    "claimed_at",
    "claim_expires_at",
    "last_error_class",
)


@lru_cache
def letters_by_error(table: Table, dialect: Dialect, *, may: Readable) -> Statement:
    """Count the newest dead letters of a queue, ``LOOK`` of them, by their error.

    On PostgreSQL of some queues, as ``rows`` has them, of each so many.
    """
    line: ColumnElement[Any] = literal_column("NULL", Text)
    names = ["id", "available_at", "last_error_class"]
    if may.last_error:
        names.append("last_error")
    newest = _newest_letters(table, dialect, names)
    if may.last_error:
        line = _first_line(dialect, newest.c.last_error)
    said = select(
        newest.c.position,
        newest.c.id,
        newest.c.available_at,
        _beginning(newest.c.last_error_class, _TEXT).label("last_error_class"),
        line.label("first_line"),
    ).subquery("said")
    return (
        select(
            said.c.position,
            _text(dialect, said.c.last_error_class, "last_error_class"),
            _text(dialect, said.c.first_line, "first_line"),
            func.count().label("letters"),
            dialect.readable(func.min(said.c.available_at).label("available_at")),
            dialect.readable(func.max(said.c.available_at).label("claimed_at")),
            func.max(said.c.id).label("id"),
        )
        .group_by(said.c.position, said.c.last_error_class, said.c.first_line)
        .order_by(said.c.position, func.count().desc(), func.max(said.c.id).desc())
    )


def _newest_letters(table: Table, dialect: Dialect, names: Iterable[str]) -> FromClause:
    columns = [table.c[name] for name in names]
    order = (table.c.priority, table.c.available_at.desc(), table.c.id.desc())
    is_waiting = _of_index(table, dialect, Walk.WAITING)
    if not dialect.has_lateral:
        of_queue = select(ONE.label("position"), *columns).where(table.c.queue == QUEUE, is_waiting)
        return of_queue.order_by(*order).limit(LOOK).subquery("newest")
    named = dialect.rows(queue=Text())
    of_each = select(*columns).where(table.c.queue == named.c.queue, is_waiting)
    rows = of_each.order_by(*order).limit(LOOK).lateral("of_each")
    found = select(named.c.position, *rows.c).select_from(named.join(rows, true()))
    return found.subquery("newest")


def _first_line(dialect: Dialect, text: ColumnElement[str]) -> ColumnElement[str]:
    shown = _beginning(text, _FIRST_LINE)
    line_feed = func.chr(literal_column("10"), type_=Text())
    if not dialect.has_lateral:
        line_feed = func.char(literal_column("10"), type_=Text())
    end = dialect.position_in(shown, line_feed)
    before = func.substr(shown, ONE, end - ONE, type_=Text())
    return case((end > ZERO, before), else_=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Of which part of a DAG run: a task, or one of its mapped instances, or all of it."""

    is_task: bool
    is_mapped: bool


@lru_cache
def work(table: Table, dialect: Dialect, *, way: Way, part: Part, may: Readable) -> Statement:
    """Return those of the next ``LOOK`` messages that a part of a DAG run has had to do with.

    With what: ``is_pushed``, ``is_held``, ``is_consumed``, ``is_failed``.
    """
    names = {*_SHOWN, *(name for name in _CONFIDENTIAL if getattr(may, name))} - {"payload"}
    looked = _looked(table, dialect, way, tuple(sorted(names))).subquery("looked")
    no: ColumnElement[Any] = literal_column("1 = 0")

    def is_it(claimant: ColumnElement[Any]) -> ColumnElement[bool]:
        begins = [begins_with(claimant, name) for name in _claimants(part)]
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
            *_listed(looked, dialect, may),
            *[test.label(name) for name, test in said.items()],
            *_places(looked, dialect, way),
        )
        .where(or_(*said.values()))
        .order_by(*_order(looked, way))
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


def _columns_for(conditions: Iterable[Condition], may: Readable) -> tuple[str, ...]:
    """Return the names of the columns that a search reads."""
    names = {*_SHOWN}
    if may.last_error:
        names.add("last_error")
    for each in conditions:
        if each.test is Trait.PAYLOAD:
            names.add("payload")
        if each.test in (Trait.RUN, Trait.DAG, Trait.TASK) and may.headers:
            names.add("headers")
    return tuple(sorted(names))


def _looked(table: Table, dialect: Dialect, way: Way, names: Iterable[str]) -> Select[Any]:
    if way.is_grouped:
        return _looked_in_parts(table, dialect, way, names)
    return (
        select(*[table.c[name] for name in names])
        .where(*_range(table, dialect, way))
        .order_by(*_order(table, way))
        .limit(LOOK)
    )


def _looked_in_parts(table: Table, dialect: Dialect, way: Way, names: Iterable[str]) -> Select[Any]:
    part = dialect.rows(queue=Text(), level=Integer())
    of_part = [table.c.queue == part.c.queue, *_of_part(table, dialect, way, part.c.level)]
    rows = (
        select(*[table.c[name] for name in names])
        .where(*of_part)
        .order_by(*_order(table, replace(way, is_grouped=False)))
        .limit(LOOK)
        .lateral("of_part")
    )
    return select(*rows.c, part.c.position.label("part")).select_from(part.join(rows, true()))


def _range(table: Table, dialect: Dialect, way: Way) -> list[ColumnElement[bool]]:
    match way.walk:
        case Walk.IDS:
            return [table.c.id <= FROM_ID, table.c.id >= TO_ID]
        case Walk.CHOSEN:
            ids = select(dialect.rows(id=BigInteger()).c.id)
            return [dialect.in_subquery(table.c.id, ids), table.c.id <= FROM_ID]
    found = [table.c.queue == QUEUE, *_of_part(table, dialect, way, PRIORITY)]
    if way.is_begun:
        time = table.c[TIMES[way.walk]]
        found.append(tuple_(time, table.c.id) < tuple_(dialect.time_at("place"), PLACE_ID))
    return found


def _of_part(
    table: FromClause, dialect: Dialect, way: Way, priority: ColumnElement[int]
) -> list[ColumnElement[bool]]:
    found = [_of_index(table, dialect, way.walk)]
    if way.walk is Walk.WAITING:
        found.append(table.c.priority == priority)
        match way.due:
            case Due.NOW:
                found.append(table.c.available_at <= dialect.now())
            case Due.LATER:
                found.append(table.c.available_at > dialect.now())
    return found


def _of_index(row: FromClause, dialect: Dialect, walk: Walk) -> ColumnElement[bool]:
    """Return what the rows of a partial index have in common, so that it is used."""
    match walk:
        case Walk.WAITING:
            return and_(row.c.status == AVAILABLE, dialect.is_present(row.c.available_at))
        case Walk.HELD:
            return row.c.claim_expires_at.is_not(None)
        case _:
            return row.c.consumed_at.is_not(None)


def _order_names(way: Way) -> tuple[str, ...]:
    return (TIMES[way.walk],) if way.walk in TIMES else ()


def _order(row: FromClause, way: Way, *, backwards: bool = False) -> list[ColumnElement[Any]]:
    columns: list[ColumnElement[Any]] = [*(row.c[name] for name in _order_names(way)), row.c.id]
    if backwards:
        return columns
    part = [row.c.part] if way.is_grouped else []
    return [*part, *[column.desc() for column in columns]]


def _places(row: FromClause, dialect: Dialect, way: Way) -> list[ColumnElement[Any]]:
    part = [row.c.part] if way.is_grouped else []
    return [*part, *[dialect.place(row.c[name]).label("place") for name in _order_names(way)]]


def _listed(
    row: FromClause, dialect: Dialect, may: Readable, *, error: int = _TEXT
) -> list[ColumnElement[Any]]:
    """Return the columns of a message in a list. Its times are compared by the database's clock."""
    columns = [_column(row, dialect, name) for name in _SHOWN]
    if may.last_error:
        columns.append(_text(dialect, _beginning(row.c.last_error, error), "last_error"))
    later = row.c.available_at > dialect.now()
    columns.append(and_(row.c.status == AVAILABLE, later).label("is_later"))
    columns.append((row.c.claim_expires_at <= dialect.now()).label("is_lapsed"))
    return columns


def _column(row: FromClause, dialect: Dialect, name: str) -> ColumnElement[Any]:
    column = row.c[name]
    if isinstance(column.type, Text):
        return _text(dialect, _beginning(column, _TEXT), name)
    return dialect.readable(column)


def _beginning(text: ColumnElement[Any], characters: int) -> ColumnElement[str]:
    return func.substr(text, ONE, literal_column(str(characters), Integer), type_=Text())


def _text(dialect: Dialect, text: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    return dialect.readable(text.label(name))
