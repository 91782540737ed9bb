"""What is seen of queues and messages: values that a page, a scrape or a command shows.

Times are aware UTC, by the database's clock. None of them holds a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from xclaim.limits import Limits, Pause
from xclaim.message import Status


class Verdict(StrEnum):
    """How a queue does, in one word."""

    RUNNING = "running"  # messages are consumed, or held by somebody
    IDLE = "idle"  # nothing waits, nothing is held
    STALLED = "stalled"  # messages wait, and nobody claims
    FAILING = "failing"  # what is worked on fails, or new dead letters come
    PAUSED = "paused"


class Action(StrEnum):
    """What somebody may do to a queue or a message."""

    PUSH = "push"
    REDRIVE = "redrive"
    RELEASE = "release"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    PAUSE = "pause"  # and unpause


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many there are: exactly, or at least, because counting ends at a bound.

    ``estimate``: what the database's statistics say, where it is more than ``at_least``. Among many
    queues a count that is not small may be half a minute old (``QueueSummary``).
    """

    at_least: int
    is_exact: bool = True
    estimate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Of the messages that were consumed last, ``messages`` of them."""

    p50: timedelta
    p95: timedelta
    p99: timedelta
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A number for each step of time, the earliest first. ``is_complete``: all were counted.

    ``is_estimate``: where counting ended, the number is reckoned from the time that those took
    which were counted; it may be too high. Else, or where they were all acked at once, there are
    at least so many.
    """

    begins_at: datetime
    step: timedelta
    values: tuple[int, ...]
    is_complete: bool = True
    is_estimate: bool = False


class Charted(StrEnum):
    """What a chart is of."""

    CONSUMED = "consumed"
    PUSHED = "pushed"
    DIED = "died"  # became dead letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What was consumed of a queue lately; what the newest consumed messages say of its speed.

    ``waiting``: from available to claimed; ``work``: from claimed to consumed. None: nothing was
    consumed.
    """

    consumed_per_minute: float
    consumed: Chart
    waiting: Percentiles | None
    work: Percentiles | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSummary:
    """A queue as one line of a list, with its dead letters (those of ``<name>.dead``).

    ``available`` can be claimed now; ``delayed`` later, of which and of the available ``retrying``
    failed before, among ``retrying_of`` that were looked at. ``claimed`` is held, its dead letters
    too, of which ``lapsed`` beyond the lease. ``oldest_waiting``: for how long the message has been
    available that waits longest; ``oldest_claim``: for how long the claim is held that was made
    first. ``flow`` is None where it was not asked for. ``reason`` says in a few words why the
    verdict is this. ``max_backlog``: how many messages may wait, in line too, if that is limited;
    ``on_full``: what a push does then.

    Where there are more than 50 queues, counts beyond 20, ``retrying``, ``oldest_claim`` and
    ``last_consumed_at`` may be remembered, for 30 seconds at most. Of a queue that has many claims
    ``oldest_claim`` is of those that were looked at.
    """

    name: str
    verdict: Verdict
    available: Count
    delayed: Count
    retrying: Count
    claimed: Count
    lapsed: Count
    dead: Count
    oldest_waiting: timedelta | None
    oldest_claim: timedelta | None
    last_consumed_at: datetime | None
    pause: Pause | None
    limits: Limits | None = None
    flow: Flow | None = None
    reason: str = ""
    max_backlog: int | None = None
    on_full: str | None = None
    retrying_of: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueMeasures:
    """What a scrape of metrics says of a queue; ``queue`` is None for all others together.

    ``backlog`` is what can be claimed now. Ages are in seconds, 0 where there is nothing; that of
    the others together leaves out what waits in a paused queue.
    ``consumed`` is how many were consumed between ``consumed_after`` and ``looked_until``: who
    scrapes adds them up. None: nobody asked. ``is_paused`` is None for the others together.
    ``retrying_of`` is how many of those that wait were looked at for ``retrying``.
    """

    queue: str | None
    backlog: Count
    delayed: Count
    retrying: Count
    claimed: Count
    lapsed: Count
    dead: Count
    consumed: Count | None
    oldest_available_seconds: float
    oldest_claim_seconds: float
    is_paused: bool | None
    retrying_of: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What a scrape of metrics needs: the busiest queues, and all others together if there are any.

    Those of the others that have waited longest, for five minutes or more, are among the first.
    ``queues_not_measured`` is how many, at least, are in none of them: there were too many to be
    looked at.
    ``looked_until``: to be given as ``consumed_after`` to the next. ``oldest_snapshot_seconds``:
    for how long the oldest transaction is open that keeps dead rows from being removed; None where
    there is none, or the role may not see it. ``took_seconds``: how long it took to ask.
    """

    queues: tuple[QueueMeasures, ...]
    queues_not_measured: int
    looked_until: datetime
    oldest_snapshot_seconds: float | None
    took_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A message as one line of a list. ``excerpt``: the beginning of its payload as JSON text.

    ``excerpt`` is None where the role may not read payloads, ``error`` where it may not read
    errors. ``excerpt_note`` says why it is empty: the payload is encoded, large or cannot be sent.
    """

    id: int
    queue: str
    origin_queue: str
    status: Status
    is_delayed: bool
    is_lapsed: bool
    is_dead: bool
    priority: int
    unique_key: str | None
    attempts: int
    max_attempts: int | None
    created_at: datetime
    available_at: datetime | None  # None: in line, behind another of its ordering key
    ordering_key: str | None
    claimed_at: datetime | None
    claim_expires_at: datetime | None
    consumed_at: datetime | None
    claimed_by: str | None
    consumed_by: str | None
    error_class: str | None
    error: str | None
    excerpt: str | None
    excerpt_note: str | None = None


class Order(StrEnum):
    """In which order messages were found: by the index that leaves the least to be looked at."""

    PUSHED = "pushed"  # the newest first
    AVAILABLE = "available"  # by queue and priority, the latest to become available first
    LEASE = "lease"  # by queue, the lease that ends last first
    CONSUMED = "consumed"  # by queue, consumed last first


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Some of the messages that a search is after, in the order that it says.

    ``older``: the cursor to go on with, None at the end. A search for what no index has reads so
    many rows and then stops: ``messages`` may be none although there is an ``older``. ``looked_at``
    is how many rows were read, down to ``looked_back_to``, when the last of them was pushed.
    """

    messages: tuple[Listed, ...]
    older: str | None
    looked_at: int
    looked_back_to: datetime | None
    order: Order = Order.PUSHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What may stand in a filter from ``position`` on, in the place of what stands there."""

    text: str
    position: int
    says: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """The messages that a bulk action is about: their ids, by queue and status.

    More may match unless ``is_complete``. ``looked_at`` is how many were read, and
    ``not_looked_at`` how many of certain ones, that were asked for by their ids, there was no time
    for.
    """

    ids: dict[tuple[str, Status], tuple[int, ...]]
    is_complete: bool
    looked_at: int
    not_looked_at: int = 0

    @property
    def count(self) -> int:
        """How many messages they are."""
        return sum(map(len, self.ids.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """An Airflow task instance, as headers or the name of a claimant say it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int | None


