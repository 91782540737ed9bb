"""Sessions that meet at the limits of a queue: scenes, verbs, and what must hold all the while.

Which message is claimed hangs on who has let go of which slot, so the table is not compared with
that of the model. After each commit it is judged how much is claimed and how many claims have
begun; a claim that is alone has to find what there is room for, and so has one at the end, before
and after all leases and pauses are over: a slot that is lost stays lost.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Connection, text

from tests.model import real_table
from tests.model.endings import Place
from tests.model.invariants import Done
from tests.model.model import Row, Table, differences
from tests.model.promises import ATOMIC, EXPLAINED, LIMITED, PROMISED, RATED, ROOM, require
from tests.model.scenes import CLAIM_KEY, DAY, ERROR, NOW, QUEUE, Prepare, Role, Verb, claimed
from tests.model.turns import _ACK_BY_HAND, _DELETE_BY_HAND
from tests.retrying import AT_ONCE
from xclaim import Claim, ClaimLostError, Limits, Queue, Status
from xclaim.sql.schema import SLOT_TABLE_NAME, TABLE_NAME

_MONTH = timedelta(days=30)  # between two claims by one slot: no lease is as long
_ALL_IS_OVER = timedelta(days=400)
_ANY = 1_000_000
_MANY = 10
_NEXT = text(f"SELECT min(id) FROM {TABLE_NAME} WHERE status = 'available'")
_FORGET = text(f"UPDATE {SLOT_TABLE_NAME} SET message_id = NULL WHERE kind = 'concurrency'")
_BEGUN = text(
    f"SELECT count(*) FROM {SLOT_TABLE_NAME} WHERE kind = 'rate' AND taken_at IS NOT NULL"
)
_GATE = 7
_CLOSE = text(f"SELECT pg_advisory_xact_lock({_GATE})")
_STOP_AT_IT = text("SELECT set_config('tests.stops', 'on', true)")
# In a statement: who is to stop has its snapshot, and waits until nobody closes the gate.
GATE = (
    "CASE WHEN current_setting('tests.stops', true) = 'on'"
    f" THEN pg_advisory_xact_lock_shared({_GATE}) IS NOT NULL ELSE true END"
)


def _claim(connection: Connection, role: Role, size: int = 1) -> list[Claim]:
    return Queue(QUEUE, connection).claim_many(size, claimed_by=role.name, lease=DAY)


def _claim_one(connection: Connection, role: Role) -> list[Claim]:
    id_ = connection.scalar(_NEXT)
    found = None
    if id_ is not None:
        found = Queue(QUEUE, connection).claim_message(id_, claimed_by=role.name, lease=DAY)
    return [found] if found else []


def _claim_at_the_gate(connection: Connection, role: Role) -> list[Claim]:
    connection.execute(_STOP_AT_IT)
    return _claim(connection, role)


def _by_hand(connection: Connection, role: Role) -> None:
    token = role.claim.token.hex if connection.dialect.name == "sqlite" else role.claim.token
    connection.execute(_ACK_BY_HAND, {"id": role.claim.message.id, "token": token})


VERBS: Mapping[str, Verb] = {
    "claim within": _claim,
    "claim two within": lambda connection, role: _claim(connection, role, 2),
    "claim one within": _claim_one,
    "take over": lambda connection, role: Queue(QUEUE, connection).claim_many(
        1, claimed_by=role.name, claim_key=CLAIM_KEY, lease=DAY
    ),
    "ack within": lambda connection, role: Queue(QUEUE, connection).ack(role.claim),
    "ack within by hand": _by_hand,
    "delete within": lambda connection, role: connection.execute(
        _DELETE_BY_HAND, {"id": role.claim.message.id}
    ),
    "release within": lambda connection, role: Queue(QUEUE, connection).release(role.claim),
    "fail within": lambda connection, role: Queue(QUEUE, connection, retry=AT_ONCE).release(
        role.claim, error=ERROR
    ),
    "expire within": lambda connection, _: Queue(QUEUE, connection, retry=AT_ONCE).expire(),
    "limit to one": lambda connection, _: Queue(QUEUE, connection).limit(concurrency=1),
    "limit to three": lambda connection, _: Queue(QUEUE, connection).limit(concurrency=3),
    "forget the slots by hand": lambda connection, _: connection.execute(_FORGET),
}
# A claim that has looked, and goes on when another one has had its way (PostgreSQL).
GATED: Mapping[str, Verb] = {
    "close the gate": lambda connection, _: connection.execute(_CLOSE),
    "claim at the gate": _claim_at_the_gate,
}
NEVER_WAIT = {"claim within", "claim two within", "take over", "expire within"}
_SIZES = {
    "claim within": 1,
    "claim two within": 2,
    "claim one within": 1,
    "claim at the gate": 1,
}
_MAY_LOSE = {"ack within", "release within", "fail within"}
_LIMITING = {"limit to one", "limit to three"}


def _lost(queue: Queue) -> Claim:
    queue.push_many(range(3))
    lost = claimed(queue, NOW)
    queue.expire()
    return lost


def one_slot(queue: Queue) -> Claim:
    """Leave a slot that is free, and three messages; the claim was lost."""
    lost = _lost(queue)
    queue.limit(concurrency=1)
    return lost


def one_slot_taken(queue: Queue) -> Claim:
    """Leave a slot that is taken for a day, and two more messages."""
    queue.limit(concurrency=1)
    queue.push_many(range(3))
    return claimed(queue, DAY)


def one_of_two_slots_taken(queue: Queue) -> Claim:
    """Leave two slots, of which one is taken for a day, and three more messages."""
    queue.limit(concurrency=2)
    queue.push_many(range(4))
    return claimed(queue, DAY)


def one_slot_lapsed(queue: Queue) -> Claim:
    """Leave a slot whose claim has lapsed, and two more messages."""
    queue.limit(concurrency=1)
    queue.push_many(range(3))
    return claimed(queue, NOW)


def claimed_before_the_limit(queue: Queue) -> Claim:
    """Leave two slots, none of which is taken, and a claim of before."""
    queue.push_many(range(4))
    claim = claimed(queue, DAY)
    queue.limit(concurrency=2)
    return claim


def one_of_two_begun(queue: Queue) -> Claim:
    """Leave a claim that has begun, and another one that may begin in this month."""
    queue.limit(rate=1, per=_MONTH, burst=2)
    queue.push_many(range(4))
    return claimed(queue, DAY)


def one_at_once_of_two_begun(queue: Queue) -> Claim:
    """Leave the same, where only one message may be claimed at once."""
    queue.limit(concurrency=1, rate=1, per=_MONTH, burst=2)
    queue.push_many(range(4))
    return claimed(queue, DAY)


SCENES: Mapping[str, Prepare] = {
    prepare.__name__.replace("_", " "): prepare
    for prepare in (
        one_slot,
        one_slot_taken,
        one_of_two_slots_taken,
        one_slot_lapsed,
        claimed_before_the_limit,
        one_of_two_begun,
        one_at_once_of_two_begun,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A message that is claimed: since which step all see it, and what its session knew."""

    since: int
    allowed: int


