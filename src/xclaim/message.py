"""The values that are handed out: messages, claims and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum
from pkgutil import resolve_name
from types import NoneType
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol, cast
from uuid import UUID

from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)


# Makes the reader of a message that has none. It is named and not imported, because it belongs to
# a higher floor; it is loaded with the first payload that needs it.
_DEFAULT_READER = "xclaim.payloads.payloads:Payloads.by_default"


class Status(StrEnum):
    """The three states of a message, as they stand in the table."""

    AVAILABLE = "available"
    CLAIMED = "claimed"
    CONSUMED = "consumed"


class Reader(Protocol):
    """Reads what rows have of payloads: ``Payloads`` does."""

    @property
    def is_typed(self) -> bool:
        """Whether plain JSON, too, is more than it stands in the row: values of a type."""

    def read(self, stored: Any, codec: str | None) -> Any:
        """Return the payload."""

    def open(self, stored: Any, codec: str | None) -> BinaryIO:
        """Return the encoded payload as a file."""


class _Unread(Enum):
    """Marks a payload that was not read yet; an enum, which ``asdict`` does not copy."""

    UNREAD = "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Generic[T_co]):
    """One row of ``xclaim_message``. Times are aware UTC, by the database's clock.

    ``stored`` is what the row has of the payload. ``codec`` says how that is encoded, None is plain
    JSON. ``reader`` makes the payload of it when ``payload`` is first asked for; None: plain JSON
    is the payload, and the rest is read as the environment says. The repr, which ends up in logs,
    leaves out what may be confidential.
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
    available_at: datetime
    claimed_at: datetime | None
    claim_expires_at: datetime | None
    consumed_at: datetime | None
    claimed_by: str | None
    consumed_by: str | None
    claim_key: str | None
    last_error: str | None = field(repr=False)
    last_error_class: str | None
    codec: str | None = None
    reader: Reader | None = field(default=None, repr=False, compare=False)
    _value: Any = field(default=_Unread.UNREAD, init=False, repr=False, compare=False)

    @property
    def payload(self) -> T_co:
        """The payload, which may have to be fetched from the storage at first, and is then kept.

        Raise PayloadReadError or StorageError if it cannot be read. With asyncio ask
        ``await queue.read(claim)`` first, which waits for the storage in a thread.
        """
        if self.codec is None and self.reader is None:
            return self.stored  # type: ignore[no-any-return]
        if self._value is _Unread.UNREAD:
            object.__setattr__(self, "_value", self._reading().read(self.stored, self.codec))
        return self._value  # type: ignore[no-any-return]

    @property
    def is_dead_letter(self) -> bool:
        """Whether the message waits in a dead-letter queue."""
        return self.queue != self.origin_queue and self.queue.endswith(".dead")

    def open(self) -> BinaryIO:
        """Return the payload, as its codec encodes it, as a file: large ones are read in pieces.

        The end of it is handed out only after size and digest were found right. Raise
        PayloadReadError or StorageError, on opening or while it is read.
        """
        return self._reading().open(self.stored, self.codec)

    def read_by(self, reader: Reader) -> Message[T_co]:
        """Return the message so that the reader reads its payload; nothing is read for this."""
        if reader is self.reader or (
            self.reader is None and self.codec is None and not reader.is_typed
        ):
            return self
        return replace(self, reader=reader)

    def expiring(self, claim_expires_at: datetime) -> Message[T_co]:
        """Return the same message with another end of its lease; what was read stays read."""
        again = replace(self, claim_expires_at=claim_expires_at)
        object.__setattr__(again, "_value", self._value)
        return again

    def to_dict(self) -> dict[str, Any]:
        """Return the message as JSON-serialisable values, times in ISO 8601.

        Of an encoded payload what the row has of it: nothing is read for this.
        """
        values = {name: _to_json(getattr(self, name)) for name in _IN_JSON}
        return {**values, "payload": self.stored}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Message:
        """Return the message ``to_dict`` described. Raise InvalidArgumentError if it is none.

        An encoded payload is read as the environment says; ``queue.read(...)`` reads it as the
        queue's own settings say.
        """
        try:
            known = {name: values[name] for name in _IN_JSON if name != "codec"}
            for name, value in known.items():
                if name.endswith("_at") and value is not None:
                    known[name] = datetime.fromisoformat(value)
            known["status"] = Status(known["status"])
            known["codec"] = values.get("codec")  # an xclaim that knew none may have written it
            known["stored"] = values["payload"]
            _check_types(known)
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise _not_one("message", error) from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again, in another process perhaps, unread."""
        return _made, ({name: getattr(self, name) for name in (*_IN_JSON, "stored", "reader")},)

    def _reading(self) -> Reader:
        if self.reader is not None:
            return self.reader
        default: Reader = resolve_name(_DEFAULT_READER)()
        return default


# The fields that stand in JSON under their own names.
_IN_JSON = tuple(
    field.name for field in fields(Message) if field.name not in ("stored", "reader", "_value")
)


def _made(values: dict[str, Any]) -> Message:
    return Message(**values)


# A frozen dataclass takes three times as long to make as one that is not frozen: it calls
# object.__setattr__ for each field. Code that makes many messages fills in a draft instead.
Draft = cast(
    "type[Message]",
    make_dataclass(
        "Draft",
        [(field.name, field.type, field) for field in fields(Message)],
        bases=(Generic[T_co],),  # type: ignore[index]  # as of the class above
        slots=True,
        kw_only=True,
    ),
)


def finished(draft: Message) -> Message:
    """Return the message that a ``Draft`` with its fields becomes: the same object."""
    draft.__class__ = Message
    return draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim(Generic[T_co]):
    """The right to settle one message: the message as it was claimed, and the receipt.

    ``token`` is new with every claim of a message; ack, release and extend match it, so a claim
    that was lost can never settle a later one. It is a credential, so the repr leaves it out.
    """

    message: Message[T_co]
    token: UUID = field(repr=False)

    @property
    def payload(self) -> T_co:
        """The payload of the message; one that is not in the row is read when first asked for.

        With asyncio ask ``await queue.read(claim)``: this property would block the event loop.
        """
        return self.message.payload

    def open(self) -> BinaryIO:
        """Return the payload as a file, as ``Message.open`` does."""
        return self.message.open()

    @property
    def claimed_by(self) -> str:
        """Who holds the claim, readable."""
        return self.message.claimed_by or ""

    @property
    def expires_at(self) -> datetime:
        """When the lease ends and the message may be claimed by others."""
        if self.message.claim_expires_at is None:
            raise InvalidArgumentError(f"message {self.message.id} is not claimed")
        return self.message.claim_expires_at

    def extended_to(self, expires_at: datetime) -> Claim[T_co]:
        """Return the same claim with another end of its lease."""
        return replace(self, message=self.message.expiring(expires_at))

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON-serialisable values, for an XCom or another process."""
        return {"message": self.message.to_dict(), "token": str(self.token)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Claim:
        """Return the claim that ``to_dict`` described. Raise InvalidArgumentError if it is none."""
        try:
            return cls(
                message=Message.from_dict(values["message"]), token=UUID(str(values["token"]))
            )
        except InvalidArgumentError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise _not_one("claim", error) from error


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
class Ticket:
    """What hands claims on to another task or process, however many: under which key, and by whom.

    The first to ``resume`` a ticket takes the claims over. It is no receipt: it settles nothing.
    """

    queue: str
    claim_key: str
    claimed_by: str

    @classmethod
    def of(cls, claims: Sequence[Claim]) -> Ticket:
        """Return the ticket for claims that were made by one call, with a claim key.

        It is for all that is held under that key, so give each ticket a key of its own. Raise
        InvalidArgumentError for no claims, for those of several calls, and without a key.
        """
        sources = {(claim.message.queue, claim.message.claim_key) for claim in claims}
        claimants = {claim.claimed_by for claim in claims}
        if len(sources) != 1 or len(claimants) != 1:
            raise InvalidArgumentError(
                f"a ticket is for the claims of one call, and these are of {len(sources)} queues "
                f"and claim keys, by {len(claimants)} claimants: make one ticket for each"
            )
        ((queue, claim_key),), (claimed_by,) = sources, claimants
        if claim_key is None:
            raise InvalidArgumentError(
                "a ticket needs claims that were made with a claim key: pass claim_key to claim()"
            )
        return cls(queue=queue, claim_key=claim_key, claimed_by=claimed_by)

    def to_dict(self) -> dict[str, Any]:
        """Return the ticket as JSON-serialisable values, for an XCom or another process."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Ticket:
        """Return the ticket ``to_dict`` described. Raise InvalidArgumentError if it is none."""
        try:
            known = {field.name: values[field.name] for field in fields(cls)}
        except (KeyError, TypeError) as error:
            raise _not_one("ticket", error) from error
        for name, value in known.items():
            if not isinstance(value, str):
                raise _not_one("ticket", TypeError(f"{name} is {value!r}"))
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many messages of a queue are in which state; dead letters are its dead-letter queue's."""

    available: int
    delayed: int
    claimed: int
    consumed: int
    dead_letters: int


_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": int,
    "queue": str,
    "origin_queue": str,
    "priority": int,
    "headers": dict,
    "unique_key": (str, NoneType),
    "attempts": int,
    "max_attempts": (int, NoneType),
    "created_at": datetime,
    "available_at": datetime,
    "claimed_by": (str, NoneType),
    "consumed_by": (str, NoneType),
    "claim_key": (str, NoneType),
    "last_error": (str, NoneType),
    "last_error_class": (str, NoneType),
    "codec": (str, NoneType),
}


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


def _not_one(noun: str, error: Exception) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"not a {noun} as written by to_dict ({type(error).__name__}: {error}): "
        "pass on the whole dict unchanged"
    )
