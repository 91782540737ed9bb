"""AsyncQueue: the same queue for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from xclaim.arguments import LEASE, LEASE_LIMIT
from xclaim.claims import Claim
from xclaim.connections.engine import create_async_verb_engine
from xclaim.connections.sessions import async_session_in
from xclaim.connections.tasks import TASKS, async_block, bridged
from xclaim.consuming.reconnecting import RECONNECT
from xclaim.consuming.streaming import Stream
from xclaim.errors import InvalidArgumentError
from xclaim.message import Message, T_co
from xclaim.payloads.payloads import Payloads
from xclaim.places import Places
from xclaim.queues.async_verbs import AsyncVerbs, each
from xclaim.queues.bound_queue import Bind, unusable_bind
from xclaim.queues.placing import Placed, bind_queue
from xclaim.retry import RETRY, Retry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session


class AsyncQueue(AsyncVerbs[T_co]):
    """One named queue, for asyncio: what ``Queue`` does, awaitable.

    ``bind`` is a URL (the queue then owns an engine: use it in an ``async with`` block, or
    ``await close()``), Places, an AsyncEngine, or an AsyncConnection or an AsyncSession of the ORM,
    whose transaction the verbs join. A verb that is cancelled is finished first, within 10 s, and
    what it claimed is handed back. It is for one event loop at a time.
    ``payload`` and ``open()`` of what is not in the row block the event loop: read it with
    ``await queue.read(claim)``.
    """

    def __init__(
        self,
        name: str,
        bind: AsyncEngine
        | AsyncConnection
        | AsyncSession
        | async_scoped_session[Any]
        | URL
        | str
        | Places,
        *,
        schema: str | None = None,
        notify: bool = False,
        reconnect: timedelta = RECONNECT,
        retry: Retry = RETRY,
        type: type[T_co] | None = None,
        payloads: Payloads | None = None,
    ) -> None:
        self._engine: Any = None  # what transact makes connections of
        self._queue = bind_queue(
            name,
            bind,
            schema,
            self._opened,
            TASKS,
            holds_connections=False,
            notify=notify,
            reconnect=reconnect,
            retry=retry,
            type_=type,
            payloads=payloads,
        )
        self.name = self._queue.name

    def _opened(self, where: Placed) -> Bind:
        self._engine = where.bind
        if isinstance(where.bind, str | URL):
            self._engine = create_async_verb_engine(where.bind, commands=where.commands)
        return _sync(self._engine)

    @asynccontextmanager
    async def transact(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> AsyncIterator[tuple[Claim[T_co] | None, AsyncConnection]]:
        """Claim a message, and commit what the block writes together with the ack.

        As ``Queue.transact``. The connection is an AsyncConnection.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        async with async_block(self._queue.transact(claimant, lease_limit, wait, retry)) as (
            claim,
            connection,
        ):
            yield claim, AsyncConnection(self._engine, connection)

    def stream(
        self,
        *,
        batch: int = 100,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        whole_lines: bool = False,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
        retry: Retry | None = None,
    ) -> AsyncIterator[Claim[T_co]]:
        """Claim and yield messages until there is none; what you finished is acked for you.

        As ``Queue.stream``. asyncio closes an abandoned iterator late: leave the loop early only
        within ``async with contextlib.aclosing(queue.stream()) as claims``.
        """
        claimant = {
            "claimed_by": claimed_by,
            "claim_key": claim_key,
            "lease": lease,
            "whole_lines": whole_lines,
        }
        return _Claims(self._queue.stream(batch, claimant, lease_limit, wait, retry))

    async def read(self, message: Message | Claim) -> Any:
        """Return the payload of a message or claim, read as this queue's settings say.

        The way to read a payload that is in a storage: in a thread, while ``claim.payload`` would
        keep the event loop waiting. The claim has it from then on.
        """
        return await bridged(self._queue.read, message)

    async def close(self) -> None:
        """Close the engine the queue made from a URL; an engine or connection of yours stays."""
        await bridged(self._queue.close)

    async def __aenter__(self) -> Self:
        """Return the queue; leaving the block closes it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the queue."""
        await self.close()

    def __repr__(self) -> str:
        """Return the name and the database, without its password."""
        return f"AsyncQueue({self.name!r}, {self._queue.shown_database()!r})"


class _Claims(AsyncIterator[Claim[Any]]):
    """The claims of a stream, whose work ends at once when the loop over them is left.

    asyncio closes the generator later: until then it is nobody's any more, and what the task does
    next is no part of the work on its last message.
    """

    __slots__ = ("_claims", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._claims: Any = each(stream)

    def __anext__(self) -> Awaitable[Claim[Any]]:
        return self._claims.__anext__()  # type: ignore[no-any-return]

    def aclose(self) -> Awaitable[None]:
        return self._claims.aclose()  # type: ignore[no-any-return]

    def __del__(self) -> None:
        self._stream.abandon()


def _sync(bind: object) -> Bind:
    if isinstance(bind, AsyncEngine):
        return bind.sync_engine
    if isinstance(bind, AsyncConnection):
        if bind.sync_connection is None:
            raise InvalidArgumentError(
                "the AsyncConnection is not open yet: await it, or open it by async with"
            )
        return bind.sync_connection
    session = async_session_in(bind)
    if session is None:
        kinds = "an AsyncEngine, an AsyncConnection, an AsyncSession"
        raise unusable_bind(bind, kinds, "blocking code use Queue")
    return session
