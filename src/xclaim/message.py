"""The values that are handed out: messages, what failed of them, and counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime
from enum import Enum, StrEnum
from functools import cache
from pkgutil import resolve_name
from types import NoneType
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol, cast

from xclaim.errors import (
    InvalidArgumentError,
    PayloadCorruptedError,
    PayloadReadError,
    suggested,
)

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)


# Makes the reader of a message that has none, and reads the JSON of a row. They are named and not
# imported, because they belong to a higher floor; they are loaded with the first that needs them.
_DEFAULT_READER = "xclaim.payloads.payloads:Payloads.by_default"
_JSON_READER = "xclaim.payloads.plain_json:decode_strictly"


class Status(StrEnum):
    """The three states of a message, as they stand in the table."""

    AVAILABLE = "available"
    CLAIMED = "claimed"
    CONSUMED = "consumed"


def status_of(text: str) -> Status:
    """Return the status, or what stands there instead where the CHECK was dropped."""
    try:
        return Status(text)
    except ValueError:
        return cast("Status", text)


class Reader(Protocol):
    """Reads what rows have of payloads: ``Payloads`` does."""

    @property
    def reads_plain_json(self) -> bool:
        """Whether plain JSON, too, is not taken as it stands in the row."""

    def read(self, stored: Any, codec: str | None, *, queue: str, unique_key: str | None) -> Any:
        """Return the payload of a message that was pushed to the queue, under the unique key."""

    def open(
        self, stored: Any, codec: str | None, *, queue: str, unique_key: str | None
    ) -> BinaryIO:
        """Return the encoded payload as a file."""


class _Unread(Enum):
    """Marks a payload that was not read yet; an enum, which ``asdict`` does not copy."""

    UNREAD = "unread"


class Unsent(str):
    """Stands for JSON that the database could not send, and says why."""

    __slots__ = ()


# JSON as its row has it: it is parsed when it is asked for, so that it fails alone. A tuple of the
# text, which JSON never is; an object would take seven times as long to make, for each message.
Unparsed = tuple[str | bytes]


# How each field of a message is read from its row, by the name of the field.
Fill = Mapping[str, Callable[[Any], Any]]


class _FilledWhenRead:
    """A message whose fields are empty until they are asked for, if it was made of a row."""

    __slots__ = ("_fill", "_row")

    if not TYPE_CHECKING:  # which would take any name for a field

        def __getattr__(self, name: str) -> Any:
            """Fill an empty field: only then Python asks here."""
            if name in _SLOTS:
                _filled(self, name)
                return getattr(self, name)
            if name in _AT_FIRST:
                return _AT_FIRST[name]
            computed = getattr(type(self), name, None)
            if isinstance(computed, property):  # it has raised an AttributeError, which is lost
                return computed.__get__(self)
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(_FilledWhenRead, Generic[T_co]):  # noqa: PLW1641  (the dataclass makes its hash)
    """One row of ``xclaim_message``. Times are aware UTC, by the database's clock.

    ``stored`` is what the row has of the payload. ``codec`` says how that is encoded, None is plain
    JSON. ``reader`` makes the payload of it when ``payload`` is first asked for; None: plain JSON
    is the payload, and the rest is read as the environment says. The repr, which ends up in logs,
    leaves out what may be confidential.

    ``stored`` and ``headers`` are parsed when they are first asked for, and raise
    PayloadCorruptedError if they cannot be. A time that Python has no date for (infinity, a year
    before 1 or after 9999) is the earliest or the latest one it has.

    ``available_at`` is None for a message that stands in line, behind another with its
    ``ordering_key``.
    """

    id: int
    queue: str
    origin_queue: str
    status: Status
    priority: int
    stored: Any = field(repr=False)
    headers: dict[str, Any] = field(repr=False)
    unique_key: str | None
    attempts: int
    max_attempts: int | None
    created_at: datetime
    available_at: datetime | None
    claimed_at: datetime | None
    claim_expires_at: datetime | None
    consumed_at: datetime | None
    claimed_by: str | None
    consumed_by: str | None
    claim_key: str | None
    last_error: str | None = field(repr=False)
    last_error_class: str | None
    codec: str | None = None
    ordering_key: str | None = None
    reader: Reader | None = field(default=None, repr=False, compare=False)
    _value: Any = field(default=_Unread.UNREAD, init=False, repr=False, compare=False)
    _read_error: PayloadReadError | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __eq__(self, other: object) -> bool:
        """Return whether all fields are equal. What cannot be read equals only the same text."""
        if not isinstance(other, Message):
            return NotImplemented
        return all(_is_same(self, other, name) for name in _COMPARED)

    @property
    def payload(self) -> T_co:
        """The payload, which may have to be fetched from the storage at first, and is then kept.

        Raise PayloadReadError or StorageError if it cannot be read. With asyncio ask
        ``await queue.read(claim)`` first, which waits for the storage in a thread.
        """
        if self.codec is None and self.reader is None:
            return self.stored  # type: ignore[no-any-return]
        if self._value is _Unread.UNREAD:
            object.__setattr__(self, "_value", self._read())
        return self._value  # type: ignore[no-any-return]

    @property
    def read_error(self) -> PayloadReadError | None:
        """Why the payload could not be read when it was last asked for; None: it could, or was not.

        Without its traceback, which would keep alive whoever asked.
        """
        return self._read_error

    @property
    def is_dead_letter(self) -> bool:
        """Whether the message waits in a dead-letter queue."""
        return self.queue != self.origin_queue and self.queue.endswith(".dead")

    def open(self) -> BinaryIO:
        """Return the payload, as its codec encodes it, as a file: large ones are read in pieces.

        The end of it is handed out only after size and digest were found right. Raise
        PayloadReadError or StorageError, on opening or while it is read.
        """
        try:
            return self._reading().open(self.stored, self.codec, **self._owner)
        except PayloadReadError as error:
            self._note(error)
            raise

    def read_by(self, reader: Reader) -> Message[T_co]:
        """Return the message so that the reader reads its payload; nothing is read for this."""
        if reader is self.reader or (
            self.reader is None and self.codec is None and not reader.reads_plain_json
        ):
            return self
        return self._changed(reader=reader)

    def expiring(self, claim_expires_at: datetime) -> Message[T_co]:
        """Return the same message with another end of its lease; what was read stays read."""
        again = self._changed(claim_expires_at=claim_expires_at)
        object.__setattr__(again, "_value", self._value)
        return again

    def to_dict(self) -> dict[str, Any]:
        """Return the message as JSON-serialisable values, times in ISO 8601.

        Of an encoded payload what the row has of it: nothing is read for this. A payload or headers
        that cannot be parsed are left out, and stand as text under ``unreadable``.
        """
        values = {name: _to_json(_as_it_is(self, name)) for name in _IN_JSON}
        unreadable = {}
        for name, key in _PARSED.items():
            kept = _as_it_is(self, name)
            try:
                values[key] = getattr(self, name)
            except PayloadReadError:
                values.pop(key, None)
                unreadable[key] = _shown(kept)
        return {**values, "unreadable": unreadable} if unreadable else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Message:
        """Return the message ``to_dict`` described. Raise InvalidArgumentError if it is none.

        An encoded payload is read as the environment says; ``queue.read(...)`` reads it as the
        queue's own settings say.
        """
        try:
            values = {**values, **_unparsed_in(values)}
            known = {name: values[name] for name in _IN_JSON if name not in _LATER}
            for name, value in known.items():
                if name.endswith("_at") and value is not None:
                    known[name] = datetime.fromisoformat(value)
            known["status"] = status_of(known["status"])
            # An xclaim that knew none of them may have written it.
            known |= {name: values.get(name) for name in _LATER}
            known["stored"] = values["payload"]
            _check_types(known)
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise not_one("message", error) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again, in another process perhaps, unread."""
        return _made, ({name: _as_it_is(self, name) for name in _GIVEN},)

    def _changed(self, **changes: Any) -> Message[T_co]:
        """Return the message with other values, and parse nothing for it."""
        return Message(**({name: _as_it_is(self, name) for name in _GIVEN} | changes))

    def _read(self) -> Any:
        try:
            return self._reading().read(self.stored, self.codec, **self._owner)
        except PayloadReadError as error:
            self._note(error)
            raise
        except RecursionError as error:
            corrupted = PayloadCorruptedError(_unreadable(self, "payload", _TOO_DEEP))
            self._note(corrupted)
            raise corrupted from error

    def _note(self, error: PayloadReadError) -> None:
        if error.message_id is None:
            error.message_id = self.id
            error.add_note(f"xclaim: it is the payload of message {self.id} in {self.queue!r}")
        object.__setattr__(self, "_read_error", copy(error))

    @property
    def _owner(self) -> dict[str, Any]:
        # A dead letter, and what was redriven to another queue, keep their first queue.
        return {"queue": self.origin_queue, "unique_key": self.unique_key}

    def _reading(self) -> Reader:
        if self.reader is not None:
            return self.reader
        default: Reader = resolve_name(_DEFAULT_READER)()
        return default


