"""Go through messages in the order of an index, a number of them at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.errors import ObservationTimeoutError
from xclaim.observing.asking import Question
from xclaim.observing.places import Place
from xclaim.observing.planning import Plan, Tests
from xclaim.sql.statements import observing_messages, observing_parts, observing_walks
from xclaim.sql.statements.message_conditions import Readable, Trait
from xclaim.sql.statements.observing_messages import MOST_NAMES
from xclaim.sql.statements.observing_parts import LOWEST_PRIORITY, TOP_PRIORITY
from xclaim.sql.statements.observing_walks import Walk, Way
from xclaim.verbs.execution import as_utc

_FIRST_LOOK = 250  # messages; each further look takes four times as many
_FIRST_LOOK_INTO = 25  # payloads, any of which may be large
_GROWTH = 4
_MOST_PARTS = 1_000  # that a statement looks for
_MOST_PARTS_IN_ALL = 2_000  # a queue may have 65,536 priorities, and each costs descents


@dataclass(slots=True, kw_only=True)
class Looked:
    """What a search has found so far, and how far it has looked."""

    rows: list[Any] = field(default_factory=list)
    count: int = 0
    back_to: datetime | None = None
    place: Place | None = None  # where to go on; None at the end


class _Part(NamedTuple):
    """A part of an index, and how many of its messages are on the way."""

    queue: str
    priority: int
    entries: int

    @property
    def cost(self) -> int:
        """What it has cost to look at it: also where nothing was on the way."""
        return max(self.entries, 1)


class _Group(NamedTuple):
    """Parts that are so small that all of them are looked at together, and where they begin."""

    place: Place
    parts: Sequence[_Part]


@dataclass(slots=True, kw_only=True)
class Search:
    """One search: it goes its way until enough is found, looked at, or the time is over."""

    question: Question
    plan: Plan
    may: Readable
    ends_at: float
    most: int
    build: Callable[..., Any] = observing_messages.search
    options: dict[str, Any] = field(default_factory=dict)
    _looked: Looked = field(default_factory=Looked)
    _size: int = 0  # of the next look
    _parts_left: int = field(default_factory=lambda: _MOST_PARTS_IN_ALL)
    _is_cut: bool = False  # no more parts are looked for, though there may be some

    def found(self, tests_: Tests, limit: int, place: Place | None) -> Looked:
        """Return what was found from a place on, ``limit`` at most."""
        looked = self._looked
        if not self.options:
            self.options = {"conditions": tests_.conditions, "may": self.may}
        self._size = self._first_size(tests_, limit)
        try:
            for part in self._parts(place):
                here: Place | _Group | None = part
                while here is not None:
                    looked.place = here.place if isinstance(here, _Group) else here
                    if len(looked.rows) == limit or looked.count >= self.most or self._is_over():
                        return looked
                    here = self._look_at(here, limit, tests_.parameters)
                    self._size = min(_GROWTH * self._size, self.most)
        except ObservationTimeoutError:
            if looked.count:
                return looked
            raise
        if not self._is_cut:
            looked.place = None
        return looked

    def _look_at(self, here: Place | _Group, limit: int, values: dict[str, Any]) -> Place | None:
        if isinstance(here, _Group):
            return self._look_through(here, limit, values)
        return self._look(here, self._size, limit, values)

    def _first_size(self, tests_: Tests, limit: int) -> int:
        into = any(condition.test is Trait.PAYLOAD for condition in tests_.conditions)
        return _FIRST_LOOK_INTO if into else max(_FIRST_LOOK, limit + 1)

    def _is_over(self) -> bool:
        has_looked = self._looked.count or self._parts_left < _MOST_PARTS_IN_ALL
        return bool(has_looked) and time.monotonic() >= self.ends_at

    def _look(self, place: Place, size: int, limit: int, values: dict[str, Any]) -> Place | None:
        """Look at the next messages; return where the others are, None at the end of a part."""
        looked = self._looked
        missing = limit - len(looked.rows)
        size = min(size, self.most - looked.count)
        way = Way(walk=self.plan.walk, due=self.plan.due, is_begun=place.time is not None)
        begins = {**values, **self._parameters(place), "look": size}
        found = self.question.texts(
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
        through = self.question.texts(observing_messages.looked_through, begins, way=way)
        if not through:
            return None
        (end,) = through
        looked.count += end.looked_at
        looked.back_to = as_utc(end.created_at)
        return self._behind(place, end) if end.looked_at == size else None

    def _look_through(self, group: _Group, limit: int, values: dict[str, Any]) -> Place | None:
        """Look at all messages of some parts; return where the others are, None at their end."""
        looked = self._looked
        missing = limit - len(looked.rows)
        parts = [part for part in group.parts if part.entries]
        if not parts:
            looked.count += sum(each.cost for each in group.parts)
            return None
        way = Way(walk=self.plan.walk, due=self.plan.due, is_grouped=True)
        names = [part.queue for part in parts]
        levels = [part.priority for part in parts]
        listed = self.question.dialect.row_parameters(queue=names, level=levels)
        begins = {**values, **listed, "look": self._size}
        found = self.question.texts(
            self.build, {**begins, "message_limit": missing + 1}, way=way, **self.options
        )
        looked.rows += found[:missing]
        of_part = replace(way, is_grouped=False)
        if len(found) > missing:
            last = found[missing - 1]
            part = parts[last.part - 1]
            looked.count += sum(each.cost for each in group.parts[: group.parts.index(part)])
            here = self._place_in(part)
            self._count_to(of_part, {**self._parameters(here), "look": self._size}, last)
            return self._behind(here, last)
        looked.count += sum(each.cost for each in group.parts)
        begins = {**self._parameters(self._place_in(parts[-1])), "look": self._size}
        (end,) = self.question.texts(observing_messages.looked_through, begins, way=of_part)
        looked.back_to = as_utc(end.created_at)
        return None

    def _place_in(self, part: _Part) -> Place:
        has_priority = self.plan.walk is Walk.WAITING
        return Place(queue=part.queue, priority=part.priority if has_priority else None)

    def _count_to(self, way: Way, parameters: dict[str, Any], last: Any) -> None:
        """Count what was looked at up to a message that was found."""
        looked = self._looked
        looked.back_to = as_utc(getattr(last, "created_at", None)) or looked.back_to
        counted = self.question.texts(
            observing_messages.counted_to, {**parameters, **self._end(last)}, way=way
        )
        looked.count += counted[0].looked_at

    def _end(self, row: Any) -> dict[str, Any]:
        end: dict[str, Any] = {"end_id": row.id}
        if self.plan.walk in observing_walks.TIMES:
            end |= self.question.dialect.place_parameters("end", row.place)
        return end

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
        time_ = row.place if self.plan.walk in observing_walks.TIMES else None
        return Place(queue=place.queue, priority=place.priority, time=time_, id=row.id)

    def _parts(self, place: Place | None) -> Iterator[Place | _Group]:
        """Yield the beginnings of the parts of the index, the first of them where to go on."""
        if self.plan.walk in (Walk.IDS, Walk.CHOSEN):
            if self._from_id(place or Place()) >= self.plan.lowest:
                yield place or Place()
            return
        if self.plan.walk in (Walk.WAITING, Walk.HELD) and self.question.dialect.has_lateral:
            yield from self._grouped(place)
            return
        for queue in self._queue_names(place):
            begun = place if place is not None and place.queue == queue else None
            if self.plan.walk is not Walk.WAITING:
                yield begun or Place(queue=queue)
                continue
            yield from self._levels(queue, begun)
            if self._is_cut:
                return

    def _grouped(self, place: Place | None) -> Iterator[Place | _Group]:
        """Yield small parts together, so that many of them are not many statements."""
        below = TOP_PRIORITY
        names = self._queue_names(place)
        if place is not None and place.time is not None:
            yield place
            if self.plan.walk is Walk.WAITING:
                below = place.priority or 0
            else:
                next(names, None)  # all of this queue is looked at
        elif place is not None and place.priority is not None:
            below = place.priority + 1
        while some := list(islice(names, MOST_NAMES)):
            yield from self._grouped_of(some, below)
            below = TOP_PRIORITY
            if self._is_cut:
                return

    def _grouped_of(self, names: list[str], below: int) -> Iterator[Place | _Group]:
        way = Way(walk=self.plan.walk, due=self.plan.due)
        has_priority = self.plan.walk is Walk.WAITING
        while names:
            if below <= (LOWEST_PRIORITY if has_priority else 0):  # there is no other in this queue
                names, below = names[1:], TOP_PRIORITY
                continue
            # Where to go on if there is no time left to find the parts.
            self._looked.place = Place(queue=names[0], priority=below - 1 if has_priority else None)
            if self._parts_left <= 0:
                self._is_cut = True
                return
            most = min(_MOST_PARTS, self._parts_left)
            bound = max(1, min(self._size, self.most - self._looked.count))
            numbers = {"level": below, "bound": bound, "most": len(names) + most}
            parameters = {**self.question.dialect.row_parameters(queue=names), **numbers}
            rows = self.question.rows(observing_parts.parts, parameters, way=way)
            found = [_Part(names[row.place - 1], row.priority, row.entries) for row in rows]
            # Counting ends with the part that has too many: it is looked at alone.
            small = found[:-1] if found and found[-1].entries >= bound else found
            if small:
                yield _Group(self._place_in(small[0]), small)
            if len(small) < len(found):
                yield self._place_in(found[-1])
            self._parts_left -= len(found)
            if len(found) < most and sum(part.cost for part in found) < bound:
                return
            names, below = names[rows[-1].place - 1 :], rows[-1].priority

    def _levels(self, queue: str, begun: Place | None) -> Iterator[Place]:
        below = TOP_PRIORITY
        if begun is not None and begun.priority is not None:
            yield begun
            below = begun.priority
        while True:
            parameters = {"queue_name": queue, "priority": below}
            found = self.question.rows(observing_messages.next_level, parameters)
            if not found:
                return
            below = found[0].priority
            here = Place(queue=queue, priority=below)
            if self._parts_left <= 0:
                self._looked.place, self._is_cut = here, True
                return
            self._parts_left -= 1
            yield here

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
    return [
        row.queue for row in question.rows(observing_messages.next_queue, parameters, walk=walk)
    ]


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
