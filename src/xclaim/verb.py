"""A verb: the function that runs it, and what the runner does before and after it.

Each verb is declared beside its function, in ``xclaim.verbs``. The runner reads it here: what to
encode before, what to clean up after, and how to give back a claim whose caller was cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from xclaim.message import Claim

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
    it takes the queue's ``retry``. ``undone_by``: the verb that gives back what this one has
    claimed.
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
    check: Callable[[str, Mapping[str, Any]], None] | None = None
    undone_by: Verb[Any] | None = None

    @property
    def name(self) -> str:
        """The word for it."""
        return self.function.__name__

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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerbEvent:
    """One verb was run: on which queue, for how many messages, how long, and how it ended.

    ``count`` is how many messages it returned or changed, ``acked`` how many of its claims it has
    acked (``ack_and_claim`` does both). ``seconds`` is measured by the monotonic clock, from the
    encoding of payloads to the answer of the database. ``error`` is what was raised, None if it
    went well.
    """

    verb: str
    queue: str | None
    count: int
    acked: int = 0
    seconds: float
    error: BaseException | None = None


def count_of(result: Any, settled: int) -> int:
    """Return how many messages a verb has returned or changed, as its event says it."""
    match result:
        case int():
            return int(result)
        case list():
            return len(result)
        case None:
            return settled
        case _:
            return 1