@dataclass(slots=True)
class SlotLedger:
    """What is committed, and how much of it there may be."""

    table: Table
    observer: Connection
    _step: int = 0
    _began: dict[str, int] = field(default_factory=dict)
    _limits: list[tuple[int, Limits]] = field(default_factory=list)  # since which step
    _held: dict[int, _Held] = field(default_factory=dict)
    _begun: int = 0

    def __post_init__(self) -> None:
        self._limits.append((0, self._limits_now()))
        allowed = self._most_at_once(0)
        self._held = {id_: _Held(since=0, allowed=allowed) for id_ in _claimed(self.table)}
        self._begun = self.observer.scalar(_BEGUN) or 0

    def begin(self, role: Role) -> None:
        """Note that a session begins."""
        self._step += 1
        self._began[role.name] = self._step

    def raised(self, done: Done) -> None:
        """Judge a verb as soon as it is done: an error has to be one that it promises."""
        allowed = (ClaimLostError,) if done.verb in _MAY_LOSE else ()
        error = done.outcome.error
        require(error is None or isinstance(error, allowed), PROMISED, f"{done.verb}: {error!r}")

    def alone(self, done: Done) -> None:
        """Judge a claim that no other session was there to disturb: it takes what it may."""
        if done.verb in _SIZES:
            there = self._room(self.table, done.role.name, _SIZES[done.verb])
            found = len(done.outcome.value)
            require(found == there, ROOM, f"{done.verb} took {found}, and might {there}")

    def crash(self, after: Table) -> None:
        """Judge the table after a session died."""
        changes = differences(after.rows, self.table.rows)
        require(not changes, ATOMIC, changes)

    def commit(self, done: Done, after: Table) -> None:
        """Judge the table after a session committed, and remember it."""
        self._step += 1
        if done.verb in _LIMITING:
            self._limits.append((self._step, self._limits_now()))
        new, now = self._newly_claimed(done), _claimed(after)
        self._held = {id_: held for id_, held in self._held.items() if id_ in now - new}
        require(now == self._held.keys() | new, EXPLAINED, f"{done.verb}: {now}, not {new}")
        if new:
            self._check_claims(done, new, now)
        self.table = after

    def finish(self) -> None:
        """Claim all that there is room for, and again when everything that was claimed is over."""
        self._claim_the_rest()
        real_table.age(self.observer, _ALL_IS_OVER)
        queue = Queue(QUEUE, self.observer, retry=AT_ONCE)
        queue.expire()
        self._begun = 0
        self.table = real_table.read(self.observer)
        self._claim_the_rest()

    def ids(self) -> Iterable[int]:
        """Return the messages that there are."""
        return self.table.rows

    def goes_by(self, place: Place) -> Hashable:
        """Return what `finish` goes by besides the tables."""
        now = self.table.now
        rows = self.table.rows.values()
        found = {(place(row.id), row.is_claimable(now), row.is_lapsed(now)) for row in rows}
        return self._limits[-1][1], self._begun, frozenset(found)

    def _claim_the_rest(self) -> None:
        there = self._room(self.table, "the last", _MANY)
        found = Queue(QUEUE, self.observer, retry=AT_ONCE).claim_many(_MANY, lease=DAY)
        require(len(found) == there, ROOM, f"{len(found)} of {there} at the end")

    def _newly_claimed(self, done: Done) -> set[int]:
        """Return what the verb has claimed, but for what was taken over: that needs no room."""
        if done.verb not in {*_SIZES, "take over"}:
            return set()
        ids = {each.message.id for each in done.outcome.value}
        return ids - self._held.keys() if done.verb == "take over" else ids

    def _check_claims(self, done: Done, ids: set[int], now: set[int]) -> None:
        began = self._began[done.role.name]
        allowed = self._most_at_once(began)
        seen = [held for held in self._held.values() if held.since < began]
        detail = f"{done.verb}: {len(seen)} of {len(now)} were seen, and {allowed} may be"
        require(len(seen) + len(ids) <= allowed, LIMITED, detail)
        self._held |= {id_: _Held(since=self._step, allowed=allowed) for id_ in ids}
        most = max(held.allowed for held in self._held.values())
        require(len(now) <= most, LIMITED, f"{detail} by {most}")
        self._begun += len(ids)
        bursts = [_or_any(limits.burst) for _, limits in self._limits]
        require(self._begun <= max(bursts), RATED, f"{self._begun} of {bursts} have begun")

    def _most_at_once(self, since: int) -> int:
        """Return the highest limit that there was since this step."""
        older = [number for number, (step, _) in enumerate(self._limits) if step <= since]
        return max(_or_any(limits.concurrency) for _, limits in self._limits[older[-1] :])

    def _room(self, table: Table, name: str, size: int) -> int:
        copy = Table(now=table.now, rows=dict(table.rows))
        there = len(copy.choose(QUEUE, size, name, None, AT_ONCE))
        limits = self._limits[-1][1]
        at_once = _or_any(limits.concurrency) - len(_claimed(copy))
        return max(0, min(there, at_once, _or_any(limits.burst) - self._begun))

    def _limits_now(self) -> Limits:
        return Queue(QUEUE, self.observer).limits() or Limits()


def _claimed(table: Table) -> set[int]:
    return {row.id for row in table.rows.values() if _is_claimed(row)}


def _is_claimed(row: Row) -> bool:
    return row.status is Status.CLAIMED


def _or_any(limit: int | None) -> int:
    return _ANY if limit is None else limit
