"""What a scrape of metrics needs: numbers of the busiest queues, all others added up.

A label for each of thousands of queues would be a series for each of them in whatever scrapes, and
a scrape that takes longer with every queue. So it is bounded: in queues, and in what is counted.

Among all others a queue that stands still would not be seen while the rest goes on. So those of
them that wait longest have labels as well, as long as they wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from xclaim.errors import InvalidArgumentError
from xclaim.observing import listing, scraping
from xclaim.observing.asking import Question
from xclaim.observing.charting import Steps, consumed_charts
from xclaim.observing.counting import Counted, since
from xclaim.observing.listing import Known, pause_of
from xclaim.observing.times import as_time, now_of
from xclaim.observing.values import Chart, Count, Measures, QueueMeasures
from xclaim.observing.verdicts import STALLED_AFTER
from xclaim.sql.statements import diagnosing

MOST_NAMED = 100  # the busiest, by name
MOST_WAITING = 10  # of the others those that wait longest, by name too
MOST_LOOKED_AT = 1_000  # closely: the busiest by a glance at all
MOST_GLANCED = listing.MOST_QUEUES  # of more of them there is nothing
# What was acked a moment ago may not be committed yet, and would be missed for ever.
_SETTLED_AFTER = timedelta(seconds=5)
_COUNTED = 100_000  # consumed messages of all queues together
_LEAST_COUNTED = 120  # more than one ack of a stream
_MOST_RECKONED = 10  # times what was counted: what is added to a counter stays in it
_NONE = Count(at_least=0)


def measures(
    question: Question, *, consumed_after: datetime | None, named: Iterable[str] = ()
) -> Measures:
    """Return what a scrape needs; ``consumed_after``, ``named``: as the measures before said."""
    began = time.monotonic()
    _check(consumed_after)
    # Before the look: what is consumed while it lasts is of the next.
    looked_until = now_of(question) - _SETTLED_AFTER
    anew = consumed_after is not None
    known = listing.find(question, anew=anew, with_levels=True)
    names, rest = _busiest(known)
    rows = scraping.measured(question, known, names)
    consumed = _consumed(question, known.consumed_at, consumed_after, looked_until)
    rest = [name for name in rest if name in known.active or name in (consumed or ())]
    glanced = [name for name in rest if known.is_glanced(name)][:MOST_GLANCED]
    rows += scraping.glanced(question, known, glanced)
    # One behind those that were looked for may be known for something else: that is missing then.
    not_measured = {*rest}.difference(glanced) | known.behind
    return Measures(
        queues=_labelled([_measured(row, known, consumed) for row in rows], frozenset(named)),
        queues_not_measured=len(not_measured),
        looked_until=looked_until,
        oldest_snapshot_seconds=_oldest_snapshot(question),
        took_seconds=time.monotonic() - began,
    )


def _busiest(known: Known) -> tuple[Sequence[str], Sequence[str]]:
    """Return the queues that are looked at closely, and the rest."""
    if len(known.names) <= MOST_LOOKED_AT:
        return known.names, []
    busiest = sorted(known.names, key=lambda name: _glanced_busyness(known, name))
    return busiest[:MOST_LOOKED_AT], busiest[MOST_LOOKED_AT:]


def _glanced_busyness(known: Known, name: str) -> tuple[bool, int, str]:
    """Return what sorts the busiest first, by the first entries of each; the empty ones last."""
    entries = 0 if known.glance is None else known.glance.entries_of(name)
    return (name not in known.active, -entries, name)


def _labelled(measured: list[QueueMeasures], before: Collection[str]) -> tuple[QueueMeasures, ...]:
    """Return those that have labels, and all others together if there are any."""
    measured.sort(key=_busyness)
    named, others = _named(measured, before)
    waiting = {each.queue for each in sorted(filter(_waits_long, others), key=_age)[:MOST_WAITING]}
    named += [each for each in others if each.queue in waiting]
    others = [each for each in others if each.queue not in waiting]
    return (*named, _together(others)) if others else tuple(named)


def _named(
    measured: list[QueueMeasures], before: Collection[str]
) -> tuple[list[QueueMeasures], list[QueueMeasures]]:
    """Return the busiest, who have names, and the rest.

    Half of the names are for the busiest of all. The others go to those about as busy as the last
    that have messages, first to who had one ``before``: else each scrape would end some series and
    begin others.
    """
    sure, about = MOST_NAMED // 2, MOST_NAMED + MOST_NAMED // 2
    near = sorted(
        measured[sure:about],
        key=lambda each: (not _messages(each), each.queue not in before),
    )
    busiest = [*measured[:sure], *near]
    return busiest[:MOST_NAMED], [*busiest[MOST_NAMED:], *measured[about:]]


def _waits_long(measured: QueueMeasures) -> bool:
    # Less than that is no sign that nobody comes, and would be another label with each scrape.
    waits = measured.oldest_available_seconds > STALLED_AFTER.total_seconds()
    return waits and not measured.is_paused


def _age(measured: QueueMeasures) -> float:
    return -measured.oldest_available_seconds


def _check(consumed_after: datetime | None) -> None:
    if consumed_after is not None and getattr(consumed_after, "tzinfo", None) is None:
        raise InvalidArgumentError(
            "consumed_after must be the looked_until of the measures before, not "
            f"{consumed_after!r:.60}"
        )


def _consumed(
    question: Question,
    last: Mapping[str, datetime],
    after: datetime | None,
    until: datetime,
) -> Mapping[str, Count] | None:
    """Return how many of each queue were consumed between the two, where any were."""
    if after is None:
        return None
    if after >= until:
        return {}
    names = [name for name, time_ in last.items() if time_ > after]
    steps = Steps(begins_at=after, step=until - after, number=1)
    found: dict[str, Count] = {}
    left, so_far = _COUNTED, 0
    # Those that were counted so far are counted further, with what the others leave of it.
    while names and (bound := max(_LEAST_COUNTED, left // len(names))) > so_far:
        charts = consumed_charts(question, names, steps, bound=bound)
        found |= {name: _count_of(chart, bound) for name, chart in charts.items()}
        left, so_far = left - sum(found[name].at_least for name in names), bound
        names = [name for name in names if not found[name].is_exact]
    return found


def _count_of(chart: Chart, bound: int) -> Count:
    (messages,) = chart.values
    if chart.is_complete:
        return Count(at_least=messages)
    # A burst at the end of a long time would be reckoned as if all of it had been like that.
    is_near = chart.is_estimate and messages <= _MOST_RECKONED * bound
    return Count(at_least=bound, is_exact=False, estimate=messages if is_near else None)


def _measured(row: Counted, known: Known, consumed: Mapping[str, Count] | None) -> QueueMeasures:
    counts, now = row.counts(), as_time(row.now)
    return QueueMeasures(
        queue=row.queue,
        backlog=counts.pop("available"),
        **counts,
        retrying_of=row.looked_at,
        consumed=None if consumed is None else consumed.get(row.queue, _NONE),
        oldest_available_seconds=_seconds(now, row.available_at),
        oldest_claim_seconds=_seconds(now, row.claimed_at),
        is_paused=pause_of(known.settings.get(row.queue)) is not None,
    )


def _busyness(measured: QueueMeasures) -> tuple[int, float, str]:
    """Return what sorts the busiest first: what waits, is held, died and was consumed."""
    return (-_messages(measured), -measured.oldest_available_seconds, measured.queue or "")


def _messages(measured: QueueMeasures) -> int:
    counts = (measured.backlog, measured.claimed, measured.dead, measured.consumed or _NONE)
    return sum(count.at_least for count in counts)


def _together(others: Sequence[QueueMeasures]) -> QueueMeasures:
    def added(which: Callable[[QueueMeasures], Count | None]) -> Count:
        return _sum(count for count in map(which, others) if count is not None)

    return QueueMeasures(
        queue=None,
        backlog=added(lambda each: each.backlog),
        delayed=added(lambda each: each.delayed),
        retrying=added(lambda each: each.retrying),
        retrying_of=sum(each.retrying_of for each in others),
        claimed=added(lambda each: each.claimed),
        lapsed=added(lambda each: each.lapsed),
        dead=added(lambda each: each.dead),
        consumed=None if others[0].consumed is None else added(lambda each: each.consumed),
        # A queue that is paused waits because somebody wants it to, which no label here could say.
        oldest_available_seconds=max(
            (each.oldest_available_seconds for each in others if not each.is_paused), default=0.0
        ),
        oldest_claim_seconds=max(each.oldest_claim_seconds for each in others),
        is_paused=None,
    )


def _sum(counts: Iterable[Count]) -> Count:
    found = list(counts)
    return Count(
        at_least=sum(count.at_least for count in found),
        is_exact=all(count.is_exact for count in found),
    )


def _seconds(now: datetime, time: Any) -> float:
    age = since(now, as_time(time))
    return 0.0 if age is None else age.total_seconds()


def _oldest_snapshot(question: Question) -> float | None:
    """Return for how long the oldest transaction is open that keeps dead rows."""
    if question.is_sqlite or not question.run(diagnosing.sees_sessions())[0].is_allowed:
        return None
    rows = question.run(diagnosing.old_snapshots())
    return max((float(row.seconds) for row in rows if row.seconds is not None), default=None)
