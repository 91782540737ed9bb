"""Look again where a text cannot be sent as it is, with all texts as bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from xclaim.observing.asking import Question
from xclaim.verbs.unsendable import is_unsendable

T = TypeVar("T")
Ask = Callable[[str], AbstractContextManager[Question]]


def sendable(ask: Ask, look: Callable[[Ask], T]) -> T:
    """Look, and again with texts as bytes if one cannot be sent as the text it is."""
    try:
        return look(ask)
    except DBAPIError as error:
        if not is_unsendable(error):
            raise
    return look(partial(_in_bytes, ask))


@contextmanager
def _in_bytes(ask: Ask, what: str) -> Iterator[Question]:
    with ask(what) as question:
        question.sends_bytes = True
        yield question
