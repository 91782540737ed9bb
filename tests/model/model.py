"""The promises, executed: the message table in a few lines of Python, without SQL or races.

What a verb does here is what it has to do in the database when nobody else is there. The state
machine compares the two after every step; the explorer asks what a verb should have found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from tests.model.resting import Rest
from xclaim import Counts, Retry, Status
from xclaim.retry import OF_THE_MESSAGE, RETRY

_KEPT = 20  # failures of a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One attempt that failed, as the row keeps it; but for the time, which nobody moves."""

    attempt: int
    claimed_by: str
    error_class: str | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One message, by the names of its columns."""

    id: int
    queue: str
    origin_queue: str
    status: Status = Status.AVAILABLE
    priority: int = 0
    payload: object = None
    unique_key: str | None = None
    attempts: int = 0
    max_attempts: int | None = None
    available_at: datetime | None  # of what failed: at the latest; None: it stands in line
    claimed_at: datetime | None = None
    claim_expires_at: datetime | None = None
    consumed_at: datetime | None = None
    claimed_by: str | None = None
    consumed_by: str | None = None
    claim_key: str | None = None
    claim_token: UUID | None = None
    last_error: str | None = None
    last_error_class: str | None = None
    failures: tuple[Failed, ...] = ()
    ordering_key: str | None = None
    holds_when_dead: bool = field(default=False, compare=False)
    keeps_turn: bool = field(default=False, compare=False)  # as a dead letter
    due_at: datetime | None = field(default=None, compare=False)  # of what stands in line
    failed_at: datetime | None = field(default=None, compare=False)  # of the last one, as it says
    rest: Rest | None = field(default=None, compare=False)  # what is expected of the next look

    def has_noted_its_failure(self) -> bool:
        """Return whether the error of the present attempt is kept already."""
        last = self.failures[-1] if self.failures else None
        return last is not None and (last.attempt, last.claimed_by) == (
            self.attempts,
            str(self.claimed_by),
        )

    def is_exhausted(self, retry: Retry) -> bool:
        """Return whether its attempts are used up: by the consumer's limit, or else its own."""
        said = retry.max_attempts is not OF_THE_MESSAGE
        limit = retry.max_attempts if said else self.max_attempts
        return isinstance(limit, int) and self.attempts >= limit

    def is_claimable(self, now: datetime) -> bool:
        """Return whether it may be claimed at this time."""
        is_there = self.status is Status.AVAILABLE and self.available_at is not None
        return is_there and self.available_at <= now  # type: ignore[operator]

    def is_in_line(self) -> bool:
        """Return whether it waits for the turn of its key."""
        is_waiting = self.status is Status.AVAILABLE and self.available_at is None
        return self.ordering_key is not None and is_waiting

    def has_turn(self) -> bool:
        """Return whether nobody else of its key may be claimed."""
        if self.ordering_key is None or self.status is Status.CONSUMED:
            return False
        is_at_home = self.queue == self.origin_queue
        return self.keeps_turn or (is_at_home and self.available_at is not None)

    def is_lapsed(self, now: datetime) -> bool:
        """Return whether it is claimed by somebody whose lease ran out."""
        return self.claim_expires_at is not None and self.claim_expires_at <= now


