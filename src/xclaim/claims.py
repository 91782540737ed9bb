"""The right to settle a message, and what hands it on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, BinaryIO, Generic
from uuid import UUID

from xclaim.errors import InvalidArgumentError
from xclaim.message import Message, T_co, not_one

_new = object.__new__


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
            raise not_one("claim", error) from error


def checked_claim(value: Any) -> Claim:
    """Return the claim. Raise InvalidArgumentError if it is none."""
    if not isinstance(value, Claim):
        raise InvalidArgumentError(
            f"not a claim but of type {type(value).__name__}: pass what claim() returned, "
            "or Claim.from_dict() of its to_dict()"
        )
    if not isinstance(value.token, UUID):
        raise InvalidArgumentError(
            f"the token of the claim on message {value.message.id} is of type "
            f"{type(value.token).__name__}, not UUID: make the claim with Claim.from_dict()"
        )
    return value


def listed_claims(values: Any) -> list[Claim]:
    """Return the claims as a list. Raise InvalidArgumentError if they are no list of claims."""
    if isinstance(values, Claim | str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidArgumentError(
            f"claims must be a list of claims, not {type(values).__name__}: pass what claim_many() "
            "returned, or [claim]"
        )
    listed = list(values)
    # As nearly always, and told without a call for each.
    if {*map(type, listed)} == {Claim} and {*map(type, map(_token_of, listed))} == {UUID}:
        return listed
    return [checked_claim(value) for value in listed]


_token_of = attrgetter("token")
_set_message, _set_token = Claim.__dict__["message"].__set__, Claim.__dict__["token"].__set__


def claim_of(message: Message, token: UUID) -> Claim:
    """Return ``Claim(message=message, token=token)``, for code that makes many."""
    claim: Claim = _new(Claim)
    _set_message(claim, message)
    _set_token(claim, token)
    return claim


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
        listed = listed_claims(claims)
        sources = {(claim.message.queue, claim.message.claim_key) for claim in listed}
        claimants = {claim.claimed_by for claim in listed}
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
            raise not_one("ticket", error) from error
        for name, value in known.items():
            if not isinstance(value, str):
                raise not_one("ticket", TypeError(f"{name} is {value!r}"))
        return cls(**known)
