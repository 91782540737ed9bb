"""A verb: the function that runs it, and what the runner does before and after it.

Each verb is declared beside its function, in ``xclaim.verbs``. The runner reads it here: what to
encode before, what to clean up after, and how to give back a claim whose caller was cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xclaim.message import Message

if TYPE_CHECKING:
    from sqlalchemy import URL

    from xclaim.claims import Claim

T = TypeVar("T")


class Over(StrEnum):
    """What the first arguments of a verb are, after the connection."""

    QUEUE = "queue"
    CLAIM = "claim"
    CLAIMS = "claims"
    QUEUE_AND_CLAIMS = "queue and claims"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb(Generic[T]):
    """One verb. ``function`` takes an open connection first, and options by name.

    ``reads``: it changes nothing, and may be interrupted anywhere. ``pushes``: its second argument
    are payloads, and ``check`` refuses what is wrong with the rest before any of them is stored.
    ``settles``: it ends claims for good, which a loop may hold. ``acks``, ``deletes``: objects of
    payloads may have to be deleted after it. ``notifies``: it can wake those who wait. ``retries``:
    it takes the queue's ``retry``. ``everywhere``: who gets nothing concludes that there is
    nothing, so that no place of a split queue is left out. ``undone_by``: the verb that gives back
    what this one has claimed.
    """

    function: Callable[..., T]
    over: Over = Over.QUEUE
    reads: bool = False
    pushes: bool = False
    settles: bool = False
    acks: bool = False
    deletes: bool = False
    notifies: bool = False
    retries: bool = False
    everywhere: bool = False
    check: Callable[[str, Mapping[str, Any]], None] | None = None
    undone_by: Verb[Any] | None = None

    @property
    def name(self) -> str:
        """The word for it."""
        return self.function.__name__

    @property
    def hands_out(self) -> bool:
        """Whether it returns claims: those of its event are what it has handed out."""
        return self.undone_by is not None

    def claims_in(self, arguments: Sequence[Any]) -> list[Claim]:
        """Return the claims among the arguments of a call."""
        match self.over:
            case Over.CLAIM:
                return [arguments[0]]
            case Over.CLAIMS:
                return list(arguments[0])
            case Over.QUEUE_AND_CLAIMS:
                return list(arguments[1])
            case Over.QUEUE:
                return []

    def queue_in(self, arguments: Sequence[Any]) -> str | None:
        """Return the queue that a call is about; None if it is about no claim at all."""
        if self.over in (Over.QUEUE, Over.QUEUE_AND_CLAIMS):
            return str(arguments[0])
        claims = self.claims_in(arguments)
        message = getattr(claims[0], "message", None) if claims else None
        return None if message is None else str(message.queue)


# Not frozen: that would take thrice as long to make, for each verb.
@dataclass(slots=True, kw_only=True)
class VerbEvent:
    """One verb was run: on which queue, with which messages, how long, and how it ended.

    ``count`` is how many messages it returned or changed, ``acked`` how many of its claims it has
    acked (``ack_and_claim`` does both). ``seconds`` is measured by the monotonic clock, from the
    encoding of payloads to the answer of the database. ``error`` is what was raised, None if it
    went well.

    ``claims`` was handed out. Of the claims that the verb was given, ``settled`` are those it has
    acked, released or extended, and ``lost`` those that were no longer held; after an error that is
    no ClaimLostError nobody knows, and both are empty. ``messages`` was pushed, of which those with
    the ids in ``repeated`` were there already; after a release it is the message as it is now.

    ``url`` is the database's. ``is_open``: it ran in a transaction that may still be rolled back.
    """

    verb: str
    queue: str | None
    count: int
    acked: int = 0
    seconds: float
    error: BaseException | None = None
    claims: Sequence[Claim] = ()
    settled: Sequence[Claim] = ()
    lost: Sequence[Claim] = ()
    messages: Sequence[Message] = ()
    repeated: Sequence[int] = ()
    url: URL | None = None
    is_open: bool = False

    @property
    def pushed(self) -> int:
        """How many messages a push has added: not those that were there already."""
        return len({message.id for message in self.messages} - {*self.repeated})

    @property
    def died(self) -> int:
        """How many messages the verb has made dead letters: what was released for the last time.

        Those whose lease ran out are in a ``LapseEvent``.
        """
        if not self.settled:
            return 0
        return sum(message.queue != self.queue for message in self.messages)

    @property
    def waits(self) -> list[float]:
        """For how many seconds the claimed messages had been available.

        Of one that a retry may have taken back from its earlier attempt nobody knows: it was held.
        """
        return [
            max(0.0, (claim.message.claimed_at - claim.message.available_at).total_seconds())
            for claim in self.claims
            if claim.message.claimed_at is not None
            and claim.message.available_at is not None
            and (claim.message.claim_key is None or claim.message.attempts <= 1)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class LapseEvent:
    """Messages were given back because their lease ran out: by ``expire``, or by a claim.

    ``died`` of the ``count`` messages have become dead letters.
    """

    queue: str
    count: int
    died: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnEvent:
    """The database is back, for a loop that has asked it again and again for so many seconds."""

    seconds: float


def outcome_of(verb: Verb[Any], result: Any, given: Sequence[Claim]) -> dict[str, Any]:
    """Return what the event of a verb that went well says of its result and the claims it got."""
    settled = () if verb.reads else given
    if verb.hands_out:
        claims = _listed(result)
        return {"count": len(claims), "claims": claims, "settled": settled}
    if verb.pushes:
        return {"count": len(result), "messages": result}
    if verb.over is Over.CLAIM and isinstance(result, Message):
        return {"count": 1, "settled": settled, "messages": [result]}
    return {"count": _count_of(result, len(given)), "settled": settled}


def _listed(result: Any) -> list[Any]:
    if isinstance(result, list):
        return result
    return [] if result is None else [result]


def _count_of(result: Any, given: int) -> int:
    match result:
        case int():
            return int(result)
        case list():
            return len(result)
        case None:
            return given
        case _:
            return 1