@dataclass(slots=True)
class Table:
    """All messages by id, the time, and the queues that are paused."""

    now: datetime
    rows: dict[int, Row] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)

    # ------------------------------------------------------------------------------- to look

    def held_by(self, token: UUID) -> Row | None:
        """Return the message that is claimed under this token; None if the claim is lost."""
        return next((row for row in self.rows.values() if row.claim_token == token), None)

    def pushed_to(self, queue: str) -> list[Row]:
        """Return the messages that were pushed to the queue, wherever they are now."""
        return self._where(lambda row: row.origin_queue == queue)

    def keyed(self, queue: str, unique_key: str | None) -> Row | None:
        """Return the message that was pushed to the queue under this key."""
        found = [row for row in self.pushed_to(queue) if row.unique_key == unique_key]
        return found[0] if found and unique_key is not None else None

    def claimable(self, queue: str) -> list[Row]:
        """Return what can be claimed: highest priority, then longest available, then lowest id."""
        return self._next(lambda row: row.queue == queue and row.is_claimable(self.now))

    def counts(self, queue: str) -> Counts:
        """Count the messages of the queue and its dead letters."""
        queues = {queue, dead_letters_of(queue)}
        states = Counter(
            self._state(row, queue) for row in self.rows.values() if row.queue in queues
        )
        return Counts(**{name: states[name] for name in Counts.__dataclass_fields__})

    # ----------------------------------------------------------------------------- the verbs

    def push(self, row: Row) -> None:
        """Add a new message; with an ordering key it stands in line, and may be the first."""
        if row.ordering_key is not None:
            row = replace(row, available_at=None, due_at=row.available_at)
        self.rows[row.id] = row
        self.pass_turns()

    def pause(self, queue: str) -> None:
        """Let the queue hand out nothing."""
        self.paused.add(queue)

    def unpause(self, queue: str) -> bool:
        """Let the queue go on, and return whether it was paused."""
        was_paused = queue in self.paused
        self.paused.discard(queue)
        return was_paused

    def choose(
        self,
        queue: str,
        limit: int,
        claimed_by: str,
        claim_key: str | None,
        retry: Retry = RETRY,
    ) -> list[Row]:
        """Return what a claim takes, after it has given back what lapsed on its way."""
        self.expire(queue, retry, spared_key=claim_key)
        chosen = self._take(queue, limit, claimed_by, claim_key, retry)
        if chosen or not self.expire(queue, retry):
            return chosen
        return self._take(queue, limit, claimed_by, claim_key, retry)

    def claim(
        self, row: Row, token: UUID, lease: timedelta, claimed_by: str, claim_key: str | None
    ) -> None:
        """Hand a chosen message out, under the token that the database made."""
        self.rows[row.id] = replace(
            row,
            status=Status.CLAIMED,
            attempts=row.attempts + 1,
            claimed_at=self.now,
            claim_expires_at=self.now + lease,
            claimed_by=claimed_by,
            claim_key=claim_key,
            claim_token=token,
            rest=None,
        )

    def ack(self, row: Row) -> None:
        """Consume a claimed message."""
        consumed = replace(_freed(row), status=Status.CONSUMED, claimed_at=row.claimed_at)
        self.rows[row.id] = replace(consumed, consumed_at=self.now, consumed_by=row.claimed_by)
        self.pass_turns()

    def release(
        self,
        row: Row,
        delay: timedelta | None,
        error: BaseException | str | None,
        *,
        count: bool,
        retry: Retry = RETRY,
    ) -> None:
        """Give a claimed message back: after a pause if it failed, or as a dead letter."""
        freed = replace(_freed(row), attempts=row.attempts - (not count))
        if delay is not None:
            freed = replace(freed, available_at=self.now + delay)
        if count and error is not None:
            freed = self._failed(freed, row, *_named(error))
            if delay is None:
                freed = self._resting(freed, retry, None)
        elif error is not None:
            text, kind = _named(error)
            freed = replace(freed, last_error=text, last_error_class=kind)
        self.rows[row.id] = self._or_dead(freed, row, retry) if count else freed
        self.pass_turns()

    def note_failure(self, row: Row, lease: timedelta, error: BaseException | str) -> None:
        """Keep the error of an attempt, and the claim."""
        self.extend(self._failed(row, row, *_named(error)), lease)

    def extend(self, row: Row, lease: timedelta) -> None:
        """Let the lease of a claimed message end so long from now."""
        self.rows[row.id] = replace(row, claim_expires_at=self.now + lease)

    def expire(self, queue: str, retry: Retry = RETRY, *, spared_key: str | None = None) -> int:
        """Give back what lapsed, but for the claims of a key."""
        lapsed = self._where(
            lambda row: (
                row.queue == queue
                and row.is_lapsed(self.now)
                and (spared_key is None or row.claim_key != spared_key)
            )
        )
        for row in lapsed:
            self.give_back(row, retry)
        return len(lapsed)

    def give_back(self, row: Row, retry: Retry = RETRY) -> None:
        """Take a lapsed claim away: its attempt has failed, and rests since it was claimed."""
        error = f"lease expired, claimed by {row.claimed_by}"
        failed = _freed(row)
        if not row.has_noted_its_failure():  # as one that was kept for another try
            failed = self._failed(failed, row, error, "LeaseExpired")
        rests = self._resting(failed, retry, row.claimed_at)
        self.rows[row.id] = self._or_dead(rests, row, retry)
        self.pass_turns()

    def redrive(self, queue: str, limit: int | None, to: str | None) -> int:
        """Move dead letters back to the queue, or to another."""
        dead = dead_letters_of(queue)
        letters = self._next(lambda row: row.queue == dead and row.status is Status.AVAILABLE)
        for row in letters[:limit]:
            self.bring_back(row, to or queue)
        self.pass_turns()
        return len(letters[:limit])

    def bring_back(self, row: Row, queue: str) -> None:
        """Move a dead letter to a queue: in its own it stands in line again, by its id."""
        is_ordered = row.ordering_key is not None and queue == row.origin_queue
        self.rows[row.id] = replace(
            row,
            queue=queue,
            attempts=0,
            available_at=None if is_ordered else self.now,
            due_at=self.now if is_ordered else None,
            keeps_turn=False,
            claim_key=None,
        )

    def prune(self, queue: str, older_than: timedelta) -> int:
        """Delete what was consumed so long ago."""
        return self._delete(
            lambda row: (
                row.queue in {queue, dead_letters_of(queue)}
                and row.consumed_at is not None
                and row.consumed_at <= self.now - older_than
            )
        )

    def withdraw(self, queue: str, unique_keys: Iterable[str]) -> int:
        """Delete what nobody has claimed under these keys."""
        keys = set(unique_keys)
        return self._delete(
            lambda row: (
                row.origin_queue == queue
                and row.unique_key in keys
                and row.status is Status.AVAILABLE
            )
        )

    # ------------------------------------------------------------------------------- the rest

    def _take(
        self, queue: str, limit: int, claimed_by: str, claim_key: str | None, retry: Retry
    ) -> list[Row]:
        earlier = self._where(
            lambda row: (
                claim_key is not None
                and (row.queue, row.claim_key) == (queue, claim_key)
                and row.status is Status.CLAIMED
                and row.claimed_by != claimed_by
                and not row.is_exhausted(retry)
            )
        )
        if earlier or queue in self.paused:
            return earlier[:limit]
        return self.claimable(queue)[:limit]

    def _state(self, row: Row, queue: str) -> str:
        if row.status is not Status.AVAILABLE:
            return row.status
        if row.queue != queue:
            return "dead_letters"
        if row.is_in_line():
            return "in_line"
        return "available" if row.is_claimable(self.now) else "delayed"

    def _where(self, condition: Callable[[Row], bool]) -> list[Row]:
        return [row for _, row in sorted(self.rows.items()) if condition(row)]

    def _next(self, condition: Callable[[Row], bool]) -> list[Row]:
        return sorted(
            self._where(condition), key=lambda row: (-row.priority, row.available_at or self.now)
        )

    def pass_turns(self) -> None:
        """Give the turn of each key that nobody has to the first in its line."""
        lines: dict[tuple[str, str | None], Row] = {}
        for row in self._where(Row.is_in_line):
            lines.setdefault((row.origin_queue, row.ordering_key), row)
        held = {
            (row.origin_queue, row.ordering_key) for row in self.rows.values() if row.has_turn()
        }
        for key, row in lines.items():
            if key not in held:
                available_at = max(row.due_at or self.now, self.now)
                self.rows[row.id] = replace(row, available_at=available_at, due_at=None)

    def _failed(self, row: Row, held: Row, error: str, error_class: str | None) -> Row:
        failed = Failed(
            attempt=held.attempts,
            claimed_by=str(held.claimed_by),
            error_class=error_class,
            error=error,
        )
        return replace(
            row,
            last_error=error,
            last_error_class=error_class,
            failures=(*row.failures, failed)[-_KEPT:],
        )

    def _resting(self, row: Row, retry: Retry, since: datetime | None) -> Row:
        rest = Rest.after(row.attempts, retry, since)
        available_at = max(self.now, (since or self.now) + rest.longest)
        return replace(row, available_at=available_at, rest=rest)

    def _or_dead(self, row: Row, held: Row, retry: Retry) -> Row:
        if not held.is_exhausted(retry):
            return row
        if held.queue == dead_letters_of(held.queue):  # it was claimed as one, and rests
            return replace(row, claim_key=held.claim_key)
        return replace(
            row,
            queue=dead_letters_of(row.queue),
            available_at=self.now,
            claim_key=held.claim_key,
            keeps_turn=row.ordering_key is not None and row.holds_when_dead,
            rest=None,
        )

    def _delete(self, condition: Callable[[Row], bool]) -> int:
        deleted = self._where(condition)
        for row in deleted:
            del self.rows[row.id]
        self.pass_turns()
        return len(deleted)


def dead_letters_of(queue: str) -> str:
    """Return the queue of the dead letters of a queue; it is its own."""
    return queue if queue.endswith(".dead") else f"{queue}.dead"


def differences(real: Mapping[int, Row], expected: Mapping[int, Row]) -> list[str]:
    """Say which messages are not as they should be."""
    return [
        f"message {id_} is {real.get(id_)}, and should be {expected.get(id_)}"
        for id_ in sorted(real.keys() | expected.keys())
        if real.get(id_) != expected.get(id_)
    ]


def _named(error: BaseException | str) -> tuple[str, str | None]:
    if isinstance(error, str):
        return error, None
    kind = type(error).__name__  # of Python's own
    return f"{kind}: {error}", kind


def _freed(row: Row) -> Row:
    return replace(
        row,
        status=Status.AVAILABLE,
        claimed_at=None,
        claim_expires_at=None,
        claimed_by=None,
        claim_key=None,
        claim_token=None,
    )
