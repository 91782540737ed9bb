"""Look for rows that break a promise: read-only, a part of the table at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Integer,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql.selectable import FromClause

from xclaim.sql.dialects import SQLITE, Dialect, Json
from xclaim.sql.schema import CHECKS, HAS_TURN, TABLE_NAME
from xclaim.sql.statements.parts import (
    AVAILABLE,
    CLAIMED,
    CONSUMED,
    LIMIT,
    QUEUE,
    ZERO,
    Statement,
)

# What each row promises. First what the table's own CHECK refuses, unless it was dropped or added
# NOT VALID; a CHECK for each of the others would cost every statement (docs/adr/0049). As with a
# CHECK, NULL breaks nothing.
PROMISES = {
    "status": CHECKS["ck_xclaim_message_status"],
    "claimed": (
        "(status = 'claimed') = (claim_token IS NOT NULL)"
        " AND (status = 'claimed') = (claimed_by IS NOT NULL)"
        " AND (status = 'claimed') = (claim_expires_at IS NOT NULL)"
        # A dead letter keeps the key of its last claim: who tries again learns that it is dead.
        " AND (status = 'claimed' OR claim_key IS NULL"
        " OR (status = 'available' AND queue LIKE '%.dead'))"
        " AND (status = 'available') = (claimed_at IS NULL)"
    ),
    "consumed": (
        "(status = 'consumed') = (consumed_at IS NOT NULL)"
        " AND (status = 'consumed') = (consumed_by IS NOT NULL)"
    ),
    "attempts": "attempts >= 0 AND max_attempts >= 1",
    "queue": "queue <> '' AND origin_queue <> ''",
    "attempted": "status = 'available' OR attempts >= 1",
    "attempts_bounded": "queue LIKE '%.dead' OR attempts <= max_attempts",
    "exhausted_is_dead": (
        "queue LIKE '%.dead' OR status <> 'available' OR attempts < max_attempts"
    ),
    # Nothing gives a turn to what stands nowhere, however often others of its key end.
    "in_line": (
        "status <> 'available' OR available_at IS NOT NULL"
        " OR ordering_key IS NOT NULL AND queue = origin_queue"
    ),
    "order_of_times": (
        "coalesce(created_at <= claimed_at, true) AND coalesce(claimed_at <= consumed_at, true)"
        " AND coalesce(claimed_at <= claim_expires_at, true)"
    ),
}
IN_THE_PAST = "in_the_past"
# By which SQL a row keeps the promise again, with the id of the message for `:id`.
REMEDIES = {
    # A time of consumption outweighs a token: what was consumed is not handed out once more.
    "status": "UPDATE xclaim_message"
    " SET claim_token = CASE WHEN consumed_at IS NULL THEN claim_token END,"
    " status = CASE WHEN consumed_at IS NOT NULL THEN 'consumed'"
    " WHEN claim_token IS NOT NULL THEN 'claimed' ELSE 'available' END WHERE id = :id",
    # The lease is over then: the next claim, or `xclaim expire`, gives the message back.
    "claimed": "UPDATE xclaim_message"
    " SET claimed_by = CASE status WHEN 'claimed' THEN coalesce(claimed_by, 'unknown') END,"
    " claim_expires_at = CASE status WHEN 'claimed'"
    " THEN coalesce(claim_expires_at, claimed_at, created_at) END,"
    " claim_key = CASE status WHEN 'claimed' THEN claim_key END,"
    " claimed_at = CASE WHEN status <> 'available' THEN coalesce(claimed_at, created_at) END"
    " WHERE id = :id",
    "consumed": "UPDATE xclaim_message"
    " SET consumed_by = CASE status WHEN 'consumed' THEN coalesce(consumed_by, 'unknown') END"
    " WHERE id = :id",
    "attempts": "UPDATE xclaim_message"
    " SET attempts = CASE WHEN attempts < 0 THEN 0 ELSE attempts END,"
    " max_attempts = CASE WHEN max_attempts < 1 THEN 1 ELSE max_attempts END WHERE id = :id",
    "queue": "UPDATE xclaim_message"
    " SET queue = CASE queue WHEN '' THEN :queue ELSE queue END,"
    " origin_queue = CASE origin_queue WHEN '' THEN :queue ELSE origin_queue END WHERE id = :id",
    "attempted": "UPDATE xclaim_message SET attempts = 1 WHERE id = :id",
    "attempts_bounded": "UPDATE xclaim_message SET max_attempts = attempts + 1 WHERE id = :id",
    "exhausted_is_dead": "UPDATE xclaim_message SET queue = queue || '.dead' WHERE id = :id",
    "in_line": "UPDATE xclaim_message SET available_at = coalesce(due_at, created_at),"
    " due_at = NULL, keeps_turn = NULL WHERE id = :id",
    # What is claimed, or holds the turn, leads; else the earliest. The others stand in line.
    "turns": "UPDATE xclaim_message SET due_at = available_at, available_at = NULL"  # noqa: S608  (ours)
    " WHERE status = 'available' AND queue = origin_queue AND available_at IS NOT NULL"
    " AND keeps_turn IS NOT TRUE AND (origin_queue, ordering_key) ="
    " (SELECT origin_queue, ordering_key FROM xclaim_message WHERE id = :id)"
    " AND id <> (SELECT holder.id FROM xclaim_message AS holder JOIN xclaim_message AS one"
    " ON holder.origin_queue = one.origin_queue AND holder.ordering_key = one.ordering_key"
    f" WHERE one.id = :id AND {HAS_TURN.format('holder.')}"
    " ORDER BY CASE WHEN holder.status = 'available' AND holder.keeps_turn IS NOT TRUE"
    " THEN 1 ELSE 0 END, holder.id LIMIT 1)",
    "lines": "UPDATE xclaim_message"
    " SET available_at = coalesce(due_at, created_at), due_at = NULL WHERE id = :id",
}
READABLE = "readable"
_TIMES = ("created_at", "available_at", "due_at", "claimed_at", "claim_expires_at", "consumed_at")
_NUMBERS = ("priority", "attempts", "max_attempts")
_TEXTS = ("status", "queue", "origin_queue", "unique_key", "claimed_by", "consumed_by", "codec")
# Each stage once, compression before encryption, as `envelope.suffixes` says.
_STAGES = (
    "NOT (codec LIKE '%+%')"
    " OR (codec LIKE '%+zstd' OR codec LIKE '%+fernet') AND NOT (codec LIKE '%+%+%')"
    " OR codec LIKE '%+zstd+fernet' AND NOT (codec LIKE '%+%+%+%')"
)


def remedy(name: str, table: str, message_id: str = ":id") -> str | None:
    """Return the SQL that mends a row, by the full name of its table; None: a person has to look.

    The table is named last, whatever its schema is called.
    """
    found = REMEDIES.get(name)
    return None if found is None else found.replace(":id", message_id).replace(TABLE_NAME, table)


def _encoded(type_of: Callable[[str], str], *, text: str, number: str) -> str:
    """Return SQL that says whether an encoded payload has the form that `envelope` describes."""
    has_object = (
        f"{type_of('uri')} = '{text}' AND {type_of('size')} = '{number}'"
        f" AND {type_of('sha256')} = '{text}'"
    )
    has_json = f"codec = 'json-types' AND {type_of('json')} IS NOT NULL"
    has_any = f"{has_object} OR {type_of('data')} = '{text}' OR {has_json}"
    is_left = f"codec IN ('digest', 'dropped') AND {type_of('')} = 'object'"
    return f"coalesce(codec IS NULL OR ({_STAGES}) AND ({is_left} OR {has_any}), false)"


def _type_of(name: str) -> str:
    return f"jsonb_typeof(payload -> '{name}')" if name else "jsonb_typeof(payload)"


_READABLE = " AND ".join(
    [
        _encoded(_type_of, text="string", number="number"),
        "jsonb_typeof(headers) = 'object'",
        "coalesce(jsonb_typeof(failures) = 'array', true)",
        *[
            f"coalesce(({name} >= '0001-01-03 00:00:00+00')"
            f" AND ({name} <= '9999-12-29 00:00:00+00'), true)"
            for name in _TIMES
        ],
    ]
)


def _json_type(column: str) -> str:
    valid = f"typeof({column}) = 'text' AND json_valid({column})"
    return f"CASE WHEN {valid} THEN json_type({column}) ELSE 'none' END"


def _type_on_sqlite(name: str) -> str:
    path = f"$.{name}" if name else "$"
    valid = "typeof(payload) = 'text' AND json_valid(payload)"
    return f"CASE WHEN {valid} THEN json_type(payload, '{path}') END"


_READABLE_ON_SQLITE = " AND ".join(
    [
        f"{_json_type('payload')} <> 'none'",
        _encoded(_type_on_sqlite, text="text", number="integer"),
        f"{_json_type('headers')} = 'object'",
        f"coalesce(failures IS NULL OR {_json_type('failures')} = 'array', true)",
        *[
            f"({name} IS NULL OR typeof({name}) = 'text' AND julianday({name}) IS NOT NULL"
            f" AND {name} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*'"
            # Times are compared as texts: one with a T, or of another time zone, sorts elsewhere.
            f" AND substr({name}, 1, 19) = substr(strftime('%Y-%m-%d %H:%M:%S',"
            f" substr({name}, 1, 19), '+0 days'), 1, length(substr({name}, 1, 19)))"
            f" AND ({name} NOT GLOB '*[-+][0-9][0-9]:[0-9][0-9]' OR {name} GLOB '*00:00'))"
            for name in _TIMES
        ],
        *[f"typeof({name}) IN ('integer', 'null')" for name in _NUMBERS],
        *[f"typeof({name}) IN ('text', 'null')" for name in _TEXTS],
    ]
)
_FIRST = bindparam("first_id", type_=BigInteger)
_LAST = bindparam("last_id", type_=BigInteger)
_SAMPLE = 10  # broken rows that are named


@lru_cache
def audit_rows(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Count the next rows by id, how many of them break each promise, and where they end."""
    part = _part(table, of_queue=of_queue)
    counted = [
        func.count().filter(broken).label(name) for name, broken in _broken(part, dialect).items()
    ]
    statuses = [
        func.count().filter(part.c.status == status).label(f"rows_{name}")
        for name, status in (("available", AVAILABLE), ("claimed", CLAIMED), ("consumed", CONSUMED))
    ]
    return select(
        func.count().label("rows"),
        func.count().filter(part.c.id > ZERO).label("given"),
        func.max(part.c.id).label("last"),
        *statuses,
        *counted,
    )


