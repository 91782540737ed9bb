"""AsyncQueue: the same queue for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from xclaim import arguments, verbs
from xclaim.batches import Batch
from xclaim.engine import check_driver, create_async_verb_engine, is_verb_engine, shown_url
from xclaim.errors import ClaimLostError, InvalidArgumentError
from xclaim.keep_alive import LEASE_LIMIT, check_lease_limit, keep_alive_async
from xclaim.listening import claim_waiting_async
from xclaim.message import Claim
from xclaim.methods import (
    NO_WAIT_ON_A_CONNECTION,
    check_queue,
    documented_as,
    note_failed_release,
    reason,
)
from xclaim.verbs import LEASE

P = ParamSpec("P")
T = TypeVar("T")


def _of_queue(
    verb: Callable[Concatenate[Connection, str, P], T],
) -> Callable[Concatenate[AsyncQueue, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncQueue, /, *args: P.args, **options: P.kwargs) -> T:
        return await self._run(verb, self.name, *args, **options)

    return documented_as(verb, method)


def _of_claim(
    verb: Callable[Concatenate[Connection, Claim, P], T],
) -> Callable[Concatenate[AsyncQueue, Claim, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncQueue, /, claim: Claim, *args: P.args, **options: P.kwargs) -> T:
        check_queue(self.name, [claim])
        return await self._run(verb, claim, *args, **options)

    return documented_as(verb, method)  # type: ignore[return-value]  # takes its name as well


def _of_claims(
    verb: Callable[Concatenate[Connection, Iterable[Claim], P], T],
) -> Callable[Concatenate[AsyncQueue, Iterable[Claim], P], Coroutine[Any, Any, T]]:
    async def method(
        self: AsyncQueue, /, claims: Iterable[Claim], *args: P.args, **options: P.kwargs
    ) -> T:
        listed = list(claims)
        check_queue(self.name, listed)
        return await self._run(verb, listed, *args, **options)

    return documented_as(verb, method)  # type: ignore[return-value]  # takes its name as well


class AsyncQueue:
    """One named queue, for asyncio: what ``Queue`` does, awaitable.

    ``bind`` is a URL (the queue then owns an engine: use it in an ``async with`` block, or
    ``await close()``), an AsyncEngine, or an AsyncConnection, whose transaction the verbs join.
    """

    def __init__(
        self,
        name: str,
        bind: AsyncEngine | AsyncConnection | str,
        *,
        schema: str | None = None,
        notify: bool = False,
    ) -> None:
        self.name = arguments.queue_name(name)
        self._owned = create_async_verb_engine(bind) if isinstance(bind, str) else None
        self._bind = _in_transactions(_checked(self._owned or bind))
        self._verb_bind = _in_autocommit(self._owned or self._bind)
        self._notify = notify
        check_driver(self._bind.dialect)
        self._schema = verbs.resolve_schema(schema, self._bind.dialect.name)

    push = _of_queue(verbs.push)
    push_many = _of_queue(verbs.push_many)
    ack = _of_claim(verbs.ack)
    ack_many = _of_claims(verbs.ack_many)
    release = _of_claim(verbs.release)
    extend = _of_claim(verbs.extend)
    extend_many = _of_claims(verbs.extend_many)
    resume = _of_queue(verbs.resume)
    expire = _of_queue(verbs.expire)
    redrive = _of_queue(verbs.redrive)
    prune = _of_queue(verbs.prune)
    withdraw = _of_queue(verbs.withdraw)
    peek = _of_queue(verbs.peek)
    newest_available_at = _of_queue(verbs.newest_available_at)
    get = _of_queue(verbs.get)
    find = _of_queue(verbs.find)
    counts = _of_queue(verbs.counts)

    async def claim(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        wait: timedelta | None = None,
    ) -> Claim | None:
        """Claim the next message, or return None if there is none that can be claimed now.

        As ``Queue.claim``. Cancelled while it waits, it has claimed nothing.
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
        wait: timedelta | None = None,
    ) -> list[Claim]:
        """Claim up to ``limit`` messages, the next one first; ``[]`` if there is none.

        As ``Queue.claim_many``.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        if wait is None:
            return await self._run(verbs.claim_many, self.name, limit, **claimant)
        return await self._claim_waiting(limit, wait, claimant)

    @asynccontextmanager
    async def consume(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AsyncIterator[Claim | None]:
        """Claim a message for a block: ack it at the end, release it if the block raises.

        As ``Queue.consume``; the lease is extended from an asyncio task, so the block must not
        keep the event loop busy for longer than the lease.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key}
        async with self.consume_many(1, lease=lease, lease_limit=lease_limit, **claimant) as claims:
            yield claims[0] if claims else None

    @asynccontextmanager
    async def consume_many(
        self,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AsyncIterator[list[Claim]]:
        """Claim up to ``limit`` messages for a block: ack them all at the end, or release them all.

        As ``Queue.consume_many``, with the caution of ``consume``.
        """
        check_lease_limit(lease, lease_limit)
        claims = await self.claim_many(
            limit, claimed_by=claimed_by, claim_key=claim_key, lease=lease
        )
        async with self.working_on(claims, lease=lease, lease_limit=lease_limit):
            yield claims

    @asynccontextmanager
    async def working_on(
        self,
        claims: Iterable[Claim],
        *,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AsyncIterator[list[Claim]]:
        """Hold claims for a block: ack them at its end, release them if it raises.

        As ``Queue.working_on``, with the caution of ``consume``.
        """
        check_lease_limit(lease, lease_limit)
        held = list(claims)
        check_queue(self.name, held)
        if not held:
            yield held
            return
        batch = Batch()
        batch.fill(held)
        try:
            extend = partial(self._extend_held, batch, lease)
            async with self._kept_alive(extend, lease, lease_limit):
                yield held
        except BaseException as error:
            for claim in held:
                await self._release_after(claim, error)
            raise
        await self.ack_many(held)

    @asynccontextmanager
    async def transact(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AsyncIterator[tuple[Claim | None, AsyncConnection]]:
        """Claim a message, and commit what the block writes together with the ack.

        As ``Queue.transact``; the connection is an AsyncConnection.
        """
        if not isinstance(self._bind, AsyncEngine):
            raise InvalidArgumentError(
                "transact needs a queue bound to an engine: on a connection, claim and ack "
                "are in your transaction already"
            )
        check_lease_limit(lease, lease_limit)
        claim = await self.claim(claimed_by=claimed_by, claim_key=claim_key, lease=lease)
        if claim is None:
            async with self._bind.begin() as connection:
                yield None, connection
            return
        try:
            async with AsyncExitStack() as stack:
                if self._bind.dialect.name != "sqlite":  # its one writer is this transaction
                    extend = partial(self.extend, claim, lease=lease)
                    await stack.enter_async_context(self._kept_alive(extend, lease, lease_limit))
                connection = await stack.enter_async_context(self._bind.begin())
                yield claim, connection
                await connection.run_sync(verbs.ack, claim, schema=self._schema)
        except BaseException as error:
            await self._release_after(claim, error)
            raise

    def stream(
        self,
        *,
        batch: int = 100,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
    ) -> AsyncIterator[Claim]:
        """Claim and yield messages until there is none; what you finished is acked for you.

        As ``Queue.stream``. asyncio closes an abandoned iterator late: leave the loop early only
        within ``async with contextlib.aclosing(queue.stream()) as claims``.
        """
        arguments.limit(batch)
        check_lease_limit(lease, lease_limit)
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return self._stream(Batch(), batch, claimant, lease_limit, wait)

    async def close(self) -> None:
        """Close the engine the queue made from a URL; an engine or connection of yours stays."""
        if self._owned is not None:
            await self._owned.dispose()

    async def __aenter__(self) -> Self:
        """Return the queue; leaving the block closes it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the queue."""
        await self.close()

    def __repr__(self) -> str:
        """Return the name and the database, without its password."""
        return f"AsyncQueue({self.name!r}, {shown_url(self._bind.engine.url)!r})"

    async def _stream(
        self,
        held: Batch,
        size: int,
        claimant: dict[str, Any],
        lease_limit: timedelta,
        wait: timedelta | None,
    ) -> AsyncIterator[Claim]:
        lease = claimant["lease"]
        extend = partial(self._extend_held, held, lease)
        try:
            async with self._kept_alive(extend, lease, lease_limit, held.filled_at):
                claims = await self.claim_many(size, wait=wait, **claimant)
                while claims:
                    held.fill(claims)
                    while (claim := held.start_next()) is not None:
                        yield claim
                        held.finish_current()
                        if held.is_ack_due():
                            await self.ack_many(held.take_finished())
                    claims = await self._ack_and_claim(held.take_finished(), size, claimant, wait)
        finally:
            await self._hand_back(held)

    async def _ack_and_claim(
        self,
        finished: list[Claim],
        size: int,
        claimant: dict[str, Any],
        wait: timedelta | None,
    ) -> list[Claim]:
        claims = await self._run(verbs.ack_and_claim, self.name, finished, size, **claimant)
        if claims or wait is None:
            return claims
        return await self._claim_waiting(size, wait, claimant)

    async def _claim_waiting(
        self, limit: int, wait: timedelta, claimant: dict[str, Any]
    ) -> list[Claim]:
        if not isinstance(self._bind, AsyncEngine):
            raise InvalidArgumentError(NO_WAIT_ON_A_CONNECTION)
        claim = partial(self._claim_whole, verbs.claim_many, limit, claimant)
        poll = partial(self._claim_whole, verbs.poll, limit, claimant)
        return await claim_waiting_async(self._bind, self.name, wait, claim, poll)

    async def _claim_whole(
        self, verb: Callable[..., list[Claim]], limit: int, claimant: dict[str, Any]
    ) -> list[Claim]:
        # A wait is often cancelled. A claim that is under way then is finished and handed back, or
        # its messages would wait for the end of their lease.
        claiming = asyncio.ensure_future(self._run(verb, self.name, limit, **claimant))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(SQLAlchemyError):  # then nothing was claimed
                for claim in await claiming:
                    await self._release_quietly(claim, count=False)
            raise

    async def _extend_held(self, held: Batch, lease: timedelta) -> None:
        try:
            await self.extend_many(held.held(), lease=lease)
        except ClaimLostError as error:
            held.forget(error.claims)

    async def _hand_back(self, held: Batch) -> None:
        current, waiting = held.take_current(), held.take_waiting()
        try:
            await self.ack_many(held.take_finished())
        finally:
            for claim in current:
                await self._release_quietly(claim, count=True)
            for claim in waiting:
                await self._release_quietly(claim, count=False)

    async def _release_quietly(self, claim: Claim, *, count: bool) -> None:
        # Who has the message now may keep it: there is nothing to give back.
        try:
            await self.release(claim, count=count, error="the stream was closed")
        except ClaimLostError:
            return

    async def _release_after(self, claim: Claim, error: BaseException) -> None:
        try:
            await self.release(claim, error=reason(error))
        except ClaimLostError:
            return
        except SQLAlchemyError as cause:
            note_failed_release(error, claim, cause)

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

    async def _run(self, verb: Callable[..., T], *args: Any, **options: Any) -> T:
        options["schema"] = self._schema
        if self._notify and verb in verbs.NOTIFYING:
            options["notify"] = True
        if isinstance(self._verb_bind, AsyncConnection):
            return await self._verb_bind.run_sync(verb, *args, **options)
        async with self._verb_bind.connect() as connection:
            return await connection.run_sync(verb, *args, **options)


def _in_transactions(bind: AsyncEngine | AsyncConnection) -> AsyncEngine | AsyncConnection:
    if isinstance(bind, AsyncConnection) or not is_verb_engine(bind):
        return bind
    return bind.execution_options(isolation_level="READ COMMITTED")


def _in_autocommit(bind: AsyncEngine | AsyncConnection) -> AsyncEngine | AsyncConnection:
    # Each verb is one statement: BEGIN and COMMIT would be two more round trips.
    if isinstance(bind, AsyncConnection) or is_verb_engine(bind):
        return bind
    return bind.execution_options(isolation_level="AUTOCOMMIT")


def _checked(bind: object) -> AsyncEngine | AsyncConnection:
    if isinstance(bind, AsyncEngine | AsyncConnection):
        return bind
    raise InvalidArgumentError(
        f"bind must be an AsyncEngine, an AsyncConnection or a URL, not {type(bind).__name__}: "
        "for blocking code use Queue"
    )
