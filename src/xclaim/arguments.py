"""Checks of arguments: each returns the checked value or says what to pass instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, Literal, NoReturn, TypedDict, get_args

from xclaim.errors import InvalidArgumentError

MAX_QUEUE_BYTES = 200  # short enough for an index entry and for a line on a terminal
MAX_ORDERING_KEY_BYTES = 255
MAX_KEY_BYTES = 1_000  # PostgreSQL refuses index entries over 2,704 bytes (a third of a page)
MAX_IDENTIFIER_BYTES = 63  # PostgreSQL's NAMEDATALEN - 1: longer ones are cut without a word
MAX_DURATION = timedelta(days=3_660)  # ten years: beyond it, a typing error
MAX_LIMIT = 1_000_000
LOWEST_ID, HIGHEST_ID = -(2**63), 2**63 - 1  # of a row that a hand has written; ours begin with 1
LEASE = timedelta(minutes=5)  # of a claim, unless it asks for another
LEASE_LIMIT = timedelta(hours=12)  # as SQS: the longest a message can stay invisible
DEAD_LETTER_SUFFIX = ".dead"
# What the name of a queue has not, in Python and in SQL: controls, formats, spaces but for one, and
# what each font shows as it likes. As Unicode 15 has them, so that all versions have one rule.
UNREADABLE = (
    r"\u0001-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891"
    r"\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000"
    r"\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
    r"\U000f0000-\U000ffffd\U00100000-\U0010fffd"
)
# What a dead letter does with the turn of its ordering key: pass it on, or hold it.
WhenDead = Literal["skip", "hold"]
# What a push does that finds its queue full: raise QueueFullError, wait for room, push nothing.
OnFull = Literal["raise", "wait", "skip"]
Loud = Literal["raise", "wait"]  # with these a push returns what it has pushed


class PushOptions(TypedDict, total=False):
    """The options of a push that do not change what it returns."""

    priority: int
    delay: timedelta | None
    max_attempts: int | None
    headers: Mapping[str, Any] | None
    on_dead: WhenDead
    max_backlog: int | None
    wait: timedelta | None


_ON_FULL, _WHEN_DEAD = get_args(OnFull), get_args(WhenDead)
_RESERVED_ROLES = ("public", "none")  # GRANT ... TO "public" is for everybody, also quoted
_UNREADABLE = re.compile(f"[{UNREADABLE}]")
_ID_TEXT = re.compile(r"-?[0-9]{1,19}", re.ASCII)  # of a bigint
_MAX_SHOWN = 60  # characters of a bad value in an error


def queue_name(value: Any) -> str:
    """Return the name of a queue: 1 to 200 bytes of text without control characters.

    Of a dead-letter queue there is room for the suffix: a queue of any name has one.
    """
    # Each verb asks this of the same few names.
    return _known_queue_name(value) if value.__class__ is str else _queue_name(value)


def _queue_name(value: Any) -> str:
    is_dead = isinstance(value, str) and value.endswith(DEAD_LETTER_SUFFIX)
    room = len(DEAD_LETTER_SUFFIX) if is_dead else 0
    name = _text("queue name", value, MAX_QUEUE_BYTES + room)
    # What Python can print is readable; it has no characters of which it is too old to know.
    if not name.strip() or not (name.isprintable() or _UNREADABLE.search(name) is None):
        raise InvalidArgumentError(
            f"queue name {_shown(name)} is blank or has control characters: use a readable name"
        )
    return name


_known_queue_name = lru_cache(1_000)(_queue_name)


def pushable(queue: str) -> str:
    """Return the name if messages may be pushed to it: it is no dead-letter queue."""
    if queue.endswith(DEAD_LETTER_SUFFIX):
        raise InvalidArgumentError(
            f"queue {queue!r} is a dead-letter queue, which only failing messages enter: "
            f"push to {queue.removesuffix(DEAD_LETTER_SUFFIX)!r}"
        )
    return queue


def dead_letter_queue(queue: str) -> str:
    """Return where exhausted messages of the queue go; a dead-letter queue keeps its own."""
    return queue if queue.endswith(DEAD_LETTER_SUFFIX) else queue + DEAD_LETTER_SUFFIX


def redriven(queue: str) -> str:
    """Return the queue whose dead letters are meant: by its own name, or by theirs."""
    own = queue_name(queue_name(queue).removesuffix(DEAD_LETTER_SUFFIX))
    if own.endswith(DEAD_LETTER_SUFFIX):  # its letters would be moved to where they are
        raise InvalidArgumentError(
            f"queue {own!r} is a dead-letter queue, which keeps what fails and has no dead letters "
            f"in {queue!r}: name the queue that they came from"
        )
    return own


def key(name: str, value: Any) -> str:
    """Return a unique key, claim key or claimant: 1 to 1,000 bytes of text."""
    return _text(name, value, MAX_KEY_BYTES)


def optional_key(name: str, value: Any) -> str | None:
    """Return the key, or None when there is none."""
    return None if value is None else key(name, value)


def optional_unique_key(value: Any) -> str | None:
    """Return a unique key, or None when there is none."""
    return optional_key("unique_key", value)


def ordering_key(name: str, value: Any) -> str:
    """Return an ordering key: 1 to 255 bytes of text."""
    return _text(name, value, MAX_ORDERING_KEY_BYTES)


def optional_ordering_key(value: Any) -> str | None:
    """Return an ordering key, or None when there is none."""
    return None if value is None else ordering_key("ordering_key", value)


def reason(value: Any) -> str:
    """Return why somebody did something: 1 to 1,000 bytes of text that can be read."""
    text = _text("reason", value, MAX_KEY_BYTES)
    if not text.strip():
        raise InvalidArgumentError("reason is blank: say why, or leave it out")
    return text


def role_name(value: Any) -> str:
    """Return the name of a database role: one of its own, 1 to 63 bytes of readable text."""
    name = _text("role name", value, MAX_IDENTIFIER_BYTES)
    if not name.strip() or not name.isprintable():
        raise InvalidArgumentError(
            f"role name {_shown(name)} is blank or has control characters: use a readable name"
        )
    if name in _RESERVED_ROLES or name.startswith("pg_"):
        raise InvalidArgumentError(
            f"role name {_shown(name)} is PostgreSQL's own, for everybody or for the server: "
            "name a role that only your workers have"
        )
    return name


def schema_name(value: Any) -> str:
    """Return the name of a PostgreSQL schema: 1 to 63 bytes of readable text, and no pg_."""
    name = _text("schema", value, MAX_IDENTIFIER_BYTES)
    if not name.strip() or not name.isprintable():
        raise InvalidArgumentError(
            f"schema {_shown(name)} is blank or has control characters: use a readable name"
        )
    if name.startswith("pg_"):
        raise InvalidArgumentError(
            f"schema {_shown(name)} is PostgreSQL's own, as are all names that begin with pg_: "
            "use another name"
        )
    return name


def seconds(name: str, value: Any) -> float:
    """Return a duration in seconds: a timedelta from zero to ten years."""
    if not isinstance(value, timedelta):
        raise InvalidArgumentError(
            f"{name} must be a timedelta, not {_shown(value)}: "
            f"for example {name}=timedelta(minutes=5)"
        )
    if value < timedelta(0) or value > MAX_DURATION:
        raise InvalidArgumentError(
            f"{name} must lie between 0 and {MAX_DURATION.days} days, not {value}"
        )
    return value.total_seconds()


def optional_seconds(name: str, value: Any) -> float | None:
    """Return the duration in seconds, or None when there is none."""
    return None if value is None else seconds(name, value)


def whole_number(name: str, value: Any, lowest: int, highest: int) -> int:
    """Return an int within the range, both ends included."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgumentError(f"{name} must be an int, not {_shown(value)}")
    if not lowest <= value <= highest:
        raise InvalidArgumentError(f"{name} must lie between {lowest} and {highest}, not {value}")
    return value


