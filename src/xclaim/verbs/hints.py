"""What this process remembers of a queue between two claims: hints, never correctness.

A claim that starts at the head of its index walks over the entries of all messages claimed before,
for as long as an old snapshot keeps them from being removed. So it starts behind the last message
that was claimed, and at the head again after a quarter of a second, or when there is too little.
Where a look from the head takes much longer than one from there, what it takes more is a tenth of
the time at most, but it is no rarer than each 0.9 seconds. A message that arrives before that
position (released, higher priority, late commit) waits so long. And for so long a queue that
another process has paused or limited still hands out messages, which must end within a second.

Who waits asks again and again, and finds nothing most of the time in a queue that keeps up. He
starts at the head, too; but where that takes long, as with many such entries, he does so only after
a quarter of a second, and in between a little before the last position, and at other priorities.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Pool

from xclaim.claims import Claim
from xclaim.connections.autocommit import is_autocommit
from xclaim.limits import Limits
from xclaim.message import Message
from xclaim.sql.dialects import POSTGRESQL, Dialect, dialect_of
from xclaim.sql.schema import translated
from xclaim.sql.statements import Start

_SWEEP_EVERY = 1.0  # seconds between the sweeps of one pool and queue, unless it is empty
_SWEEP_EMPTY_EVERY = 0.25  # the same if it is empty, for who asks again and again
LOOK_BACK_EVERY = 0.25  # seconds that a message may wait because it came in before the position
_LOOK_BACK_SELDOM = 0.9  # the same at most, where a look takes more than its share
_LOOK_BACK_SHARE = 1 / 10  # of the time, for what it takes beyond a claim behind the position
_LOOKS_BACK, _BEHIND = 3, 30  # claims of which the quickest counts: others waited for a processor
_A_LITTLE = timedelta(milliseconds=50)  # by which a commit may be overtaken by others
_SHARE = 1 / 100  # of the time, for what looks everywhere take beyond two others
_EVERYWHERE, _LATELY = 3, 30  # looks of which the quickest counts: others waited for a processor
NOTIFY_EVERY = 0.02  # seconds between wake-ups: each locks out other commits
_LIMITS_EVERY = 1.0  # seconds that a limit which was set or taken away may go unnoticed
_BUSY_AFTER = 5  # claims in a row that found something
_MOST = 1_000  # queues of a pool, 4 KB each: those that were used last

K = TypeVar("K")
V = TypeVar("V")
Place = tuple[Start, Mapping[str, Any]]  # where a claim starts, and the parameters of that place

_remembered: WeakKeyDictionary[Pool, OrderedDict[tuple[str | None, str], Hints]]
_remembered = WeakKeyDictionary()


class Position(NamedTuple):  # a dataclass takes thrice as long to make, for each claim
    """A place in the claim index of a queue."""

    priority: int
    available_at: datetime
    id: int

    def parameters(self, dialect: Dialect) -> Mapping[str, Any]:
        """Return the position as the statements take it."""
        return {
            "after_priority": self.priority,
            "after_available_at": dialect.time_parameter(self.available_at),
            "after_id": self.id,
        }

    def a_little_before(self) -> Position:
        """Return a place of the same priority that is as far away as a push may be overtaken."""
        return Position(self.priority, self.available_at - _A_LITTLE, 0)


class Hints:
    """The hints of one queue, shared by all threads that claim from it through one pool."""

    def __init__(self) -> None:
        self._swept_at = float("-inf")
        self._looked_back_at = float("-inf")
        self._looks_back: deque[float] = deque(maxlen=_LOOKS_BACK)
        self._behind: deque[float] = deque(maxlen=_BEHIND)
        self._look_back_due = 0.0  # seconds from one to the next, if more than usual
        self._position: Position | None = None
        self._reached: Position | None = None  # the last position, also if it may not be used now
        self._everywhere: deque[float] = deque(maxlen=_EVERYWHERE)
        self._lately: deque[float] = deque(maxlen=_LATELY)
        self._notified_at = float("-inf")
        self._found: int | None = None
        self._limits: Limits | None = None
        self._limits_asked_at = float("-inf")
        self._due_at = float("-inf")
        self.has_keys = False  # a message with an ordering key was claimed

    def is_sweep_due(self) -> bool:
        """Return whether lapsed claims have not been looked for lately."""
        return time.monotonic() - self._swept_at >= _SWEEP_EVERY

    def is_sweep_due_when_empty(self) -> bool:
        """Return the same for a queue that has nothing, whose claimants ask again and again."""
        return time.monotonic() - self._swept_at >= _SWEEP_EMPTY_EVERY

    def has_swept(self) -> bool:
        """Return whether lapsed claims have been looked for at all."""
        return self._swept_at != float("-inf")

    def sweep(self) -> None:
        """Note that lapsed claims are looked for now."""
        self._swept_at = time.monotonic()

    def position(self) -> Position | None:
        """Return where the next claim may start; None for the head of the index."""
        since = time.monotonic() - self._looked_back_at
        return None if since >= max(LOOK_BACK_EVERY, self._look_back_due) else self._position

    def note_claim_behind(self, seconds: float) -> None:
        """Note how long a claim took that started behind the position, and found something."""
        self._behind.append(seconds)

    def note_look_back(self, seconds: float) -> None:
        """Note how long a claim took that did not."""
        self._looks_back.append(seconds)
        looks, behind = tuple(self._looks_back), tuple(self._behind)
        beyond = min(looks) - min(behind) if len(looks) == _LOOKS_BACK and behind else 0.0
        self._look_back_due = min(beyond / _LOOK_BACK_SHARE, _LOOK_BACK_SELDOM)

    def reached(self) -> Position | None:
        """Return how far claims have come; None if it is time for those who wait to look back."""
        if time.monotonic() - self._looked_back_at >= self._pause():
            return None
        return self._reached

    def _pause(self) -> float:
        """Return the seconds between looks everywhere: none if they are as quick as others."""
        everywhere, lately = tuple(self._everywhere), tuple(self._lately)
        if not everywhere or not lately:
            return LOOK_BACK_EVERY
        beyond = min(everywhere) - 2 * min(lately)
        return min(max(0.0, beyond / _SHARE), LOOK_BACK_EVERY)

    def note_look(self, seconds: float, *, everywhere: bool) -> None:
        """Note how long a look took of those who wait."""
        (self._everywhere if everywhere else self._lately).append(seconds)

    def look_back(self) -> None:
        """Note that a claim starts at the head of the index now."""
        self._looked_back_at = time.monotonic()

    def remember(self, connection: Connection, claims: Sequence[Claim], start: Start) -> None:
        """Note what a claim found, in its order; not in a transaction, which may be rolled back.

        Where the head has nothing there is no position: the queue may be paused, which only a claim
        from the head asks. What was not handed out from there brings none back.
        """
        if not is_autocommit(connection):
            return
        self._found = (self._found or 0) + 1 if claims else 0
        if not claims:
            self._position = None
            return
        last = claims[-1].message
        if last.available_at is None:
            # Not one that was claimed along with another of its line: it has no place in the index.
            placed = (each.message for each in reversed(claims) if each.message.available_at)
            last = next(placed, last)
        if last.available_at is None:
            self._position = None
            return
        if start is not Start.POSITION and not _is_from_the_head(last, start):
            self._position = None
        elif self._position is not None or start is not Start.POSITION:
            self._position = Position(last.priority, last.available_at, last.id)
            self._reached = self._position

    def forget(self, *, above: int | None = None) -> None:
        """Let the next claim start at the head; ``above``: only if its priority is below that."""
        position = self._position
        if position is not None and (above is None or above > position.priority):
            self._position = None
        if above is None:  # who starts from what was reached looks at other priorities, too
            self._reached = None

    def are_limits_known(self) -> bool:
        """Return whether somebody has asked lately which limits the queue has."""
        return time.monotonic() - self._limits_asked_at < _LIMITS_EVERY

    def limits(self) -> Limits | None:
        """Return the limits that the queue had lately; None if it had none, or nobody asked."""
        return self._limits if self.are_limits_known() else None

    def note_limits(self, limits: Limits | None) -> None:
        """Note the limits of the queue, as it has them now."""
        self._limits, self._limits_asked_at = limits, time.monotonic()

    def forget_limits(self) -> None:
        """Let the next claim that finds nothing ask for the limits."""
        self._limits_asked_at = float("-inf")

    def note_due(self, seconds: float | None) -> None:
        """Note in how many seconds the rate lets a claim begin; None: that is not waited for."""
        self._due_at = time.monotonic() + (float("-inf") if seconds is None else seconds)

    def due_in(self) -> float | None:
        """Return in how many seconds that is; None if nobody knows of it."""
        left = self._due_at - time.monotonic()
        return left if left > 0 else None

    def take_notification(self) -> bool:
        """Return whether to wake the waiters now, not having done so just before.

        A waiter that was woken looks again after ``NOTIFY_EVERY``, for messages pushed meanwhile.
        """
        is_due = time.monotonic() - self._notified_at >= NOTIFY_EVERY
        if is_due:
            self._notified_at = time.monotonic()
        return is_due

    def is_busy(self) -> bool:
        """Return whether the last claims all found something.

        Only then are they prepared: the plan made for a table without messages, a sequential scan,
        would be kept when there are many.
        """
        return self._found is not None and self._found >= _BUSY_AFTER

    def expects_some(self) -> bool:
        """Return whether the last claim found something, or there was none yet."""
        return self._found != 0


def _is_from_the_head(message: Message, start: Start) -> bool:
    # What was taken back by its claim key was not: it is tried for the second time at least.
    may_be_taken_back = message.claim_key is not None and message.attempts > 1
    return start is not Start.POSITION and not may_be_taken_back


def recall(connection: Connection, schema: str | None, queue: str) -> Hints:
    """Return what is remembered of the queue behind this connection."""
    of_pool = _remembered.get(connection.engine.pool)
    if of_pool is None:
        of_pool = _remembered.setdefault(connection.engine.pool, OrderedDict())
    return recent(of_pool, (schema, queue), Hints)


def recent(kept: OrderedDict[K, V], key: K, make: Callable[[], V]) -> V:
    """Return what is kept under the key, made if there is nothing; those used last are kept.

    Of several threads all get the same.
    """
    try:
        kept.move_to_end(key)
        return kept[key]
    except KeyError:  # or another thread has just forgotten it
        found = kept.setdefault(key, make())
    if len(kept) > _MOST:  # a queue for each user, say
        kept.popitem(last=False)
    return found


def due_in(engine: Engine, schema: str | None, queue: str) -> float | None:
    """Return in how many seconds a rate lets a claim begin, as the last empty claim has found out.

    None if it did not wait for that.
    """
    of_pool = _remembered.get(engine.pool)
    hints = None if of_pool is None else of_pool.get((translated(engine, schema), queue))
    return None if hints is None else hints.due_in()


def start_of(connection: Connection, hints: Hints) -> Place:
    """Return where to start a claim on this connection: behind the position, or at the head.

    On SQLite not on top: it has no plans to save.
    """
    behind = position_of(connection, hints)
    if behind is not None:
        return behind
    if is_autocommit(connection):
        hints.look_back()
    is_postgresql = connection.dialect.name == POSTGRESQL.name
    return (Start.TOP if is_postgresql and hints.expects_some() else Start.HEAD), {}


def position_of(connection: Connection, hints: Hints) -> Place | None:
    """Return the position as a place to start; None in a transaction, which may be rolled back."""
    if not is_autocommit(connection):
        return None
    position = hints.position()
    if position is None:
        return None
    return Start.POSITION, position.parameters(dialect_of(connection.dialect.name))


def lately_of(connection: Connection, hints: Hints) -> Place | None:
    """Return where a claim starts that looks for what came in lately; None: it looks everywhere.

    On SQLite it does: no snapshot keeps entries there that a claim would have to pass.
    """
    if connection.dialect.name != POSTGRESQL.name or not is_autocommit(connection):
        return None
    reached = hints.reached()
    if reached is None:
        return None
    return Start.LATELY, reached.a_little_before().parameters(POSTGRESQL)


def is_to_notify(connection: Connection, schema: str | None, queue: str) -> bool:
    """Return whether a statement that makes messages available sends a wake-up for their queue.

    In a caller's transaction each one does: PostgreSQL sends one of them, at the commit.
    """
    if connection.dialect.name != POSTGRESQL.name:
        return False
    return not is_autocommit(connection) or recall(connection, schema, queue).take_notification()
