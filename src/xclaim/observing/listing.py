"""Which queues there are, and what waits, is held and died in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from xclaim import arguments
from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.errors import InvalidArgumentError
from xclaim.message import Pause
from xclaim.observing import flowing
from xclaim.observing.asking import Question
from xclaim.observing.estimating import estimated
from xclaim.observing.names import base_of, queue_of
from xclaim.observing.remembering import (
    FEW,
    Memory,
    Slow,
    memory_of,
    seen_anew,
    with_claims,
)
from xclaim.observing.times import as_time
from xclaim.observing.values import Count, QueueSummary
from xclaim.observing.verdicts import Seen, verdict
from xclaim.sql.revision import qualified
from xclaim.sql.schema import QUEUE_TABLE_NAME
from xclaim.sql.statements import observing_queues, observing_rights

MOST_QUEUES = 10_000  # names that are looked for
_MOST_LISTED = 1_000
_LEVELS = 32  # priorities of a queue that are looked at one by one, as a claim does
_ENTRIES = 20_000  # counted of all queues of a list together, of each range
_MOST_ENTRIES = 10_000  # of one queue
_LEAST_ENTRIES = 100
_GLANCED = 20  # entries of each of many queues
_CLAIMS_GLANCED = 2_000
_ROWS_PER_ENTRY = 20  # a row that is read costs more than an entry


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is counted of each queue: ``entries`` of an index range, ``rows`` that are read."""

    entries: int
    rows: int

    @classmethod
    def of(cls, queues: int) -> Bounds:
        """Share what a list of so many queues may read."""
        shared = _ENTRIES // max(queues, 1)
        entries = min(max(shared, _LEAST_ENTRIES), _MOST_ENTRIES)
        return cls(entries, entries // _ROWS_PER_ENTRY)


@dataclass(frozen=True, slots=True)
class Known:
    """The queues there are, and of each when a message was consumed last."""

    names: Sequence[str]
    consumed_at: Mapping[str, datetime]
    pauses: Mapping[str, Pause]
    glance: _Glance | None = None


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
    return summaries(question, known, wanted[:limit])


def queue(question: Question, name: str) -> QueueSummary | None:
    """Return one queue with its flow."""
    name = queue_of(name)
    pauses = _settings(question)
    last = flowing.last_consumed(question, name)
    known = Known([name], {} if last is None else {name: last}, _pauses(pauses))
    (found,) = summaries(question, known, [name])
    counts = (found.available, found.delayed, found.claimed, found.dead)
    if name not in pauses and last is None and not any(count.at_least for count in counts):
        return None
    found = estimated(question, found)
    return replace(found, flow=flowing.flows(question, [name])[name])


def find(question: Question, *, anew: bool = False) -> Known:
    """Return all queues: those that have a message, whatever its status, or a setting.

    ``anew``: what was consumed last is not remembered from some seconds ago, but looked for.
    """
    settings = _settings(question)
    glance: _Glance | None = None
    slow: Slow | None = None
    if question.is_sqlite:
        slow = _slowly(question)
        names = _names(question.rows(observing_queues.waiting_queues, {"most": MOST_QUEUES}))
    else:
        glance = _glance(question)
        slow = None if anew else glance.memory.slow()
        if slow is None:
            slow = _slowly(question)
            glance.memory.keep_slow(slow)
        names = {base_of(name) for name in (*glance.waiting, *glance.claims)}
    found = {*names, *map(base_of, slow.names), *settings}
    return Known(sorted(found), slow.consumed_at, _pauses(settings), glance)


def _slowly(question: Question) -> Slow:
    most = {"most": MOST_QUEUES}
    consumed = question.rows(observing_queues.consumed_queues, most)
    held = question.rows(observing_queues.held_queues, most)
    return Slow(
        frozenset(row.queue for row in (*consumed, *held)),
        {row.queue: as_time(row.consumed_at) for row in consumed},
    )


@dataclass(frozen=True, slots=True)
class _Glance:
    """What is seen of all queues of PostgreSQL at little cost: the first entries of each."""

    now: datetime
    waiting: Mapping[str, Any]
    claims: Mapping[str, Any]
    has_all_claims: bool
    memory: Memory


def _glance(question: Question) -> _Glance:
    (here,) = question.rows(observing_queues.who_and_when)
    parameters = {"most": MOST_QUEUES, "bound": _GLANCED}
    waiting = question.rows(observing_queues.first_entries, parameters)
    claims = question.rows(observing_queues.first_claims, {"bound": _CLAIMS_GLANCED})
    has_all = sum(row.claimed for row in claims) < _CLAIMS_GLANCED
    return _Glance(
        now=as_time(here.now),
        waiting={row.queue: row for row in waiting},
        claims={row.queue: row for row in (claims if has_all else claims[:-1])},
        has_all_claims=has_all,
        memory=memory_of(question.connection, question.schema, here.role),
    )


def summaries(question: Question, known: Known, names: Sequence[str]) -> list[QueueSummary]:
    """Return what waits, is held and died in these queues, in their order.

    Of many queues what takes long to see may have been seen some seconds ago.
    """
    bounds = Bounds.of(len(names))
    if known.glance is None or len(names) <= FEW:
        rows = _rows(question, names, bounds)
    else:
        rows = _rows_of_many(question, known.glance, names, bounds)
    return [_summary(rows[name], known, bounds) for name in names if name in rows]


def _rows_of_many(
    question: Question, glance: _Glance, names: Sequence[str], bounds: Bounds
) -> dict[str, Any]:
    rows = glance.memory.rows(names)
    anew = _rows(question, [name for name in names if name not in rows], bounds)
    glance.memory.keep_rows(anew)
    for name, row in rows.items():
        waiting = glance.waiting.get(name)
        dead = glance.waiting.get(name + DEAD_LETTER_SUFFIX)
        seen = seen_anew(row, waiting, dead, _GLANCED)._replace(now=glance.now)
        if glance.has_all_claims or name in glance.claims:
            seen = with_claims(seen, glance.claims.get(name))
        rows[name] = seen
    return rows | anew


def _rows(question: Question, names: Sequence[str], bounds: Bounds) -> dict[str, Any]:
    if question.is_sqlite:
        return {name: _row_of_sqlite(question, name, bounds) for name in names}
    parameters = {
        **question.dialect.row_parameters(queue=names),
        "bound": bounds.entries,
        "sample": bounds.rows,
        "levels": _LEVELS,
    }
    found = question.rows(observing_queues.summaries, parameters) if names else []
    return {row.queue: row for row in found}


@dataclass(slots=True, kw_only=True)
class _Row:
    """What PostgreSQL returns in one row, put together from several of SQLite's."""

    queue: str
    now: Any
    claimed: int
    lapsed: int
    claim_expires_at: Any
    claimed_at: Any
    dead: int
    died_at: Any
    due: int = 0
    available_at: Any = None
    delayed: int = 0
    retrying: int = 0
    is_due_cut: bool = False
    is_delayed_cut: bool = False
    is_retrying_cut: bool = False

    def add(self, part: Any, bound: int) -> None:
        """Add what waits with one priority."""
        times = [time for time in (self.available_at, part.available_at) if time is not None]
        self.available_at = min(times, key=as_time, default=None)
        self.due += part.due
        self.delayed += part.delayed
        self.retrying += part.retrying
        self.is_due_cut |= part.due >= bound
        self.is_delayed_cut |= part.delayed >= bound
        self.is_retrying_cut |= part.looked_at < part.due + part.delayed


def _row_of_sqlite(question: Question, name: str, bounds: Bounds) -> _Row:
    of_queue = {"queue_name": name}
    parts = {"bound": bounds.entries, "sample": bounds.rows}
    names = {**of_queue, "dead_letter_queue": name + DEAD_LETTER_SUFFIX}
    (other,) = question.rows(observing_queues.claims_and_letters, {**names, **parts})
    row = _Row(
        queue=name,
        now=other.now,
        claimed=other.claimed,
        lapsed=other.lapsed,
        claim_expires_at=other.claim_expires_at,
        claimed_at=other.claimed_at,
        dead=other.dead,
        died_at=other.available_at,
    )
    levels = question.rows(observing_queues.levels, {**of_queue, "levels": _LEVELS})
    for number, level in enumerate(levels, 1):
        shared = {name: max(1, part // number) for name, part in parts.items()}
        parameters = {**of_queue, **shared, "level": level.priority}
        (part,) = question.rows(observing_queues.of_level, parameters)
        row.add(part, shared["bound"])
    if len(levels) == _LEVELS:
        parameters = {**of_queue, "bound": bounds.entries, "level": levels[-1].priority}
        (rest,) = question.rows(observing_queues.of_rest, parameters)
        row.add(rest, bounds.entries)
        if rest.due + rest.delayed >= bounds.entries:
            row.is_due_cut = row.is_delayed_cut = row.is_retrying_cut = True
    return row


def _summary(row: Any, known: Known, bounds: Bounds) -> QueueSummary:
    now = as_time(row.now)
    last = known.consumed_at.get(row.queue)
    pause = known.pauses.get(row.queue)
    oldest, claimed_at = as_time(row.available_at), as_time(row.claimed_at)
    seen = Seen(
        now=now,
        is_paused=pause is not None,
        available=row.due,
        retrying=row.retrying,
        held=row.claimed - row.lapsed,
        lapsed=row.lapsed,
        oldest_at=oldest,
        lapsed_at=as_time(row.claim_expires_at) if row.lapsed else None,
        consumed_at=last,
        died_at=as_time(row.died_at),
    )
    word, reason = verdict(seen)
    is_held_cut = row.claimed >= bounds.entries
    return QueueSummary(
        name=row.queue,
        verdict=word,
        reason=reason,
        available=Count(at_least=row.due, is_exact=not row.is_due_cut),
        delayed=Count(at_least=row.delayed, is_exact=not row.is_delayed_cut),
        retrying=Count(at_least=row.retrying, is_exact=not row.is_retrying_cut),
        claimed=Count(at_least=row.claimed, is_exact=not is_held_cut),
        lapsed=Count(at_least=row.lapsed, is_exact=row.lapsed < bounds.entries),
        dead=Count(at_least=row.dead, is_exact=row.dead < bounds.entries),
        oldest_waiting=_since(now, oldest),
        oldest_claim=_since(now, claimed_at),
        last_consumed_at=last,
        pause=pause,
    )


def _since(now: datetime, time: datetime | None) -> timedelta | None:
    return None if time is None else max(now - time, timedelta(0))


def _names(rows: Iterable[Any]) -> set[str]:
    """Return the names of queues, and those of whose dead letters there are some."""
    return {base_of(row.queue) for row in rows}


def _settings(question: Question) -> dict[str, Any]:
    """Return the settings of queues; none where the role may not read them."""
    if not question.is_sqlite:
        named = {"named_table": qualified(QUEUE_TABLE_NAME, question.schema)}
        columns = question.run(observing_rights.columns(), named)
        wanted = {"queue", "paused_at", "paused_by", "reason"}
        if not wanted <= {column.name for column in columns if column.may_select}:
            return {}
    rows = question.rows(observing_queues.paused_queues, {"most": MOST_QUEUES})
    return {row.queue: row for row in rows if row.paused_at is not None}


def _pauses(settings: Mapping[str, Any]) -> dict[str, Pause]:
    return {
        name: Pause(
            paused_at=as_time(row.paused_at), paused_by=row.paused_by or "", reason=row.reason
        )
        for name, row in settings.items()
        if row.paused_at is not None
    }
