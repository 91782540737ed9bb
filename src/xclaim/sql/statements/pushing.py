"""Insert payloads, plainly or once per unique key."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Integer,
    SmallInteger,
    Table,
    TableClause,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    exists,
    false,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.types import TypeEngine

from xclaim.sql.dialects import POSTGRESQL, SQLITE, Dialect, UtcTimestamp
from xclaim.sql.schema import LINE_UP_NAME
from xclaim.sql.statements.backlog import is_limited
from xclaim.sql.statements.parts import (
    DELAY,
    QUEUE,
    Statement,
    message_columns,
    notified,
    package,
)

# https://www.sqlite.org/autoinc.html
_GIVEN_IDS = TableClause("sqlite_sequence", column("name"), column("seq"))


@lru_cache
def push(
    table: Table,
    dialect: Dialect,
    *,
    notifies: bool = False,
    encoded: bool = False,
    ordered: bool = False,
    guarded: bool = False,
) -> Statement:
    """Insert the payloads in their order, and return what the producer does not know.

    On PostgreSQL in one row: the ids, which rise with the position, and the times all share.
    ``encoded``: not all of them are plain JSON, and each comes with its codec. ``ordered``: some
    have an ordering key; ``turns`` are the ids of those that have the turn. ``guarded``: nothing
    is inserted where a limit is set for what waits in the queue.
    """
    with_columns = encoded or ordered
    item = (
        dialect.rows(payload=Text(), **_codec(encoded), **_ordering_key(ordered))
        if with_columns
        else dialect.elements()
    )
    payload = dialect.json(item.c.payload) if with_columns else item.c.payload
    names, values = _pushed(item.c, dialect, unique_key=null(), payload=payload)
    rows = select(*_labelled(names, values)).order_by(item.c.position)
    if guarded:
        rows = rows.where(~is_limited(table))
    inserted = insert(table).from_select(names, rows).returning(*_unknown(table, ordered=ordered))
    if dialect is not POSTGRESQL:
        return inserted
    pushed = inserted.cte("pushed")
    ids: ColumnElement[Any] = func.array_agg(aggregate_order_by(pushed.c.id, pushed.c.id))
    return select(
        ids.label("ids"),
        func.min(pushed.c.created_at).label("created_at"),
        func.min(pushed.c.available_at).label("available_at"),
        *([_lined_up(table, pushed.c.id)] if ordered else []),
        *([notified()] if notifies else []),
    )


@lru_cache
def push_one(table: Table, dialect: Dialect, *, encoded: bool = False) -> Statement:
    """Insert one payload, and return what the producer does not know.

    SQLite takes twice as long for a list of one, which it parses, sorts and puts aside.
    """
    item = {"payload": bindparam("payload_text", type_=Text)}
    if encoded:
        item["codec"] = bindparam("payload_codec", type_=Text)
    names, values = _pushed(item, dialect, unique_key=null())
    return insert(table).values(dict(zip(names, values, strict=True))).returning(*_unknown(table))


def _unknown(table: Table, *, ordered: bool = False) -> list[ColumnElement[Any]]:
    available_at: ColumnElement[Any] = table.c.available_at
    if ordered:
        due_at = func.coalesce(available_at, table.c.due_at, type_=UtcTimestamp())
        available_at = due_at.label("available_at")
    return [table.c.id, table.c.created_at, available_at]


def _lined_up(table: Table, id_: ColumnElement[int]) -> ColumnElement[Any]:
    """Return the call that gives turns to what was inserted in line; it returns who has one."""
    ids = func.array_agg(aggregate_order_by(id_, id_))
    call = Function(LINE_UP_NAME, ids, type_=ARRAY(BigInteger), packagenames=package(table))
    return call.label("turns")


@lru_cache
def with_turn(table: Table, dialect: Dialect) -> Statement:
    """Return which of the messages have the turn of their ordering keys, or need none."""
    ids = select(dialect.rows(id=BigInteger()).c.id)
    return select(table.c.id).where(
        dialect.in_subquery(table.c.id, ids), table.c.available_at.is_not(None)
    )


@lru_cache
def push_once(
    table: Table,
    dialect: Dialect,
    *,
    notifies: bool = False,
    encoded: bool = False,
    whole: bool = False,
    by_id: bool = False,
    ordered: bool = False,
    guarded: bool = False,
) -> Statement:
    """Insert the payloads whose unique key is new and return those that are already there.

    The last columns: ``is_same`` is false where the key is taken by another payload; then nothing
    is inserted at all. ``is_new`` tells what was inserted from what was there. PostgreSQL does not
    see a key that another session has pushed since the statement began: its payload is left out,
    or, if ``whole``, a unique violation raised and nothing inserted. ``by_id``: return no more of
    the messages than their ids and keys, and give no turns (PostgreSQL only). ``ordered``,
    ``guarded``: as for ``push``.
    """
    if dialect is SQLITE:
        return _push_once_sqlite(table, dialect, encoded=encoded, ordered=ordered, guarded=guarded)
    return _push_once_postgresql(
        table,
        dialect,
        notifies=notifies,
        encoded=encoded,
        whole=whole,
        by_id=by_id,
        ordered=ordered,
        guarded=guarded,
    )


def _push_once_postgresql(
    table: Table,
    dialect: Dialect,
    *,
    notifies: bool,
    encoded: bool,
    whole: bool,
    by_id: bool,
    ordered: bool,
    guarded: bool,
) -> Statement:
    # What is there already is only read: a repeated push writes nothing, and a producer needs no
    # right to update.
    item = dialect.rows(
        payload=Text(), unique_key=Text(), **_codec(encoded), **_ordering_key(ordered)
    )
    incoming = dialect.materialized(
        select(
            dialect.json(item.c.payload).label("payload"),
            dialect.optional(item.c.unique_key).label("unique_key"),
            *([dialect.optional(item.c.codec).label("codec")] if encoded else []),
            *([item.c.ordering_key] if ordered else []),
            literal_column("item.position").label("position"),
        ),
        "incoming",
    )
    taken = table.alias("taken")

    def shown(row: FromClause) -> list[ColumnElement[Any]]:
        return [row.c.id, row.c.unique_key] if by_id else message_columns(row, dialect)

    is_same = _is_same(taken.c, incoming.c).label("is_same")
    existing = dialect.materialized(
        select(*shown(taken), is_same).join_from(
            incoming,
            taken,
            and_(taken.c.origin_queue == QUEUE, taken.c.unique_key == incoming.c.unique_key),
        ),
        "existing",
    )
    targets, values = _pushed(
        incoming.c, dialect, unique_key=incoming.c.unique_key, payload=incoming.c.payload
    )
    fresh = (
        select(*_labelled(targets, values))
        .where(~exists(select(existing.c.id).where(~existing.c.is_same)))
        .where(~exists(select(existing.c.id).where(existing.c.unique_key == incoming.c.unique_key)))
        .order_by(incoming.c.position)
    )
    if guarded:
        fresh = fresh.where(~is_limited(table))
    insert_fresh = postgresql_insert(table).from_select(targets, fresh)
    if not whole:
        insert_fresh = insert_fresh.on_conflict_do_nothing(**_unique_key(table))
    pushed = insert_fresh.returning(*shown(table), *([notified()] if notifies else [])).cte(
        "pushed"
    )
    names = [column.name for column in shown(table)]
    of_existing: list[ColumnElement[Any]] = [existing.c.is_same, false().label("is_new")]
    of_pushed: list[ColumnElement[Any]] = [true().label("is_same"), true().label("is_new")]
    if ordered and not by_id:
        of_existing.append(cast(null(), ARRAY(BigInteger)).label("turns"))
        of_pushed.append(select(_lined_up(table, pushed.c.id)).scalar_subquery().label("turns"))
    return union_all(
        select(*[existing.c[name] for name in names], *of_existing),
        select(*[pushed.c[name] for name in names], *of_pushed),
    )


def _push_once_sqlite(
    table: Table, dialect: Dialect, *, encoded: bool, ordered: bool, guarded: bool
) -> Statement:
    item = dialect.rows(
        payload=Text(), unique_key=Text(), **_codec(encoded), **_ordering_key(ordered)
    )
    names, values = _pushed(item.c, dialect, unique_key=item.c.unique_key)
    # WHERE true: without it SQLite reads ON CONFLICT as the ON of a join.
    is_pushed: ColumnElement[bool] = true()
    if guarded:  # what is there meets the conflict, which returns it
        taken = table.alias("taken")
        is_there = exists(
            select(taken.c.id).where(
                taken.c.origin_queue == QUEUE, taken.c.unique_key == item.c.unique_key
            )
        )
        is_pushed = or_(~is_limited(table), is_there)
    rows = select(*_labelled(names, values)).where(is_pushed).order_by(item.c.position)
    pushed = _refuse_other_payload(sqlite_insert(table).from_select(names, rows), table)
    is_same: ColumnElement[Any] = literal_column("1").label("is_same")
    # SQLite writes down the highest id that it has given at the end of a statement.
    highest = select(_GIVEN_IDS.c.seq).where(_GIVEN_IDS.c.name == literal_column(f"'{table.name}'"))
    is_new = table.c.id > func.coalesce(highest.scalar_subquery(), literal_column("0"))
    statement: Statement = pushed.returning(
        *message_columns(table, dialect), is_same, is_new.label("is_new")
    )
    return statement


def _unique_key(table: Table) -> dict[str, Any]:
    return {
        "index_elements": [table.c.origin_queue, table.c.unique_key],
        "index_where": table.c.unique_key.is_not(None),
    }


def _refuse_other_payload(statement: Any, table: Table) -> Any:
    # An equal payload is returned as it is. Another one leaves a column empty that must not be, and
    # that fails the whole statement.
    return statement.on_conflict_do_update(
        **_unique_key(table),
        set_={"created_at": case((_is_same(table.c, statement.excluded), table.c.created_at))},
    )


def _pushed(
    item: Any,
    dialect: Dialect,
    *,
    unique_key: ColumnElement[Any],
    payload: ColumnElement[Any] | None = None,
) -> tuple[list[str], list[ColumnElement[Any]]]:
    values: dict[str, ColumnElement[Any]] = {
        "queue": QUEUE,
        "origin_queue": QUEUE,
        "priority": bindparam("message_priority", type_=SmallInteger),
        "payload": dialect.json(item["payload"]) if payload is None else payload,
        "headers": dialect.json(bindparam("message_headers", type_=Text)),
        "unique_key": cast(unique_key, Text),
        "max_attempts": bindparam("attempts_limit", type_=Integer),
        "created_at": dialect.now(),
        "available_at": dialect.from_now(DELAY),
    }
    if "ordering_key" in item:
        # In line. What leads it is given the turn at the end of the statement.
        key = cast(dialect.optional(item["ordering_key"]), Text)
        values |= {
            "available_at": case((key.is_(None), values["available_at"])),
            "due_at": case((key.is_not(None), values["available_at"])),
            "keeps_turn": case((key.is_not(None), bindparam("holds_turn", type_=Boolean))),
            "ordering_key": key,
        }
    if "codec" in item:
        values["codec"] = cast(dialect.optional(item["codec"]), Text)
    return list(values), list(values.values())


def _labelled(names: list[str], values: list[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [value.label(name) for name, value in zip(names, values, strict=True)]


def _codec(encoded: bool) -> dict[str, TypeEngine[Any]]:  # noqa: FBT001  (spread into a call)
    return {"codec": Text()} if encoded else {}


def _ordering_key(ordered: bool) -> dict[str, TypeEngine[Any]]:  # noqa: FBT001  (as _codec)
    return {"ordering_key": Text()} if ordered else {}


def _is_same(ours: Any, theirs: Any) -> ColumnElement[bool]:
    is_plain = "codec" not in theirs
    same: ColumnElement[bool] = (
        ours.codec.is_(None) if is_plain else ours.codec.is_not_distinct_from(theirs.codec)
    )
    return and_(ours.payload == theirs.payload, same)


@lru_cache
def clashing_keys(table: Table, dialect: Dialect, *, encoded: bool = False) -> Statement:
    """Return the unique keys that are taken by another payload."""
    item = dialect.rows(payload=Text(), unique_key=Text(), **_codec(encoded))
    return select(table.c.unique_key).join_from(
        item,
        table,
        and_(
            table.c.origin_queue == QUEUE,
            table.c.unique_key == item.c.unique_key,
            or_(
                table.c.payload != dialect.json(item.c.payload),
                table.c.codec.is_distinct_from(dialect.optional(item.c.codec))
                if encoded
                else table.c.codec.is_not(None),
            ),
        ),
    )
