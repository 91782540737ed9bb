"""Filters of messages, as pages write them into links, and what a person may ask by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from xclaim.observing.values import Letters
    from xclaim.web.visits import Visit


def filter_of(queue: str, status: StatusWord | None = None) -> str:
    """Return the filter of a queue's messages, or of those of a status."""
    terms: list[Term] = [] if status is None else [OfStatus(word=status)]
    return str(Filter((*terms, OfText(name=TextName.QUEUE, text=queue))))


def filter_of_id(message_id: int) -> str:
    """Return the filter that finds one message."""
    return str(Filter((OfIds(ids=(message_id,)),)))


def filter_of_letters(letters: Letters, *, with_text: bool) -> str | None:
    """Return the filter of dead letters with the same error; None if they have none to find.

    ``with_text``: also by the first line of the error.
    """
    errors = [letters.error_class, letters.first_line if with_text else None]
    terms: list[Term] = [
        OfStatus(word=StatusWord.DEAD),
        OfText(name=TextName.QUEUE, text=letters.queue),
        *(OfText(name=TextName.ERROR, text=each.strip()) for each in errors if each and each.strip()),
    ]
    return str(Filter(tuple(terms))) if len(terms) > 2 else None  # noqa: PLR2004


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
                "texts of errors are hidden here, so they are not searched", max(place, 0)
            )
