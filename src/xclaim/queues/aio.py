"""AsyncQueue: the same queue for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import (
    asynccontextmanager,
)
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from xclaim import arguments, verbs
from xclaim.connections.engine import (
    check_driver,
    create_async_verb_engine,
    is_verb_engine,
    shown_url,
)
from xclaim.consuming.async_loop import AsyncLoop
from xclaim.consuming.keep_alive import LEASE_LIMIT, check_lease_limit
from xclaim.consuming.methods import (
    check_queue,
    documented_as,
)
from xclaim.consuming.reconnecting import RECONNECT
from xclaim.errors import InvalidArgumentError
from xclaim.message import Claim, Message, T_co
from xclaim.payloads.payloads import Payloads
from xclaim.queues.payload_work import (
    Work,
    after_ack_of,
    delete_objects_of,
    read_by,
    settings_of,
    verbs_with_work,
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


class AsyncQueue(Generic[T_co]):
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
        reconnect: timedelta = RECONNECT,
        type: type[T_co] | None = None,
        payloads: Payloads | None = None,
    ) -> None:
        self.name = arguments.queue_name(name)
        self._owned = create_async_verb_engine(bind) if isinstance(bind, str) else None
        self._bind = _in_transactions(_checked(self._owned or bind))
        self._verb_bind = _in_autocommit(self._owned or self._bind)
        self._notify = notify
        self._reconnect = reconnect
        self._payloads = settings_of(payloads, type)
        self._verbs_with_work = verbs_with_work(self._payloads)
        check_driver(self._bind.dialect)
        self._schema = verbs.resolve_schema(schema, self._bind.dialect.name)
        arguments.seconds("reconnect", reconnect)

    push = _of_queue(verbs.push)
    # The facade prepares what it takes.
    push_many: Callable[..., Coroutine[Any, Any, list[Message]]] = _of_queue(verbs.push_many)
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
    claim_message = _of_queue(verbs.claim_message)
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
    ) -> Claim[T_co] | None:
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
    ) -> list[Claim[T_co]]:
        """Claim up to ``limit`` messages, the next one first; ``[]`` if there is none.

        As ``Queue.claim_many``.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        if wait is None:
            return await self._run(verbs.claim_many, self.name, limit, **claimant)
        return await self._loop().claim_waiting(limit, wait, claimant)

    @asynccontextmanager
    async def consume(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AsyncIterator[Claim[T_co] | None]:
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
    ) -> AsyncIterator[list[Claim[T_co]]]:
        """Claim up to ``limit`` messages for a block: ack them all at the end, or release them all.

        As ``Queue.consume_many``, with the caution of ``consume``.
        """
        check_lease_limit(lease, lease_limit)
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        claims = await self._loop().claim(limit, claimant)
        async with self.working_on(claims, lease=lease, lease_limit=lease_limit):
            yield claims

    @asynccontextmanager
    async def working_on(
        self,
        claims: Iterable[Claim[T_co]],
        *,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AsyncIterator[list[Claim[T_co]]]:
        """Hold claims for a block: ack them at its end, release them if it raises.

        As ``Queue.working_on``, with the caution of ``consume``.
        """
        check_lease_limit(lease, lease_limit)
        held = list(claims)
        check_queue(self.name, held)
        if not held:
            yield held
            return
        loop = self._loop()
        async with loop.holding(held, lease, lease_limit):
            yield held
        await loop.ack(held)

    @asynccontextmanager
    async def transact(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> AsyncIterator[tuple[Claim[T_co] | None, AsyncConnection]]:
        """Claim a message, and commit what the block writes together with the ack.

        As ``Queue.transact``; the connection is an AsyncConnection.
        """
        if not isinstance(self._bind, AsyncEngine):
            raise InvalidArgumentError(
                "transact needs a queue bound to an engine: on a connection, claim and ack "
                "are in your transaction already"
            )
        check_lease_limit(lease, lease_limit)
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        loop, is_acked, after = self._loop(), False, after_ack_of(self._payloads)
        claims = await loop.claim(1, claimant)
        if not claims:
            async with self._bind.begin() as connection:
                yield None, connection
            return
        (claim,) = claims
        try:
            async with loop.extending(claim, lease, lease_limit), self._bind.begin() as connection:
                yield claim, connection
                await connection.run_sync(verbs.ack, claim, after=after, schema=self._schema)
                is_acked = True
        except BaseException as error:
            if is_acked and await loop.was_committed(claim, error):
                await asyncio.to_thread(delete_objects_of, self._payloads, claim)
                return
            await loop.release_after(claims, error)
            raise
        await asyncio.to_thread(delete_objects_of, self._payloads, claim)

    def stream(
        self,
        *,
        batch: int = 100,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
    ) -> AsyncIterator[Claim[T_co]]:
        """Claim and yield messages until there is none; what you finished is acked for you.

        As ``Queue.stream``. asyncio closes an abandoned iterator late: leave the loop early only
        within ``async with contextlib.aclosing(queue.stream()) as claims``.
        """
        arguments.limit(batch)
        check_lease_limit(lease, lease_limit)
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return self._loop().stream(batch, claimant, lease_limit, wait)

    async def read(self, message: Message | Claim) -> Any:
        """Return the payload of a message or claim, read as this queue's settings say.

        In a thread, where ``claim.payload`` would keep the event loop waiting for the storage. The
        claim has it from then on.
        """
        found = message.message if isinstance(message, Claim) else message
        message = found.read_by(self._payloads or Payloads())
        return await asyncio.to_thread(lambda: message.payload)

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

    def _loop(self) -> AsyncLoop:
        return AsyncLoop(self.name, self._bind, self._run, self._reconnect)

    async def _run(self, verb: Callable[..., T], *args: Any, **options: Any) -> T:
        settings = self._payloads
        if verb not in self._verbs_with_work:
            result = await self._run_verb(verb, *args, **options)
            return read_by(settings, result)  # type: ignore[no-any-return]
        commits = isinstance(self._verb_bind, AsyncEngine)
        work = Work(settings or Payloads(), verb, args, options, commits=commits)
        if work.stores:
            await asyncio.to_thread(work.before)
        try:
            result = await self._run_verb(verb, *work.arguments, **work.options)
        except BaseException as error:
            if work.stores or work.deletes:
                await asyncio.to_thread(work.failed, error)
            raise
        if work.deletes:
            await asyncio.to_thread(work.after, result)
        return read_by(settings, result)  # type: ignore[no-any-return]

    async def _run_verb(self, verb: Callable[..., T], *args: Any, **options: Any) -> T:
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
