"""The verbs as something to cancel: each is called as a user would, in all its forms."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from tests.retrying import AT_ONCE
from xclaim import AsyncQueue, Claim, Queue, Retry, Ticket, create_engine
from xclaim.sql.schema import message_table

LONGEST = 0.03  # seconds: about as long as the slowest call takes on a quiet machine
MINUTE = timedelta(minutes=1)
KEY = "task"
BAD = ValueError("bad")
SLOWLY = Retry(first=timedelta(hours=1))
_TABLE = message_table()
_ROWS = select(
    _TABLE.c.id,
    _TABLE.c.status,
    _TABLE.c.attempts,
    _TABLE.c.failures,
    _TABLE.c.available_at,
    _TABLE.c.created_at,
)


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


def is_bad(claim: Claim) -> bool:
    """Return whether a loop fails this message, and goes on with the others."""
    return claim.message.id % 3 == 0


async def _fail_in_a_stream(queue: AsyncQueue, _: Claim) -> int:
    async with aclosing(queue.stream(batch=20, retry=SLOWLY)) as claims:  # type: ignore[type-var]
        async for claim in claims:
            if is_bad(claim):
                await queue.release(claim, error=BAD)
    return 0


async def _fail_in_a_batch(queue: AsyncQueue, _: Claim) -> int:
    async with queue.consume_many(20, retry=SLOWLY) as claims:
        for claim in filter(is_bad, claims):
            await queue.release(claim, error=BAD)
    return 0


async def _fail_in_blocks(queue: AsyncQueue, _: Claim) -> int:
    for _number in range(6):
        async with queue.consume(retry=SLOWLY) as claim:
            if claim is not None and is_bad(claim):
                await queue.release(claim, error=BAD)
    return 0


async def _fail_in_transactions(queue: AsyncQueue, _: Claim) -> int:
    for _number in range(6):
        async with queue.transact(retry=SLOWLY) as (claim, _connection):
            if claim is not None and is_bad(claim):
                await queue.release(claim, error=BAD)
    return 0


FAILING: Mapping[str, Callable[[AsyncQueue, Claim], Awaitable[int]]] = {
    "stream": _fail_in_a_stream,
    "consume_many": _fail_in_a_batch,
    "consume": _fail_in_blocks,
    "transact": _fail_in_transactions,
}


def _fail_in_a_stream_here(queue: Queue) -> None:
    for claim in queue.stream(batch=20, retry=SLOWLY):
        if is_bad(claim):
            queue.release(claim, error=BAD)


def _fail_in_a_batch_here(queue: Queue) -> None:
    with queue.consume_many(20, retry=SLOWLY) as claims:
        for claim in filter(is_bad, claims):
            queue.release(claim, error=BAD)


def _fail_in_blocks_here(queue: Queue) -> None:
    for _ in range(6):
        with queue.consume(retry=SLOWLY) as claim:
            if claim is not None and is_bad(claim):
                queue.release(claim, error=BAD)


def _fail_in_transactions_here(queue: Queue) -> None:
    for _ in range(6):
        with queue.transact(retry=SLOWLY) as (claim, _connection):
            if claim is not None and is_bad(claim):
                queue.release(claim, error=BAD)


FAILING_HERE: Mapping[str, Callable[[Queue], None]] = {
    "stream": _fail_in_a_stream_here,
    "consume_many": _fail_in_a_batch_here,
    "consume": _fail_in_blocks_here,
    "transact": _fail_in_transactions_here,
}


def failures_of(row: Any) -> list[dict[str, Any]]:
    """Return what the failures of a row say; SQLite hands them out as text."""
    failures = row.failures or []
    found: list[dict[str, Any]] = json.loads(failures) if isinstance(failures, str) else failures
    return found


def check_failing(url: str) -> None:
    """Check that no bad message was consumed, and that no attempt counts twice."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(_ROWS).all()
    engine.dispose()
    assert any(row.failures for row in rows)
    for row in rows:
        failed = [each["attempt"] for each in failures_of(row)]
        assert row.status != "consumed" or row.id % 3
        assert failed == sorted(set(failed))
        assert max(failed, default=0) <= row.attempts
        if row.available_at > row.created_at:  # it rests since its last attempt
            assert failed[-1] == row.attempts


@contextmanager
def filled(url: str, count: int) -> Iterator[tuple[Queue, Claim]]:
    """Yield a queue with so many messages, and one claim of another message under a key."""
    with Queue("orders", url, retry=AT_ONCE) as queue:
        queue.push_many([{"id": number} for number in range(count + 2)])
        held = queue.claim(claim_key=KEY, claimed_by="first try", lease=timedelta(hours=1))
        assert held is not None
        yield queue, held


def attempts_counted(queue: Queue) -> list[Any]:
    """Return the messages that can be claimed and had an attempt counted."""
    return [message for message in queue.peek(10_000) if message.attempts]
