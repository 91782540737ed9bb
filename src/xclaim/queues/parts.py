"""The parts of a queue that is split: which of them a verb is for, and what their answers make.

A part is a queue of its own, ``orders.0`` to ``orders.3``, each in its place, and what a verb does
to one is done by the runner of its place.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from xclaim import arguments, verbs
from xclaim.claims import Claim, Ticket
from xclaim.connections.runner import Runner
from xclaim.consuming.room import without_new
from xclaim.errors import ClaimLostError, InvalidArgumentError, QueueFullError
from xclaim.limits import Backlog, Pause, Vacancy
from xclaim.message import Counts, Message
from xclaim.places import part_of
from xclaim.queues.away import Away
from xclaim.queues.turns import Turns
from xclaim.retry import Retry
from xclaim.verb import Verb

T = TypeVar("T")

_TOGETHER = 100  # payloads without a key that one call pushes are not spread thinner


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a queue: its name, its place and what runs the verbs there."""

    name: str
    place: str
    runner: Runner

    def run(self, verb: Verb[T], *given: Any, **options: Any) -> T:
        """Run a verb on the part."""
        return self.runner.run_once(verb, self.name, *given, **options)


class Parts:
    """All parts of one queue, in the order of their numbers."""

    def __init__(self, queue: str, parts: Sequence[Part]) -> None:
        self._queue = queue
        self._all = tuple(parts)
        self._by_name = {part.name: part for part in parts}
        self._away = Away()
        self._turns, self._pushes = Turns(len(parts)), Turns(len(parts))

    def __iter__(self) -> Iterator[Part]:
        """Return the parts in the order of their numbers."""
        return iter(self._all)

    def retrying(self, retry: Retry | None) -> Parts:
        """Return the same parts, with another Retry."""
        runners = {part.runner: part.runner.retrying(retry) for part in self._all}
        other = Parts(
            self._queue, [replace(part, runner=runners[part.runner]) for part in self._all]
        )
        other._away = self._away
        other._turns, other._pushes = self._turns, self._pushes
        return other

    def run(self, verb: Verb[Any], *given: Any, **options: Any) -> Any:
        """Run a verb that is about the queue, on the part or parts that it is for."""
        run = _WAYS.get(verb)
        if run is None:
            raise InvalidArgumentError(
                f"an id is known to one part of queue {self._queue!r} only: ask the queue that the "
                f"message names, as Queue({self._all[0].name!r}, ...)"
            )
        return run(self, verb, *given, **options)

    def of(self, claim: Any) -> Part:
        """Return the part that a claim was made from."""
        queue = getattr(getattr(claim, "message", None), "queue", None)
        return self._by_name.get(str(queue), self._all[0])  # which refuses what is no claim of ours

    def on_claims(
        self, verb: Verb[Any], claims: Iterable[Any], options: Mapping[str, Any]
    ) -> list[Any]:
        """Run a verb on the claims of each place, and return what it has found in all.

        What fails at one is raised after the others.
        """
        by_place: dict[str, list[Any]] = {}
        for claim in claims:
            by_place.setdefault(self.of(claim).place, []).append(claim)
        found: list[Any] = []
        lost: list[Claim] = []
        failure: Exception | None = None
        for held in by_place.values():
            part, began = self.of(held[0]), time.monotonic()
            try:
                found += part.runner.run_once(verb, held, **options) or ()
            except ClaimLostError as error:
                lost += error.claims
            except Exception as error:  # noqa: BLE001  # a schema that is gone, a pool used up
                self._away.note(part.place, error, began=began)
                failure = failure or error
        if failure is not None:
            if lost:
                failure.add_note(f"xclaim: {ClaimLostError(lost)}")
            raise failure
        if lost:
            raise ClaimLostError(lost)
        return found

    # What goes to one part, or by its key.

    def claim(
        self, verb: Verb[list[Claim]], limit: int, *, claim_key: str | None = None, **who: Any
    ) -> list[Claim]:
        """Claim from one part. A claim key is asked for in all of them before, to take back."""
        start = self._turns.next()
        if claim_key is not None:
            taken = self._first(start, verbs.TAKE_BACK, limit, claim_key=claim_key, **who)
            if taken:
                return taken
        return self._first(start, verb, limit, claim_key=claim_key, **who)

    def _first(self, start: int, verb: Verb[list[Claim]], limit: int, **who: Any) -> list[Claim]:
        """Return what the first part has that has something, from ``start`` on.

        Raise the error of a place that is away only if all of them are; or if the verb is for
        everywhere and nothing was found: that place may have messages. It is asked, last, though it
        rests. Whoever loops makes the pauses.
        """
        failure: DBAPIError | None = None
        failed: set[str] = set()
        for part in self._in_turn(start, verb):
            if part.place in failed:
                continue
            began = time.monotonic()
            try:
                claims = part.run(verb, limit, **who)
            except DBAPIError as error:
                if not self._away.note(part.place, error, began=began):
                    raise
                failure = error
                failed.add(part.place)
                continue
            self._away.forget(part.place)
            if claims:
                self._turns.after(self._all.index(part))
                return claims
        if failure is not None and (
            verb.everywhere or all(self._away.rests(part.place) for part in self._all)
        ):
            raise failure
        return []

    def _in_turn(self, start: int, verb: Verb[Any] | None = None) -> Iterator[Part]:
        """Yield from ``start`` the parts whose places are not away; if all were, one of each place.

        If the verb is for everywhere, all parts, first those whose places are not away.
        """
        parts = [*self._all[start:], *self._all[:start]]
        if verb is not None and verb.everywhere:
            yield from sorted(parts, key=lambda part: self._away.rests(part.place))
            return
        if all(self._away.rests(part.place) for part in parts):
            yield from {part.place: part for part in parts}.values()
            return
        for part in parts:
            if not self._away.rests(part.place):
                yield part

    def resume(self, verb: Verb[list[Claim]], ticket: Any, **who: Any) -> list[Claim]:
        """Take over claims from the part that the ticket names."""
        queue = ticket.queue if isinstance(ticket, Ticket) else None
        part = self._by_name.get(str(queue), self._all[0])  # which refuses one that is not ours
        return part.run(verb, ticket, **who)

    def push(
        self,
        verb: Verb[list[Message]],
        values: Sequence[Any],
        *,
        unique_keys: Sequence[str | None] | None = None,
        ordering_keys: Sequence[str | None] | None = None,
        **options: Any,
    ) -> list[Message | None]:
        """Push each payload to its part: in as many transactions as there are parts.

        A limit is each part's own. Where something was pushed already nothing waits for room.
        """
        named = {"unique_keys": unique_keys, "ordering_keys": ordering_keys}
        given = {name: list(keys) for name, keys in named.items() if keys is not None}
        if not values or any(len(keys) != len(values) for keys in given.values()):
            return _push_to(self._all[0], verb, values, {**options, **given})  # which refuses it
        pushed: dict[int, Message | None] = {}
        took: list[Part] = []
        for part, places in self._spread(self._deciding(list(given.values()), len(values))):
            began = time.monotonic()
            some = {name: [keys[place] for place in places] for name, keys in given.items()}
            of_part = [values[place] for place in places]
            try:
                messages = _push_to(part, verb, of_part, {**options, **some})
            except BaseException as error:
                self._away.note(part.place, error, began=began)
                count = sum(message is not None for message in pushed.values())
                _tell_what_was_pushed(error, took, count, len(values))
                raise
            pushed.update(zip(places, messages, strict=True))
            if any(messages):  # else all of it was left out: the part is full
                took.append(part)
        return [pushed[place] for place in range(len(values))]

    def _deciding(self, given: Sequence[Sequence[str | None]], count: int) -> list[str | None]:
        """Return the key of each payload that decides its part: unique there, or in order there."""
        if not given:
            return [None] * count
        of_each = [[key for key in keys if key is not None] for keys in zip(*given, strict=True)]
        if any(len(keys) > 1 for keys in of_each):
            raise InvalidArgumentError(
                f"queue {self._queue!r} is split, and a unique key and an ordering key of one "
                "payload may belong in two of its parts: give it one of them"
            )
        return [keys[0] if keys else None for keys in of_each]

    def _spread(self, keys: Sequence[str | None]) -> list[tuple[Part, list[int]]]:
        """Return which payloads of a push go to which part: by key, or by turns."""
        free = [place for place, key in enumerate(keys) if not isinstance(key, str)]
        size = max(_TOGETHER, -(-len(free) // len(self._all)))
        turns = itertools.cycle(list(self._in_turn(self._pushes.next())) or self._all)
        by_part: dict[str, list[int]] = {}
        for start in range(0, len(free), size):
            by_part.setdefault(next(turns).name, []).extend(free[start : start + size])
        for place, key in enumerate(keys):
            if isinstance(key, str):
                by_part.setdefault(self._part_of(key).name, []).append(place)
        return [(self._by_name[name], places) for name, places in by_part.items()]

    def _part_of(self, key: Any) -> Part:
        parts = self._all
        return parts[part_of(key, len(parts)) if isinstance(key, str) else 0]

    def _by_key(self, verb: Verb[T], keys: Iterable[str]) -> list[T]:
        by_part: dict[str, list[str]] = {}
        for key in verbs.listed("unique_keys", keys):
            by_part.setdefault(self._part_of(key).name, []).append(key)
        return [self._by_name[name].run(verb, some) for name, some in by_part.items()]

    def find(self, verb: Verb[list[Message]], keys: Iterable[str]) -> list[Message]:
        """Return the messages under keys, each from the part that its key is in."""
        return [message for found in self._by_key(verb, keys) for message in found]

    def withdraw(self, verb: Verb[int], keys: Iterable[str]) -> int:
        """Withdraw by keys, each from the part that it is in."""
        return sum(self._by_key(verb, keys))

    # What goes to all.

    def each(self, verb: Verb[Any], *given: Any, **options: Any) -> list[Any]:
        """Run a verb on all parts. What fails at one place is raised after the others."""
        return list(self._answers(lambda part: part.run(verb, *given, **options)))

    def count(self, verb: Verb[int], *, limit: int | None = None, **options: Any) -> int:
        """Return the sum of what is done to the parts, up to the limit in all.

        What fails at one place is raised after the others, unless they reach the limit; and it says
        how much was done there.
        """
        done = 0
        arguments.optional_limit(limit)

        def run(part: Part) -> int:
            return part.run(verb, limit=None if limit is None else limit - done, **options)

        try:
            for number in self._answers(run):
                done += number
                if limit is not None and done >= limit:
                    break
        except DBAPIError as error:
            error.add_note(f"xclaim: {verb.name} in the other places: {done:,} messages")
            raise
        return done

    def _answers(self, run: Callable[[Part], T]) -> Iterator[T]:
        """Yield the answer of each part, and raise at the end what has failed at a place."""
        failure: DBAPIError | None = None
        for part in self._all:
            if failure is not None and self._away.rests(part.place):
                continue
            began = time.monotonic()
            try:
                answer = run(part)
            except DBAPIError as error:
                if not self._away.note(part.place, error, began=began):
                    raise
                failure = failure or error
            else:
                yield answer
        if failure is not None:
            raise failure

    def counts(self, verb: Verb[Counts]) -> Counts:
        """Return the sums."""
        return _sum(self.each(verb))

    def next(self, verb: Verb[list[Message]], limit: int = 1) -> list[Message]:
        """Return the next messages of all parts, as if they were one queue."""
        order: Callable[[Message], Any] = _by_try if verb is verbs.FAILING else _by_place
        found = itertools.chain.from_iterable(self.each(verb, limit))
        return sorted(found, key=order)[:limit]

    def all_found(self, verb: Verb[list[T]], *given: Any, **options: Any) -> list[T]:
        """Return what all parts have found."""
        return [each for found in self.each(verb, *given, **options) for each in found]

    def latest(self, verb: Verb[T | None]) -> T | None:
        """Return the latest time of all parts."""
        times: list[Any] = [each for each in self.each(verb) if each is not None]
        return max(times, default=None)

    def clock(self, verb: Verb[dict[str, datetime]]) -> dict[str, datetime]:
        """Return the time of each part's database, by the part's name."""
        return {name: now for times in self.each(verb) for name, now in times.items()}

    def has_room(self, verb: Verb[bool], count: int, **options: Any) -> bool:
        """Return whether one of the parts has room; what is in a place that is away has none.

        Raise the error of a place only if none has answered.
        """
        has_answered = False
        try:
            for has_room in self._answers(lambda part: part.run(verb, count, **options)):
                if has_room:
                    return True
                has_answered = True
        except DBAPIError:
            if not has_answered:
                raise
        return False

    def limit(self, verb: Verb[None], **options: Any) -> None:
        """Let as many messages wait in each part."""
        self.each(verb, **options)

    def backlog(self, verb: Verb[Backlog]) -> Backlog:
        """Return the sums, of parts that all have a limit; what a push does is the first one's."""
        found: list[Backlog] = self.each(verb)
        limits = [each.max_backlog for each in found if each.max_backlog is not None]
        if len(limits) < len(found):
            return Backlog()
        waiting = sum(each.waiting or 0 for each in found)
        return replace(found[0], max_backlog=sum(limits), waiting=waiting)

    def pause(self, verb: Verb[Pause], **options: Any) -> Pause:
        """Pause all parts, and return since when none hands out anything."""
        pauses: list[Pause] = self.each(verb, **options)
        return max(pauses, key=lambda pause: pause.paused_at)

    def paused(self, verb: Verb[Pause | None]) -> Pause | None:
        """Return since when no part hands out anything; None if one does."""
        pauses: list[Pause] = [pause for pause in self.each(verb) if pause is not None]
        if len(pauses) < len(self._all):
            return None
        return max(pauses, key=lambda pause: pause.paused_at)

    def vacancy(self, verb: Verb[Vacancy | None]) -> Vacancy | None:
        """Return what keeps messages of a part from being claimed, of the part that is due first.

        None: of no part whose place is not away.
        """
        found: list[Vacancy] = []
        for part in self._in_turn(0):
            began = time.monotonic()
            try:
                seen = part.run(verb)
            except DBAPIError as error:  # a claim, too, goes on with the others
                if not self._away.note(part.place, error, began=began):
                    raise
                continue
            found += [] if seen is None else [seen]
        return min(found, key=_by_due, default=None)

    def refuse_limits(self, verb: Verb[Any], **_: Any) -> Any:
        """Refuse to limit the parts together: no statement sees what others hold."""
        raise InvalidArgumentError(
            f"{verb.name} is for a queue in one place, and this one is split: each part has limits "
            "of its own, by a Queue of that place"
        )

    def unpause(self, verb: Verb[bool], **options: Any) -> bool:
        """Unpause all parts, and return whether one was paused."""
        return any(self.each(verb, **options))


_WAYS: Mapping[Verb[Any], Callable[..., Any]] = {
    verbs.CLAIM_MANY: Parts.claim,
    verbs.DRAIN: Parts.claim,
    verbs.POLL: Parts.claim,
    verbs.RESUME: Parts.resume,
    verbs.PUSH_MANY: Parts.push,
    verbs.FIND: Parts.find,
    verbs.WITHDRAW: Parts.withdraw,
    verbs.EXPIRE: Parts.count,
    verbs.REDRIVE: Parts.count,
    verbs.COUNT_REDRIVABLE: Parts.count,
    verbs.PRUNE: Parts.count,
    verbs.COUNT_PRUNABLE: Parts.count,
    verbs.COUNTS: Parts.counts,
    verbs.PEEK: Parts.next,
    verbs.FAILING: Parts.next,
    verbs.SPENT: Parts.all_found,
    verbs.CLOCK: Parts.clock,
    verbs.NEWEST_AVAILABLE_AT: Parts.latest,
    verbs.HAS_ROOM: Parts.has_room,
    verbs.LIMIT_BACKLOG: Parts.limit,
    verbs.BACKLOG: Parts.backlog,
    verbs.PAUSE: Parts.pause,
    verbs.PAUSED: Parts.paused,
    verbs.UNPAUSE: Parts.unpause,
    verbs.VACANCY: Parts.vacancy,
    verbs.LIMIT: Parts.refuse_limits,
    verbs.LIMITS: Parts.refuse_limits,
}


def _push_to(
    part: Part, verb: Verb[list[Message]], values: Sequence[Any], options: Mapping[str, Any]
) -> list[Message | None]:
    try:
        return [*part.run(verb, values, **options)]
    except QueueFullError as error:
        if error.on_full != "skip":
            raise
    return without_new(part.run, values, options)


def _sum(counts: Iterable[Counts]) -> Counts:
    listed = list(counts)
    return Counts(
        **{of.name: sum(getattr(each, of.name) for each in listed) for of in fields(Counts)}
    )


def _by_place(message: Message) -> Any:
    return -message.priority, message.available_at, message.id


def _by_try(message: Message) -> Any:
    return message.available_at, message.id


def _by_due(vacancy: Vacancy) -> float:
    if vacancy.pause is not None:
        return math.inf
    return 0.0 if vacancy.due_in is None else vacancy.due_in


def _tell_what_was_pushed(
    error: BaseException, took: Sequence[Part], count: int, total: int
) -> None:
    if not took:
        return
    if isinstance(error, QueueFullError):
        error.on_full = "raise"  # to wait and push all of them again would push some twice
    names = ", ".join(f"{part.name} in place {part.place!r}" for part in took)
    error.add_note(
        f"xclaim: {count} of {total} messages were pushed before this, to {names}: only with "
        "unique keys can all of them be pushed again"
    )