def number(name: str, value: Any, lowest: float, highest: float) -> float:
    """Return a number within the range, both ends included."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidArgumentError(f"{name} must be a number, not {_shown(value)}")
    if not lowest <= value <= highest:  # nor is NaN
        raise InvalidArgumentError(f"{name} must lie between {lowest} and {highest}, not {value}")
    return value


def limit(value: Any) -> int:
    """Return how many messages at most: 1 to a million."""
    return whole_number("limit", value, 1, MAX_LIMIT)


def optional_limit(value: Any) -> int | None:
    """Return how many messages at most, or None for all of them."""
    return None if value is None else limit(value)


def priority(value: Any) -> int:
    """Return a priority, higher is claimed first: a smallint."""
    return whole_number("priority", value, -32_768, 32_767)


def optional_max_attempts(value: Any) -> int | None:
    """Return after how many claims a message is dead-lettered, or None for never."""
    return None if value is None else whole_number("max_attempts", value, 1, 2_147_483_647)


def optional_max_backlog(value: Any) -> int | None:
    """Return how many messages may wait in a queue, or None for what is set, or any number."""
    return None if value is None else whole_number("max_backlog", value, 1, MAX_LIMIT)


def optional_on_full(value: Any) -> OnFull | None:
    """Return what a push does that finds its queue full, or None for what is set."""
    if value is not None and value not in _ON_FULL:
        raise InvalidArgumentError(
            f"on_full must be 'raise', 'wait' or 'skip', not {_shown(value)}"
        )
    return value  # type: ignore[no-any-return]


def when_dead(value: Any) -> WhenDead:
    """Return what a dead letter does with the turn of its ordering key."""
    if value not in _WHEN_DEAD:
        raise InvalidArgumentError(f"on_dead must be 'skip' or 'hold', not {_shown(value)}")
    return value  # type: ignore[no-any-return]


def message_id(value: Any) -> int:
    """Return a message id: a bigint, also one below 1, which only a hand has written."""
    return whole_number("message id", value, LOWEST_ID, HIGHEST_ID)


def is_id_text(text: str) -> bool:
    """Return whether a text is a whole number of no more digits than an id has."""
    return _ID_TEXT.fullmatch(text) is not None


def message_ids(values: Any) -> list[int]:
    """Return the ids, each once, in their order."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgumentError(f"ids must be a list of message ids, not {_shown(values)}")
    return sorted({message_id(value) for value in values})


