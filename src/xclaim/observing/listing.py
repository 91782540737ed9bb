"""Which queues there are, and what waits, is held and died in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from xclaim import arguments
from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.errors import InvalidArgumentError
from xclaim.limits import Pause, limits_of
from xclaim.observing import flowing
from xclaim.observing.asking import Build, Question
from xclaim.observing.counting import LEVELS, Bounds, Counted, since
from xclaim.observing.estimating import estimated
from xclaim.observing.glancing import Glance, glance
from xclaim.observing.names import base_of, checked, queue_of
from xclaim.observing.remembering import FEW, Memory, Slow, memory_of
from xclaim.observing.rows import decoded
from xclaim.observing.times import as_time
from xclaim.observing.values import QueueSummary
from xclaim.observing.verdicts import FAILING_FOR, Seen, verdict
from xclaim.sql.revision import qualified
from xclaim.sql.schema import QUEUE_TABLE_NAME, queue_table
from xclaim.sql.statements import (
    observing_closely,
    observing_glances,
    observing_queues,
    observing_rights,
)

MOST_QUEUES = 10_000  # names that are looked for
_MOST_LISTED = 1_000
_MOST_CLOSELY = 50
_MOST_TRIED = 20  # queues whose verdict needs rows
_TRIED = 5  # of their rows


@dataclass(frozen=True, slots=True)
class Known:
    """The queues there are, and of each when a message was consumed last.

    ``active``: those in which something waits, is held or died. ``behind``: some of those
    behind all that were looked for. Beyond as many queues of which something was consumed others
    are not looked for: of what is only done, a list needs no more.
    """

    names: Sequence[str]
    consumed_at: Mapping[str, datetime]
    settings: Mapping[str, Any]
    glance: Glance | None = None
    memory: Memory | None = None
    active: frozenset[str] = frozenset()
    behind: frozenset[str] = frozenset()

    def is_glanced(self, name: str) -> bool:
        """Return whether it is known without another look what is in the queue."""
        return self.glance is not None or name not in self.active


def queues(question: Question, *, named: str, after: str | None, limit: int) -> list[QueueSummary]:
    """Return so many queues in the order of their names."""
    arguments.whole_number("limit", limit, 1, _MOST_LISTED)
    if not isinstance(named, str):
        raise InvalidArgumentError(f"named must be a text, not {type(named).__name__}")
    known = find(question)
    folded = named.casefold()
    wanted = [
        name
        for name in known.names
        if folded in name.casefold() and (after is None or name > after)
    ]
    return _summaries(question, known, wanted[:limit])


def queue(question: Question, name: str) -> QueueSummary | None:
    """Return one queue with its flow."""
    name = queue_of(name)
    settings = _settings(question)
    last = flowing.last_consumed(question, name)
    known = Known([name], {} if last is None else {name: last}, settings)
    (found,) = _summaries(question, known, [name])
    counts = (found.available, found.delayed, found.claimed, found.dead)
    if name not in settings and last is None and not any(count.at_least for count in counts):
        return None
    found = estimated(question, found)
    return replace(found, flow=flowing.flows(question, [name])[name])


def find(question: Question, *, anew: bool = False, with_levels: bool = False) -> Known:
    """Return all queues: those that have a message, whatever its status, or a setting.

    ``anew``: what was consumed last is not remembered from some seconds ago, but looked for.
    ``with_levels``: as for ``glance``.
    """
    settings = _settings(question)
    if question.is_sqlite:
        slow = _slowly(question)
        most = {"most": MOST_QUEUES + 1}  # one more says whether there are more
        waiting = decoded(question.rows(observing_queues.waiting_queues, most))
        held = decoded(question.rows(observing_queues.held_queues, most))
        looked_for = (*waiting[:MOST_QUEUES], *held[:MOST_QUEUES])
        active = frozenset(base_of(row.queue) for row in looked_for)
        cut = (*waiting[MOST_QUEUES:], *held[MOST_QUEUES:])
        behind = frozenset(base_of(row.queue) for row in cut)
        found = {*settings, *active, *map(base_of, slow.names)}
        return Known(sorted(found), slow.consumed_at, settings, active=active, behind=behind)
    seen = glance(question, MOST_QUEUES, with_levels=with_levels)
    memory = memory_of(question.connection, question.schema, seen.role)
    slow = _remembered(question, memory, anew=anew)
    active = frozenset(map(base_of, (*seen.waiting, *seen.claims)))
    found = {*settings, *active, *map(base_of, slow.names)}
    behind = frozenset(map(base_of, seen.behind))
    return Known(sorted(found), slow.consumed_at, settings, seen, memory, active, behind)


def _remembered(question: Question, memory: Memory, *, anew: bool = False) -> Slow:
    slow = None if anew else memory.slow()
    if slow is None:
        slow = _slowly(question)
        memory.keep_slow(slow)
    return slow


def _slowly(question: Question) -> Slow:
    rows = decoded(question.rows(observing_queues.consumed_queues, {"most": MOST_QUEUES}))
    return Slow(
        frozenset(row.queue for row in rows), {row.queue: as_time(row.consumed_at) for row in rows}
    )


def closely(question: Question, names: Iterable[str]) -> dict[str, QueueSummary]:
    """Look closely at these queues, also those that do not exist; a list remembers it for a while.

    A list of many queues has but a glance at each.
    """
    wanted = checked(names, _MOST_CLOSELY)
    settings = _settings(question)
    if question.is_sqlite:
        known = Known(wanted, _slowly(question).consumed_at, settings)
    else:
        (here,) = question.rows(observing_queues.who_and_when)
        memory = memory_of(question.connection, question.schema, here.role)
        known = Known(wanted, _remembered(question, memory).consumed_at, settings, memory=memory)
    return {found.name: found for found in _summaries(question, known, wanted)}


def _summaries(question: Question, known: Known, names: Sequence[str]) -> list[QueueSummary]:
    """Return what waits, is held and died in these queues, in their order.

    Of many queues a glance says it, over what was seen closely some seconds ago.
    """
    if known.glance is None or len(names) <= FEW:
        rows = rows_of(question, names, Bounds.of(len(names)))
        if known.memory is not None:
            known.memory.keep_rows(rows)
    else:
        rows = _glanced(question, known, known.glance, names)
    _add_live(question, rows)
    return [_summary(rows[name], known) for name in names]


def _glanced(
    question: Question, known: Known, glance: Glance, names: Sequence[str]
) -> dict[str, Counted]:
    remembered = known.memory.rows(names) if known.memory is not None else {}
    rows = {name: glance.of(name, remembered.get(name)) for name in names}
    _add_deaths(question, glance, rows)
    tried = [
        name for name in names if name not in remembered and _needs_rows(rows[name], known, glance)
    ]
    _add_tried(question, glance, rows, tried[:_MOST_TRIED])
    if known.memory is not None:
        known.memory.keep_rows({name: rows[name] for name in tried[:_MOST_TRIED]})
    return rows


def _needs_rows(row: Counted, known: Known, glance: Glance) -> bool:
    """Whether the verdict depends on whether messages were tried before, which no index says."""
    last = known.consumed_at.get(row.queue)
    is_worked_on = last is not None and glance.now - last <= FAILING_FOR
    return (
        row.queue in glance.waiting
        and pause_of(known.settings.get(row.queue)) is None
        and not is_worked_on
    )


def _add_deaths(question: Question, glance: Glance, rows: Mapping[str, Counted]) -> None:
    """Add when the newest of many dead letters died, which is not among the first."""
    names = {name + DEAD_LETTER_SUFFIX: name for name in rows}
    cut = [name for name in names if name in glance.waiting and glance.waiting[name].is_cut]
    for row in of_each(question, observing_glances.last_died, cut, levels=LEVELS):
        rows[names[row.queue]].died_at = row.died_at


def _add_live(question: Question, rows: Mapping[str, Counted]) -> None:
    """Add that somebody holds a claim, where counting ended among the lapsed: they come first."""
    cut = [name for name, row in rows.items() if row.is_lapsed_cut]
    if question.is_sqlite:
        for name in cut:
            last = question.rows(observing_glances.last_claim, {"queue_name": name})
            rows[name].has_live = bool(last and last[0].is_live)
        return
    for row in of_each(question, observing_glances.last_claims, cut):
        rows[row.queue].has_live = row.is_live


def _add_tried(
    question: Question, glance: Glance, rows: Mapping[str, Counted], names: Sequence[str]
) -> None:
    for row in of_each(question, observing_glances.tried, names, sample=_TRIED):
        rows[row.queue].retrying, rows[row.queue].looked_at = row.retrying, row.looked_at
        seen = glance.waiting[row.queue]
        rows[row.queue].is_retrying_cut = seen.is_cut or row.looked_at < seen.entries


def of_each(
    question: Question, build: Build, names: Sequence[str], **numbers: int
) -> Sequence[Any]:
    """Ask one statement of PostgreSQL for each of the queues."""
    if not names:
        return []
    return question.rows(build, {**question.dialect.row_parameters(queue=names), **numbers})


def rows_of(question: Question, names: Sequence[str], bounds: Bounds) -> dict[str, Counted]:
    """Look closely at each queue, and count so far."""
    if question.is_sqlite:
        return {name: _row_of_sqlite(question, name, bounds) for name in names}
    numbers = {"bound": bounds.entries, "others": bounds.others, "sample": bounds.rows}
    found = of_each(question, observing_closely.summaries, names, levels=LEVELS, **numbers)
    return {row.queue: _with_cuts(Counted(**row._asdict()), bounds) for row in found}


def _with_cuts(row: Counted, bounds: Bounds) -> Counted:
    row.is_claimed_cut = row.claimed >= bounds.others
    row.is_lapsed_cut = row.lapsed >= bounds.others
    row.is_dead_cut = row.dead >= bounds.others
    return row


def _add_level(row: Counted, part: Any, bound: int) -> None:
    """Add what waits with one priority, on SQLite."""
    times = [time for time in (row.available_at, part.available_at) if time is not None]
    row.available_at = min(times, key=as_time, default=None)
    row.due += part.due
    row.delayed += part.delayed
    row.retrying += part.retrying
    row.looked_at += part.looked_at
    row.is_due_cut |= part.due >= bound
    row.is_delayed_cut |= part.delayed >= bound
    row.is_retrying_cut |= part.looked_at < part.due + part.delayed


def _row_of_sqlite(question: Question, name: str, bounds: Bounds) -> Counted:
    of_queue = {"queue_name": name}
    parts = {"bound": bounds.entries, "sample": bounds.rows}
    names = {**of_queue, "dead_letter_queue": name + DEAD_LETTER_SUFFIX}
    (other,) = question.rows(
        observing_closely.claims_and_letters,
        {**names, "others": bounds.others, "sample": bounds.rows, "levels": LEVELS},
    )
    row = Counted(
        queue=name,
        now=other.now,
        claimed=other.claimed,
        lapsed=other.lapsed,
        live=other.live,
        own_lapsed=other.own_lapsed,
        claim_expires_at=other.claim_expires_at,
        claimed_at=other.claimed_at,
        dead=other.dead,
        died_at=other.available_at,
    )
    levels = question.rows(observing_closely.levels, {**of_queue, "levels": LEVELS})
    for number, level in enumerate(levels, 1):
        shared = {name: max(1, part // number) for name, part in parts.items()}
        parameters = {**of_queue, **shared, "level": level.priority}
        (part,) = question.rows(observing_closely.of_level, parameters)
        _add_level(row, part, shared["bound"])
    if len(levels) == LEVELS:
        parameters = {**of_queue, "bound": bounds.entries, "level": levels[-1].priority}
        (rest,) = question.rows(observing_closely.of_rest, parameters)
        _add_level(row, rest, bounds.entries)
        if rest.due + rest.delayed >= bounds.entries:
            row.is_due_cut = row.is_delayed_cut = row.is_retrying_cut = True
    return _with_cuts(row, bounds)


def _summary(row: Counted, known: Known) -> QueueSummary:
    now = as_time(row.now)
    last = known.consumed_at.get(row.queue)
    setting = known.settings.get(row.queue)
    pause = pause_of(setting)
    oldest, claimed_at = as_time(row.available_at), as_time(row.claimed_at)
    seen = Seen(
        now=now,
        is_paused=pause is not None,
        available=row.due,
        retrying=row.retrying,
        held=max(row.live, int(row.has_live)),
        lapsed=row.own_lapsed,
        oldest_at=oldest,
        lapsed_at=as_time(row.claim_expires_at) if row.own_lapsed else None,
        consumed_at=last,
        died_at=as_time(row.died_at),
    )
    word, reason = verdict(seen)
    counts = row.counts()
    return QueueSummary(
        name=row.queue,
        verdict=word,
        reason=reason,
        available=counts["available"],
        delayed=counts["delayed"],
        retrying=counts["retrying"],
        retrying_of=row.looked_at,
        claimed=counts["claimed"],
        lapsed=counts["lapsed"],
        dead=counts["dead"],
        oldest_waiting=since(now, oldest),
        oldest_claim=since(now, claimed_at),
        last_consumed_at=last,
        pause=pause,
        max_backlog=None if setting is None else setting.max_backlog,
        on_full=None if setting is None else setting.on_full,
        limits=limits_of(setting) if _is_limited(setting) else None,
    )


def _settings(question: Question) -> dict[str, Any]:
    """Return the settings of queues; none where the role may not read them."""
    if not question.is_sqlite:
        named = {"named_table": qualified(QUEUE_TABLE_NAME, question.schema)}
        columns = question.run(observing_rights.columns(), named)
        wanted = set(queue_table().c.keys())
        # Where there is no such table at all, it is asked for, to hear that.
        if columns and not wanted <= {each.name for each in columns if each.may_select}:
            return {}
    rows = decoded(question.rows(observing_queues.paused_queues, {"most": MOST_QUEUES}))
    return {row.queue: row for row in rows if _says_something(row)}


def _says_something(row: Any) -> bool:
    return row.paused_at is not None or row.max_backlog is not None or _is_limited(row)


def _is_limited(row: Any) -> bool:
    return row is not None and (row.concurrency is not None or row.rate is not None)


def pause_of(setting: Any) -> Pause | None:
    """Return how a queue with these settings is paused, if it is."""
    if setting is None or setting.paused_at is None:
        return None
    return Pause(
        paused_at=as_time(setting.paused_at),
        paused_by=setting.paused_by or "",
        reason=setting.reason,
    )
