"""Search: the way through the messages that a filter has, a number of them at a time.

Each way follows an index, the newest first. What the index does not know is tested message by
message; when 10,000 were looked at, or half of the time is over, the search stops with a cursor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.arguments import DEAD_LETTER_SUFFIX, HIGHEST_ID, LOWEST_ID
from xclaim.errors import FilterError, ObservationTimeoutError
from xclaim.message import Status, status_of
from xclaim.observing import rows
from xclaim.observing.asking import Question
from xclaim.observing.filters import (
    Filter,
    OfIds,
    OfPayload,
    OfRange,
    OfStatus,
    OfText,
    StatusWord,
    Term,
    TextName,
    parse,
)
from xclaim.observing.places import Place, from_cursor, to_cursor
from xclaim.observing.values import Found, Listed, Matching, Order
from xclaim.sql.dialects import Dialect
from xclaim.sql.revision import qualified
from xclaim.sql.schema import TABLE_NAME
from xclaim.sql.statements import observing_messages as statements
from xclaim.sql.statements import unsendable
from xclaim.sql.statements.observing_messages import (
    MOST_NAMES,
    Condition,
    Due,
    Readable,
    Trait,
    Walk,
    Way,
)
from xclaim.verbs.execution import as_utc
from xclaim.verbs.unsendable import is_unsendable

T = TypeVar("T")
Ask = Callable[[str], AbstractContextManager[Question]]

MOST_LOOKED_AT = 10_000
_MOST_IDS = 10_000  # of a bulk action
_MOST_LISTED = 500
_FIRST_LOOK = 250  # messages; each further look takes four times as many
_FIRST_LOOK_INTO = 25  # payloads, any of which may be large
_GROWTH = 4
_TOP_PRIORITY = 2**31 - 1
_PART = 16

_WALKS = {
    StatusWord.CLAIMED: (Walk.HELD, Due.ANY),
    StatusWord.LAPSED: (Walk.HELD, Due.ANY),
    StatusWord.DEAD: (Walk.WAITING, Due.ANY),
    StatusWord.DELAYED: (Walk.WAITING, Due.LATER),
    StatusWord.AVAILABLE: (Walk.WAITING, Due.NOW),
    StatusWord.RETRYING: (Walk.WAITING, Due.ANY),
}
_ORDERS = {
    Walk.WAITING: Order.AVAILABLE,
    Walk.HELD: Order.LEASE,
    Walk.CONSUMED: Order.CONSUMED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which way a search goes. ``queues`` None: all that the index has."""

    walk: Walk
    due: Due = Due.ANY
    queues: tuple[str, ...] | None = None
    only_dead: bool = False
    ids: tuple[int, ...] = ()
    lowest: int = LOWEST_ID
    highest: int = HIGHEST_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Tests:
    """What is tested of each message, and the values of that."""

    conditions: tuple[Condition, ...]
    parameters: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Looked:
    """What a search has found so far, and how far it has looked."""

    rows: list[Any] = field(default_factory=list)
    count: int = 0
    back_to: datetime | None = None
    place: Place | None = None  # where to go on; None at the end


def search(ask: Ask, timeout: timedelta, filter_: str, *, limit: int, before: str | None) -> Found:
    """Return the messages that a filter is about, in which order, and where to go on."""
    parsed = parse(filter_)
    most = arguments.whole_number("limit", limit, 1, _MOST_LISTED)
    return _sendable(partial(_search, ask, timeout, parsed, most, before))


def matching(ask: Ask, timeout: timedelta, filter_: str, *, limit: int) -> Matching:
    """Return the ids of the messages that a filter is about, by queue and status."""
    parsed = parse(filter_)
    most = arguments.whole_number("limit", limit, 1, _MOST_IDS)
    return _sendable(partial(_matching, ask, timeout, parsed, most))


