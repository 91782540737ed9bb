"""What is remembered between two looks at many queues, so that a page that is live costs little.

To look at one queue closely takes some sixty pages of the database, to see whether something waits
in it three. A list of many queues, looked at every second by many people, has for some seconds what
was seen closely before, under what is seen anew each time. Of few queues nothing is remembered.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool

FEW = 50  # queues that are looked at closely each time
KEPT_FOR = 30.0  # seconds: far less than what verdicts go by

_remembered: WeakKeyDictionary[Pool, dict[tuple[str | None, str], Memory]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Slow:
    """What takes a descent for each queue and changes seldom, or is not looked at closely.

    ``names`` of those of which something was consumed or is held, and when it was consumed last.
    """

    names: frozenset[str]
    consumed_at: Mapping[str, datetime]


class Memory:
    """What one role has seen of the queues of one schema."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[float, Any]] = {}
        self._slow: tuple[float, Slow] | None = None

    def slow(self) -> Slow | None:
        """Return what was seen slowly; None if that is too long ago."""
        found = self._slow
        return None if found is None or _is_old(found[0]) else found[1]

    def keep_slow(self, slow: Slow) -> None:
        """Remember it, if there are many queues."""
        self._slow = (time.monotonic(), slow) if len(slow.names) > FEW else None

    def rows(self, names: Iterable[str]) -> dict[str, Any]:
        """Return what was seen closely of these queues, and not too long ago."""
        found = {name: self._rows[name] for name in names if name in self._rows}
        return {name: row for name, (seen_at, row) in found.items() if not _is_old(seen_at)}

    def keep_rows(self, rows: Mapping[str, Any]) -> None:
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


def seen_anew(row: Any, waiting: Any, dead: Any, bound: int) -> Any:
    """Return what was seen closely of a queue, with what is seen now over it.

    ``waiting`` and ``dead`` are the first entries of the queue and of its dead letters, None where
    there are none; of fewer than ``bound`` all are seen.
    """
    return _with_dead(_with_waiting(row, waiting, bound), dead, bound)


def with_claims(row: Any, claims: Any) -> Any:
    """Return what was seen closely of a queue, with all its claims as they are now."""
    return row._replace(
        claimed=claims.claimed if claims else 0,
        lapsed=claims.lapsed if claims else 0,
        claim_expires_at=claims.claim_expires_at if claims else None,
        claimed_at=row.claimed_at if claims else None,
    )


def _with_waiting(row: Any, waiting: Any, bound: int) -> Any:
    if waiting is None or waiting.entries < bound:
        entries = 0 if waiting is None else waiting.entries
        due = 0 if waiting is None else waiting.due
        return row._replace(
            due=due,
            delayed=entries - due,
            available_at=waiting.oldest_at if due else None,
            is_due_cut=False,
            is_delayed_cut=False,
            retrying=min(row.retrying, entries),
            is_retrying_cut=row.is_retrying_cut and entries > 0,
        )
    delayed = waiting.entries - waiting.due
    oldest = [time_ for time_ in (row.available_at, waiting.oldest_at) if time_ is not None]
    return row._replace(
        due=max(row.due, waiting.due),
        delayed=max(row.delayed, delayed),
        available_at=min(oldest, default=None),
        is_due_cut=row.is_due_cut or waiting.due > row.due,
        is_delayed_cut=row.is_delayed_cut or delayed > row.delayed,
    )


def _with_dead(row: Any, dead: Any, bound: int) -> Any:
    if dead is None:
        return row._replace(dead=0, died_at=None)
    if dead.entries < bound:
        return row._replace(dead=dead.entries, died_at=dead.newest_at)
    return row._replace(dead=max(row.dead, dead.entries), died_at=row.died_at or dead.newest_at)


def _is_old(seen_at: float) -> bool:
    return time.monotonic() - seen_at > KEPT_FOR
