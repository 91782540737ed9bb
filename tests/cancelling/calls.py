"""The verbs as something to cancel: each is called as a user would, in all its forms."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import Any

from xclaim import AsyncQueue, Claim, Queue, Ticket

LONGEST = 0.03  # seconds: about as long as the slowest call takes on a quiet machine
MINUTE = timedelta(minutes=1)
KEY = "task"


def moment(drawn: random.Random, longest: float = LONGEST) -> float:
    """Return when to strike, in seconds. Half are below a millisecond: calls take 0.3 to 20 ms."""
    return longest * drawn.random() ** 4


async def _claim(queue: AsyncQueue, _: Claim) -> int:
    return int(await queue.claim() is not None)


async def _claim_many(queue: AsyncQueue, _: Claim) -> int:
    return len(await queue.claim_many(20))


async def _claim_message(queue: AsyncQueue, claim: Claim) -> int:
    return int(await queue.claim_message(claim.message.id + 1) is not None)


async def _resume(queue: AsyncQueue, claim: Claim) -> int:
    return len(await queue.resume(Ticket.of([claim])))


async def _claim_waiting(queue: AsyncQueue, _: Claim) -> int:
    return len(await queue.claim_many(20, wait=MINUTE))


async def _consume(queue: AsyncQueue, _: Claim) -> int:
    async with queue.consume_many(20):
        return 0


async def _transact(queue: AsyncQueue, _: Claim) -> int:
    async with queue.transact():
        return 0


async def _stream(queue: AsyncQueue, _: Claim) -> int:
    async with aclosing(queue.stream(batch=20)) as claims:  # type: ignore[type-var]
        async for _claimed in claims:
            pass
    return 0


async def _push(queue: AsyncQueue, _: Claim) -> int:
    await queue.push_many([{"id": number} for number in range(20)])
    return 0


async def _release(queue: AsyncQueue, claim: Claim) -> int:
    await queue.release(claim)
    return 0


async def _expire(queue: AsyncQueue, _: Claim) -> int:
    await queue.expire()
    return 0


async def _counts(queue: AsyncQueue, _: Claim) -> int:
    await queue.counts()
    return 0


# Each returns how many claims its caller has from it.
CLAIMING: Mapping[str, Callable[[AsyncQueue, Claim], Awaitable[int]]] = {
    "claim": _claim,
    "claim_many": _claim_many,
    "claim_message": _claim_message,
    "resume": _resume,
    "claim(wait=)": _claim_waiting,
    "consume_many": _consume,
    "transact": _transact,
    "stream": _stream,
}
OTHERS: Mapping[str, Callable[[AsyncQueue, Claim], Awaitable[int]]] = {
    "push_many": _push,
    "release": _release,
    "expire": _expire,
    "counts": _counts,
}


def _stream_here(queue: Queue) -> int:
    for _ in queue.stream(batch=20):
        pass
    return 0


def _consume_here(queue: Queue) -> int:
    with queue.consume_many(20):
        return 0


def _transact_here(queue: Queue) -> int:
    with queue.transact():
        return 0


CLAIMING_HERE: Mapping[str, Callable[[Queue], int]] = {
    "claim": lambda queue: int(queue.claim() is not None),
    "claim_many": lambda queue: len(queue.claim_many(20)),
    "claim(wait=)": lambda queue: len(queue.claim_many(20, wait=MINUTE)),
    "consume_many": _consume_here,
    "transact": _transact_here,
    "stream": _stream_here,
}


@contextmanager
def filled(url: str, count: int) -> Iterator[tuple[Queue, Claim]]:
    """Yield a queue with so many messages, and one claim of another message under a key."""
    with Queue("orders", url) as queue:
        queue.push_many([{"id": number} for number in range(count + 2)])
        held = queue.claim(claim_key=KEY, claimed_by="first try", lease=timedelta(hours=1))
        assert held is not None
        yield queue, held


def attempts_counted(queue: Queue) -> list[Any]:
    """Return the messages that can be claimed and had an attempt counted."""
    return [message for message in queue.peek(10_000) if message.attempts]
