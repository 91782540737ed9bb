"""What is remembered between two looks at many queues, so that a page that is live costs little.

A list of many queues, looked at every second by many people, has for some seconds what was seen
closely before, under what a glance sees anew each time. Of few queues nothing is remembered.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool

from xclaim.observing.counting import Counted

FEW = 10  # queues that are looked at closely each time
KEPT_FOR = 30.0  # seconds: far less than what verdicts go by

_remembered: WeakKeyDictionary[Pool, dict[tuple[str | None, str], Memory]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Slow:
    """What takes a descent for each queue and changes seldom.

    ``names`` of those of which something was consumed, and when it was consumed last.
    """

    names: frozenset[str]
    consumed_at: Mapping[str, datetime]


class Memory:
    """What one role has seen of the queues of one schema."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[float, Counted]] = {}
        self._slow: tuple[float, Slow] | None = None

    def slow(self) -> Slow | None:
        """Return what was seen slowly; None if that is too long ago."""
        found = self._slow
        return None if found is None or _is_old(found[0]) else found[1]

    def keep_slow(self, slow: Slow) -> None:
        """Remember it, if there are many queues."""
        self._slow = (time.monotonic(), slow) if len(slow.names) > FEW else None

    def rows(self, names: Iterable[str]) -> dict[str, Counted]:
        """Return what was seen closely of these queues, and not too long ago."""
        found = {name: self._rows[name] for name in names if name in self._rows}
        return {name: row for name, (seen_at, row) in found.items() if not _is_old(seen_at)}

    def keep_rows(self, rows: Mapping[str, Counted]) -> None:
        """Remember what was seen closely just now, and forget what is old."""
        now = time.monotonic()
        kept = {name: seen for name, seen in self._rows.items() if not _is_old(seen[0])}
        self._rows = kept | {name: (now, row) for name, row in rows.items()}


def memory_of(connection: Connection, schema: str | None, role: str) -> Memory:
    """Return what is remembered for those who look through the same pool, as the same role."""
    of_pool = _remembered.setdefault(connection.engine.pool, {})
    return of_pool.setdefault((schema, role), Memory())


def forget(pool: Pool) -> None:
    """Forget what was seen through a pool: something was done that the next look should see."""
    _remembered.pop(pool, None)


def _is_old(seen_at: float) -> bool:
    return time.monotonic() - seen_at > KEPT_FOR