_GIVEN = tuple(field.name for field in fields(Message) if field.init)
_COMPARED = tuple(field.name for field in fields(Message) if field.compare)
# The fields that stand in JSON under their own names.
_IN_JSON = tuple(name for name in _GIVEN if name not in ("stored", "reader"))
# What a row has as text, and its name in JSON.
_PARSED = {"headers": "headers", "stored": "payload"}
_SLOTS: dict[str, Any] = {name: Message.__dict__[name] for name in _GIVEN}
# The others, and what they are in a message that was made of a row.
_AT_FIRST = {"_value": _Unread.UNREAD, "_read_error": None}
_TOO_DEEP = "it is nested too deeply"


class _WhenAsked:
    """A field whose text is parsed when it is first asked for, in its slot."""

    def __init__(self, name: str) -> None:
        self._noun = _PARSED[name]
        self._kind = dict if name == "headers" else object
        self._get, self._set = _SLOTS[name].__get__, _SLOTS[name].__set__

    def __get__(self, message: Message | None, owner: Any = None) -> Any:
        if message is None:
            return self
        value = self._get(message)
        if type(value) is not tuple:
            return value
        if isinstance(value[0], Unsent):
            raise self._error(message, value[0])
        try:
            parsed = _json_reader()(value[0])
        except RecursionError as error:
            raise self._error(message, _TOO_DEEP) from error
        except (ValueError, TypeError) as error:
            raise self._error(message, str(error)[:200]) from error
        if not isinstance(parsed, self._kind):
            raise self._error(message, "they are no JSON object")
        self._set(message, parsed)
        return parsed

    def __set__(self, message: Message, value: Any) -> None:
        self._set(message, value)

    def _error(self, message: Message, problem: str) -> PayloadReadError:
        error = PayloadCorruptedError(_unreadable(message, self._noun, problem))
        error.message_id, error.is_for_good = message.id, True
        object.__setattr__(message, "_read_error", copy(error))
        return error


