"""Tickets between tasks: claims that one task makes and another one resumes.

A ticket is ``xclaim.Ticket``. What the claiming task returns is its form for an XCom: the ticket as
a plain dict, with a few facts more. ``ticket_to_xcom`` makes it, ``ticket_from_xcom`` checks it.

    {"queue": ..., "claim_key": ..., "claimed_by": ..., "xclaim_conn_id": ..., "size": 1,
     "claimed_at": ..., "expires_at": ..., "id": 17, "attempts": 1, "payload": ..., "checksum": ...}

``id``, ``attempts`` and ``payload`` only in a ticket for one message, and the payload only if it is
plain JSON in the row: templates read them. One for several has ``first_id`` instead. The checksum
finds what was changed by accident; it is no signature. So what settles a ticket says itself behind
which connection.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from xclaim.airflow.versions import AirflowFailException

from xclaim.airflow.tasks import open_claims
from xclaim.airflow.tasks.identity import (
    PushSequence,
    TaskIdentity,
    current_task,
    is_of_former_run,
)
from xclaim.errors import InvalidArgumentError, TicketLostError

if TYPE_CHECKING:
    from xclaim import Claim, Queue, Ticket

TICKET_LEASE = timedelta(hours=1)  # a mapped task may wait that long for its slot
_CHECKSUM_LENGTH = 16
_tickets = PushSequence()


class TicketClaimant:
    """Who claims for a ticket; ``has_claimed`` keeps its number from being given again."""

    def __init__(self, keys: dict[str, Any]) -> None:
        self.keys = keys
        self.has_claimed = False


@contextmanager
def ticket_claimant(queue: str) -> Iterator[TicketClaimant]:
    """Yield under which name and key to claim for the next ticket of the queue.

    The keys are numbered, so that a retry claims under the same ones and gets the same messages.
    """
    task = current_task()
    if task is None:
        key = f"{socket.gethostname()}:{os.getpid()}/ticket/{uuid4()}"
        yield TicketClaimant({"claimed_by": None, "claim_key": key})
        return
    with suppress(_NothingClaimedError), _tickets.numbers(task.instance_id, queue, 1) as (number,):
        who = TicketClaimant({"claimed_by": task.claimed_by, "claim_key": task.ticket_key(number)})
        yield who
        if not who.has_claimed:
            raise _NothingClaimedError


class TicketLostForGoodError(TicketLostError, AirflowFailException):
    """In a task: Airflow does not try it again, because no retry finds the messages either."""


class _NothingClaimedError(Exception):
    """Gives the number of a ticket back."""


def claimed_ticket(
    queue: str, xclaim_conn_id: str, claim: Callable[..., Sequence[Claim]]
) -> dict[str, Any] | None:
    """Claim for another task; return the ticket in its form for an XCom, None if nothing was there.

    ``claim`` does so under the name and the key that it is given.
    """
    with ticket_claimant(queue) as who:
        claims = claim(**who.keys)
        who.has_claimed = bool(claims)
    open_claims.forget(claims)  # they outlive the task
    return ticket_to_xcom(xclaim_conn_id, claims) if claims else None


def resumption_key(task: TaskIdentity, ticket: Ticket) -> str:
    """Return the claim key under which a task resumes a ticket, and its retries find it again."""
    return task.resumption_key(f"{ticket.claim_key} {ticket.claimed_by}")


def was_settled(queue: Queue, xcom: Mapping[str, Any], task: TaskIdentity | None) -> bool:
    """Return whether an earlier try of the task has settled what the ticket was for.

    ``xcom`` is its form for an XCom. The row of its message says so. Of a batch it is the first
    one's, which may also have failed: an earlier try had the batch then, and went through it.
    """
    from xclaim.message import LEASE_EXPIRED

    if task is None or not task.is_retry:
        return False
    message = queue.get(xcom.get("id", xcom.get("first_id")))
    if message is not None and task.is_named_in(message.consumed_by):
        return True
    if message is None or "id" in xcom:
        return False
    return any(
        task.has_tried_as(each.claimed_by)
        and each.error_class != LEASE_EXPIRED
        and not is_of_former_run(each.at)
        for each in queue.failures(message.id)
    )


def checked_batches(max_batches: Any) -> int:
    """Return how many tickets to make at most. Raise InvalidArgumentError if Airflow allows less.

    :param max_batches: by default as many as Airflow expands over.
    """
    from xclaim.airflow.versions import conf

    longest: int = conf.getint("core", "max_map_length", fallback=1024)
    if max_batches is None:
        return longest
    is_number = isinstance(max_batches, int) and not isinstance(max_batches, bool)
    if not is_number or not 1 <= max_batches <= longest:
        raise InvalidArgumentError(
            f"max_batches must lie between 1 and {longest}, Airflow's [core] max_map_length, not "
            f"{max_batches!r}: make the batches larger, or raise that setting"
        )
    return int(max_batches)


def ticket_to_xcom(xclaim_conn_id: str, claims: Sequence[Claim]) -> dict[str, Any]:
    """Return the ticket for claims that were made by one call under a key of their own."""
    from xclaim import Ticket
    from xclaim.connections.payload_work import unreadable

    xcom = {
        **Ticket.of(claims).to_dict(),
        "xclaim_conn_id": xclaim_conn_id,
        "size": len(claims),
        "claimed_at": str(claims[0].message.to_dict()["claimed_at"]),
        "expires_at": claims[0].expires_at.isoformat(),
    }
    message = claims[0].message
    if len(claims) > 1:
        xcom["first_id"] = message.id  # one is enough to ask what became of them
    else:
        xcom |= {"id": message.id, "attempts": message.attempts}
        # Else it may be large, or secret, or none that JSON has; or nobody can read it.
        if message.codec is None and unreadable(message) is None:
            xcom["payload"] = message.stored
    return {**xcom, "checksum": _checksum(xcom)}


def ticket_from_xcom(xcom: object, xclaim_conn_id: str, queue: str | None = None) -> Ticket:
    """Return the ticket. Raise InvalidArgumentError if it is none, or was changed on its way.

    Whoever may write an XCom may write any ticket. So it chooses neither the connection nor, where
    a queue is named, the queue: it says which it was made with, and that has to be the same.

    :param xcom: what the claiming task returned.
    :param xclaim_conn_id: where it is looked for.
    :param queue: which it has to be of.
    """
    from xclaim import Ticket

    if not isinstance(xcom, Mapping):
        hint = ""
        if isinstance(xcom, str):
            hint = " (a template makes a string of it: pass `task.output` instead of `{{ ... }}`)"
        raise InvalidArgumentError(
            f"a ticket is the dict that a claiming task returned, not {type(xcom).__name__}"
            f"{hint}: {xcom!r:.100}"
        )
    ticket = Ticket.from_dict(xcom)
    if xcom.get("checksum") != _checksum(xcom):
        raise InvalidArgumentError(
            f"the ticket of {ticket.claimed_by!r} in {ticket.queue!r} was changed since it was "
            "made: pass on the whole dict as the claiming task returned it"
        )
    made_with = xcom.get("xclaim_conn_id")
    if made_with != xclaim_conn_id:
        raise InvalidArgumentError(
            f"the ticket was made with the connection {made_with!r:.100}, and is not settled on a "
            f"connection that an XCom names: this is {xclaim_conn_id!r}; if the ticket is right, "
            "pass its connection as xclaim_conn_id"
        )
    if queue is not None and ticket.queue != queue:
        raise InvalidArgumentError(
            f"the ticket is of queue {ticket.queue!r:.100}, and only one of {queue!r} is taken here"
        )
    return ticket


def _checksum(xcom: Mapping[str, Any]) -> str:
    content = {name: value for name, value in xcom.items() if name != "checksum"}
    try:
        text = json.dumps(content, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"the ticket is not JSON ({error}): pass it on unchanged"
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()[:_CHECKSUM_LENGTH]
