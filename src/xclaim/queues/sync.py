"""Queue: the verbs of one named queue, bound to an engine or to your connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, Engine

from xclaim import arguments, verbs
from xclaim.connections.engine import (
    check_driver,
    create_verb_engine,
    is_in_memory,
    is_verb_engine,
    shown_url,
)
from xclaim.connections.per_thread import HeldConnections
from xclaim.consuming.keep_alive import LEASE_LIMIT, check_lease_limit
from xclaim.consuming.loop import Loop
from xclaim.consuming.methods import check_queue, documented_as
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
) -> Callable[Concatenate[Queue, P], T]:
    def method(self: Queue, /, *args: P.args, **options: P.kwargs) -> T:
        return self._run(verb, self.name, *args, **options)

    return documented_as(verb, method)


def _of_claim(
    verb: Callable[Concatenate[Connection, Claim, P], T],
) -> Callable[Concatenate[Queue, Claim, P], T]:
    def method(self: Queue, /, claim: Claim, *args: P.args, **options: P.kwargs) -> T:
        check_queue(self.name, [claim])
        return self._run(verb, claim, *args, **options)

    return documented_as(verb, method)  # type: ignore[return-value]  # takes its name as well


def _of_claims(
    verb: Callable[Concatenate[Connection, Iterable[Claim], P], T],
) -> Callable[Concatenate[Queue, Iterable[Claim], P], T]:
    def method(self: Queue, /, claims: Iterable[Claim], *args: P.args, **options: P.kwargs) -> T:
        listed = list(claims)
        check_queue(self.name, listed)
        return self._run(verb, listed, *args, **options)

    return documented_as(verb, method)  # type: ignore[return-value]  # takes its name as well


class Queue(Generic[T_co]):
    """One named queue.

    ``bind`` is a URL (the queue then owns an engine: use it in a ``with`` block, or ``close()``),
    an Engine (each verb is a transaction of its own, in autocommit), or a Connection: then the
    verbs join its transaction and nothing is committed for you. ``schema`` is a PostgreSQL
    schema, by default the one in ``XCLAIM_SCHEMA``. With ``notify`` its pushes wake those who wait
    in ``claim(wait=...)``, by PostgreSQL's NOTIFY, once in 20 ms at most. What loops or waits
    (``stream``, ``consume``, ``transact``, ``claim(wait=...)``) goes on when the database comes
    back within ``reconnect``; a single verb raises. Raise InvalidArgumentError or DatabaseUrlError
    for a name or URL that cannot be used; nothing is connected yet. ``type`` is what the payloads
    are: a dataclass, a TypedDict or a pydantic model, checked at push and made again at claim.
    ``payloads`` says how they are stored, by default as the environment says, or in the row.
    """

    def __init__(
        self,
        name: str,
        bind: Engine | Connection | str,
        *,
        schema: str | None = None,
        notify: bool = False,
        reconnect: timedelta = RECONNECT,
        type: type[T_co] | None = None,
        payloads: Payloads | None = None,
    ) -> None:
        self.name = arguments.queue_name(name)
        self._owned = create_verb_engine(bind) if isinstance(bind, str) else None
        self._bind = _in_transactions(_checked(self._owned or bind))
        self._verb_bind = _in_autocommit(self._owned or self._bind)
        self._held = _held_connections(self._owned, self._verb_bind)
        self._notify = notify
        self._reconnect = reconnect
        self._payloads = settings_of(payloads, type)
        self._verbs_with_work = verbs_with_work(self._payloads)
        check_driver(self._bind.dialect)
        self._schema = verbs.resolve_schema(schema, self._bind.dialect.name)
        arguments.seconds("reconnect", reconnect)

    push = _of_queue(verbs.push)
    # The facade prepares what it takes.
    push_many: Callable[..., list[Message]] = _of_queue(verbs.push_many)
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

    def claim(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        wait: timedelta | None = None,
    ) -> Claim[T_co] | None:
        """Claim the next message, or return None if there is none that can be claimed now.

        Next is the highest priority, then the longest available. ``claimed_by`` says who, by
        default ``host:pid``. With a ``claim_key`` the message that an earlier attempt (same key,
        another ``claimed_by``) still holds is taken back first. When the ``lease`` runs out before
        ack, release or extend, the message may be claimed by others. ``wait``: how long to wait
        for a message, at most.
        """
        claims = self.claim_many(
            1, claimed_by=claimed_by, claim_key=claim_key, lease=lease, wait=wait
        )
        return claims[0] if claims else None

    def claim_many(
        self,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        wait: timedelta | None = None,
    ) -> list[Claim[T_co]]:
        """Claim up to ``limit`` messages, the next one first; ``[]`` if there is none.

        What is taken back by ``claim_key`` is returned alone. ``wait``: how long to wait for the
        first message, at most; it looks every 2 s at least, and at once when a queue with
        ``notify`` pushes. Not on a queue bound to a connection.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        if wait is None:
            return self._run(verbs.claim_many, self.name, limit, **claimant)
        return self._loop().claim_waiting(limit, wait, claimant)

    @contextmanager
    def consume(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> Iterator[Claim[T_co] | None]:
        """Claim a message for a block: ack it at the end, release it if the block raises.

        Yields None when there is nothing to claim. While the block runs a thread extends the lease,
        for ``lease_limit`` in all. Raise ClaimLostError at the end if the claim was lost all the
        same. A queue bound to a connection extends nothing: choose the lease long enough.
        """
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key}
        with self.consume_many(1, lease=lease, lease_limit=lease_limit, **claimant) as claims:
            yield claims[0] if claims else None

    @contextmanager
    def consume_many(
        self,
        limit: int,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> Iterator[list[Claim[T_co]]]:
        """Claim up to ``limit`` messages for a block: ack them all at the end, or release them all.

        As ``consume``; yields ``[]`` when there is nothing to claim.
        """
        check_lease_limit(lease, lease_limit)
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        claims = self._loop().claim(limit, claimant)
        with self.working_on(claims, lease=lease, lease_limit=lease_limit):
            yield claims

    @contextmanager
    def working_on(
        self,
        claims: Iterable[Claim[T_co]],
        *,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> Iterator[list[Claim[T_co]]]:
        """Hold claims for a block: ack them at its end, release them if it raises.

        For claims you have already, resumed from a ticket say. Meanwhile their leases are extended
        as ``consume`` does it. Raise ClaimLostError naming those that were lost all the same.
        """
        check_lease_limit(lease, lease_limit)
        held = list(claims)
        check_queue(self.name, held)
        if not held:
            yield held
            return
        loop = self._loop()
        with loop.holding(held, lease, lease_limit):
            yield held
        loop.ack(held)

    @contextmanager
    def transact(
        self,
        *,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
    ) -> Iterator[tuple[Claim[T_co] | None, Connection]]:
        """Claim a message, and commit what the block writes together with the ack.

        Yields the claim, or None, and a connection in a transaction. If the block raises, or the
        claim is lost (ClaimLostError), everything is rolled back and the message is released. On
        SQLite the block holds the one write lock. Raise InvalidArgumentError on a queue bound to a
        connection: there ``claim`` and ``ack`` are in your transaction already.
        """
        if not isinstance(self._bind, Engine):
            raise InvalidArgumentError(
                "transact needs a queue bound to an engine: on a connection, claim and ack "
                "are in your transaction already"
            )
        check_lease_limit(lease, lease_limit)
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        loop, is_acked, after = self._loop(), False, after_ack_of(self._payloads)
        claims = loop.claim(1, claimant)
        if not claims:
            with self._bind.begin() as connection:
                yield None, connection
            return
        (claim,) = claims
        try:
            with loop.extending(claim, lease, lease_limit), self._bind.begin() as connection:
                yield claim, connection
                verbs.ack(connection, claim, after=after, schema=self._schema)
                is_acked = True
        except BaseException as error:
            if is_acked and loop.was_committed(claim, error):
                delete_objects_of(self._payloads, claim)
                return
            loop.release_after(claims, error)
            raise
        delete_objects_of(self._payloads, claim)

    def stream(
        self,
        *,
        batch: int = 100,
        claimed_by: str | None = None,
        claim_key: str | None = None,
        lease: timedelta = LEASE,
        lease_limit: timedelta = LEASE_LIMIT,
        wait: timedelta | None = None,
    ) -> Iterator[Claim[T_co]]:
        """Claim and yield messages until there is none; what you finished is acked for you.

        Claims up to ``batch`` ahead and keeps them alive. A message is finished when the next one
        is asked for; acks are sent together, with the next claim and about once a second. When
        the loop ends early, finished messages are acked, the current one is released, and those
        not begun are handed back uncounted. Raise ClaimLostError naming what could not be acked.
        ``wait``: end only when there was no message for so long.
        """
        arguments.limit(batch)
        check_lease_limit(lease, lease_limit)
        claimant = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        return self._loop().stream(batch, claimant, lease_limit, wait)

    def read(self, message: Message | Claim) -> Any:
        """Return the payload of a message or claim, read as this queue's settings say.

        For those that were made elsewhere: by ``from_dict``, or a queue with other settings.
        """
        found = message.message if isinstance(message, Claim) else message
        return found.read_by(self._payloads or Payloads()).payload

    def close(self) -> None:
        """Close the engine the queue made from a URL; an engine or connection of yours stays."""
        if self._held is not None:
            self._held.close()
        if self._owned is not None:
            self._owned.dispose()

    def __enter__(self) -> Self:
        """Return the queue; leaving the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the queue."""
        self.close()

    def __repr__(self) -> str:
        """Return the name and the database, without its password."""
        return f"Queue({self.name!r}, {shown_url(self._bind.engine.url)!r})"

    def _loop(self) -> Loop:
        return Loop(self.name, self._bind, self._run, self._reconnect)

    def _run(self, verb: Callable[..., T], *args: Any, **options: Any) -> T:
        settings = self._payloads
        if verb not in self._verbs_with_work:
            result = self._run_verb(verb, *args, **options)
            return read_by(settings, result)  # type: ignore[no-any-return]
        commits = isinstance(self._verb_bind, Engine)
        work = Work(settings or Payloads(), verb, args, options, commits=commits)
        if work.stores:
            work.before()
        try:
            result = self._run_verb(verb, *work.arguments, **work.options)
        except BaseException as error:
            work.failed(error)
            raise
        if work.deletes:
            work.after(result)
        return read_by(settings, result)  # type: ignore[no-any-return]

    def _run_verb(self, verb: Callable[..., T], *args: Any, **options: Any) -> T:
        options["schema"] = self._schema
        if self._notify and verb in verbs.NOTIFYING:
            options["notify"] = True
        if isinstance(self._verb_bind, Connection):
            return verb(self._verb_bind, *args, **options)
        if self._held is not None:
            return self._held.run(verb, *args, **options)
        with self._verb_bind.connect() as connection:
            return verb(connection, *args, **options)


def _held_connections(
    owned: Engine | None, verb_bind: Engine | Connection
) -> HeldConnections | None:
    # Not of an engine of others, who count on its pool, and not the one connection to a database
    # in memory.
    if owned is None or not isinstance(verb_bind, Engine) or is_in_memory(owned.url):
        return None
    return HeldConnections(verb_bind)


def _in_transactions(bind: Engine | Connection) -> Engine | Connection:
    if isinstance(bind, Connection) or not is_verb_engine(bind):
        return bind
    return bind.execution_options(isolation_level="READ COMMITTED")


def _in_autocommit(bind: Engine | Connection) -> Engine | Connection:
    # Each verb is one statement: BEGIN and COMMIT would be two more round trips.
    if isinstance(bind, Connection) or is_verb_engine(bind):
        return bind
    return bind.execution_options(isolation_level="AUTOCOMMIT")


def _checked(bind: object) -> Engine | Connection:
    if isinstance(bind, Engine | Connection):
        return bind
    raise InvalidArgumentError(
        f"bind must be an Engine, a Connection or a URL, not {type(bind).__name__}: "
        "for asyncio use AsyncQueue"
    )
