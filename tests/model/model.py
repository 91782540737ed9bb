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

from xclaim import Counts, Status


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
    available_at: datetime
    claim_expires_at: datetime | None = None
    consumed_at: datetime | None = None
    claimed_by: str | None = None
    consumed_by: str | None = None
    claim_key: str | None = None
    claim_token: UUID | None = None
    last_error: str | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether its attempts are used up."""
        return self.max_attempts is not None and self.attempts >= self.max_attempts

    def is_claimable(self, now: datetime) -> bool:
        """Return whether it may be claimed at this time."""
        return self.status is Status.AVAILABLE and self.available_at <= now

    def is_lapsed(self, now: datetime) -> bool:
        """Return whether it is claimed by somebody whose lease ran out."""
        return self.claim_expires_at is not None and self.claim_expires_at <= now


@dataclass(slots=True)
class Table:
    """All messages by id, and the time."""

    now: datetime
    rows: dict[int, Row] = field(default_factory=dict)

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
        """Add a new message."""
        self.rows[row.id] = row

    def choose(self, queue: str, limit: int, claimed_by: str, claim_key: str | None) -> list[Row]:
        """Return what a claim takes, after it has given back what lapsed on its way."""
        self.expire(queue, spared_key=claim_key)
        chosen = self._take(queue, limit, claimed_by, claim_key)
        if chosen or not self.expire(queue):
            return chosen
        return self._take(queue, limit, claimed_by, claim_key)

    def claim(
        self, row: Row, token: UUID, lease: timedelta, claimed_by: str, claim_key: str | None
    ) -> None:
        """Hand a chosen message out, under the token that the database made."""
        self.rows[row.id] = replace(
            row,
            status=Status.CLAIMED,
            attempts=row.attempts + 1,
            claim_expires_at=self.now + lease,
            claimed_by=claimed_by,
            claim_key=claim_key,
            claim_token=token,
        )

    def ack(self, row: Row) -> None:
        """Consume a claimed message."""
        consumed = replace(_freed(row), status=Status.CONSUMED)
        self.rows[row.id] = replace(consumed, consumed_at=self.now, consumed_by=row.claimed_by)

    def release(self, row: Row, delay: timedelta | None, error: str | None, *, count: bool) -> None:
        """Give a claimed message back."""
        self._free(
            row,
            error,
            queue=dead_letters_of(row.queue) if count and row.is_exhausted else row.queue,
            available_at=row.available_at if delay is None else self.now + delay,
            attempts=row.attempts - (not count),
        )

    def extend(self, row: Row, lease: timedelta) -> None:
        """Let the lease of a claimed message end so long from now."""
        self.rows[row.id] = replace(row, claim_expires_at=self.now + lease)

    def expire(self, queue: str, *, spared_key: str | None = None) -> int:
        """Give back what lapsed, but for the claims of a key."""
        lapsed = self._where(
            lambda row: (
                row.queue == queue
                and row.is_lapsed(self.now)
                and (spared_key is None or row.claim_key != spared_key)
            )
        )
        for row in lapsed:
            self.give_back(row)
        return len(lapsed)

    def give_back(self, row: Row) -> None:
        """Take a lapsed claim away."""
        self._free(
            row,
            f"lease expired, claimed by {row.claimed_by}",
            queue=dead_letters_of(row.queue) if row.is_exhausted else row.queue,
            available_at=row.available_at,
            attempts=row.attempts,
        )

    def redrive(self, queue: str, limit: int | None, to: str | None) -> int:
        """Move dead letters back to the queue, or to another."""
        dead = dead_letters_of(queue)
        letters = self._next(lambda row: row.queue == dead and row.status is Status.AVAILABLE)
        for row in letters[:limit]:
            self.bring_back(row, to or queue)
        return len(letters[:limit])

    def bring_back(self, row: Row, queue: str) -> None:
        """Move a dead letter to a queue."""
        self.rows[row.id] = replace(row, queue=queue, attempts=0, available_at=self.now)

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

    def _take(self, queue: str, limit: int, claimed_by: str, claim_key: str | None) -> list[Row]:
        earlier = self._where(
            lambda row: (
                claim_key is not None
                and (row.queue, row.claim_key) == (queue, claim_key)
                and row.claimed_by != claimed_by
                and not row.is_exhausted
            )
        )
        return earlier[:limit] or self.claimable(queue)[:limit]

    def _state(self, row: Row, queue: str) -> str:
        if row.status is not Status.AVAILABLE:
            return row.status
        if row.queue != queue:
            return "dead_letters"
        return "available" if row.is_claimable(self.now) else "delayed"

    def _where(self, condition: Callable[[Row], bool]) -> list[Row]:
        return [row for _, row in sorted(self.rows.items()) if condition(row)]

    def _next(self, condition: Callable[[Row], bool]) -> list[Row]:
        return sorted(self._where(condition), key=lambda row: (-row.priority, row.available_at))

    def _free(
        self, row: Row, error: str | None, *, queue: str, available_at: datetime, attempts: int
    ) -> None:
        freed = replace(_freed(row), queue=queue, available_at=available_at, attempts=attempts)
        self.rows[row.id] = replace(freed, last_error=error)

    def _delete(self, condition: Callable[[Row], bool]) -> int:
        deleted = self._where(condition)
        for row in deleted:
            del self.rows[row.id]
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


def _freed(row: Row) -> Row:
    return replace(
        row,
        status=Status.AVAILABLE,
        claim_expires_at=None,
        claimed_by=None,
        claim_key=None,
        claim_token=None,
    )
