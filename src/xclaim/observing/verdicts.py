"""How a queue does, in one word, and why: rules over what was counted, without a database.

The first rule that holds decides:

1. **paused**: it has a setting that says so.
2. **failing**: a message died within the last ten minutes; or what waits was tried before, and
   nothing was consumed for ten minutes. It comes before the others: a queue that is busy with
   failing is not well.
3. **running**: somebody holds a claim whose lease is not over, or something was consumed within the
   last five minutes while something waits.
4. **stalled**: the oldest available message has waited for five minutes, or a lease has been over
   for so long, and nobody claimed or consumed since. A claim of the queue would have given lapsed
   ones back.
5. **running** also: something waits, but not for long enough to say that nobody comes.
6. **idle**: nothing can be claimed and nothing is held. There may be delayed messages.

Five minutes are the default lease: who is alive claims, extends or consumes within it. Ten are two
of them: a message that failed and came back has been tried again by then, unless it rests longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from xclaim.arguments import LEASE
from xclaim.observing.values import Verdict

STALLED_AFTER = LEASE
FAILING_FOR = 2 * LEASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a queue at ``now``, as far as a verdict needs it. Times: None if none is.

    ``oldest_at``: since when the message can be claimed that waits longest. ``lapsed_at``: since
    when the first of the lapsed leases is over. ``died_at``: when the newest dead letter died,
    of those that do not rest until later.
    """

    now: datetime
    is_paused: bool = False
    available: int = 0
    retrying: int = 0
    held: int = 0  # claims whose leases are not over
    lapsed: int = 0
    oldest_at: datetime | None = None
    lapsed_at: datetime | None = None
    consumed_at: datetime | None = None
    died_at: datetime | None = None

    @property
    def waits(self) -> bool:
        """Whether there is something to claim; a claim gives lapsed ones back."""
        return self.available > 0 or self.lapsed > 0

    def is_within(self, time: datetime | None, duration: timedelta) -> bool:
        """Return whether a time is no longer ago."""
        return time is not None and self.now - time <= duration


def verdict(seen: Seen) -> tuple[Verdict, str]:
    """Return the verdict on a queue, and the reason for it in a few words."""
    if seen.is_paused:
        return Verdict.PAUSED, "it is paused"
    return _failing(seen) or _working(seen) or _waiting(seen)


def _failing(seen: Seen) -> tuple[Verdict, str] | None:
    lately = _minutes(FAILING_FOR)
    if seen.is_within(seen.died_at, FAILING_FOR):
        return Verdict.FAILING, f"a message died within {lately}"
    if seen.retrying and not seen.is_within(seen.consumed_at, FAILING_FOR):
        return Verdict.FAILING, f"messages failed, and none was consumed for {lately}"
    return None


def _working(seen: Seen) -> tuple[Verdict, str] | None:
    if seen.held:
        return Verdict.RUNNING, "messages are held"
    if seen.waits and seen.is_within(seen.consumed_at, STALLED_AFTER):
        return Verdict.RUNNING, f"messages were consumed within {_minutes(STALLED_AFTER)}"
    return None


def _waiting(seen: Seen) -> tuple[Verdict, str]:
    if not seen.waits:
        return Verdict.IDLE, "nothing can be claimed, nothing is held"
    since = min(time for time in (seen.oldest_at, seen.lapsed_at, seen.now) if time is not None)
    if seen.now - since <= STALLED_AFTER:
        return Verdict.RUNNING, f"nothing has waited for {_minutes(STALLED_AFTER)} yet"
    return Verdict.STALLED, f"messages wait, and nobody claimed for {_minutes(STALLED_AFTER)}"


def _minutes(duration: timedelta) -> str:
    return f"{duration // timedelta(minutes=1)} minutes"
