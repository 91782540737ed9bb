"""Ways through messages: in the order of an index, a number of them at a time (``LOOK``).

Whatever is searched for, a statement reads no more than that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
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
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.parts import AVAILABLE, QUEUE

FROM_ID = bindparam("from_id", type_=BigInteger)
TO_ID = bindparam("to_id", type_=BigInteger)
PLACE_ID = bindparam("place_id", type_=BigInteger)
PRIORITY = bindparam("priority", type_=Integer)
LOOK = bindparam("look", type_=Integer)


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
    (PostgreSQL). A part is a queue, of what waits also a priority. They come one after another, or
    ``is_merged`` by their times: then whatever LIMIT leaves is not that of the first parts alone.
    """

    walk: Walk
    due: Due = Due.ANY
    is_begun: bool = False
    is_grouped: bool = False
    is_merged: bool = False


def looked_at(table: Table, dialect: Dialect, way: Way, names: Iterable[str]) -> Select[Any]:
    """Return the next ``LOOK`` messages on a way."""
    if way.is_grouped:
        return _looked_in_parts(table, dialect, way, names)
    return (
        select(*[table.c[name] for name in names])
        .where(*_range(table, dialect, way))
        .order_by(*order_of(table, way))
        .limit(LOOK)
    )


def _looked_in_parts(table: Table, dialect: Dialect, way: Way, names: Iterable[str]) -> Select[Any]:
    part = dialect.rows(queue=Text(), level=Integer())
    of_part = [table.c.queue == part.c.queue, *_of_part(table, dialect, way, part.c.level)]
    rows = (
        select(*[table.c[name] for name in names])
        .where(*of_part)
        .order_by(*order_of(table, replace(way, is_grouped=False)))
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
    found = [of_index(table, dialect, way.walk)]
    if way.walk is Walk.WAITING:
        found.append(table.c.priority == priority)
        match way.due:
            case Due.NOW:
                found.append(table.c.available_at <= dialect.now())
            case Due.LATER:
                found.append(table.c.available_at > dialect.now())
    return found


def of_index(row: FromClause, dialect: Dialect, walk: Walk) -> ColumnElement[bool]:
    """Return what the rows of a partial index have in common, so that it is used."""
    match walk:
        case Walk.WAITING:
            return and_(row.c.status == AVAILABLE, dialect.is_present(row.c.available_at))
        case Walk.HELD:
            return row.c.claim_expires_at.is_not(None)
        case _:
            return row.c.consumed_at.is_not(None)


def order_names(way: Way) -> tuple[str, ...]:
    """Return the names of the columns, before the id, that messages are in the order of."""
    return (TIMES[way.walk],) if way.walk in TIMES else ()


def order_of(row: FromClause, way: Way, *, backwards: bool = False) -> list[ColumnElement[Any]]:
    """Return that order, the newest first; ``backwards``: the last of them first."""
    columns: list[ColumnElement[Any]] = [*(row.c[name] for name in order_names(way)), row.c.id]
    if backwards:
        return columns
    part = [row.c.part] if way.is_grouped and not way.is_merged else []
    return [*part, *[column.desc() for column in columns]]


def places_of(row: FromClause, dialect: Dialect, way: Way) -> list[ColumnElement[Any]]:
    """Return what says where a message is on its way."""
    part = [row.c.part] if way.is_grouped else []
    return [*part, *[dialect.place(row.c[name]).label("place") for name in order_names(way)]]
