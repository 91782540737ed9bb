"""The limits of a queue: how much is claimed at once and in a time, and how much waits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from xclaim.arguments import OnFull, visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many messages of a queue are claimed at once, and how many claims begin in a time.

    None: any number. In no time t do more than ``burst + rate * (t / per)`` of them begin.
    """

    concurrency: int | None = None
    rate: int | None = None
    per: timedelta | None = None
    burst: int | None = None

    def __str__(self) -> str:
        """Return the limits in words."""
        said = [] if self.concurrency is None else [f"{self.concurrency:,} at once"]
        if self.rate is not None and self.per is not None:
            often = f"{self.rate:,} per {self.per.total_seconds():g} s"
            said.append(often + (f" in bursts of {self.burst:,}" if self.burst != 1 else ""))
        return ", ".join(said) or "none"

    def to_dict(self) -> dict[str, Any]:
        """Return the limits as JSON-serialisable values, the time in seconds."""
        return {
            "concurrency": self.concurrency,
            "rate": self.rate,
            "per": None if self.per is None else self.per.total_seconds(),
            "burst": self.burst,
        }

    @property
    def are_any(self) -> bool:
        """Whether there is one at all."""
        return self.concurrency is not None or self.rate is not None


def limits_of(row: Any) -> Limits:
    """Return a row of the settings as its limits."""
    per = None if row.rate_seconds is None else timedelta(seconds=row.rate_seconds)
    return Limits(concurrency=row.concurrency, rate=row.rate, per=per, burst=row.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many messages may wait in a queue, what a push does at that, and how many do.

    Waiting are those that can be claimed, the delayed, and those in line behind others of their
    ordering key; not what is claimed, and no dead letters. They are counted to one more than
    ``max_backlog``, and not at all where that is None: then any number may wait.
    """

    max_backlog: int | None = None
    on_full: OnFull | None = None
    waiting: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a message."""
        return (
            self.max_backlog is not None
            and self.waiting is not None
            and self.waiting >= self.max_backlog
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the backlog as JSON can hold it."""
        return {"max_backlog": self.max_backlog, "on_full": self.on_full, "waiting": self.waiting}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Since when a queue hands out nothing, who paused it, and why."""

    paused_at: datetime
    paused_by: str
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the pause as JSON-serialisable values, the time in ISO 8601."""
        return {
            "paused_at": self.paused_at.isoformat(),
            "paused_by": self.paused_by,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        """Return the pause in words."""
        why = "" if self.reason is None else f": {visible(self.reason)}"
        return f"paused since {self.paused_at:%Y-%m-%d %H:%M} UTC by {visible(self.paused_by)}{why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacancy:
    """How many claims may begin now in a queue that is paused or has limits, as far as was seen.

    ``at_once`` and ``begun``: as the concurrency and the rate let; None: any number. ``due_in``: in
    so many seconds the rate lets one begin; None if it is not the rate that is waited for.
    """

    pause: Pause | None
    limits: Limits
    at_once: int | None
    begun: int | None
    due_in: float | None

    @property
    def is_full(self) -> bool:
        """Whether as many messages are claimed as may be at once."""
        return self.at_once is not None and self.at_once < 1

    def room(self, size: int) -> int:
        """Return how many of so many messages may be claimed."""
        if self.pause is not None:
            return 0
        most = [each for each in (self.at_once, self.begun) if each is not None]
        return max(0, min([size, *most]))

    def __str__(self) -> str:
        """Return what is in the way, in words."""
        if self.pause is not None:
            return f"it is {self.pause}"
        return f"its limits are reached ({self.limits})"
