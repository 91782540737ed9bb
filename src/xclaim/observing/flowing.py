"""How fast queues are worked on, from the newest of their consumed messages.

Nothing is stored for it: the consumed index has the newest first. A bounded number of them says how
long messages waited and how long the work took, and how many were consumed lately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from xclaim.observing.asking import Question
from xclaim.observing.charting import Steps, consumed_charts
from xclaim.observing.names import checked
from xclaim.observing.times import as_time, now_of
from xclaim.observing.values import Chart, Flow, Percentiles
from xclaim.sql.statements import observing_flow

MOST_NAMES = 200
_SAMPLE = 1_000  # of one queue, or of all together
# More than a stream acks at once (100), so that the time between two of its acks is seen.
_LEAST_SAMPLE = 120
_MINUTE = timedelta(minutes=1)
_RATE_OVER = 5 * _MINUTE
_STEPS = 30
_STEP = _MINUTE
# Of all steps of all queues together; of one queue that is more than a stream acks at once, too.
_COUNTED = 4_000
_LEAST_COUNTED = 20


def flows(question: Question, names: Iterable[str]) -> dict[str, Flow]:
    """Return the flow of each of these queues, also of those that do not exist."""
    wanted = checked(names, MOST_NAMES)
    if not wanted:
        return {}
    sample = max(_LEAST_SAMPLE, _SAMPLE // len(wanted))
    rows = _latest(question, wanted, sample)
    now = now_of(question)
    begins_at = now - _STEPS * _STEP
    active = [name for name in wanted if rows[name] and rows[name][0].consumed_at > begins_at]
    bound = max(_LEAST_COUNTED, _COUNTED // (_STEPS * max(len(active), 1)))
    steps = Steps(begins_at=begins_at, step=_STEP, number=_STEPS)
    charts = consumed_charts(question, active, steps, bound=bound)
    return {
        name: _flow(
            rows[name],
            charts.get(name) or Chart(begins_at=begins_at, step=_STEP, values=(0,) * _STEPS),
            per_minute=_per_minute(rows[name], now, sample),
        )
        for name in wanted
    }


def last_consumed(question: Question, name: str) -> datetime | None:
    """Return when a message of the queue was consumed last."""
    rows = question.rows(observing_flow.last_consumed, {"queue_name": name})
    return as_time(rows[0].consumed_at) if rows else None


class _Consumed:
    """When a consumed message was available, claimed and consumed."""

    __slots__ = ("available_at", "claimed_at", "consumed_at")

    def __init__(self, row: Any) -> None:
        self.available_at: datetime | None = as_time(row.available_at)
        self.claimed_at: datetime | None = as_time(row.claimed_at)
        self.consumed_at: datetime = as_time(row.consumed_at)


def _latest(question: Question, names: Sequence[str], sample: int) -> Mapping[str, list[_Consumed]]:
    found: dict[str, list[_Consumed]] = {name: [] for name in names}
    if question.is_sqlite:
        for name in names:
            parameters = {"queue_name": name, "sample": sample}
            found[name] = list(map(_Consumed, question.rows(observing_flow.latest, parameters)))
    else:
        parameters = {**question.dialect.row_parameters(queue=names), "sample": sample}
        for row in question.rows(observing_flow.latest, parameters):
            found[row.queue].append(_Consumed(row))
    for rows in found.values():
        rows.sort(key=lambda row: row.consumed_at, reverse=True)
    return found


def _flow(rows: Sequence[_Consumed], chart: Chart, *, per_minute: float) -> Flow:
    return Flow(
        consumed_per_minute=per_minute,
        consumed=chart,
        waiting=_percentiles(rows, lambda row: (row.available_at, row.claimed_at)),
        work=_percentiles(rows, lambda row: (row.claimed_at, row.consumed_at)),
    )


def _per_minute(rows: Sequence[_Consumed], now: datetime, sample: int) -> float:
    """Return how many were consumed per minute of the last five.

    If the sample does not reach back so far, over the time that it spans: those that came after the
    earliest, for of those acked together with that some may be missing. At least what it has.
    """
    recent = [row.consumed_at for row in rows if now - row.consumed_at <= _RATE_OVER]
    rate = len(recent) / (_RATE_OVER / _MINUTE)
    if len(recent) == sample:  # there may be more
        later = sum(time > recent[-1] for time in recent)
        span = max(now - recent[-1], timedelta(milliseconds=1))
        rate = max(rate, later / (span / _MINUTE))
    return round(rate, 3)


def _percentiles(
    rows: Sequence[_Consumed],
    times: Callable[[_Consumed], tuple[datetime | None, datetime | None]],
) -> Percentiles | None:
    durations = sorted(
        max(end - begin, timedelta(0))
        for begin, end in map(times, rows)
        if begin is not None and end is not None
    )
    if not durations:
        return None
    return Percentiles(
        p50=_percentile(durations, 50),
        p95=_percentile(durations, 95),
        p99=_percentile(durations, 99),
        messages=len(durations),
    )


def _percentile(sorted_durations: Sequence[timedelta], percent: int) -> timedelta:
    """Return the least of the durations that so many percent do not exceed, as percentile_disc."""
    rank = -(-percent * len(sorted_durations) // 100)  # rounded up
    return sorted_durations[max(rank, 1) - 1]
