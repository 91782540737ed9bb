"""How long what failed has to rest: a pause is drawn, so that only its bounds are known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tests.model.promises import BURIED, REMEMBERED, RESTED, UNCOUNTED, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.model.model import Row
    from xclaim import Retry

_EXACT = timedelta(milliseconds=20)  # times are kept to the millisecond
_NEVER = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """A pause that began with the failure, or before it: with the claim whose lease ran out."""

    since: datetime | None
    shortest: timedelta
    longest: timedelta

    @classmethod
    def after(cls, attempts: int, retry: Retry, since: datetime | None) -> Rest:
        """Return the pause after so many attempts."""
        first, most = retry.first.total_seconds(), retry.most.total_seconds()
        pause = timedelta(seconds=min(first * retry.factor ** (attempts - 1), most))
        return cls(since=since, shortest=pause * (1 - retry.jitter), longest=pause)

    def is_kept_by(self, row: Row, *, tolerance: timedelta) -> bool:
        """Return whether the row of the database can be claimed when its pause is over."""
        if row.failed_at is None or row.available_at is None:
            return False
        since = self.since or row.failed_at
        earliest, latest = (
            max(row.failed_at, since + pause) for pause in (self.shortest, self.longest)
        )
        # Only the begin of a pause is not known to the millisecond.
        margin = _EXACT + (_NEVER if self.since is None else tolerance)
        return earliest - margin <= row.available_at <= latest + margin


def check(
    expected: Mapping[int, Row],
    before: Mapping[int, Row],
    real: Mapping[int, Row],
    *,
    tolerance: timedelta = _NEVER,
    shift: timedelta = _NEVER,
) -> None:
    """Judge what became of the messages whose attempts failed, and of those that were handed back.

    ``shift``: how much later the clock of the database is than that of ``expected``.
    """
    for id_ in expected.keys() & before.keys() & real.keys():
        wanted, was, is_ = expected[id_], before[id_], real[id_]
        require(is_.queue == wanted.queue, BURIED, f"{is_} should be in {wanted.queue}")
        promise = UNCOUNTED if wanted.failures == was.failures else REMEMBERED
        kept = (is_.failures, is_.last_error, is_.last_error_class)
        wanted_ones = (wanted.failures, wanted.last_error, wanted.last_error_class)
        require(kept == wanted_ones, promise, f"{is_} should have failed: {wanted_ones}")
        if was.failed_at is not None and is_.failed_at is not None:
            require(was.failed_at <= is_.failed_at, REMEMBERED, f"{was} failed before {is_}")
        if wanted.rest is not None:
            _check_rest(wanted.rest, is_, tolerance, shift)


def _check_rest(rest: Rest, row: Row, tolerance: timedelta, shift: timedelta) -> None:
    since = None if rest.since is None else rest.since + shift
    there = Rest(since=since, shortest=rest.shortest, longest=rest.longest)
    require(there.is_kept_by(row, tolerance=tolerance), RESTED, f"{row} should rest: {there}")