def _search(
    ask: Ask,
    timeout: timedelta,
    filter_: Filter,
    limit: int,
    before: str | None,
    *,
    sends_bytes: bool,
) -> Found:
    ends_at = _half(timeout)
    with ask("which messages these are") as question:
        may = readable(question)
        plan = planned(question, filter_)
        place = from_cursor(plan.walk, before, question.dialect)
        search_ = Search(
            question=question,
            plan=plan,
            may=may,
            ends_at=ends_at,
            most=MOST_LOOKED_AT,
            sends_bytes=sends_bytes,
        )
        looked = search_.found(tests(filter_, may, question.dialect), limit, place)
    shown = with_excerpts(ask, ends_at, may, looked.rows)
    older = None if looked.place is None else to_cursor(plan.walk, looked.place)
    return Found(
        messages=shown,
        older=older,
        looked_at=looked.count,
        looked_back_to=looked.back_to,
        order=_ORDERS.get(plan.walk, Order.PUSHED),
    )


def _matching(
    ask: Ask, timeout: timedelta, filter_: Filter, limit: int, *, sends_bytes: bool
) -> Matching:
    with ask("which messages these are") as question:
        may = readable(question)
        search_ = Search(
            question=question,
            plan=planned(question, filter_),
            may=may,
            ends_at=_half(timeout),
            sends_bytes=sends_bytes,
            build=statements.search_ids,
            most=5 * MOST_LOOKED_AT,
        )
        looked = search_.found(tests(filter_, may, question.dialect), limit, None)
    ids: dict[tuple[str, Status], list[int]] = {}
    for row in looked.rows:
        ids.setdefault((row.queue, status_of(row.status)), []).append(row.id)
    return Matching(
        ids={key: tuple(each) for key, each in ids.items()},
        is_complete=looked.place is None,
        looked_at=looked.count,
    )


def _half(timeout: timedelta) -> float:
    return time.monotonic() + timeout.total_seconds() / 2


def _sendable(look: Callable[..., T]) -> T:
    """Look, and again with texts as bytes if one cannot be sent as the text it is."""
    try:
        return look(sends_bytes=False)
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
    try:
        return look(sends_bytes=True)
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
        raise FilterError(
            "the filter has a character that the database's encoding lacks, so that no message has "
            "it: leave it out",
            0,
        ) from error


def readable(question: Question) -> Readable:
    """Return which of the confidential columns the role may read."""
    if question.is_sqlite:
        return Readable()
    table = qualified(TABLE_NAME, question.schema)
    (row,) = question.rows(statements.readable, {"message_table": table})
    return Readable(**row._asdict())


def planned(question: Question, filter_: Filter) -> Plan:
    """Return the way by the index that leaves the least to be looked at."""
    terms = [term for term in filter_.terms if not term.is_negated]
    chosen = [set(term.ids) for term in terms if isinstance(term, OfIds)]
    chosen += [_keyed(question, key) for key in _exact(terms, TextName.KEY)]
    if chosen:
        return Plan(walk=Walk.CHOSEN, ids=tuple(sorted(set.intersection(*chosen))))
    ranges = [term for term in terms if isinstance(term, OfRange)]
    if ranges:
        lowest, highest = max(each.first for each in ranges), min(each.last for each in ranges)
        return Plan(walk=Walk.IDS, lowest=lowest, highest=highest)
    queue = next(iter(_exact(terms, TextName.QUEUE)), None)
    words = {term.word for term in terms if isinstance(term, OfStatus)}
    for word, (walk, due) in _WALKS.items():
        if word in words:
            queues = None if queue is None else _queues(queue, word)
            is_dead = word is StatusWord.DEAD
            return Plan(walk=walk, due=due, queues=queues, only_dead=is_dead)
    if StatusWord.CONSUMED in words and queue is not None:
        return Plan(walk=Walk.CONSUMED, queues=_queues(queue, StatusWord.CONSUMED))
    return Plan(walk=Walk.IDS)


def _exact(terms: Iterable[Term], name: TextName) -> list[str]:
    texts = [term for term in terms if isinstance(term, OfText) and term.name is name]
    return [term.text for term in texts if not term.is_prefix]


