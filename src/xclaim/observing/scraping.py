"""What is counted of queues for a scrape: anew each time, and further than for a list.

An alert goes by the numbers of claims and dead letters, and nobody asks it to look more closely.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.observing import listing
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
    others = share(_COUNTED, len(names))
    if known.glance is None:
        rows = rows_of(question, names, Bounds.of(len(names), others=others))
        return [rows[name] for name in names]
    if len(names) <= listing.FEW:
        bounds = Bounds.of(len(names))
        claims = dead = bounds.others
        rows = rows_of(question, names, bounds)
    else:
        claims, dead = CLAIMS, ENTRIES
        rows = {name: known.glance.of(name) for name in names}
        _add_waiting(question, known.glance, rows)
    _count_claims(question, rows, claims)
    _count_dead(question, rows, dead)
    return [rows[name] for name in names]


def glanced(question: Question, known: Known, names: Sequence[str]) -> list[Counted]:
    """Return what is known of these queues without another look, of those that are glanced."""
    if known.glance is not None:
        return [known.glance.of(name) for name in names]
    now = now_of(question)
    return [Counted(queue=name, now=now) for name in names]


def _add_waiting(question: Question, glance: Glance, rows: Mapping[str, Counted]) -> None:
    bounds = Bounds.of(len(rows))
    names = [name for name in rows if name in glance.waiting]
    numbers = {"bound": bounds.entries, "sample": bounds.rows, "levels": LEVELS}
    for row in of_each(question, observing_closely.waits, names, **numbers):
        counted = rows[row.queue]
        counted.retrying, counted.is_retrying_cut = row.retrying, row.is_retrying_cut
        counted.looked_at = row.looked_at
        if glance.waiting[row.queue].is_cut:
            counted.available_at = row.available_at
            counted.due, counted.is_due_cut = row.due, row.is_due_cut
            counted.delayed, counted.is_delayed_cut = row.delayed, row.is_delayed_cut
    held = {each: name for each, name in _with_dead(rows).items() if each in glance.claims}
    for row in of_each(question, observing_glances.first_claimed, list(held), sample=bounds.rows):
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
