"""Filters of messages, as pages write them into links, and what a person may ask by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xclaim.arguments import DEAD_LETTER_SUFFIX, is_storable_text
from xclaim.errors import FilterError
from xclaim.observing.filters import (
    Filter,
    OfIds,
    OfPayload,
    OfStatus,
    OfText,
    StatusWord,
    Term,
    TextName,
    parse,
)
from xclaim.web.parts import Part, part_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xclaim.observing.values import Letters, Rights
    from xclaim.web.visits import Visit

_LONGEST_TEXT = 500  # characters of an error; a filter has 2,000


def filter_of(queue: str, status: StatusWord | None = None) -> str:
    """Return the filter of a queue's messages, or of those of a status."""
    terms: list[Term] = [] if status is None else [OfStatus(word=status)]
    return str(Filter((*terms, OfText(name=TextName.QUEUE, text=queue))))


def filter_of_id(message_id: int) -> str:
    """Return the filter that finds one message."""
    return filter_of_ids([message_id])


def filter_of_ids(message_ids: Sequence[int]) -> str:
    """Return the filter that finds these messages, of which there is one at least."""
    return str(Filter((OfIds(ids=tuple(sorted(message_ids))),)))


def filter_of_letters(letters: Letters) -> str | None:
    """Return the filter of dead letters with the same error; None if that can be in no filter."""
    # The beginning is enough: `error` finds what has it anywhere.
    text = (letters.first_line or "")[:_LONGEST_TEXT].strip()
    named = letters.error_class or ""
    if not is_storable_text(named) or not is_storable_text(text):
        return None
    terms: list[Term] = [
        OfStatus(word=StatusWord.DEAD),
        OfText(name=TextName.QUEUE, text=letters.queue),
        _of_class(named),
    ]
    if text:
        terms.append(OfText(name=TextName.ERROR, text=text))
    return str(Filter(tuple(terms)))


def _of_class(named: str) -> OfText:
    if not named:  # not of any
        return OfText(name=TextName.CLASS, text="", is_prefix=True, is_negated=True)
    is_long = len(named) > _LONGEST_TEXT
    return OfText(name=TextName.CLASS, text=named[:_LONGEST_TEXT], is_prefix=is_long)


def refuse_to_probe(visit: Visit, given: str) -> None:
    """Raise FilterError for a search of what the person may not see: its answers would tell it."""
    if visit.sees_payloads:
        return
    for term in parse(given).terms:
        if isinstance(term, OfPayload):
            place = given.find("payload")
            raise FilterError("payloads are hidden here, so they are not searched", max(place, 0))
        if isinstance(term, OfText) and term.name is TextName.ERROR:
            place = given.find("error")
            raise FilterError(
                "texts of errors are hidden here, so they are not searched: class finds errors "
                "by their class",
                max(place, 0),
            )


def rights_to(visit: Visit, queues: Iterable[str]) -> Part[Rights]:
    """Return the rights to these queues: to the one that all are of, else to all that there are.

    A role may have been granted one queue only.
    """
    names = {name.removesuffix(DEAD_LETTER_SUFFIX) for name in queues}
    only = names.pop() if len(names) == 1 else None
    return part_of(lambda: visit.rights(only))
