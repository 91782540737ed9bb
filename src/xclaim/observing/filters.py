r"""The language in which messages are searched for: terms that all have to be true.

    status:dead queue:orders payload.customer.id:17 error:"timed out" -by:nightly*

A term is a name, a colon and a value, with a minus in front for what is not so. ``"..."`` is text
as it stands, with a backslash before each quotation mark and backslash in it; a star at the end of
a value is any ending. What stands behind ``payload`` is JSON: ``17``, ``true`` and ``null`` are
what they look like, ``"17"`` is text.

``parse`` knows no database and raises nothing but FilterError. ``str()`` of what it returns is a
filter again, the same one.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from xclaim.arguments import HIGHEST_ID, LOWEST_ID, is_storable_text, visible
from xclaim.errors import FilterError

MOST_CHARACTERS = 2_000
MOST_TERMS = 20
MOST_IDS = 1_000
MOST_STEPS = 20  # of the way to a value in a payload
PAYLOAD = "payload"
ID = "id"
STATUS = "status"

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)
_MOST_DIGITS = 100
_RANGE = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)", re.ASCII)
_LIST = re.compile(r"-?[0-9]+(,-?[0-9]+)*", re.ASCII)
_ENDS_A_STEP = '.:"'
_SHOWN = 40


class StatusWord(StrEnum):
    """What a message can be said to be. A lapsed one is also claimed, a retrying one waits."""

    AVAILABLE = "available"
    DELAYED = "delayed"
    RETRYING = "retrying"
    CLAIMED = "claimed"
    LAPSED = "lapsed"
    CONSUMED = "consumed"
    DEAD = "dead"


class TextName(StrEnum):
    """The terms whose value is text."""

    QUEUE = "queue"
    KEY = "key"  # the unique key
    BY = "by"  # who has claimed or consumed it
    RUN = "run"  # of Airflow, the producer's or the consumer's; so are dag and task
    DAG = "dag"
    TASK = "task"
    CLASS = "class"  # of the last error
    ERROR = "error"  # the class, or what is in the text


TERMS = {
    STATUS: "what it is: " + ", ".join(StatusWord),
    TextName.QUEUE: "the queue, and its dead letters",
    TextName.KEY: "the unique key it was pushed under",
    TextName.BY: "who holds it or has consumed it",
    TextName.RUN: "the Airflow run that pushed, holds or has consumed it",
    TextName.DAG: "the DAG that pushed, holds or has consumed it",
    TextName.TASK: "the task that pushed, holds or has consumed it",
    ID: "one id, several (1,2,3) or a range (10..20)",
    TextName.CLASS: "the class of the last error, with its module or without",
    TextName.ERROR: "the class of the last error, or what is in its text",
    PAYLOAD: "a value in the payload: payload.customer.id:17",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfStatus:
    """``status:dead``."""

    word: StatusWord
    is_negated: bool = False

    def __str__(self) -> str:
        """Return the term."""
        return f"{_sign(self)}{STATUS}:{self.word}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfText:
    """``key:order-17`` or ``by:nightly*``, which begins so."""

    name: TextName
    text: str
    is_prefix: bool = False
    is_negated: bool = False

    def __str__(self) -> str:
        """Return the term."""
        value = _written(self.text)
        return f"{_sign(self)}{self.name}:{value}{'*' if self.is_prefix else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfIds:
    """``id:17`` or ``id:1,2,3``, sorted."""

    ids: tuple[int, ...]
    is_negated: bool = False

    def __str__(self) -> str:
        """Return the term."""
        return f"{_sign(self)}{ID}:{','.join(map(str, self.ids))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRange:
    """``id:10..20``, both included."""

    first: int
    last: int
    is_negated: bool = False

    def __str__(self) -> str:
        """Return the term."""
        return f"{_sign(self)}{ID}:{self.first}..{self.last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfPayload:
    """``payload.items.0.sku:tea``. ``json`` is the value as JSON text, a scalar.

    ``steps`` lead to the value: names, and numbers counted from 0 for the elements of an array. A
    message has it if it is there, or an array that has it is.
    """

    steps: tuple[str, ...]
    json: str
    is_negated: bool = False

    def __str__(self) -> str:
        """Return the term."""
        way = "".join(f".{_written_step(step)}" for step in self.steps)
        return f"{_sign(self)}{PAYLOAD}{way}:{_written_json(self.json)}"


Term = OfStatus | OfText | OfIds | OfRange | OfPayload


@dataclass(frozen=True, slots=True)
class Filter:
    """All terms have to be true of a message; with none every message is meant."""

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        """Return the filter, in one way of writing it."""
        return " ".join(map(str, self.terms))


@dataclass(frozen=True, slots=True)
class _Value:
    text: str
    is_quoted: bool
    is_prefix: bool
    position: int


def parse(text: str) -> Filter:
    """Return what a filter says. Raise FilterError with the place of what is wrong in it."""
    if not isinstance(text, str):
        raise FilterError(f"a filter is text, not {type(text).__name__}: pass '' for all", 0)
    if len(text) > MOST_CHARACTERS:
        raise FilterError(
            f"the filter has {len(text):,} characters: at most {MOST_CHARACTERS:,} are read",
            MOST_CHARACTERS,
        )
    return Filter(_Parsing(text).terms())


class _Parsing:
    """One text, from its beginning to its end: where in it we are."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def terms(self) -> tuple[Term, ...]:
        found: list[Term] = []
        while self._skip_space():
            position = self._place
            if len(found) == MOST_TERMS:
                raise FilterError(f"more than {MOST_TERMS} terms: leave some out", position)
            found.append(self._term())
        return tuple(found)

    def _term(self) -> Term:
        position = self._place
        is_negated = self._take("-")
        name = self._name()
        if name == PAYLOAD:
            steps = self._steps()
            self._colon(name, position)
            return self._of_payload(steps, self._value(name), is_negated=is_negated)
        if self._peek() != ":":
            self._refuse_word(position)
        if name not in TERMS:
            self._refuse_name(name, position)
        self._colon(name, position)
        value = self._value(name)
        match name:
            case "status":
                return self._of_status(value, is_negated=is_negated)
            case "id":
                return self._of_ids(value, is_negated=is_negated)
            case _:
                return self._of_text(TextName(name), value, is_negated=is_negated)

    def _name(self) -> str:
        start = self._place
        while (character := self._peek()) and character not in _ENDS_A_STEP:
            if character.isspace():
                break
            self._place += 1
        return self._text[start : self._place]

    def _steps(self) -> tuple[str, ...]:
        steps: list[str] = []
        while self._peek() == ".":
            self._place += 1
            position = self._place
            is_quoted = self._peek() == '"'
            step = self._quoted() if is_quoted else self._name()
            if not step and not is_quoted:
                raise FilterError(
                    "a step of the way into the payload is empty: write payload.customer.id:17, "
                    'or in quotes what is no plain name: payload."a.b":17',
                    position,
                )
            if len(steps) == MOST_STEPS:
                raise FilterError(
                    f"more than {MOST_STEPS} steps into the payload: so deep nothing is searched",
                    position,
                )
            self._check_text(step, position)
            steps.append(step)
        return tuple(steps)

    def _colon(self, name: str, position: int) -> None:
        if not self._take(":"):
            raise FilterError(f"there is no colon after {name!r}: write {name}:value", position)

    def _value(self, name: str) -> _Value:
        position = self._place
        is_quoted = self._peek() == '"'
        text = self._quoted() if is_quoted else self._bare()
        is_prefix = self._take("*") if is_quoted else text.endswith("*")
        if is_prefix and not is_quoted:
            text = text[:-1]
        if (character := self._peek()) and not character.isspace():
            raise FilterError(
                f"what is {_shown(character)} at this place of {name}: leave a space between "
                'terms, and put text with spaces or quotes in quotes: "it said \\"no\\""',
                self._place,
            )
        if not text and not is_quoted and not is_prefix:
            raise FilterError(
                f'{name} has no value: write {name}:value without a space, or {name}:"" for '
                "empty text",
                position,
            )
        self._check_text(text, position)
        return _Value(text, is_quoted, is_prefix, position)

    def _bare(self) -> str:
        start = self._place
        while (character := self._peek()) and not character.isspace() and character != '"':
            self._place += 1
        return self._text[start : self._place]

    def _quoted(self) -> str:
        position = self._place
        self._place += 1
        read: list[str] = []
        while character := self._peek():
            self._place += 1
            if character == '"':
                return "".join(read)
            if character == "\\" and self._peek() in ('"', "\\"):
                character = self._peek()
                self._place += 1
            read.append(character)
        raise FilterError('the quotes that begin here do not end: close them with "', position)

    def _of_status(self, value: _Value, *, is_negated: bool) -> OfStatus:
        if value.text not in set(StatusWord) or value.is_prefix:
            raise FilterError(
                f"there is no status {_shown(value.text)}: use {', '.join(StatusWord)}"
                f"{_meant(value.text, list(StatusWord))}",
                value.position,
            )
        return OfStatus(word=StatusWord(value.text), is_negated=is_negated)

    def _of_text(self, name: TextName, value: _Value, *, is_negated: bool) -> OfText:
        if name is TextName.ERROR and value.is_prefix:
            raise FilterError(
                "error looks for its text anywhere: leave out the star, or put it in quotes",
                value.position,
            )
        if not value.text and not value.is_prefix:
            raise FilterError(
                f"{name} is empty text, which no message has: leave the term out", value.position
            )
        return OfText(name=name, text=value.text, is_prefix=value.is_prefix, is_negated=is_negated)

    def _of_ids(self, value: _Value, *, is_negated: bool) -> OfIds | OfRange:
        if value.is_quoted or value.is_prefix:
            self._refuse_ids(value)
        if found := _RANGE.fullmatch(value.text):
            first, last = (_whole(each, value.position) for each in found.groups())
            if first > last:
                raise FilterError(
                    f"the range ends before it begins: write id:{last}..{first}", value.position
                )
            return OfRange(first=first, last=last, is_negated=is_negated)
        if not _LIST.fullmatch(value.text):
            self._refuse_ids(value)
        ids = {_whole(each, value.position) for each in value.text.split(",")}
        if len(ids) > MOST_IDS:
            raise FilterError(
                f"{len(ids):,} ids: at most {MOST_IDS:,}, or a range id:10..20", value.position
            )
        return OfIds(ids=tuple(sorted(ids)), is_negated=is_negated)

    def _of_payload(self, steps: tuple[str, ...], value: _Value, *, is_negated: bool) -> OfPayload:
        if value.is_prefix:
            raise FilterError(
                "a value in the payload is compared as a whole: leave out the star, or put it in "
                "quotes",
                value.position,
            )
        if value.is_quoted or not _is_json(value.text):
            return OfPayload(steps=steps, json=json.dumps(value.text), is_negated=is_negated)
        if _NUMBER.fullmatch(value.text):
            self._check_number(value)
        return OfPayload(steps=steps, json=value.text, is_negated=is_negated)

    def _check_number(self, value: _Value) -> None:
        if len(value.text) > _MOST_DIGITS or not math.isfinite(float(value.text)):
            raise FilterError(
                f"the number {_shown(value.text)} is too large: put it in quotes if it is text",
                value.position,
            )
        exponent = value.text.lower().partition("e")[2]
        if exponent and abs(int(exponent)) > 308:  # noqa: PLR2004  (of the smallest float)
            raise FilterError(
                f"the exponent of {_shown(value.text)} is too large: write the number shorter",
                value.position,
            )

    def _check_text(self, text: str, position: int) -> None:
        if not is_storable_text(text):
            raise FilterError(
                "a NUL or half of a surrogate pair, which no message has: leave it out", position
            )

    def _refuse_ids(self, value: _Value) -> NoReturn:
        raise FilterError(
            f"{_shown(value.text)} is no id: write id:17, id:1,2,3 or id:10..20", value.position
        )

    def _refuse_word(self, position: int) -> NoReturn:
        self._place = position
        start = self._bare() or self._text[position : position + _SHOWN]
        word = _shown(start)
        value = start if _is_plain(start) else "value"
        ways = f"id:{start}, " if start.isascii() and start.isdigit() else ""
        raise FilterError(
            f"{word} does not say where to look: write {ways}key:{value}, by:{value}, "
            f"error:{value} or payload.NAME:{value}",
            position,
        )

    def _refuse_name(self, name: str, position: int) -> NoReturn:
        raise FilterError(
            f"there is no term {_shown(name)}: use {', '.join(TERMS)}{_meant(name, list(TERMS))}",
            position,
        )

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _take(self, character: str) -> bool:
        is_there = self._peek() == character
        self._place += is_there
        return is_there

    def _skip_space(self) -> bool:
        while self._peek().isspace():
            self._place += 1
        return self._place < len(self._text)


