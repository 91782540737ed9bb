"""Limit a queue: how many messages are claimed at once, and how many claims begin in a time.

A queue with a limit has *slots*, rows of a table of their own. A claim takes one for each message:
it locks those that are free and skips what others have locked, so that no two claims have the same
slot and none waits for another. A slot of the concurrency names the claim that has it, and is free
as soon as that claim is over, however it ended: nobody gives a slot back, and none can be lost. A
slot of the rate is free again some time after the claim that took it began (docs/adr/0064).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    Integer,
    Select,
    SmallInteger,
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
    update,
)

from xclaim.sql.dialects import SQLITE, CrossJoin, Dialect, UtcTimestamp
from xclaim.sql.schema import CONCURRENCY, RATE, queue_table, slot_table
from xclaim.sql.statements.parts import CLAIMED, ONE, QUEUE, ZERO, Statement
from xclaim.sql.statements.pausing import PAUSE_COLUMNS
from xclaim.sql.statements.settings import of_queue, of_queues, shown, written

_COLUMNS = ("concurrency", "rate", "rate_seconds", "burst")
_OF_CONCURRENCY: ColumnElement[str] = literal_column(f"'{CONCURRENCY}'", Text)
_OF_RATE: ColumnElement[str] = literal_column(f"'{RATE}'", Text)
# SQLite rounds times to milliseconds: half of one more, so that none is early.
_ROUNDED: ColumnElement[float] = literal_column("0.0005", Double)


def is_limited(settings: Any) -> ColumnElement[bool]:
    """Return whether a row of the settings has a limit on claims."""
    return or_(settings.c.concurrency.is_not(None), settings.c.rate.is_not(None))


def hands_out_nothing(table: Table) -> ColumnElement[bool]:
    """Return whether the queue hands out nothing to a claim that takes no slots.

    It is paused, or has limits. As ``is_paused``: PostgreSQL asks it once.
    """
    settings = queue_table(table.schema)
    is_closed = or_(settings.c.paused_at.is_not(None), is_limited(settings))
    return exists(select(settings.c.queue).where(settings.c.queue == QUEUE, is_closed))


@lru_cache
def limit(table: Table, dialect: Dialect) -> Statement:
    """Set the limits of the queue; what is None has none."""
    settings = queue_table(table.schema)
    values = {name: bindparam(name, type_=settings.c[name].type) for name in _COLUMNS}
    kept = written(settings, dialect, values)
    return kept.returning(*shown(settings, dialect, _COLUMNS))  # type: ignore[no-any-return]


@lru_cache
def add_slots(table: Table, dialect: Dialect) -> Statement:
    """Make the slots of a kind that are not there yet, so many in all; no row of an older one."""
    slots = slot_table(table.schema)
    wanted = dialect.rows(slot=SmallInteger())
    rows = select(QUEUE, bindparam("kind", type_=Text), wanted.c.slot)
    if dialect is SQLITE:  # without WHERE it reads ON CONFLICT as the ON of a join
        rows = rows.where(literal_column("true"))
    names = [slots.c.queue, slots.c.kind, slots.c.slot]
    inserted = dialect.insert(slots).from_select(names, rows)
    return inserted.on_conflict_do_nothing(index_elements=names).returning(slots.c.slot)  # type: ignore[no-any-return]


@lru_cache
def limits(table: Table, dialect: Dialect) -> Statement:
    """Return the limits of the queue; nothing if it has none."""
    settings = queue_table(table.schema)
    return of_queue(settings, dialect, _COLUMNS, is_limited(settings))


@lru_cache
def limited_queues(table: Table, dialect: Dialect) -> Statement:
    """Return the queues that have limits, by name, and which."""
    settings = queue_table(table.schema)
    return of_queues(settings, dialect, _COLUMNS, is_limited(settings))


@lru_cache
def room(table: Table, _dialect: Dialect) -> Statement:
    """Return how many more messages may be claimed at once; NULL: any number (SQLite).

    No row: the queue is paused or has no limits. One writer at a time: nobody else claims between
    this and the claim.
    """
    settings = queue_table(table.schema)
    limit = select(settings.c.concurrency).where(settings.c.queue == QUEUE)
    held = _claimed(table, limit).scalar_subquery()
    return (
        select((settings.c.concurrency - held).label("room"), settings.c.rate)
        .where(settings.c.queue == QUEUE, settings.c.paused_at.is_(None))
        .where(is_limited(settings))
    )


@lru_cache
def vacancy(table: Table, dialect: Dialect) -> Statement:
    """Return how many more claims may begin now, as far as can be seen without a lock.

    No row: the queue has neither a pause nor limits. ``at_once``, ``begun``: NULL for any number.
    ``due_in``: in so many seconds the first slot of the rate may be taken. A claim that has lapsed
    is none any more: whoever claims gives it back.
    """
    settings, slots = queue_table(table.schema), slot_table(table.schema)
    limit = select(settings.c.concurrency).where(settings.c.queue == QUEUE)
    held = _claimed(table, limit, since=dialect.now()).scalar_subquery()
    of_rate = _is_of_rate(settings.c, slots)
    due = select(func.count()).where(of_rate, _is_due(settings.c, slots, dialect))
    first = func.min(slots.c.taken_at, type_=UtcTimestamp())
    since = select(dialect.seconds_since(first)).where(of_rate).correlate(settings)
    return (
        select(
            *shown(settings, dialect, (*PAUSE_COLUMNS, *_COLUMNS)),
            (settings.c.concurrency - held).label("at_once"),
            case((settings.c.rate.is_not(None), due.correlate(settings).scalar_subquery())).label(
                "begun"
            ),
            (_spacing(settings.c, dialect) - since.scalar_subquery()).label("due_in"),
        )
        .where(settings.c.queue == QUEUE)
        .where(or_(settings.c.paused_at.is_not(None), is_limited(settings)))
    )


@lru_cache
def due_slots(table: Table, dialect: Dialect) -> Statement:
    """Return the slots of the rate that may be taken now (SQLite)."""
    settings, slots = queue_table(table.schema), slot_table(table.schema)
    return (
        select(slots.c.slot)
        .select_from(CrossJoin(settings, slots))
        .where(settings.c.queue == QUEUE)
        .where(_is_of_rate(settings.c, slots), _is_due(settings.c, slots, dialect))
        .order_by(slots.c.slot)
    )


@lru_cache
def take_slots(table: Table, dialect: Dialect) -> Statement:
    """Note that claims begin now by these slots of the rate (SQLite)."""
    slots = slot_table(table.schema)
    wanted = select(dialect.rows(slot=Integer()).c.slot)
    return (
        update(slots)
        .where(slots.c.queue == QUEUE, slots.c.kind == _OF_RATE)
        .where(dialect.in_subquery(slots.c.slot, wanted))
        .values(taken_at=dialect.now())
        .returning(slots.c.slot)
    )


class Room:
    """The CTEs by which a claim within limits takes its slots, and knows how many (PostgreSQL).

    ``size``: how many messages it asks for. The setting is read, what is held is counted, and free
    slots are locked in one statement, by one snapshot. A slot that another claim has taken since
    is not as the snapshot has it, and is left alone.
    """

    def __init__(self, table: Table, dialect: Dialect, size: ColumnElement[int]) -> None:
        self._table, self._dialect = table, dialect
        self._slots = slot_table(table.schema)
        self.setting = self._setting()
        held = self._held()
        # Claims without a slot below the limit, of before it was set or lowered, or taken over
        # with a new token: for each of them one free slot stays so.
        count = select(func.count()).select_from(held).scalar_subquery()
        claimed = _claimed(table, select(self.setting.c.concurrency)).scalar_subquery()
        stray = func.greatest(claimed - count, ZERO, type_=Integer()).label("stray")
        self._stray = dialect.materialized(select(stray), "others")
        number = select(self._stray.c.stray).scalar_subquery()
        self._free = self._locked(_OF_CONCURRENCY, self._seen_free(held), size + number, "free")
        self._due = self._locked(_OF_RATE, self._seen_due(), size, "due")
        self.number = dialect.materialized(self._number(size, number), "room")

    @property
    def is_closed(self) -> ColumnElement[bool]:
        """Whether nothing may be claimed: no limits, a pause, or no free slot."""
        count = select(self.number.c.number).scalar_subquery()
        return func.coalesce(count, ZERO) <= ZERO

    def some_of(self, candidate: CTE) -> CTE:
        """Return as many of the candidates as there is room for, the first of them."""
        count = select(self.number.c.number).scalar_subquery()
        chosen = select(candidate.c.id).limit(func.greatest(count, ZERO))
        return self._dialect.materialized(chosen, "chosen")

    def taking(self, claimed: CTE) -> CTE:
        """Return the CTE that writes down which claim has which slot."""
        by_id = func.row_number().over(order_by=claimed.c.id).label("number")
        numbered = select(claimed.c.id, by_id).subquery("numbered")
        pairs = union_all(
            *[
                select(kind.label("kind"), found.c.slot, numbered.c.id).join_from(
                    numbered, found, found.c.number == numbered.c.number
                )
                for kind, found in (
                    (_OF_CONCURRENCY, _counted(self._free, "free_one")),
                    (_OF_RATE, _counted(self._due, "due_one")),
                )
            ]
        ).subquery("pair")
        slots = self._slots
        return (
            update(slots)
            .where(slots.c.queue == QUEUE)
            .where(slots.c.kind == pairs.c.kind, slots.c.slot == pairs.c.slot)
            .values(message_id=pairs.c.id, taken_at=self._dialect.now())
            .returning(slots.c.slot)
            .cte("taken")
        )

    def _setting(self) -> CTE:
        settings = queue_table(self._table.schema)
        found = (
            select(*[settings.c[name] for name in _COLUMNS])
            .where(settings.c.queue == QUEUE, settings.c.paused_at.is_(None))
            .where(is_limited(settings))
        )
        return self._dialect.materialized(found, "setting")

    def _held(self) -> CTE:
        slots, message = self._slots, self._table.alias("held")
        found = (
            select(slots.c.slot)
            .select_from(self.setting)
            .join(slots, and_(slots.c.queue == QUEUE, slots.c.kind == _OF_CONCURRENCY))
            .join(message, message.c.id == slots.c.message_id)
            .where(slots.c.slot < self.setting.c.concurrency)
            .where(message.c.claimed_at == slots.c.taken_at, message.c.queue == QUEUE)
            .where(message.c.status == CLAIMED)
        )
        return self._dialect.materialized(found, "of_a_claim")

    def _seen_free(self, held: CTE) -> CTE:
        is_held = exists(select(held.c.slot).where(held.c.slot == self._slots.c.slot))
        return self._seen(
            _OF_CONCURRENCY, self._slots.c.slot < self.setting.c.concurrency, ~is_held, "seen_free"
        )

    def _seen_due(self) -> CTE:
        taken_at = self._slots.c.taken_at
        is_due = or_(taken_at.is_(None), taken_at <= _latest(self.setting.c, self._dialect))
        return self._seen(_OF_RATE, self._slots.c.slot < self.setting.c.burst, is_due, "seen_due")

    def _seen(
        self,
        kind: ColumnElement[str],
        is_in_use: ColumnElement[bool],
        is_free: ColumnElement[bool],
        name: str,
    ) -> CTE:
        slots = self._slots
        found = (
            select(slots.c.slot, slots.c.message_id, slots.c.taken_at)
            .select_from(self.setting)
            .join(slots, and_(slots.c.queue == QUEUE, slots.c.kind == kind))
            .where(is_in_use, is_free)
        )
        return self._dialect.materialized(found, name)

    def _locked(
        self, kind: ColumnElement[str], seen: CTE, most: ColumnElement[int], name: str
    ) -> CTE:
        slots = self._slots.alias("slot_of_ours")  # which is locked has to have a plain name
        is_as_seen = and_(
            slots.c.queue == QUEUE,
            slots.c.kind == kind,
            slots.c.slot == seen.c.slot,
            slots.c.message_id.is_not_distinct_from(seen.c.message_id),
            slots.c.taken_at.is_not_distinct_from(seen.c.taken_at),
        )
        found = (
            select(slots.c.slot)
            .select_from(seen)
            .join(slots, is_as_seen)
            .order_by(slots.c.slot)
            .limit(most)
            .with_for_update(of=slots, key_share=True, skip_locked=True)
        )
        return self._dialect.materialized(found, name)

    def _number(self, size: ColumnElement[int], stray: ColumnElement[int]) -> Select[Any]:
        free = select(func.count()).select_from(self._free).scalar_subquery() - stray
        due = select(func.count()).select_from(self._due).scalar_subquery()
        setting = self.setting.c
        at_once = _where(setting.concurrency.is_not(None), free, size)
        begun = _where(setting.rate.is_not(None), due, size)
        return select(func.least(size, at_once, begun, type_=Integer()).label("number"))


def _where(
    is_so: ColumnElement[bool], then: ColumnElement[int], otherwise: ColumnElement[int]
) -> ColumnElement[Any]:
    return case((is_so, then), else_=otherwise)


def _counted(found: CTE, name: str) -> Any:
    number = func.row_number().over(order_by=found.c.slot).label("number")
    return select(found.c.slot, number).subquery(name)


def _claimed(
    table: Table, most: Select[Any], *, since: ColumnElement[Any] | None = None
) -> Select[Any]:
    """Return how many messages of the queue are claimed, no more than so many; 0 if any may be.

    ``since``: only those whose leases end later. By the status, too: what a hand has made
    available may still have the end of its lease, and would keep its place for ever.
    """
    held = table.alias("claimed_one")
    later = [] if since is None else [held.c.claim_expires_at > since]
    found = (
        select(ONE.label("one"))
        .where(held.c.queue == QUEUE, held.c.claim_expires_at.is_not(None), *later)
        .where(held.c.status == CLAIMED)
        .order_by(held.c.claim_expires_at)  # as the index has them, which it is counted by
        .limit(func.coalesce(most.scalar_subquery(), ZERO))
        .subquery("claimed_ones")
    )
    return select(func.count()).select_from(found)


def _is_of_rate(setting: Any, slots: Table) -> ColumnElement[bool]:
    """Return whether a slot is one of those that the rate of the queue has now."""
    return and_(slots.c.queue == QUEUE, slots.c.kind == _OF_RATE, slots.c.slot < setting.burst)


def _is_due(setting: Any, slots: Table, dialect: Dialect) -> ColumnElement[bool]:
    return or_(slots.c.taken_at.is_(None), slots.c.taken_at <= _latest(setting, dialect))


def _latest(setting: Any, dialect: Dialect) -> ColumnElement[Any]:
    """Return until when a slot of the rate has been taken that may be taken again now.

    ``burst`` slots, each ``burst / rate`` after it was taken: so there are never more than
    ``burst + rate * t`` beginnings in a time t.
    """
    return dialect.from_now(-_spacing(setting, dialect))


def _spacing(setting: Any, dialect: Dialect) -> ColumnElement[float]:
    seconds = cast(setting.burst, Double) * setting.rate_seconds
    spacing: ColumnElement[float] = seconds.op("/", return_type=Double())(setting.rate)
    return spacing + _ROUNDED if dialect is SQLITE else spacing
