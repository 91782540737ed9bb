"""The values that are handed out: messages, claims and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import Any
from uuid import UUID

from xclaim.errors import InvalidArgumentError


class Status(StrEnum):
    """The three states of a message, as they stand in the table."""

    AVAILABLE = "available"
    CLAIMED = "claimed"
    CONSUMED = "consumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One row of ``xclaim_message``. Times are aware UTC, by the database's clock.

    Its repr, which ends up in logs, leaves out what may be confidential.
    """

    id: int
    queue: str
    origin_queue: str
    status: Status
    priority: int
    payload: Any = field(repr=False)
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

    @property
    def is_dead_letter(self) -> bool:
        """Whether the message waits in a dead-letter queue."""
        return self.queue != self.origin_queue and self.queue.endswith(".dead")

    def to_dict(self) -> dict[str, Any]:
        """Return the message as JSON-serialisable values, times in ISO 8601."""
        return {field.name: _to_json(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Message:
        """Return the message ``to_dict`` described. Raise InvalidArgumentError if it is none."""
        try:
            known = {field.name: values[field.name] for field in fields(cls)}
            for name, value in known.items():
                if name.endswith("_at") and value is not None:
                    known[name] = datetime.fromisoformat(value)
            known["status"] = Status(known["status"])
            _check_types(known)
            return cls(**known)
        except (KeyError, TypeError, ValueError) as error:
            raise _not_one("message", error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to settle one message: the message as it was claimed, and the receipt.

    ``token`` is new with every claim of a message; ack, release and extend match it, so a claim
    that was lost can never settle a later one. It is a credential, so the repr leaves it out.
    """

    message: Message
    token: UUID = field(repr=False)

    @property
    def payload(self) -> Any:
        """The payload of the message."""
        return self.message.payload

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

    def extended_to(self, expires_at: datetime) -> Claim:
        """Return the same claim with another end of its lease."""
        return replace(self, message=replace(self.message, claim_expires_at=expires_at))

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
