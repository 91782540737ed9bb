"""What was counted of a queue, and how far counting went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from xclaim.observing.values import Count

MOST_ENTRIES = 10_000  # of one queue
_ENTRIES = 20_000  # counted of all queues of a list together, of each range
_LEAST_ENTRIES = 100
LEVELS = 32  # priorities of a queue that are looked at one by one, as a claim does
_ROWS_PER_ENTRY = 20  # a row that is read costs more than an entry


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is counted of each queue: ``entries`` of an index range, ``rows`` that are read.

    ``others``: entries of its claims and of its dead letters.
    """

    entries: int
    rows: int
    others: int

    @classmethod
    def of(cls, queues: int, *, others: int | None = None) -> Bounds:
        """Share what a list of so many queues may read."""
        entries = share(_ENTRIES, queues)
        return cls(entries, max(entries // _ROWS_PER_ENTRY, 1), others or entries)


def share(entries: int, queues: int) -> int:
    """Return how many entries of each queue may be counted, so that they are no more together."""
    return min(max(entries // max(queues, 1), _LEAST_ENTRIES), MOST_ENTRIES)


@dataclass(slots=True, kw_only=True)
class Counted:
    """What was counted of a queue, by its index entries; times as the database gives them.

    Claims are those of its dead letters, too. Where counting ended at a bound, the count is cut:
    there may be more.
    """

    queue: str
    now: Any
    claimed: int = 0
    lapsed: int = 0
    live: int = 0  # of the queue itself: who holds a dead letter does no work of the queue
    own_lapsed: int = 0  # of the queue itself, too: who claims from it gives these back
    has_live: bool = False  # behind those that were counted, all of which are lapsed
    claim_expires_at: Any = None  # of the first that is the queue's own
    claimed_at: Any = None
    dead: int = 0
    died_at: Any = None
    due: int = 0
    available_at: Any = None
    delayed: int = 0
    retrying: int = 0
    looked_at: int = 0  # of what waits, for how many of it are retrying
    is_due_cut: bool = False
    is_delayed_cut: bool = False
    is_retrying_cut: bool = False
    is_claimed_cut: bool = False
    is_lapsed_cut: bool = False
    is_dead_cut: bool = False

    def counts(self) -> dict[str, Count]:
        """Return how many there are of each kind, by its name; cut counts are at least so many."""
        return {
            "available": Count(at_least=self.due, is_exact=not self.is_due_cut),
            "delayed": Count(at_least=self.delayed, is_exact=not self.is_delayed_cut),
            "retrying": Count(at_least=self.retrying, is_exact=not self.is_retrying_cut),
            "claimed": Count(at_least=self.claimed, is_exact=not self.is_claimed_cut),
            "lapsed": Count(at_least=self.lapsed, is_exact=not self.is_lapsed_cut),
            "dead": Count(at_least=self.dead, is_exact=not self.is_dead_cut),
        }


def since(now: datetime, time: datetime | None) -> timedelta | None:
    """Return how long ago a time was, None if there is none; of one in the future no time."""
    return None if time is None else max(now - time, timedelta(0))