@lru_cache
def broken_rows(table: Table, dialect: Dialect, *, promise: str, of_queue: bool) -> Statement:
    """Return a few of the next rows that break a promise."""
    part = _part(table, of_queue=of_queue)
    broken = _broken(part, dialect)[promise]
    named = select(part.c.id, dialect.readable(part.c.queue)).where(broken)
    return named.order_by(part.c.id).limit(_SAMPLE)


@lru_cache
def repeated_keys(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return a few unique keys that more than one message of a queue has."""
    return (
        select(
            dialect.readable(table.c.origin_queue.label("queue")), func.min(table.c.id).label("id")
        )
        .where(table.c.unique_key.is_not(None), *_chosen(table, of_queue=of_queue))
        .group_by(table.c.origin_queue, table.c.unique_key)
        .having(func.count() > literal_column("1", Integer))
        .limit(_SAMPLE)
    )


@lru_cache
def lines_without_a_leader(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return the messages that are to lead a few lines in which nobody has the turn.

    The first of what is claimed, else the first.
    """
    # One after the other: each has an index of its own, and no index has both.
    parts = (
        select(table.c.queue, table.c.ordering_key, table.c.id, table.c.status)
        .where(table.c.ordering_key.is_not(None), table.c.status == status)
        .where(table.c.available_at.is_(None), *_chosen(table, of_queue=of_queue))
        for status in (AVAILABLE, CLAIMED)
    )
    line = union_all(*parts).subquery("line")
    claimed = func.min(case((line.c.status == CLAIMED, line.c.id)))
    first = func.coalesce(claimed, func.min(line.c.id))
    leader = table.alias("leader")
    has_turn = literal_column(f"({HAS_TURN.format('leader.')})", Boolean)
    is_led = exists(
        select(leader.c.id)
        .where(leader.c.origin_queue == line.c.queue)
        .where(leader.c.ordering_key == line.c.ordering_key, has_turn)
    )
    return (
        select(dialect.readable(line.c.queue), first.label("id"))
        .where(~is_led)
        .group_by(line.c.queue, line.c.ordering_key)
        .limit(_SAMPLE)
    )


@lru_cache
def repeated_turns(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return a few lines in which more than one message has the turn."""
    holder = table.alias("holder")
    return (
        select(
            dialect.readable(holder.c.origin_queue.label("queue")),
            dialect.readable(holder.c.ordering_key),
            func.min(holder.c.id).label("id"),
        )
        .where(literal_column(f"({HAS_TURN.format('holder.')})", Boolean))
        .where(*_chosen(holder, of_queue=of_queue))
        .group_by(holder.c.origin_queue, holder.c.ordering_key)
        .having(func.count() > literal_column("1", Integer))
        .limit(_SAMPLE)
    )


@lru_cache
def repeated_tokens(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return a few tokens that more than one claim has."""
    return (
        select(
            dialect.readable(func.min(table.c.queue).label("queue")),
            func.min(table.c.id).label("id"),
        )
        .where(table.c.claim_expires_at.is_not(None), *_chosen(table, of_queue=of_queue))
        .group_by(table.c.claim_token)
        .having(func.count() > literal_column("1", Integer))
        .limit(_SAMPLE)
    )


@lru_cache
def nth_newest(table: Table, _dialect: Dialect) -> Statement:
    """Return the id of the message that as many as the limit are newer than."""
    return select(table.c.id).order_by(table.c.id.desc()).limit(1).offset(LIMIT)


def _part(table: Table, *, of_queue: bool) -> Subquery:
    rows = select(*table.c).where(*_chosen(table, of_queue=of_queue))
    return rows.order_by(table.c.id).limit(LIMIT).subquery("part")


def _chosen(table: FromClause, *, of_queue: bool) -> Iterator[ColumnElement[bool]]:
    yield table.c.id >= _FIRST
    if of_queue:
        yield or_(table.c.queue == QUEUE, table.c.origin_queue == QUEUE)


def _broken(part: Subquery, dialect: Dialect) -> dict[str, ColumnElement[bool]]:
    column = part.c
    broken: dict[str, ColumnElement[bool]] = {
        name: literal_column(f"({condition}) IS FALSE", Boolean)
        for name, condition in PROMISES.items()
    }
    now = dialect.now()
    broken[IN_THE_PAST] = or_(
        column.created_at > now, column.claimed_at > now, column.consumed_at > now
    )
    readable = _READABLE_ON_SQLITE if dialect is SQLITE else _READABLE
    broken[READABLE] = literal_column(f"({readable}) IS FALSE", Boolean)
    return broken


@lru_cache
def ids_between(table: Table, _dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return the ids of a part of the rows."""
    chosen = select(table.c.id).where(*_chosen(table, of_queue=of_queue), table.c.id <= _LAST)
    return chosen.order_by(table.c.id)


@lru_cache
def perhaps_unreadable(table: Table, dialect: Dialect, *, of_queue: bool) -> Statement:
    """Return the JSON of the next rows by id that only Python can tell whether it reads.

    What ``broken_rows`` names as not readable is left out. On a row that PostgreSQL cannot send it
    fails, whatever the row has too much of.
    """
    part = select(*table.c).where(*_chosen(table, of_queue=of_queue), table.c.id <= _LAST)
    rows = part.subquery("part")
    is_named = _broken(rows, dialect)[READABLE]
    columns = [dialect.readable(rows.c[name]) for name in ("queue", "payload", "headers")]
    perhaps = or_(*[dialect.is_perhaps_too_much(rows.c[name]) for name in ("payload", "headers")])
    asked = or_(*_sent(rows, dialect), perhaps)
    return select(rows.c.id, *columns).where(~is_named, asked).order_by(rows.c.id).limit(LIMIT)


def _sent(rows: Subquery, dialect: Dialect) -> Iterator[ColumnElement[bool]]:
    """Yield tests that no row passes, and that fail where PostgreSQL could not send the row."""
    if dialect is SQLITE:
        return
    zero: ColumnElement[int] = literal_column("0", Integer)
    yield func.length(cast(rows.c.failures, Text)) < zero
    is_other = func.getdatabaseencoding() != literal_column("'UTF8'", Text)
    texts = [cast(column, Text) for column in rows.c if isinstance(column.type, (Text, Json))]
    whole = func.concat_ws(literal_column("''", Text), *texts)
    sent = func.convert_to(whole, literal_column("'UTF8'", Text))
    yield and_(is_other, func.octet_length(sent) < zero)


__all__ = [
    "IN_THE_PAST",
    "PROMISES",
    "READABLE",
    "REMEDIES",
    "audit_rows",
    "broken_rows",
    "ids_between",
    "lines_without_a_leader",
    "nth_newest",
    "perhaps_unreadable",
    "remedy",
    "repeated_keys",
    "repeated_tokens",
    "repeated_turns",
]
