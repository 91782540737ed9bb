"""The same loops for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from xclaim import verbs
from xclaim.consuming.claims_ahead import Batch
from xclaim.consuming.keep_alive import keep_alive_async
from xclaim.consuming.listening import claim_waiting_async
from xclaim.consuming.methods import NO_WAIT_ON_A_CONNECTION, note_failed_release, reason
from xclaim.consuming.reconnecting import Reconnecting, has_connected
from xclaim.errors import ClaimLostError, InvalidArgumentError
from xclaim.message import Claim
from xclaim.sql.dialects import SQLITE

T = TypeVar("T")
Claimant = dict[str, Any]  # claimed_by, claim_key and lease, as claim_many takes them
Run = Callable[..., Awaitable[Any]]  # runs a verb on a connection of the queue


class AsyncLoop:
    """One loop over one queue, as ``Loop``; the lease is extended from an asyncio task."""

    def __init__(
        self, name: str, bind: AsyncEngine | AsyncConnection, run: Run, reconnect: timedelta
    ) -> None:
        self._name = name
        self._bind = bind
        self._run = run
        # What was in a transaction of the caller is lost with its connection.
        limit = reconnect if isinstance(bind, AsyncEngine) else timedelta(0)
        self._again = Reconnecting(limit, has_connected(bind))

    async def claim(self, limit: int, claimant: Claimant) -> list[Claim]:
        """Claim up to ``limit``; if the database is away, when it is back."""
        return await self._again.run_async(
            self._call(verbs.claim_many, self._name, limit, **claimant)
        )

    async def claim_waiting(self, limit: int, wait: timedelta, claimant: Claimant) -> list[Claim]:
        """Claim up to ``limit``, as soon as there is something."""
        if not isinstance(self._bind, AsyncEngine):
            raise InvalidArgumentError(NO_WAIT_ON_A_CONNECTION)
        claim = partial(self._claim_whole, verbs.claim_many, limit, claimant)
        poll = partial(self._claim_whole, verbs.poll, limit, claimant)
        again = self._again.run_async
        return await claim_waiting_async(
            self._bind, self._name, wait, partial(again, claim), partial(again, poll)
        )

    async def ack(self, claims: list[Claim]) -> None:
        """Ack the claims. Raise ClaimLostError for those that others have, and only for those."""
        await self._again.run_async(
            self._call(verbs.ack_many, claims), again=self._call(verbs.ack_again, claims)
        )

    async def stream(
        self, size: int, claimant: Claimant, lease_limit: timedelta, wait: timedelta | None
    ) -> AsyncIterator[Claim]:
        """Yield claims, and settle each when the next is asked for."""
        held, lease = Batch(), claimant["lease"]
        extend = partial(self._extend_held, held, lease)
        try:
            async with self._kept_alive(extend, lease, lease_limit, held.filled_at):
                claims = await self._ack_and_claim([], size, claimant, wait)
                while claims:
                    held.fill(claims)
                    while (claim := held.start_next()) is not None:
                        yield claim
                        held.finish_current()
                        if held.is_ack_due():
                            await self.ack(held.take_finished())
                    finished = held.take_finished()
                    claims = await self._ack_and_claim(finished, size, claimant, wait)
        finally:
            await self._hand_back(held)

    @asynccontextmanager
    async def holding(
        self, claims: list[Claim], lease: timedelta, lease_limit: timedelta
    ) -> AsyncIterator[None]:
        """Keep the claims alive while the block runs, and release them if it raises."""
        held = Batch()
        held.fill(claims)
        extend = partial(self._extend_held, held, lease)
        try:
            async with self._kept_alive(extend, lease, lease_limit):
                yield
        except BaseException as error:
            await self.release_after(claims, error)
            raise

    def extending(
        self, claim: Claim, lease: timedelta, lease_limit: timedelta
    ) -> AbstractAsyncContextManager[None]:
        """Keep one claim alive while the block runs, beside a transaction on it."""
        if self._bind.dialect.name == SQLITE.name:  # its one writer is this transaction
            return nullcontext()
        return self._kept_alive(self._call(verbs.extend, claim, lease=lease), lease, lease_limit)

    async def was_committed(self, claim: Claim, error: BaseException) -> bool:
        """Return whether the claim was acked by the transaction that ended in this error.

        A connection may be lost during COMMIT: then only the table knows. To release waits for the
        transaction, should it still go on, because that holds the row.
        """
        if not isinstance(error, DBAPIError) or not error.connection_invalidated:
            return False

        async def is_consumed() -> bool:
            try:
                await self._run(verbs.release, claim, error=reason(error))
            except ClaimLostError:
                return not await self._run(verbs.unconsumed, [claim])
            return False

        return await self._again.run_async(is_consumed)

    async def release_after(self, claims: Sequence[Claim], error: BaseException) -> None:
        """Release the claims of work that raised; what fails now must not hide the work's error.

        The first failure ends it: where the database is away, each would wait for its own.
        """
        for index, claim in enumerate(claims):
            try:
                await self._run(verbs.release, claim, error=reason(error))
            except ClaimLostError:
                continue
            except SQLAlchemyError as cause:
                note_failed_release(error, claims[index:], cause)
                return

    async def _ack_and_claim(
        self, finished: list[Claim], size: int, claimant: Claimant, wait: timedelta | None
    ) -> list[Claim]:
        claim = self._call(verbs.claim_many, self._name, size, **claimant)

        async def ack_then_claim() -> list[Claim]:
            await self._run(verbs.ack_again, finished)
            return await claim()

        both = self._call(verbs.ack_and_claim, self._name, finished, size, **claimant)
        claims = await self._again.run_async(both if finished else claim, again=ack_then_claim)
        if claims or wait is None:
            return claims
        return await self.claim_waiting(size, wait, claimant)

    async def _claim_whole(
        self, verb: Callable[..., list[Claim]], limit: int, claimant: Claimant
    ) -> list[Claim]:
        # A wait is often cancelled. A claim that is under way then is finished and handed back, or
        # its messages would wait for the end of their lease.
        claiming = asyncio.ensure_future(self._run(verb, self._name, limit, **claimant))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(SQLAlchemyError):  # then nothing was claimed
                for claim in await claiming:
                    await self._release_quietly(claim, count=False)
            raise

    async def _extend_held(self, held: Batch, lease: timedelta) -> None:
        try:
            await self._run(verbs.extend_many, held.held(), lease=lease)
        except ClaimLostError as error:
            held.forget(error.claims)

    async def _hand_back(self, held: Batch) -> None:
        current, waiting = held.take_current(), held.take_waiting()
        try:
            await self.ack(held.take_finished())
        finally:
            for claim in current:
                await self._release_quietly(claim, count=True)
            for claim in waiting:
                await self._release_quietly(claim, count=False)

    async def _release_quietly(self, claim: Claim, *, count: bool) -> None:
        # Who has the message now may keep it: there is nothing to give back.
        release = self._call(verbs.release, claim, count=count, error="the stream was closed")
        try:
            await self._again.run_async(release)
        except ClaimLostError:
            return

    def _kept_alive(
        self,
        extend: Callable[[], Awaitable[object]],
        lease: timedelta,
        lease_limit: timedelta,
        claimed_at: Callable[[], float] | None = None,
    ) -> AbstractAsyncContextManager[None]:
        if isinstance(self._bind, AsyncConnection):  # a connection serves one task at a time
            return nullcontext()
        return keep_alive_async(extend, lease=lease, lease_limit=lease_limit, claimed_at=claimed_at)

    def _call(
        self, verb: Callable[..., T], *args: Any, **options: Any
    ) -> Callable[[], Awaitable[T]]:
        return partial(self._run, verb, *args, **options)
