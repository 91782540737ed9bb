"""What must hold after each commit and each crash, whatever came before it.

A ledger follows an interleaving: it knows what was committed, and judges each end of a session by
what its verb had returned. What several sessions do to one message happens in the order of their
commits, because each keeps its row locked until then; so the model, fed with the verbs in that
order, has to arrive at the same table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from tests.model import real_table, resting
from tests.model.model import Row, Table, dead_letters_of, differences
from tests.model.promises import (
    ATOMIC,
    BURIED,
    CONSUMED_ONCE,
    COUNTED,
    EXCLUSIVE,
    EXPLAINED,
    FENCED,
    FOUND,
    HONOURED,
    KEPT,
    LEASED,
    PROMISED,
    PUSHED_ONCE,
    RESTED,
    BrokenPromiseError,
    require,
)
from tests.model.scenes import (
    CLAIM_KEY,
    DAY,
    ERROR,
    OTHER_PAYLOAD,
    PAYLOAD,
    QUEUE,
    RETRIES,
    UNIQUE_KEY,
    Role,
)
from tests.model.sessions import Outcome
from xclaim import Claim, ClaimLostError, DuplicateMessageError, Retry, Status
from xclaim.retry import MAX_ATTEMPTS, RETRY

_ENDING = {
    "ack",
    "release",
    "fail",
    "fail at once",
    "fail, and come back later",
    "fail uncounted",
    "fail for good",
    "fail, and never for good",
}
_SETTLING = {*_ENDING, "extend", "note a failure"}
_EXPIRING = {"expire", "expire slowly", "expire for good"}
_CLAIM_KEYS = {"claim": None, "take back": CLAIM_KEY}
_PAYLOADS = {"push": PAYLOAD, "push another": OTHER_PAYLOAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a session has done: its verb, the claim it was to settle, and what came of it."""

    verb: str
    role: Role
    outcome: Outcome


