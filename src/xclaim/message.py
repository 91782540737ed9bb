"""The values that are handed out: messages, claims and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Protocol
from uuid import UUID

from xclaim.errors import InvalidArgumentError

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)


class Status(StrEnum):
    """The three states of a message, as they stand in the table."""

    AVAILABLE = "available"
    CLAIMED = "claimed"
    CONSUMED = "consumed"


class Reader(Protocol):
    """Reads what rows have of payloads: ``Payloads`` does."""

    def read(self, stored: Any, codec: str | None) -> Any:
        """Return the payload."""

    def open(self, stored: Any, codec: str | None) -> BinaryIO:
        """Return the encoded payload as a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Generic[T_co]):
    """One row of ``xclaim_message``. Times are aware UTC, by the database's clock.

    ``codec`` says how the payload is encoded, None is plain JSON. ``payload`` of an encoded message
    is read, from the storage perhaps, when it is first asked for. The repr, which ends up in logs,
    leaves out what may be confidential.
    """

    id: int
    queue: str
    origin_queue: str
    status: Status
    priority: int
    payload: T_co = field(repr=False)
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
    codec: str | None = None

    @property
    def is_dead_letter(self) -> bool:
        """Whether the message waits in a dead-letter queue."""
        return self.queue != self.origin_queue and self.queue.endswith(".dead")

    @property
    def stored(self) -> Any:
        """What the row has as payload: the payload itself, or how it is encoded and where it is."""
        return self.payload

    def open(self) -> BinaryIO:
        """Return the payload, as its codec encodes it, as a file: large ones are read in pieces.

        The end of it is handed out only after size and digest were found right. Raise
        PayloadReadError or StorageError, on opening or while it is read.
        """
        return as_encoded(self, None).open()

    def expiring(self, claim_expires_at: datetime) -> Message[T_co]:
        """Return the same message with another end of its lease."""
        return replace(self, claim_expires_at=claim_expires_at)

    def to_dict(self) -> dict[str, Any]:
        """Return the message as JSON-serialisable values, times in ISO 8601.

        Of an encoded payload what the row has of it: nothing is read for this.
        """
        values = {name: _to_json(getattr(self, name)) for name in _NAMES if name != "payload"}
        return {**values, "payload": self.stored}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Message:
        """Return the message ``to_dict`` described. Raise InvalidArgumentError if it is none.

        An encoded payload is read as the environment says; ``queue.read(...)`` reads it as the
        queue's own settings say.
        """
        try:
            known = {name: values[name] for name in _NAMES if name != "codec"}
            for name, value in known.items():
                if name.endswith("_at") and value is not None:
                    known[name] = datetime.fromisoformat(value)
            known["status"] = Status(known["status"])
            known["codec"] = values.get("codec")  # an xclaim that knew none may have written it
            _check_types(known)
            return make_message(known)
        except (KeyError, TypeError, ValueError) as error:
            raise _not_one("message", error) from error


class EncodedMessage(Message[T_co]):
    """A message whose payload is read when it is first asked for, and then kept."""

    __slots__ = ("_is_read", "_reader", "_stored", "_value")

    _is_read: bool
    _reader: Reader | None
    _stored: Any
    _value: Any

    @property
    def payload(self) -> Any:
        """The payload. Raise PayloadReadError or StorageError if it cannot be read."""
        if not self._is_read:
            object.__setattr__(self, "_value", self._reading().read(self._stored, self.codec))
            object.__setattr__(self, "_is_read", True)
        return self._value

    @payload.setter
    def payload(self, stored: Any) -> None:
        # By the dataclass's __init__: it is what the row has.
        object.__setattr__(self, "_stored", stored)
        object.__setattr__(self, "_is_read", False)
        object.__setattr__(self, "_reader", None)

    @property
    def stored(self) -> Any:
        """What the row has of the payload: how it is encoded, and where it is."""
        return self._stored

    def open(self) -> BinaryIO:
        """Return the payload, as its codec encodes it, as a file: large ones are read in pieces."""
        return self._reading().open(self._stored, self.codec)

    def expiring(self, claim_expires_at: datetime) -> Message[T_co]:
        """Return the same message with another end of its lease; nothing is read for this."""
        again = _encoded({**self._fields(), "claim_expires_at": claim_expires_at}, self._reader)
        if self._is_read:
            object.__setattr__(again, "_value", self._value)
            object.__setattr__(again, "_is_read", True)
        return again

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same row in the same state; nothing is read for this."""
        if not isinstance(other, EncodedMessage):
            return NotImplemented
        return self._fields() == other._fields()

    __hash__ = None  # type: ignore[assignment]  # as that of any message: headers are a dict

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again in another process, unread."""
        return _encoded, (self._fields(), self._reader)

    def is_of(self, reader: Reader | None) -> bool:
        """Return whether this reader reads the payload."""
        return self._reader is reader

    def _fields(self) -> dict[str, Any]:
        return {name: self._stored if name == "payload" else getattr(self, name) for name in _NAMES}

    def _reading(self) -> Reader:
        if self._reader is not None:
            return self._reader
        from xclaim.payloads.payloads import Payloads

        return Payloads.from_environment() or Payloads()


_NAMES = tuple(field.name for field in fields(Message))


def make_message(values: dict[str, Any]) -> Message:
    """Return the message with these fields; ``payload`` is what the row has."""
    return kind_of(values["codec"])(**values)


def kind_of(codec: str | None) -> type[Message]:
    """Return what makes a message of its fields; ``payload`` is what the row has."""
    return Message if codec is None else EncodedMessage


def as_encoded(message: Message, reader: Reader | None) -> EncodedMessage:
    """Return the message so that the reader reads its payload; None: as the environment says."""
    if isinstance(message, EncodedMessage) and message.is_of(reader):
        return message  # and keeps what was read already
    values = {name: getattr(message, name) for name in _NAMES if name != "payload"}
    return _encoded({**values, "payload": message.stored}, reader)


def _encoded(values: dict[str, Any], reader: Reader | None) -> EncodedMessage:
    message: EncodedMessage = EncodedMessage(**values)
    object.__setattr__(message, "_reader", reader)
    return message


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
        """The payload of the message; one that is not in the row is read when first asked for."""
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
    "codec": (str, NoneType),
}


def _check_types(values: Mapping[str, Any]) -> None:
    for name, type_ in _TYPES.items():
        if not isinstance(values[name], type_) or isinstance(values[name], bool):
            raise TypeError(f"{name} is of type {type(values[name]).__name__}")
    if not 1 <= values["id"] < 2**63:
        raise ValueError(f"id {values['id']} is none that a database gives")
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