def _whole(text: str, position: int) -> int:
    # By its length first: of thousands of digits Python makes no number.
    if len(text) <= len(str(LOWEST_ID)) and LOWEST_ID <= int(text) <= HIGHEST_ID:
        return int(text)
    too = "small: none is so low" if text.startswith("-") else "large: none is so high"
    raise FilterError(f"the id {_shown(text)} is too {too}", position)


def _is_json(text: str) -> bool:
    return text in ("true", "false", "null") or bool(_NUMBER.fullmatch(text))


def _is_plain(text: str) -> bool:
    is_short = len(text) <= _SHOWN
    return is_short and bool(text) and text.isprintable() and not set('":*-') & {text[0], text[-1]}


def _sign(term: Term) -> str:
    return "-" if term.is_negated else ""


def _written(text: str) -> str:
    """Return text as a value that is read as itself."""
    is_bare = bool(text) and not text.endswith("*") and not _has(text, '"')
    return text if is_bare else _in_quotes(text)


def _written_step(step: str) -> str:
    return step if step and not _has(step, _ENDS_A_STEP) else _in_quotes(step)


def _written_json(value: str) -> str:
    if not value.startswith('"'):
        return value
    text: str = json.loads(value)
    return _in_quotes(text) if _is_json(text) else _written(text)


def _has(text: str, characters: str) -> bool:
    return any(each.isspace() or each in characters for each in text)


def _in_quotes(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _shown(text: str) -> str:
    seen = visible(text)
    return f"'{seen}'" if len(seen) <= _SHOWN else f"'{seen[:_SHOWN]}...'"


def _meant(text: str, known: list[str]) -> str:
    near = difflib.get_close_matches(text[:_SHOWN].lower(), known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
