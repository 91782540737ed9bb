"""Every verb as users call it: type checkers find nothing wrong here, and it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from typing import Any, assert_type

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from xclaim import AsyncQueue, Backlog, Claim, Counts, Limits, Message, Pause, Queue, Ticket

NOW, LATER = timedelta(0), timedelta(minutes=5)


def use(queue: Queue) -> None:
    """Call every method of a queue that is empty."""
    assert_type(queue.push({"id": 1}, unique_key="one", headers={"source": "shop"}), Message[Any])
    assert_type(queue.push_many(range(8), priority=-1, delay=NOW), list[Message[Any]])
    assert_type(queue.push_many([8], unique_keys=["two"], max_attempts=3), list[Message[Any]])
    assert_type(queue.find(["one"]), list[Message[Any]])
    message = queue.peek()[0]
    assert_type(queue.get(message.id), Message[Any] | None)
    assert_type(queue.counts(), Counts)
    assert_type(queue.newest_available_at(), datetime | None)
    assert_type(queue.pause(reason="why", by="me"), Pause)
    assert_type(queue.paused(), Pause | None)
    assert_type(queue.unpause(by="me"), bool)
    fill(queue)
    assert_type(queue.limit(concurrency=3, rate=10, per=LATER, burst=5, by="me"), Limits)
    assert_type(queue.limits(), Limits | None)

    claimed = queue.claim_message(message.id, claimed_by="me", claim_key="key")
    assert claimed is not None
    assert_type(claimed, Claim[Any])
    (claimed,) = queue.resume(Ticket.of([claimed]), claim_key="other", lease=LATER)
    claimed = queue.extend(claimed, lease=LATER)
    assert_type(queue.read(claimed), Any)
    assert_type(queue.release(claimed, delay=NOW, error="why", count=False), Message[Any])
    found = queue.claim(lease=LATER, wait=NOW)
    assert_type(found, Claim[Any] | None)
    assert found is not None
    queue.ack(found)
    claims = queue.claim_many(2, claimed_by="me", whole_lines=True)
    assert_type(claims, list[Claim[Any]])
    queue.extend_many(claims)
    queue.ack_many(claims)

    with queue.consume(lease=LATER) as one:
        assert_type(one, Claim[Any] | None)
    with queue.consume_many(2, lease_limit=LATER) as many:
        assert_type(many, list[Claim[Any]])
    with queue.working_on(queue.claim_many(1)) as held:
        assert_type(held, list[Claim[Any]])
    with queue.transact(claim_key="key") as (one, connection):
        assert_type(one, Claim[Any] | None)
        assert_type(connection, Connection)
    stream = queue.stream(batch=10, wait=None, whole_lines=True)
    assert_type(stream, Iterator[Claim[Any]])
    for claim in stream:
        assert_type(claim, Claim[Any])

    assert_type(queue.expire(limit=10), int)
    assert_type(queue.redrive(limit=10, to="orders"), int)
    assert_type(queue.redrive(error="TimeoutError", ids=[], rate=0.5, dry_run=True), int)
    assert_type(queue.withdraw(["one"]), int)
    assert_type(queue.withdraw(ids=[1]), int)
    assert_type(queue.prune(older_than=NOW, limit=10), int)
    queue.close()


def fill(queue: Queue) -> None:
    """Limit what waits, and push as far as there is room."""
    queue.limit_backlog(max_backlog=1_000, on_full="wait")
    assert_type(queue.backlog(), Backlog)
    assert_type(queue.push(9, on_full="wait", wait=NOW, unique_key="nine"), Message[Any])
    assert_type(queue.push(9, on_full="skip", unique_key="nine"), Message[Any] | None)
    some = queue.push_many([9], on_full="skip", unique_keys=["nine"])
    assert_type(some, list[Message[Any] | None])
    assert_type(queue.push_many([9], max_backlog=99, unique_keys=["nine"]), list[Message[Any]])
    queue.withdraw(["nine"])


async def fill_async(queue: AsyncQueue) -> None:
    """Do the same with asyncio."""
    await queue.limit_backlog(max_backlog=1_000, on_full="wait")
    assert_type(await queue.backlog(), Backlog)
    kept = await queue.push(9, on_full="wait", wait=NOW, unique_key="nine")
    assert_type(kept, Message[Any])
    assert_type(await queue.push(9, on_full="skip", unique_key="nine"), Message[Any] | None)
    some = await queue.push_many([9], on_full="skip", unique_keys=["nine"])
    assert_type(some, list[Message[Any] | None])
    await queue.withdraw(["nine"])


async def use_async(queue: AsyncQueue) -> None:
    """Do the same with asyncio."""
    assert_type(await queue.push({"id": 1}, unique_key="one", headers={"a": "b"}), Message[Any])
    assert_type(await queue.push_many(range(8), priority=-1, delay=NOW), list[Message[Any]])
    assert_type(await queue.push_many([8], unique_keys=["two"], max_attempts=3), list[Message[Any]])
    assert_type(await queue.find(["one"]), list[Message[Any]])
    message = (await queue.peek())[0]
    assert_type(await queue.get(message.id), Message[Any] | None)
    assert_type(await queue.counts(), Counts)
    assert_type(await queue.newest_available_at(), datetime | None)
    assert_type(await queue.pause(reason="why", by="me"), Pause)
    assert_type(await queue.paused(), Pause | None)
    assert_type(await queue.unpause(by="me"), bool)
    await fill_async(queue)
    assert_type(await queue.limit(concurrency=3, rate=10, per=LATER, burst=5, by="me"), Limits)
    assert_type(await queue.limits(), Limits | None)

    claimed = await queue.claim_message(message.id, claimed_by="me", claim_key="key")
    assert claimed is not None
    assert_type(claimed, Claim[Any])
    (claimed,) = await queue.resume(Ticket.of([claimed]), claim_key="other", lease=LATER)
    claimed = await queue.extend(claimed, lease=LATER)
    assert_type(await queue.read(claimed), Any)
    assert_type(await queue.release(claimed, delay=NOW, error="why", count=False), Message[Any])
    found = await queue.claim(lease=LATER, wait=NOW)
    assert_type(found, Claim[Any] | None)
    assert found is not None
    await queue.ack(found)
    claims = await queue.claim_many(2, claimed_by="me", whole_lines=True)
    assert_type(claims, list[Claim[Any]])
    await queue.extend_many(claims)
    await queue.ack_many(claims)

    async with queue.consume(lease=LATER) as one:
        assert_type(one, Claim[Any] | None)
    async with queue.consume_many(2, lease_limit=LATER) as many:
        assert_type(many, list[Claim[Any]])
    async with queue.working_on(await queue.claim_many(1)) as held:
        assert_type(held, list[Claim[Any]])
    async with queue.transact(claim_key="key") as (one, connection):
        assert_type(one, Claim[Any] | None)
        assert_type(connection, AsyncConnection)
    stream = queue.stream(batch=10, wait=None, whole_lines=True)
    assert_type(stream, AsyncIterator[Claim[Any]])
    async for claim in stream:
        assert_type(claim, Claim[Any])

    assert_type(await queue.expire(limit=10), int)
    assert_type(await queue.redrive(limit=10, to="orders"), int)
    assert_type(await queue.redrive(error="TimeoutError", ids=[], rate=0.5), int)
    assert_type(await queue.withdraw(["one"]), int)
    assert_type(await queue.prune(older_than=NOW, limit=10), int)
    await queue.close()
