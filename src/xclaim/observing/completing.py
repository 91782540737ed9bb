"""What may come next in a filter that somebody types."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xclaim.arguments import is_storable_text
from xclaim.observing.asking import Question
from xclaim.observing.filters import MOST_CHARACTERS, PAYLOAD, TERMS, OfText, StatusWord, TextName
from xclaim.observing.sending import Ask
from xclaim.observing.values import Completion
from xclaim.observing.walking import queue_names
from xclaim.sql.statements.observing_walks import Walk

_MOST = 20
_MOST_NAMES = 500  # of each index
_ESCAPED = re.compile(r'\\(["\\])')


def completions(ask: Ask, text: str) -> list[Completion]:
    """Return what the last word of a filter may become: terms, statuses, and queues there are."""
    if len(text) > MOST_CHARACTERS:
        return []
    position = _last_word(text)
    typed = text[position:]
    position += typed.startswith("-")
    name, colon, value = typed.removeprefix("-").partition(":")
    if not colon:
        return [
            Completion(
                text=f"{term}{'.' if term == PAYLOAD else ':'}", position=position, says=says
            )
            for term, says in TERMS.items()
            if term.startswith(name)
        ]
    found = _values(ask, name, _plain(value))
    return [Completion(text=each, position=position) for each in found]


def _plain(value: str) -> str:
    """Return what a value says that is not finished yet, in quotes or without."""
    return _ESCAPED.sub(r"\1", value[1:]) if value.startswith('"') else value


def _last_word(text: str) -> int:
    """Return where the last word begins: spaces in quotes are of it."""
    begin, is_quoted, is_escaped = 0, False, False
    for place, character in enumerate(text):
        if is_escaped or (is_quoted and character == "\\"):
            is_escaped = not is_escaped
        elif character == '"':
            is_quoted = not is_quoted
        elif character.isspace() and not is_quoted:
            begin = place + 1
    return begin


def _values(ask: Ask, name: str, begun: str) -> list[str]:
    match name:
        case "status":
            return [f"status:{word}" for word in StatusWord if word.startswith(begun)]
        case "queue":
            with ask("which queues there are") as question:
                names = sorted(set(_queues(question, begun)))[:_MOST]
            return [str(OfText(name=TextName.QUEUE, text=each)) for each in names]
        case _:
            return []


def _queues(question: Question, begun: str) -> Iterator[str]:
    for walk in (Walk.WAITING, Walk.HELD, Walk.CONSUMED):
        names = queue_names(question, walk, most=_MOST_NAMES)
        # There may be more: those behind what was typed, if a name can begin so.
        if begun and len(names) == _MOST_NAMES and is_storable_text(begun):
            names = [*names, *queue_names(question, walk, begun, most=_MOST)]
        yield from (name for name in names if name.startswith(begun))
