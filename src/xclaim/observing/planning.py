"""The way through the messages that a filter has, and what is tested of each on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from xclaim import arguments
from xclaim.arguments import HIGHEST_ID, LOWEST_ID
from xclaim.errors import FilterError
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
)
from xclaim.sql.dialects import Dialect
from xclaim.sql.revision import qualified
from xclaim.sql.schema import TABLE_NAME
from xclaim.sql.statements import observing_messages
from xclaim.sql.statements.message_conditions import Condition, Readable, Trait
from xclaim.sql.statements.observing_walks import Due, Walk

_WALKS = {
    StatusWord.CLAIMED: (Walk.HELD, Due.ANY),
    StatusWord.LAPSED: (Walk.HELD, Due.ANY),
    StatusWord.DEAD: (Walk.WAITING, Due.ANY),
    StatusWord.DELAYED: (Walk.WAITING, Due.LATER),
    StatusWord.AVAILABLE: (Walk.WAITING, Due.NOW),
    StatusWord.RETRYING: (Walk.WAITING, Due.ANY),
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


def readable(question: Question) -> Readable:
    """Return which of the confidential columns the role may read."""
    if question.is_sqlite:
        return Readable()
    table = qualified(TABLE_NAME, question.schema)
    (row,) = question.rows(observing_messages.readable, {"message_table": table})
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
    return {row.id for row in question.rows(observing_messages.keyed_ids, {"key": key})}


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
