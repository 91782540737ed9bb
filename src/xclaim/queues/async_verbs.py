"""The verbs and the stream of AsyncQueue: written by ``python -m tests.async_facade``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Generic, Unpack, overload

from xclaim import verbs
from xclaim.arguments import LEASE, LEASE_LIMIT, Loud, OnFull, PushOptions, WhenDead
from xclaim.claims import Claim, Ticket
from xclaim.connections.tasks import async_block, bridged
from xclaim.consuming.streaming import Stream
from xclaim.limits import Backlog, Limits, Pause
from xclaim.message import Counts, Failure, Message, T_co
from xclaim.queues.bound_queue import BoundQueue
from xclaim.retry import MAX_ATTEMPTS, Retry


class AsyncVerbs(Generic[T_co]):
    """What ``Queue`` does with its queue, awaitable."""

    _queue: BoundQueue

    @overload
    async def push(
        self,
        payload: Any,
        *,
        on_full: Loud | None = None,
        unique_key: str | None = ...,
        ordering_key: str | None = ...,
        **options: Unpack[PushOptions],
    ) -> Message[T_co]: ...

    @overload
    async def push(
        self,
        payload: Any,
        *,
        on_full: OnFull | None,
        unique_key: str | None = ...,
        ordering_key: str | None = ...,
        **options: Unpack[PushOptions],
    ) -> Message[T_co] | None: ...

    async def push(
        self,
        payload: Any,
        *,
        unique_key: str | None = None,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = MAX_ATTEMPTS,
        headers: Mapping[str, Any] | None = None,
        ordering_key: str | None = None,
        on_dead: WhenDead = "skip",
        max_backlog: int | None = None,
        on_full: OnFull | None = None,
        wait: timedelta | None = None,
    ) -> Message[T_co] | None:
        """Push one payload and return its message.

        As ``Queue.push``.
        """
        return await bridged(
            self._queue.push,
            payload,
            unique_key,
            ordering_key=ordering_key,
            priority=priority,
            delay=delay,
            max_attempts=max_attempts,
            headers=headers,
            on_dead=on_dead,
            max_backlog=max_backlog,
            on_full=on_full,
            wait=wait,
        )

    @overload
    async def push_many(
        self,
        payloads: Iterable[Any],
        *,
        on_full: Loud | None = None,
        unique_keys: Iterable[str | None] | None = ...,
        ordering_keys: Iterable[str | None] | None = ...,
        **options: Unpack[PushOptions],
    ) -> list[Message[T_co]]: ...

    @overload
    async def push_many(
        self,
        payloads: Iterable[Any],
        *,
        on_full: OnFull | None,
        unique_keys: Iterable[str | None] | None = ...,
        ordering_keys: Iterable[str | None] | None = ...,
        **options: Unpack[PushOptions],
    ) -> list[Message[T_co] | None]: ...

    async def push_many(
        self,
        payloads: Iterable[Any],
        *,
        unique_keys: Iterable[str | None] | None = None,
        priority: int = 0,
        delay: timedelta | None = None,
        max_attempts: int | None = MAX_ATTEMPTS,
        headers: Mapping[str, Any] | None = None,
        ordering_keys: Iterable[str | None] | None = None,
        on_dead: WhenDead = "skip",
        max_backlog: int | None = None,
        on_full: OnFull | None = None,
        wait: timedelta | None = None,
    ) -> list[Message[T_co]] | list[Message[T_co] | None]:
        """Push the payloads and return their messages in the same order; on an error none is.

        As ``Queue.push_many``.
        """
        return await bridged(
            self._queue.push_many,
            payloads,
            unique_keys,
            ordering_keys=ordering_keys,
            priority=priority,
            delay=delay,
            max_attempts=max_attempts,
            headers=headers,
            on_dead=on_dead,
            max_backlog=max_backlog,
            on_full=on_full,
            wait=wait,
        )

    async def claim(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        wait: timedelta | None = None,
    ) -> Claim[T_co] | None:
        """Claim the next message, or return None if there is none that can be claimed now.

        As ``Queue.claim``.
        """
        claims = await self.claim_many(
            1, claimed_by=claimed_by, claim_key=claim_key, lease=lease, wait=wait
        )
        return claims[0] if claims else None

    async def claim_many(
        self,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        whole_lines: bool = False,
        wait: timedelta | None = None,
    ) -> list[Claim[T_co]]:
        """Claim up to ``limit`` messages, the next one first; ``[]`` if there is none.

        As ``Queue.claim_many``.
        """
        claimant = {
            "claimed_by": claimed_by,
            "claim_key": claim_key,
            "lease": lease,
            "whole_lines": whole_lines,
        }
        return await bridged(self._queue.claim_many, limit, claimant, wait)

    async def claim_message(
        self,
        message_id: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> Claim[T_co] | None:
        """Claim this very message, or return None if it cannot be claimed now.

        As ``Queue.claim_message``.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return await bridged(self._queue.run, verbs.CLAIM_MESSAGE, message_id, **claimant)

    async def resume(
        self,
        ticket: Ticket,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
    ) -> list[Claim[T_co]]:
        """Take over the claims that a ticket hands on, with new tokens; ``[]`` if none is held.

        As ``Queue.resume``.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return await bridged(self._queue.run, verbs.RESUME, ticket, **claimant)

    async def ack(self, claim: Claim) -> None:
        """Mark the message consumed. Raise ClaimLostError if the claim is no longer held.

        As ``Queue.ack``.
        """
        await bridged(self._queue.settle, verbs.ACK, claim)

    async def ack_many(self, claims: Iterable[Claim]) -> None:
        """Mark the messages consumed, in one statement.

        As ``Queue.ack_many``.
        """
        await bridged(self._queue.settle_many, verbs.ACK_MANY, claims)

    async def release(
        self,
        claim: Claim,
        *,
        delay: timedelta | None = None,
        error: object = None,
        count: bool = True,
        retry: Retry | None = None,
    ) -> Message[T_co]:
        """Give the message back and return it as it is now. Raise ClaimLostError if not held.

        As ``Queue.release``.
        """
        return await bridged(
            self._queue.release, claim, retry, delay=delay, error=error, count=count
        )

    async def extend(self, claim: Claim[T_co], *, lease: timedelta = LEASE) -> Claim[T_co]:
        """Let the lease end ``lease`` from now; return the claim with its new expiry.

        As ``Queue.extend``.
        """
        return await bridged(self._queue.settle, verbs.EXTEND, claim, lease=lease)

    async def extend_many(self, claims: Iterable[Claim], *, lease: timedelta = LEASE) -> None:
        """Let the leases end ``lease`` from now, in one statement.

        As ``Queue.extend_many``.
        """
        await bridged(self._queue.settle_many, verbs.EXTEND_MANY, claims, lease=lease)

    def consume(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> AbstractAsyncContextManager[Claim[T_co] | None]:
        """Claim a message for a block: ack it at the end, release it if the block raises.

        As ``Queue.consume``. The lease is extended from an asyncio task, so the block must not
        keep the event loop busy for longer than the lease.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return async_block(self._queue.consume(claimant, lease_limit, wait, retry))

    def consume_many(
        self,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        whole_lines: bool = False,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> AbstractAsyncContextManager[list[Claim[T_co]]]:
        """Claim up to ``limit`` messages for a block: ack them all at the end, or release them all.

        As ``Queue.consume_many``. With the caution of ``consume``.
        """
        claimant = {
            "claimed_by": claimed_by,
            "claim_key": claim_key,
            "lease": lease,
            "whole_lines": whole_lines,
        }
        return async_block(self._queue.consume_many(limit, claimant, lease_limit, wait, retry))

    def working_on(
        self,
        claims: Iterable[Claim[T_co]],
        *,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        retry: Retry | None = None,
    ) -> AbstractAsyncContextManager[list[Claim[T_co]]]:
        """Hold claims for a block: ack them at its end, release them if it raises.

        As ``Queue.working_on``. With the caution of ``consume``.
        """
        return async_block(self._queue.working_on(claims, lease, lease_limit, retry))

    async def limit_backlog(
        self, *, max_backlog: int | None, on_full: OnFull = "raise", by: str | None = None
    ) -> None:
        """Let so many messages wait in the queue, and say what a push does then; None: any number.

        As ``Queue.limit_backlog``.
        """
        await bridged(
            self._queue.run, verbs.LIMIT_BACKLOG, max_backlog=max_backlog, on_full=on_full, by=by
        )

    async def backlog(self) -> Backlog:
        """Return how many messages may wait, and how many do, counted to one more than that.

        As ``Queue.backlog``.
        """
        return await bridged(self._queue.run, verbs.BACKLOG)

    async def pause(self, *, reason: str | None = None, by: str | None = None) -> Pause:
        """Let the queue hand out nothing, and return since when, by whom and why it is so.

        As ``Queue.pause``.
        """
        return await bridged(self._queue.run, verbs.PAUSE, reason=reason, by=by)

    async def unpause(self, *, by: str | None = None) -> bool:
        """Let the queue hand out messages again, and return whether it was paused.

        As ``Queue.unpause``.
        """
        return await bridged(self._queue.run, verbs.UNPAUSE, by=by)

    async def paused(self) -> Pause | None:
        """Return since when the queue hands out nothing, by whom and why; None: it is not paused.

        As ``Queue.paused``.
        """
        return await bridged(self._queue.run, verbs.PAUSED)

    async def limit(
        self,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta | None = None,
        burst: int | None = None,
        by: str | None = None,
    ) -> Limits:
        """Set the limits of the queue, for all who claim from it; what is not named has none.

        As ``Queue.limit``.
        """
        given = {"concurrency": concurrency, "rate": rate, "per": per, "burst": burst}
        return await bridged(self._queue.run, verbs.LIMIT, **given, by=by)

    async def limits(self) -> Limits | None:
        """Return the limits of the queue, None if it has none.

        As ``Queue.limits``.
        """
        return await bridged(self._queue.run, verbs.LIMITS)

    async def expire(self, *, limit: int | None = None) -> int:
        """Give back the messages whose lease ran out, and return how many.

        As ``Queue.expire``.
        """
        return await bridged(self._queue.run, verbs.EXPIRE, limit=limit)

    async def redrive(
        self,
        *,
        limit: int | None = None,
        to: str | None = None,
        error: str | None = None,
        older_than: timedelta | None = None,
        ids: Iterable[int] | None = None,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> int:
        """Move dead letters of the queue back to it, or ``to`` another; return how many.

        As ``Queue.redrive``.
        """
        options = {"to": to, "error": error}
        return await bridged(
            self._queue.redrive, limit, ids, older_than, rate, dry_run=dry_run, **options
        )

    async def prune(
        self, *, older_than: timedelta, limit: int | None = None, dry_run: bool = False
    ) -> int:
        """Delete messages that were consumed longer ago than ``older_than``; return how many.

        As ``Queue.prune``.
        """
        verb = verbs.COUNT_PRUNABLE if dry_run else verbs.PRUNE
        return await bridged(self._queue.run, verb, older_than=older_than, limit=limit)

    async def withdraw(
        self, unique_keys: Iterable[str] | None = None, *, ids: Iterable[int] | None = None
    ) -> int:
        """Delete the messages under these keys, or with these ids, that nobody has claimed.

        As ``Queue.withdraw``.
        """
        return await bridged(self._queue.withdraw, unique_keys, ids)

    async def peek(self, limit: int = 1) -> list[Message[T_co]]:
        """Return the messages that would be claimed next, without claiming them.

        As ``Queue.peek``.
        """
        return await bridged(self._queue.run, verbs.PEEK, limit)

    async def failing(self, limit: int = 1) -> list[Message[T_co]]:
        """Return the messages that failed and are tried again, the next try first.

        As ``Queue.failing``.
        """
        return await bridged(self._queue.run, verbs.FAILING, limit)

    async def newest_available_at(self) -> datetime | None:
        """Return when the newest message that can be claimed now became available; None: none can.

        As ``Queue.newest_available_at``.
        """
        return await bridged(self._queue.run, verbs.NEWEST_AVAILABLE_AT)

    async def get(self, message_id: int) -> Message[T_co] | None:
        """Return the message if it is in the queue, or was pushed to it; else None.

        As ``Queue.get``.
        """
        return await bridged(self._queue.run, verbs.GET, message_id)

    async def failures(self, message_id: int) -> list[Failure]:
        """Return the attempts at a message that failed: the last 20 at most, in their order.

        As ``Queue.failures``.
        """
        return await bridged(self._queue.run, verbs.FAILURES, message_id)

    async def find(self, unique_keys: Iterable[str]) -> list[Message[T_co]]:
        """Return the messages pushed under these keys, whatever their status.

        As ``Queue.find``.
        """
        return await bridged(self._queue.run, verbs.FIND, unique_keys)

    async def counts(self) -> Counts:
        """Count the queue's messages by state, exactly, and nothing of other queues.

        As ``Queue.counts``.
        """
        return await bridged(self._queue.run, verbs.COUNTS)


async def each(stream: Stream) -> AsyncIterator[Claim]:
    """Yield the claims of the stream, and close it at the end."""
    error: BaseException | None = None
    handed_out: Claim | None = None
    try:
        while await bridged(stream.turn):
            while (claim := stream.next()) is not None:
                handed_out = claim
                yield claim
    except BaseException as raised:
        error = raised
        raise
    finally:
        await bridged(stream.close, error, handed_out)
