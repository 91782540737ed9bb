"""Sessions that meet at one ordering key: scenes, verbs, and what must hold whatever they do.

Here the order of commits does not say who has the turn: an ack that finds a producer at work owes
it. So the table is not compared with that of the model; what the turn promises is judged at
each commit and each crash, and at the end, when the leases are over, everything is drained. Nobody
pushes by then, so that a key that is stuck stays stuck.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text

from tests.model import real_table
from tests.model.endings import Place, places
from tests.model.invariants import Done
from tests.model.model import Row, Table, dead_letters_of, differences
from tests.model.promises import (
    ATOMIC,
    CONSUMED_ONCE,
    EXCLUSIVE,
    FOUND,
    IN_ORDER,
    NOT_STUCK,
    ONE_TURN,
    PROMISED,
    require,
)
from tests.model.scenes import BEFORE, DAY, ERROR, NOW, QUEUE, Prepare, Role, Verb, claimed
from tests.retrying import AT_ONCE
from xclaim import Claim, ClaimLostError, Queue, Status, ack, claim, push
from xclaim.sql.schema import TABLE_NAME

KEY = "customer-7"
OTHER_KEY = "customer-8"
_LEASES_ARE_OVER = timedelta(days=2)
_YEARS = timedelta(days=1000)
_MOST_DRAINED = 50
_ACK_BY_HAND = text(
    f"UPDATE {TABLE_NAME} SET status = 'consumed', consumed_at = claimed_at,"
    " consumed_by = claimed_by, claimed_by = NULL, claim_key = NULL, claim_expires_at = NULL,"
    " claim_token = NULL WHERE id = :id AND claim_token = :token"
)
_DELETE_BY_HAND = text(f"DELETE FROM {TABLE_NAME} WHERE id = :id")
_OWED = text(
    f"SELECT count(*) FROM {TABLE_NAME} WHERE awaited_ids IS NOT NULL AND due_at IS NOT NULL"
    " AND available_at IS NOT NULL"
)
_FIRST_IN_LINE = text(
    f"SELECT min(id) FROM {TABLE_NAME}"
    " WHERE ordering_key = :key AND status = 'available' AND available_at IS NULL"
)


_ALONG = "(SELECT id FROM {table} WHERE payload = '\"in line 0\"' AND status = 'claimed')"
_ACK_ONE_ALONG = text(
    f"UPDATE {TABLE_NAME} SET status = 'consumed', consumed_at = claimed_at,"
    " consumed_by = claimed_by, claimed_by = NULL, claim_key = NULL, claim_expires_at = NULL,"
    f" claim_token = NULL WHERE id = {_ALONG.format(table=TABLE_NAME)} AND status = 'claimed'"
)
_RELEASE_ONE_ALONG = text(
    f"UPDATE {TABLE_NAME} SET status = 'available', claimed_at = NULL, claimed_by = NULL,"
    " claim_key = NULL, claim_expires_at = NULL, claim_token = NULL"
    f" WHERE id = {_ALONG.format(table=TABLE_NAME)} AND status = 'claimed'"
)


def _consume(connection: Connection, role: Role) -> Claim | None:
    found = claim(connection, QUEUE, claimed_by=role.name, lease=DAY)
    if found is not None:
        ack(connection, found)
    return found


def _ack_by_hand(connection: Connection, role: Role) -> None:
    values = {"id": role.claim.message.id, "token": role.claim.token}
    if connection.dialect.name == "sqlite":
        values["token"] = role.claim.token.hex
    connection.execute(_ACK_BY_HAND, values)


def _delete(connection: Connection, role: Role) -> None:
    connection.execute(_DELETE_BY_HAND, {"id": role.claim.message.id})


def _delete_the_first_in_line(connection: Connection, _: Role) -> None:
    first = connection.scalar(_FIRST_IN_LINE, {"key": KEY})
    connection.execute(_DELETE_BY_HAND, {"id": first})


VERBS: Mapping[str, Verb] = {
    "push behind": lambda connection, _: push(connection, QUEUE, "new", ordering_key=KEY),
    "push many behind": lambda connection, _: Queue(QUEUE, connection).push_many(
        ["one", "two", "three"], ordering_keys=[KEY, OTHER_KEY, KEY]
    ),
    "consume": _consume,
    "claim in turn": lambda connection, role: claim(
        connection, QUEUE, claimed_by=role.name, lease=DAY
    ),
    "claim whole lines": lambda connection, role: Queue(QUEUE, connection).claim_many(
        3, whole_lines=True, claimed_by=role.name, lease=DAY
    ),
    "ack one along": lambda connection, _: connection.execute(_ACK_ONE_ALONG),
    "release one along": lambda connection, _: connection.execute(_RELEASE_ONE_ALONG),
    "ack the head": lambda connection, role: ack(connection, role.claim),
    "ack the head by hand": _ack_by_hand,
    "release the head": lambda connection, role: Queue(QUEUE, connection).release(role.claim),
    "fail the head": lambda connection, role: Queue(QUEUE, connection, retry=AT_ONCE).release(
        role.claim, error=ERROR
    ),
    "expire the head": lambda connection, _: Queue(QUEUE, connection, retry=AT_ONCE).expire(),
    "redrive in order": lambda connection, _: Queue(QUEUE, connection).redrive(),
    "redrive one": lambda connection, _: Queue(QUEUE, connection).redrive(limit=1),
    "delete the head": _delete,
    "delete the first in line": _delete_the_first_in_line,
}
_PUSHES = {"push behind", "push many behind"}
_CLAIMS = {"consume", "claim in turn"}
_DELETES = {"delete the head", "delete the first in line"}
_MAY_LOSE = {"ack the head", "release the head", "fail the head"}
# They wait for nobody. An ack may wait for somebody else who settles the same claim, or one of its
# batch; a redrive, as a push does, for who is just ending the message that leads its line.
NEVER_WAIT = {*_CLAIMS, "claim whole lines", "expire the head"}
ACKS = {"ack the head", "ack the head by hand"}


def _line(queue: Queue, **options: Any) -> None:
    for number in range(2):
        queue.push(f"in line {number}", ordering_key=KEY, **options)


def head_claimed(queue: Queue) -> Claim:
    """Leave a head that is claimed for a day, and nobody behind it."""
    queue.push("head", ordering_key=KEY)
    return claimed(queue, DAY)


def head_claimed_with_one_in_line(queue: Queue) -> Claim:
    """Leave a head that is claimed for a day, and one in line: two acks, and nobody is left."""
    claim_of_the_head = head_claimed(queue)
    queue.push("in line", ordering_key=KEY)
    return claim_of_the_head


def head_claimed_with_a_line(queue: Queue) -> Claim:
    """Leave a head that is claimed for a day, and two in line."""
    claim_of_the_head = head_claimed(queue)
    _line(queue)
    return claim_of_the_head


def head_lapsed_with_a_line(queue: Queue) -> Claim:
    """Leave a head whose claim has lapsed, and two in line."""
    queue.push("head", ordering_key=KEY)
    claim_of_the_head = claimed(queue, NOW, after=BEFORE)
    _line(queue)
    return claim_of_the_head


def head_lapsed_for_good_with_a_line(queue: Queue) -> Claim:
    """Leave a head whose last claim has lapsed, and two in line."""
    queue.push("head", ordering_key=KEY, max_attempts=1)
    claim_of_the_head = claimed(queue, NOW)
    _line(queue)
    return claim_of_the_head


def head_free_with_a_line(queue: Queue) -> Claim:
    """Leave a head that can be claimed, and two in line; the claim was lost."""
    claim_of_the_head = head_lapsed_with_a_line(queue)
    queue.expire()
    return claim_of_the_head


def letter_beside_a_line(queue: Queue) -> Claim:
    """Leave a dead letter of the key, and two others: one that is claimed, one in line."""
    queue.push("letter", ordering_key=KEY, max_attempts=1)
    _line(queue)
    queue.release(claimed(queue, DAY), error="dead")
    return claimed(queue, DAY)


def letter_that_holds_the_turn(queue: Queue) -> Claim:
    """Leave a dead letter that holds the turn, and two in line; the claim was lost."""
    queue.push("letter", ordering_key=KEY, max_attempts=1, on_dead="hold")
    _line(queue)
    lost = claimed(queue, DAY)
    queue.release(lost, error="dead")
    return lost


def batch_claimed_with_a_line(queue: Queue) -> Claim:
    """Leave a head and one along with it that are claimed for a day, and two in line."""
    queue.push("head", ordering_key=KEY)
    _line(queue)
    head, _ = queue.claim_many(2, whole_lines=True, claimed_by="the holder", lease=DAY)
    queue.push("in line 2", ordering_key=KEY)
    return head


def letter_of_a_batch(queue: Queue) -> Claim:
    """Leave a dead letter of a batch, another one of it that is claimed, and two in line."""
    queue.push("letter", ordering_key=KEY, max_attempts=1)
    _line(queue)
    queue.push("in line 2", ordering_key=KEY)
    letter, _ = queue.claim_many(2, whole_lines=True, claimed_by="the holder", lease=DAY)
    queue.release(letter, error="dead")
    return letter


def letter_beside_a_batch(queue: Queue) -> Claim:
    """Leave a dead letter of a line of which two are claimed for a day, and one in line."""
    queue.push("letter", ordering_key=KEY, max_attempts=1)
    queue.push("head", ordering_key=KEY)
    _line(queue)
    queue.release(claimed(queue, DAY), error="dead")
    head, _ = queue.claim_many(2, whole_lines=True, claimed_by="the holder", lease=DAY)
    return head


def letters_that_hold_the_turn(queue: Queue) -> Claim:
    """Leave two dead letters, of which the second holds the turn, and one in line."""
    queue.push("letter", ordering_key=KEY, max_attempts=1)
    queue.push("holds", ordering_key=KEY, max_attempts=1, on_dead="hold")
    queue.push("in line", ordering_key=KEY)
    queue.release(claimed(queue, DAY), error="dead")
    lost = claimed(queue, DAY)
    queue.release(lost, error="dead")
    return lost


def batch_lapsed_with_a_line(queue: Queue) -> Claim:
    """Leave a head and one along with it whose claims have lapsed, and two in line."""
    queue.push("head", ordering_key=KEY)
    _line(queue)
    head, _ = queue.claim_many(2, whole_lines=True, claimed_by="the holder", lease=NOW)
    queue.push("in line 2", ordering_key=KEY)
    return head


SCENES: Mapping[str, Prepare] = {
    prepare.__name__.replace("_", " "): prepare
    for prepare in (
        head_claimed,
        head_claimed_with_one_in_line,
        head_claimed_with_a_line,
        head_lapsed_with_a_line,
        head_lapsed_for_good_with_a_line,
        head_free_with_a_line,
        letter_beside_a_line,
        letter_that_holds_the_turn,
        batch_claimed_with_a_line,
        batch_lapsed_with_a_line,
        letter_of_a_batch,
        letter_beside_a_batch,
        letters_that_hold_the_turn,
    )
}


@dataclass(slots=True, kw_only=True)
class _Push:
    """When a message was pushed: the steps at which its session began and committed."""

    began: int
    committed: int


@dataclass(slots=True)
class TurnLedger:
    """What is committed, and in which order it may be claimed."""

    table: Table
    observer: Connection
    _step: int = 0
    _began: dict[str, int] = field(default_factory=dict)
    _pushes: dict[int, _Push] = field(default_factory=dict)
    _buried: set[int] = field(default_factory=set)  # have been dead letters
    _given_back: set[int] = field(default_factory=set)  # were claimed, and stand in line again
    _gone: set[int] = field(default_factory=set)  # deleted, by those who wanted to

    def __post_init__(self) -> None:
        # The messages of a scene were pushed one after the other.
        first = -2 * len(self.table.rows)
        for place, id_ in enumerate(sorted(self.table.rows)):
            self._pushes[id_] = _Push(began=first + 2 * place, committed=first + 2 * place + 1)
        self._note(self.table)

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
        """Judge a claim that no other session was there to disturb: it finds what there is."""
        if done.verb not in _CLAIMS or done.outcome.error is not None:
            return
        copy = Table(now=self.table.now, rows=dict(self.table.rows))
        copy.pass_turns()
        there = bool(copy.choose(QUEUE, 1, done.role.name, None))
        found = done.outcome.value
        if found is None and self.observer.scalar(_OWED):
            return  # it comes a little later
        require((found is not None) == there, FOUND, f"found {found}, there was {there}")

    def crash(self, after: Table) -> None:
        """Judge the table after a session died."""
        changes = differences(after.rows, self.table.rows)
        require(not changes, ATOMIC, changes)

    def commit(self, done: Done, after: Table) -> None:
        """Judge the table after a session committed, and remember it."""
        self._step += 1
        for id_ in after.rows.keys() - self.table.rows.keys():
            began = self._began[done.role.name]
            self._pushes[id_] = _Push(began=began, committed=self._step)
        if done.verb in _DELETES:
            self._gone |= self.table.rows.keys() - after.rows.keys()
        self._judge(done.verb, after)

    def finish(self) -> None:
        """Let all leases be over and drain the table: nothing is left, and the order is kept."""
        real_table.age(self.observer, _LEASES_ARE_OVER)
        queue = Queue(QUEUE, self.observer, retry=AT_ONCE)
        queue.expire()
        self._note(real_table.read(self.observer))  # who comes back now may be passed
        queue.redrive()
        for _ in range(_MOST_DRAINED):
            taken = queue.claim(claimed_by="the drain", lease=DAY)
            if taken is None:
                break
            self._judge("claim", real_table.read(self.observer))
            queue.ack(taken)
        self._judge("ack", real_table.read(self.observer))
        left = [row for row in self.table.rows.values() if row.status is not Status.CONSUMED]
        require(not left, NOT_STUCK, left)

    def ids(self) -> Iterable[int]:
        """Return the messages that there have been."""
        return self._pushes

    def goes_by(self, place: Place) -> Hashable:
        """Return what `finish` goes by besides the tables."""
        pushes = sorted(
            (place(id_), push.began, push.committed) for id_, push in self._pushes.items()
        )
        steps = places(step for _, *times in pushes for step in times)
        return (
            tuple((id_, steps[began], steps[committed]) for id_, began, committed in pushes),
            *(frozenset(map(place, ids)) for ids in (self._buried, self._given_back, self._gone)),
        )

    def _judge(self, verb: str, after: Table) -> None:
        lost = self.table.rows.keys() - after.rows.keys() - self._gone
        require(not lost, EXCLUSIVE, f"{verb} lost {lost}")
        for id_, row in self.table.rows.items():
            was_consumed = row.status is Status.CONSUMED
            if was_consumed and id_ in after.rows:
                is_same = after.rows[id_].consumed_by == row.consumed_by
                require(is_same and after.rows[id_].consumed_at, CONSUMED_ONCE, after.rows[id_])
        self._note(after)
        self._check_turns(verb, after)
        self._check_order(verb, after)

    def _note(self, after: Table) -> None:
        dead = dead_letters_of(QUEUE)
        self._buried |= {row.id for row in after.rows.values() if row.queue == dead}
        # Those behind one of a batch that is given back were handed out in their order.
        self._given_back |= {
            row.id for row in after.rows.values() if row.is_in_line() and _was_claimed(row)
        }
        self.table = after

    def _check_turns(self, verb: str, after: Table) -> None:
        for key in (KEY, OTHER_KEY):
            rows = _of(after, key)
            leads = [row for row in rows if _is_live(row) and row.available_at is not None]
            require(len(leads) <= 1, ONE_TURN, f"after {verb}: {leads}")
            held = [row for row in rows if row.status is Status.CLAIMED]
            can_be_claimed = [row for row in leads if _can_be_claimed(row, after)]
            require(not (held and can_be_claimed), ONE_TURN, f"after {verb}: {rows}")

    def _check_order(self, verb: str, after: Table) -> None:
        for key in (KEY, OTHER_KEY):
            rows = [row for row in _of(after, key) if row.id not in self._buried]
            waiting = [row for row in rows if row.is_in_line()]
            for waits in (row for row in waiting if row.id not in self._given_back):
                passed = [
                    row
                    for row in rows
                    if row not in waiting
                    and self._pushes[waits.id].committed < self._pushes[row.id].began
                ]
                require(not passed, IN_ORDER, f"after {verb}: {passed} before {waits}")


def _of(table: Table, key: str) -> list[Row]:
    rows = [row for row in table.rows.values() if row.ordering_key == key]
    return [row for row in rows if row.queue == row.origin_queue]


def _was_claimed(row: Row) -> bool:
    return row.attempts > 0


def _can_be_claimed(row: Row, table: Table) -> bool:
    """Return whether it can be claimed, or will be: not what waits until its batch has ended."""
    is_put_off = row.available_at is not None and row.available_at - table.now > _YEARS
    return row.status is Status.AVAILABLE and not is_put_off


def _is_live(row: Row) -> bool:
    if row.status is Status.CLAIMED:
        return True
    return row.status is Status.AVAILABLE and row.available_at is not None
