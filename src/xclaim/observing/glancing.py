"""A glance at all queues of PostgreSQL: the first entries of each, by one descent or less.

To look at one queue closely takes some sixty pages of the database: each of its priorities, rows
for what no index has. Of many queues the first entries alone are read, those of small ones from the
same page. Of what is among them all is known; of more, that it is more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.observing.asking import Question
from xclaim.observing.counting import Counted
from xclaim.observing.times import as_time
from xclaim.sql.statements import observing_glances, observing_queues

ENTRIES = 128  # about a page of the index
LEAST = 20  # seen of a queue that has more
CLAIMS = 500


@dataclass(frozen=True, slots=True)
class Glance:
    """The first entries of each queue at ``now``, as ``role`` sees them.

    ``behind``: queues behind those that were looked for, of which there may be many more.
    """

    role: str
    now: datetime
    waiting: Mapping[str, Any]
    claims: Mapping[str, Any]
    behind: frozenset[str] = frozenset()

    def of(self, name: str, known: Counted | None = None) -> Counted:
        """Return what is seen of a queue; over what is ``known``, if it was looked at closely."""
        counted = replace(known, now=self.now) if known else _unknown(name, self.now)
        _put_waiting(counted, self.waiting.get(name))
        _put_dead(counted, self.waiting.get(name + DEAD_LETTER_SUFFIX))
        _put_claims(counted, self.claims.get(name), self.claims.get(name + DEAD_LETTER_SUFFIX))
        return counted

    def entries_of(self, name: str) -> int:
        """Return how many were seen of a queue: what waits, is held and died."""
        names = (name, name + DEAD_LETTER_SUFFIX)
        parts = [part.get(each) for part in (self.waiting, self.claims) for each in names]
        return sum(seen.entries for seen in parts if seen)


def glance(question: Question, most: int, *, with_levels: bool = False) -> Glance:
    """Look at the first entries of queues, in ``most`` steps: one for each that is not small.

    ``with_levels``: also at the first and the last of their priorities.
    """
    (here,) = question.rows(observing_queues.who_and_when)
    bounds = {"most": most, "bound": ENTRIES, "least": LEAST}
    waiting = question.rows(observing_glances.first_entries, bounds, with_levels=with_levels)
    claims = question.rows(observing_glances.first_claims, {"most": most, "bound": CLAIMS})
    return Glance(
        role=here.role,
        now=as_time(here.now),
        waiting={row.queue: row for row in waiting if not row.is_behind},
        claims={row.queue: row for row in claims if not row.is_behind},
        behind=frozenset(row.queue for row in (*waiting, *claims) if row.is_behind),
    )


def _unknown(name: str, now: datetime) -> Counted:
    return Counted(
        queue=name,
        now=now,
        is_due_cut=True,
        is_delayed_cut=True,
        is_retrying_cut=True,
        is_dead_cut=True,
    )


def _put_waiting(counted: Counted, seen: Any) -> None:
    entries, due, oldest = (seen.entries, seen.due, seen.oldest_at) if seen else (0, 0, None)
    if seen is None or not seen.is_cut:
        counted.due, counted.delayed, counted.available_at = due, entries - due, oldest
        counted.is_due_cut = counted.is_delayed_cut = False
        counted.retrying = min(counted.retrying, entries)
        counted.looked_at = min(counted.looked_at, entries)
        counted.is_retrying_cut = counted.is_retrying_cut and entries > 0
        return
    delayed = entries - due
    times = [as_time(time) for time in (counted.available_at, oldest) if time is not None]
    counted.available_at = min(times, default=None)
    counted.is_due_cut |= due > counted.due
    counted.is_delayed_cut |= delayed > counted.delayed
    counted.due = max(counted.due, due)
    counted.delayed = max(counted.delayed, delayed)


def _put_dead(counted: Counted, seen: Any) -> None:
    if seen is None:
        counted.dead, counted.died_at, counted.is_dead_cut = 0, None, False
    elif not seen.is_cut:
        counted.dead, counted.died_at, counted.is_dead_cut = seen.entries, seen.newest_at, False
    else:  # which is the newest, the first entries do not say
        counted.is_dead_cut |= seen.entries > counted.dead
        counted.dead = max(counted.dead, seen.entries)


def _put_claims(counted: Counted, own: Any, of_dead: Any) -> None:
    seen = [each for each in (own, of_dead) if each]
    if not seen:
        counted.claimed_at = None
    counted.has_live = False  # is looked for anew where it matters
    counted.claimed = sum(each.entries for each in seen)
    counted.lapsed = sum(each.due for each in seen)
    counted.live, counted.own_lapsed = (own.entries - own.due, own.due) if own else (0, 0)
    counted.claim_expires_at = as_time(own.oldest_at) if own else None
    counted.is_claimed_cut = any(each.is_cut for each in seen)
    counted.is_lapsed_cut = any(each.is_cut and each.due == each.entries for each in seen)
