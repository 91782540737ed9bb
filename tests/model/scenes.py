"""What is in the table when the sessions begin, and what each of them does.

The message that is contended for has the unique key that `push` uses, and `ack`, `release` and
`extend` have its only claim. In `one of each` a push is new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from xclaim import Claim, Queue, ack, claim, push

QUEUE = "orders"
UNIQUE_KEY = "key"
PAYLOAD = "payload"
OTHER_PAYLOAD = "another payload"
CLAIM_KEY = "task"
DAY = timedelta(days=1)
NOW = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Which session it is, and the claim that it settles if its verb settles one."""

    name: str
    claim: Claim


Verb = Callable[[Connection, Role], object]
Prepare = Callable[[Queue], Claim]

VERBS: Mapping[str, Verb] = {
    "push": lambda connection, _: push(connection, QUEUE, PAYLOAD, unique_key=UNIQUE_KEY),
    "claim": lambda connection, role: claim(connection, QUEUE, claimed_by=role.name, lease=DAY),
    "ack": lambda connection, role: ack(connection, role.claim),
    "release": lambda connection, role: Queue(QUEUE, connection).release(role.claim),
    "extend": lambda connection, role: Queue(QUEUE, connection).extend(role.claim, lease=DAY),
    "expire": lambda connection, _: Queue(QUEUE, connection).expire(),
    "redrive": lambda connection, _: Queue(QUEUE, connection).redrive(),
}
# The same verbs with another intention: a push that has to be refused beside the other, and the
# claim of a retry, which takes back what the attempt before it still holds.
VARIANTS: Mapping[str, Verb] = {
    "push another": lambda connection, _: push(
        connection, QUEUE, OTHER_PAYLOAD, unique_key=UNIQUE_KEY
    ),
    "take back": lambda connection, role: claim(
        connection, QUEUE, claimed_by=role.name, claim_key=CLAIM_KEY, lease=DAY
    ),
}


def nothing(queue: Queue) -> Claim:
    """Leave an empty table; the claim is of a message that was acked and pruned."""
    claim = held(queue)
    queue.ack(claim)
    queue.prune(older_than=NOW)
    return claim


def available(queue: Queue) -> Claim:
    """Leave a message that can be claimed; the claim was lost."""
    claim = lapsed(queue)
    queue.expire()
    return claim


def held(queue: Queue) -> Claim:
    """Leave a message that is claimed for a day."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY)
    return claimed(queue, DAY)


def lapsed(queue: Queue) -> Claim:
    """Leave a message whose claim has lapsed."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY)
    return claimed(queue, NOW)


def held_last_attempt(queue: Queue) -> Claim:
    """Leave a message that is claimed for a day, and was for the last time."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY, max_attempts=1)
    return claimed(queue, DAY)


def lapsed_last_attempt(queue: Queue) -> Claim:
    """Leave a message whose claim has lapsed, and was the last."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY, max_attempts=1)
    return claimed(queue, NOW)


def dead_letter(queue: Queue) -> Claim:
    """Leave a dead letter; the claim was lost."""
    claim = lapsed_last_attempt(queue)
    queue.expire()
    return claim


def one_of_each(queue: Queue) -> Claim:
    """Leave a message in every state there is, so that each verb finds one.

    The claim has lapsed; another one has, and that was the last; a third is held by nobody here.
    """
    queue.push("buried", max_attempts=1)
    queue.release(claimed(queue, DAY))
    queue.push("consumed")
    queue.ack(claimed(queue, DAY))
    queue.push("held by somebody else")
    queue.claim(claimed_by="somebody else", lease=DAY)
    queue.push_many(["lapsed"])
    queue.push_many(["lapsed for the last time"], max_attempts=1)
    claim, _last = queue.claim_many(2, claimed_by="before", claim_key=CLAIM_KEY, lease=NOW)
    queue.push("later", delay=DAY)
    queue.push("available", priority=1)  # before what lapsed: two claims want the same message
    return claim


def claimed(queue: Queue, lease: timedelta) -> Claim:
    """Return the claim of the next message, which there has to be."""
    claim = queue.claim(claimed_by="before", claim_key=CLAIM_KEY, lease=lease)
    assert claim is not None
    return claim


SCENES: Mapping[str, Prepare] = {
    prepare.__name__.replace("_", " "): prepare
    for prepare in (
        one_of_each,
        nothing,
        available,
        held,
        held_last_attempt,
        lapsed,
        lapsed_last_attempt,
        dead_letter,
    )
}