def _keyed(question: Question, key: str) -> set[int]:
    return {row.id for row in question.rows(statements.keyed_ids, {"key": key})}


def _queues(queue: str, word: StatusWord) -> tuple[str, ...]:
    """Return the queues that a name and a status are about."""
    dead = arguments.dead_letter_queue(queue)
    match word:
        case StatusWord.DEAD:
            return (dead,)
        case StatusWord.AVAILABLE | StatusWord.DELAYED | StatusWord.RETRYING:
            return () if dead == queue else (queue,)
        case _:
            return tuple(dict.fromkeys((queue, dead)))


def tests(filter_: Filter, may: Readable, dialect: Dialect) -> Tests:
    """Return what a filter tests of each message. Raise FilterError for what the role may not."""
    conditions: list[Condition] = []
    parameters: dict[str, Any] = {}
    for number, term in enumerate(filter_.terms):
        if isinstance(term, OfPayload) and not may.payload:
            raise FilterError(
                f"this database role may not read payloads, so {term} cannot be searched for: "
                "leave it out",
                0,
            )
        conditions.append(_condition(term, number))
        parameters |= _parameters(term, number, dialect)
    return Tests(conditions=tuple(conditions), parameters=parameters)


def _condition(term: Any, number: int) -> Condition:
    made = Condition(test=_test(term), number=number, is_negated=term.is_negated)
    match term:
        case OfText():
            return replace(made, is_prefix=term.is_prefix)
        case OfPayload():
            return replace(made, steps=len(term.steps), kind=_kind(term.json))
        case _:
            return made


def _test(term: Any) -> Trait:
    match term:
        case OfStatus():
            return Trait(term.word)
        case OfText():
            return Trait(term.name)
        case OfIds():
            return Trait.IDS
        case OfRange():
            return Trait.RANGE
        case _:
            return Trait.PAYLOAD


def _parameters(term: Any, number: int, dialect: Dialect) -> dict[str, Any]:
    match term:
        case OfText():
            found = {f"text_{number}": term.text}
            if term.name is TextName.QUEUE and not term.is_prefix:
                found[f"dead_{number}"] = arguments.dead_letter_queue(term.text)
            return found
        case OfIds():
            return {f"text_{number}": f",{','.join(map(str, term.ids))},"}
        case OfRange():
            return {f"first_{number}": term.first, f"last_{number}": term.last}
        case OfPayload():
            steps = {f"step_{number}_{each}": step for each, step in enumerate(term.steps)}
            return {**steps, f"text_{number}": dialect.value_parameter(term.json)}
        case _:
            return {}


def _kind(value: str) -> str:
    if value.startswith('"'):
        return "text"
    return "constant" if value in ("true", "false", "null") else "number"


