"""What happened to messages of a queue in each step of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from xclaim import arguments
from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.errors import InvalidArgumentError
from xclaim.observing.asking import Question
from xclaim.observing.counting import LEVELS
from xclaim.observing.names import queue_of
from xclaim.observing.times import as_time, now_of
from xclaim.observing.values import Chart, Charted
from xclaim.sql.statements import observing_closely, observing_flow

STEPS = 60
_COUNTED_OF_STEP = 200
_READ = 10_000  # the newest messages of all queues, or dead letters of one
_SHORTEST, _LONGEST = timedelta(minutes=1), timedelta(days=31)


def chart(question: Question, name: str, what: Charted, span: timedelta) -> Chart:
    """Return how much happened of it in each step of the span, up to now."""
    queue = queue_of(name)
    charted = _checked(what)
    arguments.seconds("span", span)
    if not _SHORTEST <= span <= _LONGEST:
        raise InvalidArgumentError(f"span must lie between a minute and 31 days, not {span}")
    steps = Steps(begins_at=now_of(question) - span, step=span / STEPS)
    match charted:
        case Charted.CONSUMED:
            return consumed_charts(question, [queue], steps, bound=_COUNTED_OF_STEP)[queue]
        case Charted.PUSHED:
            return _pushed(question, queue, steps)
        case Charted.DIED:
            return _died(question, queue, steps)


@dataclass(frozen=True, slots=True)
class _Counted:
    """The newest ``messages`` of a step, of which so many came ``later`` than the ``earliest``."""

    messages: int = 0
    later: int = 0
    earliest: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Steps of time that are charted: how many, how long each is, and since when."""

    begins_at: datetime
    step: timedelta
    number: int = STEPS

    def begin(self, number: int) -> datetime:
        """Return when a step begins; the end of the last for one more."""
        return self.begins_at + number * self.step


def consumed_charts(
    question: Question, names: Sequence[str], steps: Steps, *, bound: int
) -> dict[str, Chart]:
    """Return what was consumed of each queue in these steps.

    Of a step no more than ``bound`` are counted, the newest. Where there were more, the number is
    reckoned from those that came after the earliest of them, and the chart is an estimate. Where
    all came at one instant, acked together, nothing can be reckoned: there are at least so many.
    """
    counted = {name: [_Counted()] * steps.number for name in names}
    count = _on_sqlite if question.is_sqlite else _on_postgresql
    for name, number, row in count(question, names, steps, bound) if names else ():
        counted[name][number] = _Counted(row.messages, row.later, as_time(row.consumed_at))
    return {name: _reckoned(each, steps, bound) for name, each in counted.items()}


def _on_postgresql(
    question: Question, names: Sequence[str], steps: Steps, bound: int
) -> Iterator[tuple[str, int, Any]]:
    parameters = {
        **question.dialect.row_parameters(queue=names),
        "most": steps.number,
        "seconds": steps.step.total_seconds(),
        "after": steps.begins_at,
        "bound": bound,
    }
    for row in question.rows(observing_flow.consumed_in_steps, parameters):
        yield row.queue, row.number, row


def _on_sqlite(
    question: Question, names: Sequence[str], steps: Steps, bound: int
) -> Iterator[tuple[str, int, Any]]:
    to_text = question.dialect.time_parameter
    for name in names:
        for number in range(steps.number):
            parameters = {
                "queue_name": name,
                "bound": bound,
                "after": to_text(steps.begin(number)),
                "until": to_text(steps.begin(number + 1)),
            }
            (row,) = question.rows(observing_flow.consumed_in_steps, parameters)
            yield name, number, row


def _reckoned(counted: Sequence[_Counted], steps: Steps, bound: int) -> Chart:
    values, is_estimate = [each.messages for each in counted], False
    for number, each in enumerate(counted):
        if each.messages < bound or not each.later or each.earliest is None:
            continue
        took = max(steps.begin(number + 1) - each.earliest, timedelta(microseconds=1))
        values[number] = max(each.messages, round(each.later * (steps.step / took)))
        is_estimate = True
    return Chart(
        begins_at=steps.begins_at,
        step=steps.step,
        values=tuple(values),
        is_complete=all(each.messages < bound for each in counted),
        is_estimate=is_estimate,
    )


def _pushed(question: Question, queue: str, steps: Steps) -> Chart:
    """Return what was pushed, of the newest messages of all queues: by id, which has an index."""
    parameters = {"queue_name": queue, "bound": _READ}
    rows = question.rows(observing_flow.newest_pushed, parameters)
    times = [as_time(row.created_at) for row in rows]
    reaches_back = len(rows) < _READ or min(times) < steps.begins_at
    of_queue = [time for time, row in zip(times, rows, strict=True) if row.is_of_queue]
    return _of_times(of_queue, steps, is_complete=reaches_back)


def _died(question: Question, queue: str, steps: Steps) -> Chart:
    parameters = {"dead_letter_queue": queue + DEAD_LETTER_SUFFIX, "bound": _READ}
    read = _dead_on_sqlite if question.is_sqlite else _dead_on_postgresql
    times = sorted(map(as_time, read(question, parameters, steps.begins_at)))
    return _of_times(times[-_READ:], steps, is_complete=len(times) < _READ)


def _dead_on_postgresql(question: Question, of_queue: dict[str, Any], after: datetime) -> list[Any]:
    parameters = {**of_queue, "after": after, "levels": LEVELS}
    return [row.available_at for row in question.rows(observing_flow.newest_dead, parameters)]


def _dead_on_sqlite(question: Question, of_queue: dict[str, Any], after: datetime) -> list[Any]:
    name = {"queue_name": of_queue["dead_letter_queue"], "levels": LEVELS}
    since = {**of_queue, "after": question.dialect.time_parameter(after)}
    return [
        row.available_at
        for level in question.rows(observing_closely.levels, name)
        for row in question.rows(observing_flow.newest_dead, {**since, "level": level.priority})
    ]


def _of_times(times: Iterable[datetime], steps: Steps, *, is_complete: bool) -> Chart:
    values = [0] * steps.number
    for time in times:
        number = (time - steps.begins_at) // steps.step
        if 0 <= number < steps.number:
            values[number] += 1
    return Chart(
        begins_at=steps.begins_at, step=steps.step, values=tuple(values), is_complete=is_complete
    )


def _checked(what: Charted) -> Charted:
    try:
        return Charted(what)
    except ValueError:
        allowed = ", ".join(Charted)
        raise InvalidArgumentError(f"what must be one of {allowed}, not {what!r:.60}") from None