for _name in _PARSED:
    setattr(Message, _name, _WhenAsked(_name))


def readable_headers(message: Message) -> Mapping[str, Any]:
    """Return the headers, ``{}`` if they cannot be read.

    For who only looks: that they cannot is not noted, and found out by who needs them.
    """
    noted = message.read_error
    try:
        headers: Mapping[str, Any] = message.headers
    except PayloadReadError:
        object.__setattr__(message, "_read_error", noted)
        return {}
    return headers


def _as_it_is(message: Message, name: str) -> Any:
    """Return a field as it was given, parsed or not."""
    try:
        return _SLOTS[name].__get__(message)
    except AttributeError:
        return _filled(message, name)


def _filled(message: Any, name: str) -> Any:
    """Read an empty field from the row. Raise AttributeError if there is no row."""
    value = _fill_of(message)[name](_row_of(message))
    _SLOTS[name].__set__(message, value)
    return value


# To call the slots themselves costs half of what object.__setattr__ does.
_fill_of = _FilledWhenRead.__dict__["_fill"].__get__
_row_of = _FilledWhenRead.__dict__["_row"].__get__
_set_fill = _FilledWhenRead.__dict__["_fill"].__set__
_set_row = _FilledWhenRead.__dict__["_row"].__set__
_set_id, _set_queue = _SLOTS["id"].__set__, _SLOTS["queue"].__set__
_set_stored, _set_codec = _SLOTS["stored"].__set__, _SLOTS["codec"].__set__
_set_reader = _SLOTS["reader"].__set__
_new = object.__new__


def message_of(
    row: Any,
    fill: Fill,
    *,
    id: int,
    queue: str,
    stored: Any,
    codec: str | None,
) -> Message:
    """Return the message of a row, whose other fields ``fill`` reads when they are asked for.

    Most are never asked for, and to make a message takes longer than all else that is done to it.
    """
    message: Message = _new(Message)
    _set_row(message, row)
    _set_fill(message, fill)
    _set_id(message, id)
    _set_queue(message, queue)
    _set_stored(message, stored)
    _set_codec(message, codec)
    _set_reader(message, None)
    return message


def always(value: Any) -> Callable[[Any], Any]:
    """Return how a field is read that is the same for all rows."""
    return lambda _: value