def error_text(value: Any) -> str | None:
    """Return why a message was released, cut to 10,000 characters; NUL becomes visible.

    Of an exception its class and its text.
    """
    if value is None:
        return None
    said = shown_error(value) if isinstance(value, BaseException) else _text_of(value)
    return _storable(said[:10_000])


def shown_error(error: BaseException) -> str:
    """Return the class of an exception and its text, as far as it has one."""
    return f"{type(error).__name__}: {_text_of(error)}"


def error_class(value: Any) -> str | None:
    """Return the class of the exception a message was released with, None if that is none.

    With its module, unless it is one of Python's own; cut to 200 characters.
    """
    if not isinstance(value, BaseException):
        return None
    module, name = type(value).__module__, type(value).__qualname__
    return _storable((name if module == "builtins" else f"{module}.{name}")[:200])


def visible(text: str) -> str:
    """Return the text so that it is one line, and cannot steer a terminal or turn what it shows.

    What is not printable is escaped as in Python: control characters, also those that turn the
    direction of writing, and what ends a line.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  (of its own __str__, which must not hide what failed)
        return f"<its text cannot be had: {type(error).__name__}>"


def _storable(text: str) -> str:
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()


def refuse_constant(name: str) -> NoReturn:
    """Raise ValueError for NaN and the like, as ``parse_constant`` of Python's own JSON."""
    raise ValueError(f"JSON has no {name}")


def is_storable_text(value: str) -> bool:
    """Return whether PostgreSQL can hold the text: valid Unicode without NUL."""
    if "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(name: str, value: Any, max_bytes: int) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be text, not {_shown(value)}")
    if not value:
        raise InvalidArgumentError(f"{name} is empty: give it at least one character")
    if not is_storable_text(value):
        raise InvalidArgumentError(f"{name} {_shown(value)} has a NUL or a lone surrogate")
    if len(value.encode()) > max_bytes:
        raise InvalidArgumentError(
            f"{name} {_shown(value)} is {len(value.encode()):,} bytes long: "
            f"at most {max_bytes:,} are allowed"
        )
    return value


def _shown(value: Any) -> str:
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001  (of its own __repr__, which must not hide what is wrong)
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
