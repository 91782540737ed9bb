"""What is counted of queues for a scrape: anew each time, and further than for a list.

An alert goes by the numbers of claims and dead letters, and nobody asks it to look more closely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.observing import remembering
from xclaim.observing.asking import Build, Question
from xclaim.observing.counting import LEVELS, Bounds, Counted, share
from xclaim.observing.glancing import CLAIMS, ENTRIES, Glance
from xclaim.observing.listing import Known, of_each, rows_of
from xclaim.observing.times import now_of
from xclaim.sql.statements import observing_closely, observing_glances

_COUNTED = 100_000  # claims of all queues together, and dead letters


def measured(question: Question, known: Known, names: Sequence[str]) -> list[Counted]:
    """Return what a scrape needs of these queues: nothing of it is remembered.

    Claims and dead letters, of which there should be few, are counted further than what waits.
    """
    if known.glance is None:
        others = share(_COUNTED, len(names))
        rows = rows_of(question, names, Bounds.of(len(names), others=others))
        return [rows[name] for name in names]
    bounds = Bounds.of(len(names))
    if len(names) <= remembering.FEW:
        claims = dead = bounds.others
        rows = rows_of(question, names, bounds)
    else:
        claims, dead = CLAIMS, ENTRIES
        rows = _rows_of_many(question, known.glance, names, bounds)
    _count_claims(question, rows, claims)
    _count_dead(question, rows, dead)
    return [rows[name] for name in names]


def glanced(question: Question, known: Known, names: Sequence[str]) -> list[Counted]:
    """Return what is known of these queues without another look, of those that are glanced."""
    if known.glance is not None:
        return [known.glance.of(name) for name in names]
    now = now_of(question)
    return [Counted(queue=name, now=now) for name in names]


def _rows_of_many(
    question: Question, seen: Glance, names: Sequence[str], bounds: Bounds
) -> dict[str, Counted]:
    """Return what waits in these queues, and over that what a glance says of the rest."""
    rows = {name: seen.of(name) for name in names}
    waiting = [seen.waiting[name] for name in names if name in seen.waiting]
    found = _tried(question, waiting, rows, bounds.rows)
    found |= _of_one_level(question, waiting, rows, bounds)
    others = [row.queue for row in waiting if row.queue not in found]
    numbers = {"bound": bounds.entries, "sample": bounds.rows, "levels": LEVELS}
    for row in of_each(question, observing_closely.waits, others, **numbers):
        _put_waits(rows[row.queue], row, is_cut=seen.waiting[row.queue].is_cut)
    _add_first_claimed(question, seen, rows, bounds.rows)
    return rows


def _tried(
    question: Question, waiting: Iterable[Any], rows: Mapping[str, Counted], sample: int
) -> set[str]:
    """Add what failed before, where all else is known; return the queues of which it was asked.

    Those of one priority, and those with so few messages that all are read.
    """
    columns: dict[str, list[Any]] = {"queue": [], "top": [], "near": [], "far": []}
    for row in waiting:
        if row.is_cut or (row.entries > sample and row.top != row.bottom):
            continue
        delayed = min(row.entries - row.due, sample)
        # Where all that is due is read, in one go with the next: what becomes due meanwhile is
        # neither among as many as were due nor among those that are due later.
        near, far = (row.due + delayed, 0) if row.due <= sample else (sample, delayed)
        for column, value in zip(columns.values(), (row.queue, row.top, near, far), strict=True):
            column.append(value)
    for row in _of_columns(question, observing_glances.tried_of_known, columns):
        counted = rows[row.queue]
        counted.retrying, counted.looked_at = row.retrying, row.looked_at
        counted.is_retrying_cut = row.looked_at < counted.due + counted.delayed
    return set(columns["queue"])


def _of_one_level(
    question: Question, waiting: Iterable[Any], rows: Mapping[str, Counted], bounds: Bounds
) -> set[str]:
    """Add what waits in those that a glance has cut; return those that have but one priority."""
    cut = [row for row in waiting if row.is_cut and row.top == row.bottom]
    columns = {"queue": [row.queue for row in cut], "top": [row.top for row in cut]}
    numbers = {"bound": bounds.entries, "sample": bounds.rows}
    found = _of_columns(question, observing_closely.waits_of_one_level, columns, **numbers)
    for row in found:
        _put_waits(rows[row.queue], row, is_cut=True)
    return {row.queue for row in found}


def _of_columns(
    question: Question, build: Build, columns: Mapping[str, Sequence[Any]], **numbers: int
) -> Sequence[Any]:
    """Ask one statement of PostgreSQL for each of the queues, with what is known of each."""
    if not columns["queue"]:
        return []
    return question.rows(build, {**question.dialect.row_parameters(**columns), **numbers})


def _put_waits(counted: Counted, row: Any, *, is_cut: bool) -> None:
    """Put what was seen closely; ``is_cut``: a glance has not counted all that waits."""
    counted.retrying, counted.is_retrying_cut = row.retrying, row.is_retrying_cut
    counted.looked_at = row.looked_at
    if is_cut:
        counted.available_at = row.available_at
        counted.due, counted.is_due_cut = row.due, row.is_due_cut
        counted.delayed, counted.is_delayed_cut = row.delayed, row.is_delayed_cut


def _add_first_claimed(
    question: Question, glance: Glance, rows: Mapping[str, Counted], sample: int
) -> None:
    held = {each: name for each, name in _with_dead(rows).items() if each in glance.claims}
    for row in of_each(question, observing_glances.first_claimed, list(held), sample=sample):
        counted = rows[held[row.queue]]
        times = [time for time in (counted.claimed_at, row.claimed_at) if time is not None]
        counted.claimed_at = min(times, default=None)


def _count_claims(question: Question, rows: Mapping[str, Counted], so_far: int) -> None:
    cut = _with_dead(name for name, row in rows.items() if row.is_claimed_cut)
    counted = _counted(question, observing_glances.counted_claims, list(cut), so_far)
    for name in {cut[each] for each in counted}:
        row = rows[name]
        row.claimed, row.lapsed, row.is_claimed_cut, row.is_lapsed_cut = 0, 0, False, False
    for each, (found, is_cut) in counted.items():
        row = rows[cut[each]]
        row.claimed += found.entries
        row.lapsed += found.due
        row.is_claimed_cut |= is_cut
        row.is_lapsed_cut |= is_cut and found.due == found.entries
        if each == cut[each]:
            row.live, row.own_lapsed = found.entries - found.due, found.due


def _count_dead(question: Question, rows: Mapping[str, Counted], so_far: int) -> None:
    cut = {name + DEAD_LETTER_SUFFIX: name for name, row in rows.items() if row.is_dead_cut}
    counted = _counted(question, observing_glances.counted_entries, list(cut), so_far)
    for name, (found, is_cut) in counted.items():
        rows[cut[name]].dead, rows[cut[name]].is_dead_cut = found.entries, is_cut


def _counted(
    question: Question, build: Build, names: Sequence[str], so_far: int
) -> dict[str, tuple[Any, bool]]:
    """Count those that were counted ``so_far`` further, and again what the others leave of that."""
    found: dict[str, tuple[Any, bool]] = {}
    left = _COUNTED
    while names and (bound := share(left, len(names))) > so_far:
        rows = of_each(question, build, names, bound=bound)
        found |= {row.queue: (row, row.entries >= bound) for row in rows}
        left, so_far = left - sum(row.entries for row in rows), bound
        names = [row.queue for row in rows if row.entries >= bound]
    return found


def _with_dead(names: Iterable[str]) -> dict[str, str]:
    """Return these queues, and those of their dead letters, each with the queue that it is of."""
    return {each: name for name in names for each in (name, name + DEAD_LETTER_SUFFIX)}