@dataclass(slots=True, kw_only=True)
class Search:
    """One search: it goes its way until enough is found, looked at, or the time is over."""

    question: Question
    plan: Plan
    may: Readable
    ends_at: float
    most: int
    sends_bytes: bool = False
    build: Callable[..., Any] = statements.search
    options: dict[str, Any] = field(default_factory=dict)
    _looked: Looked = field(default_factory=Looked)

    def found(self, tests_: Tests, limit: int, place: Place | None) -> Looked:
        """Return what was found from a place on, ``limit`` at most."""
        looked = self._looked
        if not self.options:
            self.options = {"conditions": tests_.conditions, "may": self.may}
        size = self._first_size(tests_, limit)
        for part in self._parts(place):
            here: Place | None = part
            while here is not None:
                looked.place = here
                if len(looked.rows) == limit or looked.count >= self.most or self._is_over():
                    return looked
                try:
                    here = self._look(here, size, limit, tests_.parameters)
                except ObservationTimeoutError:
                    if looked.count:
                        return looked
                    raise
                size = min(_GROWTH * size, self.most)
        looked.place = None
        return looked

    def _first_size(self, tests_: Tests, limit: int) -> int:
        into = any(condition.test is Trait.PAYLOAD for condition in tests_.conditions)
        return _FIRST_LOOK_INTO if into else max(_FIRST_LOOK, limit + 1)

    def _is_over(self) -> bool:
        return bool(self._looked.count) and time.monotonic() >= self.ends_at

    def _look(self, place: Place, size: int, limit: int, values: dict[str, Any]) -> Place | None:
        """Look at the next messages; return where the others are, None at the end of a part."""
        looked = self._looked
        missing = limit - len(looked.rows)
        size = min(size, self.most - looked.count)
        way = Way(walk=self.plan.walk, due=self.plan.due, is_begun=place.time is not None)
        begins = {**values, **self._parameters(place), "look": size}
        found = self._rows(
            self.build, {**begins, "message_limit": missing + 1}, way=way, **self.options
        )
        if len(found) > missing:  # there is at least one more
            found = found[:missing]
            last = found[-1]
            until = {**begins, "look": size}
            looked.rows += found
            self._count_to(way, until, last)
            return self._behind(place, last)
        looked.rows += found
        through = self._rows(statements.looked_through, begins, way=way)
        if not through:
            return None
        (end,) = through
        looked.count += end.looked_at
        looked.back_to = as_utc(end.created_at)
        return self._behind(place, end) if end.looked_at == size else None

    def _count_to(self, way: Way, parameters: dict[str, Any], last: Any) -> None:
        """Count what was looked at up to a message that was found."""
        looked = self._looked
        looked.back_to = as_utc(getattr(last, "created_at", None)) or looked.back_to
        counted = self._rows(statements.counted_to, {**parameters, **self._end(last)}, way=way)
        looked.count += counted[0].looked_at

    def _end(self, row: Any) -> dict[str, Any]:
        end: dict[str, Any] = {"end_id": row.id}
        if self.plan.walk in statements.TIMES:
            end |= self.question.dialect.place_parameters("end", row.place)
        return end

    def _rows(self, build: Callable[..., Any], parameters: dict[str, Any], **options: Any) -> Any:
        if not self.sends_bytes:
            return self.question.rows(build, parameters, **options)
        return rows.decoded(self.question.rows(in_bytes(build), parameters, **options))

    def _parameters(self, place: Place) -> dict[str, Any]:
        match self.plan.walk:
            case Walk.IDS:
                from_id = self._from_id(place)
                return {"from_id": from_id, "to_id": self.plan.lowest}
            case Walk.CHOSEN:
                ids = self.question.dialect.row_parameters(id=list(self.plan.ids))
                return {"from_id": self._from_id(place), **ids}
        found: dict[str, Any] = {"queue_name": place.queue}
        if self.plan.walk is Walk.WAITING:
            found["priority"] = place.priority
        if place.time is not None:
            found["place_id"] = place.id
            found |= self.question.dialect.place_parameters("place", place.time)
        return found

    def _from_id(self, place: Place) -> int:
        return self.plan.highest if place.id is None else min(self.plan.highest, place.id - 1)

    def _behind(self, place: Place, row: Any) -> Place:
        time_ = row.place if self.plan.walk in statements.TIMES else None
        return Place(queue=place.queue, priority=place.priority, time=time_, id=row.id)

    def _parts(self, place: Place | None) -> Iterator[Place]:
        """Yield the beginnings of the parts of the index, the first of them where to go on."""
        if self.plan.walk in (Walk.IDS, Walk.CHOSEN):
            if self._from_id(place or Place()) >= self.plan.lowest:
                yield place or Place()
            return
        for queue in self._queue_names(place):
            begun = place if place is not None and place.queue == queue else None
            if self.plan.walk is not Walk.WAITING:
                yield begun or Place(queue=queue)
                continue
            yield from self._levels(queue, begun)

    def _levels(self, queue: str, begun: Place | None) -> Iterator[Place]:
        below = _TOP_PRIORITY
        if begun is not None and begun.priority is not None:
            yield begun
            below = begun.priority
        while True:
            parameters = {"queue_name": queue, "priority": below}
            found = self.question.rows(statements.next_level, parameters)
            if not found:
                return
            below = found[0].priority
            yield Place(queue=queue, priority=below)

    def _queue_names(self, place: Place | None) -> Iterator[str]:
        if self.plan.queues is not None:
            names = list(self.plan.queues)
            if place is not None and place.queue in names:
                names = names[names.index(place.queue) :]
            yield from names
            return
        after = ""
        if place is not None and place.queue is not None:
            after = place.queue
            yield after
        for name in all_queue_names(self.question, self.plan.walk, after):
            if not self.plan.only_dead or name.endswith(DEAD_LETTER_SUFFIX):
                yield name