class Ledger:
    """What is committed, and what became of every token."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._pushed = len(table.rows)
        self._claims = Counter({row.id: row.attempts for row in table.rows.values()})
        self._unlimited: set[int] = set()  # messages whose consumer has another limit
        self._tokens = {row.claim_token for row in table.rows.values() if row.claim_token}
        self._ends: Counter[UUID] = Counter()
        self._consumed: Counter[int] = Counter()

    def begin(self, role: Role) -> None:
        """Note that a session begins; what it is to find is judged when it is done."""

    def raised(self, done: Done) -> None:
        """Judge a verb as soon as it is done: an error has to be one that it promises."""
        allowed: tuple[type[Exception], ...] = ()
        if done.verb in _SETTLING:
            allowed = (ClaimLostError,)
        elif done.verb in _PAYLOADS:
            allowed = (DuplicateMessageError,)
        error = done.outcome.error
        require(error is None or isinstance(error, allowed), PROMISED, f"{done.verb}: {error!r}")

    def alone(self, done: Done) -> None:
        """Judge a verb that no other session was there to disturb, by what the model finds."""
        if done.verb in _CLAIM_KEYS:
            self._check_claimable(done.outcome.value)
        found, there = _found(done, self.table), _there(done, self.table)
        promise = FOUND
        if done.verb in _SETTLING:
            promise = FENCED if found else HONOURED
        require(found == there, promise, f"{done.verb} found {found}, there was {there}")

    def crash(self, after: Table) -> None:
        """Judge the table after a session died."""
        changes = differences(after.rows, self.table.rows)
        require(not changes, ATOMIC, changes)

    def commit(self, done: Done, after: Table) -> None:
        """Judge the table after a session committed, and remember it."""
        expected = Table(now=after.now, rows=dict(self.table.rows))
        self._check_taken_away(done, after)
        if done.outcome.error is not None:
            self._check_refusal(done)
            self.crash(after)
        else:
            _EFFECTS[done.verb](self, done, expected, after)
        self._check_rows(after)
        resting.check(expected.rows, self.table.rows, after.rows)
        changes = differences(real_table.on_the_clock_of(expected, after), expected.rows)
        require(not changes, EXPLAINED, f"{done.verb}: {changes}")
        self.table = after

    def finish(self) -> None:
        """Judge the whole: each token is in the table, or was given up once."""
        for token in self._tokens:
            places = self._ends[token] + (self.table.held_by(token) is not None)
            require(places == 1, EXCLUSIVE, f"claim {token} has {places} ends or holders, not one")

    # ------------------------------------------------------------------- one for each verb

    def push(self, done: Done, expected: Table, _: Table) -> None:
        """Expect the message there is under the key, or a new one."""
        message = done.outcome.value
        known = expected.keyed(QUEUE, message.unique_key)
        if known is not None:
            require(message.id == known.id, PUSHED_ONCE, f"{message.id} beside {known.id}")
            require(known.payload == _PAYLOADS[done.verb], PUSHED_ONCE, f"{done.verb}: {known}")
            return
        self._pushed += 1
        expected.push(
            Row(
                id=message.id,
                queue=QUEUE,
                origin_queue=QUEUE,
                payload=message.payload,
                unique_key=message.unique_key,
                max_attempts=MAX_ATTEMPTS,
                available_at=expected.now,
            )
        )

    def claim(self, done: Done, expected: Table, after: Table) -> None:
        """Expect what had lapsed to be back, and the message to be claimed by this session."""
        claim: Claim | None = done.outcome.value
        taken_back = self._taken_back(done)
        for row in self._lapsed(after):
            if row != taken_back:
                expected.give_back(row)
                self._ends[_token(row)] += 1
        self._check_claimable(claim)
        if claim is None:
            return
        row = expected.rows[claim.message.id]
        if taken_back is not None:
            self._ends[_token(row)] += 1
        else:
            require(row.status is Status.AVAILABLE, EXCLUSIVE, f"{done.role.name} claimed {row}")
        require(claim.token not in self._tokens, EXCLUSIVE, f"token {claim.token} came twice")
        self._tokens.add(claim.token)
        self._claims[row.id] += 1
        expected.claim(row, claim.token, DAY, done.role.name, _CLAIM_KEYS[done.verb])

    def ack(self, done: Done, expected: Table, _: Table) -> None:
        """Expect the message to be consumed, for the first time."""
        row = self._settled(done)
        self._consumed[row.id] += 1
        require(self._consumed[row.id] == 1, CONSUMED_ONCE, row)
        expected.ack(row)

    def release(self, done: Done, expected: Table, _: Table) -> None:
        """Expect the message to be back, or a dead letter."""
        expected.release(self._settled(done), None, None, count=True)

    def fail(self, done: Done, expected: Table, _: Table) -> None:
        """Expect the message to rest, or to be a dead letter."""
        retry = _retry_of(done)
        row = self._settled(done)
        if retry.max_attempts is None:
            self._unlimited.add(row.id)
        delay = DAY if done.verb == "fail, and come back later" else None
        expected.release(row, delay, ERROR, count=True, retry=retry)

    def fail_uncounted(self, done: Done, expected: Table, _: Table) -> None:
        """Expect the message to be back as if nobody had claimed it, but for its error."""
        row = self._settled(done)
        self._claims[row.id] -= 1
        expected.release(row, None, ERROR, count=False)

    def note_failure(self, done: Done, expected: Table, _: Table) -> None:
        """Expect the claim to stay, with its error."""
        expected.note_failure(self._holder(done), DAY, ERROR)

    def extend(self, done: Done, expected: Table, _: Table) -> None:
        """Expect another end of the lease and nothing else."""
        row = self._holder(done)
        expected.extend(row, DAY)

    def expire(self, done: Done, expected: Table, after: Table) -> None:
        """Expect as many messages to have failed as it says."""
        lapsed = self._lapsed(after)
        for row in lapsed:
            expected.give_back(row, _retry_of(done))
            self._ends[_token(row)] += 1
        require(len(lapsed) == done.outcome.value, EXPLAINED, f"not {done.outcome.value} lapsed")

    def redrive(self, done: Done, expected: Table, after: Table) -> None:
        """Expect as many dead letters to be back as it says, with no attempts used."""
        dead = dead_letters_of(QUEUE)
        moved = [
            row
            for row in self.table.rows.values()
            if row.queue == dead and row.id in after.rows and after.rows[row.id].queue != dead
        ]
        for row in moved:
            expected.bring_back(row, QUEUE)
            self._claims[row.id] = 0
        require(len(moved) == done.outcome.value, EXPLAINED, f"not {done.outcome.value} moved")

    # ------------------------------------------------------------------------------ the rest

    def _check_refusal(self, done: Done) -> None:
        if done.verb in _SETTLING:
            row = self.table.held_by(done.role.claim.token)
            require(row is None, HONOURED, f"{done.verb} was refused: {row}")
        else:
            known = self.table.keyed(QUEUE, UNIQUE_KEY)
            is_other = known is not None and known.payload != _PAYLOADS[done.verb]
            require(is_other, PUSHED_ONCE, f"{done.verb} was refused: {known}")

    def _holder(self, done: Done) -> Row:
        row = self.table.held_by(done.role.claim.token)
        if row is None:
            detail = f"{done.verb} by a claim that was lost: {self.table.rows}"
            raise BrokenPromiseError(FENCED, detail)
        return row

    def _settled(self, done: Done) -> Row:
        row = self._holder(done)
        self._ends[done.role.claim.token] += 1
        return row

    def _taken_back(self, done: Done) -> Row | None:
        if done.verb != "take back" or done.outcome.value is None:
            return None
        row = self.table.rows.get(done.outcome.value.message.id)
        is_earlier = row and row.claim_key == CLAIM_KEY and row.claimed_by != done.role.name
        return row if row and is_earlier and not row.is_exhausted(RETRY) else None

    def _check_claimable(self, claim: Claim | None) -> None:
        row = self.table.rows.get(claim.message.id) if claim else None
        if row is not None:
            require(row.queue == QUEUE, BURIED, f"claimed {row}")
            is_there = row.status is not Status.AVAILABLE or row.is_claimable(self.table.now)
            require(is_there, RESTED, f"claimed {row}")

    def _lapsed(self, after: Table) -> list[Row]:
        return [row for row in self._taken_away(after) if row.is_lapsed(after.now)]

    def _taken_away(self, after: Table) -> list[Row]:
        held = [row for row in self.table.rows.values() if row.claim_token is not None]
        return [row for row in held if after.held_by(_token(row)) is None]

    def _check_taken_away(self, done: Done, after: Table) -> None:
        settled = {done.role.claim.token} if done.verb in _ENDING else set()
        taken_back = self._taken_back(done)
        for row in self._taken_away(after):
            if row.claim_token in settled or row == taken_back or row.is_lapsed(after.now):
                continue
            is_claimed = done.verb in _CLAIM_KEYS and after.rows[row.id].claim_token is not None
            raise BrokenPromiseError(
                EXCLUSIVE if is_claimed else LEASED, f"{done.verb} took {row} away"
            )

    def _check_rows(self, after: Table) -> None:
        keys = Counter((row.origin_queue, row.unique_key) for row in after.rows.values())
        for (queue, key), count in keys.items():
            require(key is None or count == 1, PUSHED_ONCE, f"{count} under {key!r} in {queue!r}")
        require(len(after.rows) == self._pushed, KEPT, f"{self._pushed} pushed, {after.rows}")
        for row in after.rows.values():
            counted = row.attempts == self._claims[row.id]
            within = row.id in self._unlimited or row.attempts <= (row.max_attempts or 1_000)
            require(counted and within, COUNTED, f"{self._claims[row.id]} claims: {row}")


_EFFECTS: dict[str, Callable[[Ledger, Done, Table, Table], None]] = {
    "push": Ledger.push,
    "push another": Ledger.push,
    "claim": Ledger.claim,
    "take back": Ledger.claim,
    "ack": Ledger.ack,
    "release": Ledger.release,
    "extend": Ledger.extend,
    "redrive": Ledger.redrive,
    "note a failure": Ledger.note_failure,
    **dict.fromkeys(_ENDING - {"ack", "release"}, Ledger.fail),
    "fail uncounted": Ledger.fail_uncounted,
    **dict.fromkeys(_EXPIRING, Ledger.expire),
}


def _retry_of(done: Done) -> Retry:
    return RETRIES.get(done.verb, RETRY)


def _token(row: Row) -> UUID:
    assert row.claim_token is not None
    return row.claim_token


def _found(done: Done, table: Table) -> object:
    value, error = done.outcome.value, done.outcome.error
    if done.verb in _PAYLOADS:
        return type(error) if error else value.id if value.id in table.rows else None
    if done.verb in _CLAIM_KEYS:
        return value and value.message.id
    return error is None if done.verb in _SETTLING else value


def _there(done: Done, table: Table) -> object:
    copy = Table(now=table.now, rows=dict(table.rows))
    if done.verb in _PAYLOADS:
        known = copy.keyed(QUEUE, UNIQUE_KEY)
        is_other = known is not None and known.payload != _PAYLOADS[done.verb]
        return DuplicateMessageError if is_other else known and known.id
    if done.verb in _CLAIM_KEYS:
        chosen = copy.choose(QUEUE, 1, done.role.name, _CLAIM_KEYS[done.verb])
        return chosen[0].id if chosen else None
    if done.verb in _SETTLING:
        return copy.held_by(done.role.claim.token) is not None
    if done.verb in _EXPIRING:
        return copy.expire(QUEUE, _retry_of(done))
    return copy.redrive(QUEUE, None, None)