def _shown(unparsed: Unparsed) -> str:
    (text,) = unparsed
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _unreadable(message: Message, noun: str, problem: str) -> str:
    return (
        f"the {noun} of message {message.id} in {message.queue!r} cannot be read ({problem}): "
        "another program or a hand wrote the row, so correct it with SQL and redrive it, or "
        f"withdraw it with {suggested('withdraw', message.queue, str(message.id))}"
    )


@cache
def _json_reader() -> Callable[[str | bytes], Any]:
    reader: Callable[[str | bytes], Any] = resolve_name(_JSON_READER)
    return reader


def _is_same(one: Message, other: Message, name: str) -> bool:
    kept = _as_it_is(one, name), _as_it_is(other, name)
    if kept[0] == kept[1]:
        return True
    if not any(isinstance(value, tuple) for value in kept):
        return False
    if all(isinstance(value, tuple) for value in kept) and _shown(kept[0]) == _shown(kept[1]):
        return True  # one of them was read from SQLite, as bytes, and the other from JSON
    try:
        return bool(getattr(one, name) == getattr(other, name))
    except PayloadReadError:
        return False


def _made(values: dict[str, Any]) -> Message:
    return Message(**values)


# A frozen dataclass takes three times as long to make as one that is not frozen: it calls
# object.__setattr__ for each field. Code that makes many messages fills in a draft instead.
Draft = cast(
    "type[Message]",
    make_dataclass(
        "Draft",
        [(field.name, field.type, field) for field in fields(Message)],
        bases=(_FilledWhenRead, Generic[T_co]),  # type: ignore[index]  # as of the class above
        slots=True,
        kw_only=True,
    ),
)


def finished(draft: Message) -> Message:
    """Return the message that a ``Draft`` with its fields becomes: the same object."""
    draft.__class__ = Message
    return draft


LEASE_EXPIRED = "LeaseExpired"  # the error class of an attempt whose lease ran out


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One attempt at a message that failed: the how manieth, when, whose, and with which error.

    ``error`` is cut to 1,000 characters. ``error_class`` is the exception's, with its module unless
    it is one of Python's own; None if the message was released with a text.
    """

    attempt: int
    at: datetime
    claimed_by: str
    error_class: str | None
    error: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many messages of a queue are in which state; dead letters are its dead-letter queue's.

    Those ``in_line`` are neither available nor delayed: they wait for the turn of an ordering key.
    """

    available: int
    delayed: int
    claimed: int
    consumed: int
    dead_letters: int
    in_line: int = 0


_LATER = ("codec", "ordering_key")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": int,
    "queue": str,
    "origin_queue": str,
    "priority": int,
    "headers": (dict, tuple),
    "unique_key": (str, NoneType),
    "attempts": int,
    "max_attempts": (int, NoneType),
    "created_at": datetime,
    "available_at": (datetime, NoneType),
    "claimed_by": (str, NoneType),
    "consumed_by": (str, NoneType),
    "claim_key": (str, NoneType),
    "last_error": (str, NoneType),
    "last_error_class": (str, NoneType),
    "codec": (str, NoneType),
    "ordering_key": (str, NoneType),
}


def _unparsed_in(values: Mapping[str, Any]) -> dict[str, Unparsed]:
    """Return what ``to_dict`` has left as text since it cannot be parsed."""
    texts = {**(values["unreadable"] if "unreadable" in values else {})}  # noqa: SIM401  (of a dict)
    if not all(isinstance(text, str) for text in texts.values()):
        raise TypeError("what is unreadable is no text")
    return {key: (texts[key],) for key in _PARSED.values() if key in texts}


def _check_types(values: Mapping[str, Any]) -> None:
    for name, type_ in _TYPES.items():
        if not isinstance(values[name], type_) or isinstance(values[name], bool):
            raise TypeError(f"{name} is of type {type(values[name]).__name__}")
    if not 1 <= values["id"] < 2**63:
        raise ValueError(f"id {values['id']} is out of range")
    for name in values:
        if name.endswith("_at") and values[name] is not None and values[name].tzinfo is None:
            raise ValueError(f"{name} has no time zone")


def _to_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def not_one(noun: str, error: Exception) -> InvalidArgumentError:
    """Return the error for a dict that is not what ``to_dict`` of such a one wrote."""
    return InvalidArgumentError(
        f"not a {noun} as written by to_dict ({type(error).__name__}: {error}): "
        "pass on the whole dict unchanged"
    )
