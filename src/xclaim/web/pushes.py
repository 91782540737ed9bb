"""Push one message from a form: what the fields say, or what is wrong with each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from xclaim import arguments
from xclaim.arguments import WhenDead
from xclaim.errors import (
    DuplicateMessageError,
    OrderingNotEnabledError,
    PayloadError,
    QueueFullError,
    StorageError,
)
from xclaim.message import readable_headers
from xclaim.observing import Observer
from xclaim.payloads.exact_json import decode_exactly
from xclaim.retry import MAX_ATTEMPTS

if TYPE_CHECKING:
    from xclaim.message import Message
    from xclaim.web.actions import Hand

UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_MOST_DIGITS = 12
_ANOTHER = "the queue has another payload under this key: choose another key"
_TAKEN = "the queue has a message under this key already: choose another key"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be pushed, read from a form. ``has_own_key``: the person has chosen the key."""

    queue: str
    payload: Any
    unique_key: str
    has_own_key: bool
    priority: int
    delay: timedelta | None
    max_attempts: int | None
    ordering_key: str | None
    on_dead: WhenDead


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The message, and whether it was there already under its key."""

    message: Message
    was_there: bool


class FieldsError(Exception):
    """Some fields cannot be used. ``errors``: what is wrong, by the name of the field."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        self.errors = dict(errors)
        super().__init__(", ".join(self.errors))


def read(form: Mapping[str, str]) -> Draft:
    """Return what the form says. Raise FieldsError that names each field that is wrong.

    Without a key of its own the message gets that of the form, so that a form which is sent twice
    pushes once.
    """
    errors: dict[str, str] = {}
    holds_line = "holds_line" in form

    def field(name: str, take: Callable[[str], T], missing: T) -> T:
        try:
            return take(form.get(name, ""))
        except ValueError as error:
            errors[name] = str(error)
            return missing

    draft = Draft(
        queue=field("queue", lambda given: arguments.pushable(arguments.queue_name(given)), ""),
        payload=field("payload", _payload, None),
        unique_key=field(
            "unique_key", lambda given: arguments.key("unique key", given or _key_of(form)), ""
        ),
        has_own_key=bool(form.get("unique_key")),
        priority=field("priority", _priority, 0),
        delay=field("delay", lambda given: _delay(given, form.get("delay_unit", "s")), None),
        max_attempts=field("max_attempts", _max_attempts, None),
        ordering_key=field("ordering_key", lambda given: _line(given, holds=holds_line), None),
        on_dead="hold" if holds_line else "skip",
    )
    if errors:
        raise FieldsError(errors)
    return draft


def push(hand: Hand, draft: Draft, *, compares: bool) -> Pushed:
    """Push the message. Raise FieldsError for what only the queue can tell.

    Of a key that is taken ``compares`` False does not tell whether its payload is this one: who may
    see no payload would find it out by guessing. Of their own form that is sent twice it is told.
    """
    before = Observer(hand.engine, schema=hand.schema, timeout=hand.timeout).now()
    try:
        with hand.queue(draft.queue) as queue:
            message = queue.push(
                draft.payload,
                unique_key=draft.unique_key,
                priority=draft.priority,
                delay=draft.delay,
                max_attempts=draft.max_attempts,
                ordering_key=draft.ordering_key,
                on_dead=draft.on_dead,
                headers={"pushed_by": hand.by},
                on_full="raise",  # a person reads it, and no page waits for a minute
            )
    except DuplicateMessageError:
        raise FieldsError({"unique_key": _ANOTHER if compares else _TAKEN}) from None
    except OrderingNotEnabledError as error:
        raise FieldsError({"ordering_key": str(error)}) from None
    except QueueFullError as error:
        raise FieldsError({"queue": str(error)}) from None
    except (PayloadError, StorageError) as error:
        raise FieldsError({"payload": str(error)}) from None
    was_there = message.created_at < before
    is_theirs = not draft.has_own_key and readable_headers(message).get("pushed_by") == hand.by
    if was_there and not compares and not is_theirs:
        raise FieldsError({"unique_key": _TAKEN})
    if not was_there:
        hand.note("pushed message %s to %r", message.id, draft.queue)
    return Pushed(message=message, was_there=was_there)


def _key_of(form: Mapping[str, str]) -> str:
    return f"dashboard-{form.get('form_key', '')}"


def _payload(given: str) -> Any:
    if not given.strip():
        raise ValueError('there is no payload: write JSON, as {"id": 1}, or "text" in quotes')
    try:
        return decode_exactly(given)
    except ValueError as error:
        raise ValueError(f"this is not JSON ({error})") from None


def _priority(given: str) -> int:
    return arguments.priority(_whole(given, "the priority")) if given.strip() else 0


def _max_attempts(given: str) -> int | None:
    if not given.strip():
        return MAX_ATTEMPTS
    if given.strip() == "none":
        return None
    return arguments.optional_max_attempts(_whole(given, "the number of attempts"))


def _line(given: str, *, holds: bool) -> str | None:
    if given:
        return arguments.ordering_key("ordering key", given)
    if holds:
        raise ValueError("only a message with an ordering key has a line that it could hold")
    return None


def _delay(given: str, unit: str) -> timedelta | None:
    if not given.strip():
        return None
    if unit not in _SECONDS:
        raise ValueError("the unit is seconds, minutes, hours or days")
    try:
        found = timedelta(seconds=_whole(given, "the delay") * _SECONDS[unit])
    except OverflowError:
        raise ValueError("the delay is ten years at most") from None
    arguments.seconds("delay", found)
    return found


def _whole(given: str, what: str) -> int:
    text = given.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > _MOST_DIGITS:
        raise ValueError(f"{what} must be a whole number")
    return int(text)
