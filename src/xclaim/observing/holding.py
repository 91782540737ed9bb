"""Who holds what, what failed and is tried again, and what died of which error."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from xclaim import arguments
from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.errors import ObservationTimeoutError
from xclaim.observing import rows
from xclaim.observing.asking import Question
from xclaim.observing.counting import share
from xclaim.observing.filters import Filter, OfStatus, OfText, StatusWord, TextName
from xclaim.observing.names import queue_of
from xclaim.observing.places import Place, from_cursor, to_cursor
from xclaim.observing.planning import readable
from xclaim.observing.searching import search
from xclaim.observing.sending import Ask, sendable
from xclaim.observing.values import Claims, DeadLetters, Letters, Listed
from xclaim.observing.walking import all_queue_names
from xclaim.sql.statements import observing_claims, observing_letters
from xclaim.sql.statements.message_conditions import Readable
from xclaim.sql.statements.observing_walks import Walk
from xclaim.verbs.execution import as_utc

MOST_LETTERS = 10_000  # of a queue that are grouped by their error
_LETTERS = 30_000  # of all queues together, and some of each
_AT_ONCE = 100  # queues that one statement groups
_MOST_HELD = 1_000
_KIND = "claims"


def claims(ask: Ask, queue: str | None, *, limit: int, after: str | None) -> Claims:
    """Return who holds what, by queue and by the end of the lease, and where to go on."""
    most = arguments.whole_number("limit", limit, 1, _MOST_HELD)
    names = None if queue is None else _with_dead(queue_of(queue))
    return sendable(ask, lambda each: _claims(each, names, most, after))


def _with_dead(queue: str) -> list[str]:
    return list(dict.fromkeys([queue, arguments.dead_letter_queue(queue)]))


def _claims(ask: Ask, names: list[str] | None, limit: int, after: str | None) -> Claims:
    found: list[Any] = []
    with ask("who holds which messages") as question:
        place = from_cursor(_KIND, after, question.dialect)
        if names is None:
            found += _held(question, place, limit + 1, is_of_queue=False)
        for name in _from(names or [], place):
            here = place if place is not None and place.queue == name else Place(queue=name)
            missing = limit + 1 - len(found)
            if missing:
                found += _held(question, here, missing, is_of_queue=True)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    cursor = None if last is None else _cursor(last)
    return Claims(page=tuple(map(rows.held, page)), next=cursor)


def _from(names: list[str], place: Place | None) -> list[str]:
    """Return the names from that of a place on."""
    is_begun = place is not None and place.queue in names
    return names[names.index(str(place.queue)) :] if place is not None and is_begun else names


def _cursor(row: Any) -> str:
    return to_cursor(_KIND, Place(queue=row.queue, time=row.place, id=row.id))


def _held(question: Question, place: Place | None, limit: int, *, is_of_queue: bool) -> list[Any]:
    parameters: dict[str, Any] = {"message_limit": limit}
    is_begun = place is not None and place.time is not None
    if place is not None and place.queue is not None:
        parameters["queue_name"] = place.queue
    if place is not None and place.time is not None:
        parameters["place_id"] = place.id
        parameters |= question.dialect.place_parameters("place", place.time)
    options = {"is_of_queue": is_of_queue, "is_begun": is_begun}
    return list(question.texts(observing_claims.held, parameters, **options))


def failing(ask: Ask, timeout: timedelta, queue: str, limit: int) -> list[Listed]:
    """Return the messages of a queue that failed and are tried again, the next try first."""
    name = queue_of(queue)
    asked = Filter((OfStatus(word=StatusWord.RETRYING), OfText(name=TextName.QUEUE, text=name)))
    found = search(ask, timeout, str(asked), limit=limit, before=None).messages
    return sorted(
        found, key=lambda message: (message.available_at or message.created_at, message.id)
    )


def _next_try(message: Listed) -> tuple[datetime, int]:
    return message.available_at or message.created_at, message.id


def dead_letters(ask: Ask, timeout: timedelta, queue: str | None) -> DeadLetters:
    """Return the dead letters by queue, class and first line of the error; the newest of a queue.

    Of all queues those that there was time for.
    """
    names = None if queue is None else [arguments.dead_letter_queue(queue_of(queue))]
    return sendable(ask, lambda each: _dead_letters(each, timeout, names))


def _dead_letters(ask: Ask, timeout: timedelta, names: list[str] | None) -> DeadLetters:
    ends_at = time.monotonic() + timeout.total_seconds() / 2
    found: list[Letters] = []
    is_complete = True
    with ask("what the dead letters died of") as question:
        may = readable(question)
        most = MOST_LETTERS
        if names is None:
            names = list(_dead_queues(question))
            most = min(MOST_LETTERS, share(_LETTERS, len(names)))
        size = _AT_ONCE if question.dialect.has_lateral else 1
        try:
            for begin in range(0, len(names), size):
                is_complete = not found or time.monotonic() < ends_at
                if not is_complete:
                    break
                found += _of_queues(question, names[begin : begin + size], most, may)
        except ObservationTimeoutError:
            if not found:
                raise
            is_complete = False
    return DeadLetters(groups=tuple(found), is_complete=is_complete)


def _dead_queues(question: Question) -> Iterator[str]:
    for name in all_queue_names(question, Walk.WAITING):
        if name.endswith(DEAD_LETTER_SUFFIX):
            yield name


def _of_queues(question: Question, names: list[str], most: int, may: Readable) -> Iterator[Letters]:
    parameters = {"queue_name": names[0], "look": most}
    if question.dialect.has_lateral:
        parameters = {**question.dialect.row_parameters(queue=names), "look": most}
    found = question.texts(observing_letters.letters_by_error, parameters, may=may)
    counted = Counter[int]()
    for row in found:
        counted[row.position] += row.letters
    for row in found:
        yield Letters(
            queue=names[row.position - 1].removesuffix(DEAD_LETTER_SUFFIX),
            error_class=row.last_error_class,
            first_line=row.first_line,
            count=row.letters,
            first_died_at=as_utc(row.available_at),
            last_died_at=as_utc(row.claimed_at),
            newest_id=row.id,
            is_complete=counted[row.position] < most,
        )
