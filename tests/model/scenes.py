"""What is in the table when the sessions begin, and what each of them does.

The message that is contended for has the unique key that `push` uses, and `ack`, `release`,
`extend` and what fails have its only claim. In `one of each` a push is new. The message has failed
before, and all of it was hours ago: a pause that is over is over in every order, and one that
begins is a minute at least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from tests.retrying import AT_ONCE
from xclaim import Claim, Queue, Retry, ack, claim, push
from xclaim.verbs.settling import note_failure

QUEUE = "orders"
UNIQUE_KEY = "key"
PAYLOAD = "payload"
OTHER_PAYLOAD = "another payload"
CLAIM_KEY = "task"
DAY = timedelta(days=1)
NOW = timedelta(0)
BEFORE = 4  # attempts that failed before the sessions begin
ERROR = ValueError("boom")
ONE_ATTEMPT = Retry(max_attempts=1)
FOR_EVER = Retry(first=NOW, max_attempts=None)
SLOWLY = Retry(first=DAY, most=DAY)


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
# How each of them fails. An expire can be told how, as a release can.
FAILING: Mapping[str, Verb] = {
    "fail": lambda connection, role: Queue(QUEUE, connection).release(role.claim, error=ERROR),
    "note a failure": lambda connection, role: note_failure(
        connection, role.claim, error=ERROR, lease=DAY
    ),
    "fail at once": lambda connection, role: Queue(QUEUE, connection, retry=AT_ONCE).release(
        role.claim, error=ERROR
    ),
    "fail, and come back later": lambda connection, role: Queue(QUEUE, connection).release(
        role.claim, error=ERROR, delay=DAY
    ),
    "fail uncounted": lambda connection, role: Queue(QUEUE, connection).release(
        role.claim, error=ERROR, count=False
    ),
    "fail for good": lambda connection, role: Queue(QUEUE, connection, retry=ONE_ATTEMPT).release(
        role.claim, error=ERROR
    ),
    "fail, and never for good": lambda connection, role: Queue(
        QUEUE, connection, retry=FOR_EVER
    ).release(role.claim, error=ERROR),
    "expire slowly": lambda connection, _: Queue(QUEUE, connection, retry=SLOWLY).expire(),
    "expire for good": lambda connection, _: Queue(QUEUE, connection, retry=ONE_ATTEMPT).expire(),
}
RETRIES: Mapping[str, Retry] = {
    "fail at once": AT_ONCE,
    "fail for good": ONE_ATTEMPT,
    "fail, and never for good": FOR_EVER,
    "expire slowly": SLOWLY,
    "expire for good": ONE_ATTEMPT,
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


def resting(queue: Queue) -> Claim:
    """Leave a message that has failed, and rests for a day; the claim was lost."""
    claim = held(queue)
    queue.release(claim, error=ERROR, delay=DAY)
    return claim


def held(queue: Queue) -> Claim:
    """Leave a message that is claimed for a day."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY)
    return claimed(queue, DAY, after=BEFORE)


def lapsed(queue: Queue) -> Claim:
    """Leave a message whose claim has lapsed."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY)
    return claimed(queue, NOW, after=BEFORE)


def held_last_attempt(queue: Queue) -> Claim:
    """Leave a message that is claimed for a day, and was for the last time."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY, max_attempts=BEFORE + 1)
    return claimed(queue, DAY, after=BEFORE)


def lapsed_last_attempt(queue: Queue) -> Claim:
    """Leave a message whose claim has lapsed, and was the last."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY, max_attempts=BEFORE + 1)
    return claimed(queue, NOW, after=BEFORE)


def lapsed_often(queue: Queue) -> Claim:
    """Leave a message whose claim has lapsed, after as many failures as are kept."""
    queue.push(PAYLOAD, unique_key=UNIQUE_KEY, max_attempts=None)
    return claimed(queue, NOW, after=20)


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
    queue.push("rests")
    queue.release(claimed(queue, DAY), error="before", delay=DAY)
    queue.push("consumed")
    queue.ack(claimed(queue, DAY))
    queue.push("held by somebody else")
    queue.claim(claimed_by="somebody else", lease=DAY)
    queue.push_many(["lapsed"], max_attempts=None)
    for _ in range(BEFORE):
        queue.release(claimed(queue, DAY), error="before")
    queue.push_many(["lapsed for the last time"], max_attempts=1)
    claim, _last = queue.claim_many(2, claimed_by="before", claim_key=CLAIM_KEY, lease=NOW)
    queue.push("later", delay=DAY)
    queue.push("available", priority=1)  # before what lapsed: two claims want the same message
    return claim


def claimed(queue: Queue, lease: timedelta, *, after: int = 0) -> Claim:
    """Return the claim of the next message, which there has to be, when so many have failed."""
    for _ in range(after):
        queue.release(claimed(queue, DAY), error="before")
    claim = queue.claim(claimed_by="before", claim_key=CLAIM_KEY, lease=lease)
    assert claim is not None
    return claim


SCENES: Mapping[str, Prepare] = {
    prepare.__name__.replace("_", " "): prepare
    for prepare in (
        one_of_each,
        nothing,
        available,
        resting,
        held,
        held_last_attempt,
        lapsed,
        lapsed_last_attempt,
        lapsed_often,
        dead_letter,
    )
}