class Happened(StrEnum):
    """What can happen to a message."""

    PUSHED = "pushed"
    AVAILABLE = "available"  # its delay is over
    CLAIMED = "claimed"
    LAPSED = "lapsed"  # its lease is over, and nobody has given it back
    FAILED = "failed"
    DIED = "died"  # it became a dead letter
    CONSUMED = "consumed"
    COMES_BACK = "comes back"  # in the future


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened to a message, or will."""

    at: datetime
    what: Happened
    by: str | None = None
    task: Task | None = None
    attempt: int | None = None
    error_class: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A message with everything that is known of it, its moments in the order of time.

    ``payload`` and ``headers`` are JSON text, indented; None where the role may not read them.
    ``payload_note`` says what is not shown: that it is encoded, stored elsewhere, cut or cannot be
    read.
    ``is_cut``: of a large payload only the beginning is there. ``attempts_note`` says why the
    attempts that failed are not among the moments, ``headers_note`` why there are no headers.
    """

    message: Listed
    moments: tuple[Moment, ...]
    producer: Task | None
    consumer: Task | None
    payload: str | None
    payload_note: str | None
    headers: str | None
    is_cut: bool = False
    attempts_note: str | None = None
    headers_note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One claim: who holds which message, since when and until when.

    Where a hand has written the row, ``claimed_at`` may be None, and ``claimed_by`` "" for nobody.
    """

    id: int
    queue: str
    claimed_by: str
    task: Task | None
    attempts: int
    claimed_at: datetime | None
    claim_expires_at: datetime
    is_lapsed: bool
    error_class: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Some of the claims, by queue, those whose lease ends first before the others.

    ``next``: the cursor to go on with, None at the end.
    """

    page: tuple[Held, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Dead letters of one queue with the same error: its class, and the first line of its text.

    ``first_line`` is None where the role may not read errors: then they are grouped by class.
    ``queue`` is the one they died in, without ``.dead``. ``is_complete``: all letters of the queue
    were counted, and not the newest alone, of which there are at least ``count``.
    """

    queue: str
    error_class: str | None
    first_line: str | None
    count: int
    first_died_at: datetime
    last_died_at: datetime
    newest_id: int
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """Dead letters by queue and error. ``is_complete``: no queue was left out for want of time."""

    groups: tuple[Letters, ...]
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an Airflow task instance, or all of a run, has pushed, holds and has consumed.

    Each as many as were asked for, the newest first. Its failed attempts are in ``failed``. No
    index knows who has pushed or consumed: the newest messages are read, ``looked_at`` of them,
    down to ``looked_back_to``, and ``older`` is the cursor to go on with, also behind the last that
    is shown; None: there are no more. ``cut``: the names of the kinds of which there are more, or
    may be, though an index has them: of what it holds not all claims may have been looked at.
    """

    pushed: tuple[Listed, ...]
    held: tuple[Listed, ...]
    consumed: tuple[Listed, ...]
    failed: tuple[Listed, ...]
    looked_at: int = 0
    looked_back_to: datetime | None = None
    older: str | None = None
    cut: frozenset[str] = frozenset()

    @property
    def is_complete(self) -> bool:
        """Whether all messages were looked at, and all that were found are there."""
        return self.older is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What the database role may see and do, as the database says it.

    ``refusals``: for each action that is not allowed, why. ``hides_rows``: row-level security hides
    messages from the role.
    """

    role: str | None
    sees_payloads: bool
    sees_errors: bool
    hides_rows: bool
    refusals: dict[Action, str]

    def may(self, action: Action) -> bool:
        """Return whether the role may do it."""
        return action not in self.refusals

    def to_dict(self) -> dict[str, Any]:
        """Return the rights as JSON-serialisable values."""
        return {
            "role": self.role,
            "sees_payloads": self.sees_payloads,
            "sees_errors": self.sees_errors,
            "hides_rows": self.hides_rows,
            "may": [str(action) for action in Action if self.may(action)],
        }