def queue_names(
    question: Question, walk: Walk, after: str = "", *, most: int = MOST_NAMES
) -> Sequence[str]:
    """Return the names of queues behind another one that an index has messages of."""
    parameters = {"queue_name": after, "message_limit": most}
    return [row.queue for row in question.rows(statements.next_queue, parameters, walk=walk)]


def all_queue_names(question: Question, walk: Walk, after: str = "") -> Iterator[str]:
    """Yield the names of all queues behind another one that an index has messages of."""
    seen: set[str] = set()
    names: Sequence[str] = ()
    while not names or len(names) == MOST_NAMES:
        names = queue_names(question, walk, after)
        # A name that is no Unicode is marked where it is none, and sorts elsewhere.
        if not names or names[-1] in seen:
            return
        yield from names
        after = names[-1]
        seen.add(after)


def in_bytes(build: Callable[..., Any]) -> Callable[..., Any]:
    """Return what builds a statement so that its texts are sent as bytes (PostgreSQL only)."""

    def made(table: Any, dialect: Any, **options: Any) -> Any:
        return unsendable.in_bytes(build(table, dialect, **options))

    return made


def with_excerpts(
    ask: Ask, ends_at: float, may: Readable, found: Sequence[Any]
) -> tuple[Listed, ...]:
    """Return the messages with the beginnings of their payloads, as far as the role may read them.

    Payloads that cannot be sent fail alone.
    """
    if not may.payload:
        return tuple(rows.listed(row) for row in found)
    ids = [row.id for row in found if row.codec is None]
    begun = _beginnings(ask, ends_at, ids)
    return tuple(rows.listed(row, *_excerpt(row, begun)) for row in found)


def _excerpt(row: Any, begun: dict[int, Any]) -> tuple[str, str | None]:
    if row.codec is not None:
        return "", f"encoded as {row.codec}"
    kept = begun.get(row.id)
    if kept is None:
        return "", "its text cannot be sent, or not in time"
    if kept.excerpt is None:
        return "", f"large: {shown_size(kept.size)} as it is stored"
    return kept.excerpt, None


def shown_size(size: int) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1_000:  # noqa: PLR2004
            return f"{size:,.0f} {unit}"
        size /= 1_000  # type: ignore[assignment]  # one digit less is exact enough
    return f"{size:,.1f} GB"


def _beginnings(ask: Ask, ends_at: float, ids: Sequence[int]) -> dict[int, Any]:
    """Return the beginnings of payloads by id: all at once, and where that fails one by one."""
    if not ids:
        return {}
    try:
        return _asked_for(ask, ids)
    except (DBAPIError, ObservationTimeoutError) as error:
        if isinstance(error, DBAPIError) and not is_unsendable(error):
            raise
    begun: dict[int, Any] = {}
    size = max(1, min(_PART, len(ids) // 2))
    for first in range(0, len(ids), size):
        if len(ids) == 1 or time.monotonic() >= ends_at:
            break
        begun |= _beginnings(ask, ends_at, ids[first : first + size])
    return begun


def _asked_for(ask: Ask, ids: Sequence[int]) -> dict[int, Any]:
    with ask("how payloads begin") as question:
        parameters = question.dialect.row_parameters(id=list(ids))
        return {row.id: row for row in question.rows(statements.beginnings, parameters)}
