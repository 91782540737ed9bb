"""One queue as blocking code; both facades are signatures over it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from xclaim import arguments, verbs
from xclaim.connections import forks
from xclaim.connections.concurrency import Concurrency
from xclaim.connections.engine import check_driver, is_in_memory, is_verb_engine
from xclaim.connections.payload_work import read_by, settings_of
from xclaim.connections.per_thread import PerThread
from xclaim.connections.runner import Runner
from xclaim.consuming.keep_alive import check_lease_limit
from xclaim.consuming.loop import Claimant, Loop
from xclaim.consuming.streaming import Stream
from xclaim.errors import InvalidArgumentError
from xclaim.message import Claim, Message
from xclaim.payloads.payloads import Payloads
from xclaim.verb import Verb

T = TypeVar("T")


class BoundQueue:
    """One named queue on an engine, or on a connection whose transaction it joins.

    ``owned``: the engine was made for this queue and is closed with it. ``holds_connections``: one
    for each thread stays out of the pool.
    """

    def __init__(
        self,
        name: str,
        bind: Engine | Connection,
        concurrency: Concurrency,
        *,
        owned: bool,
        holds_connections: bool,
        schema: str | None,
        notify: bool,
        reconnect: timedelta,
        type_: Any,
        payloads: Payloads | None,
    ) -> None:
        self.name = arguments.queue_name(name)
        self.bind = bind
        check_driver(bind.dialect)
        if isinstance(bind, Engine) and not is_in_memory(bind.url):
            forks.protect(bind)
        arguments.seconds("reconnect", reconnect)
        verb_bind = _in_autocommit(bind)
        self._per_thread: PerThread | None = None
        if holds_connections and isinstance(verb_bind, Engine):
            self._per_thread = PerThread(verb_bind)
        self._owned = bind if owned and isinstance(bind, Engine) else None
        self._reconnect = reconnect
        self._runner = Runner(
            verb_bind,
            concurrency,
            schema=verbs.resolve_schema(schema, bind.dialect.name),
            notify=notify,
            payloads=settings_of(payloads, type_),
            per_thread=self._per_thread,
        )

    def run(self, verb: Verb[T], *given: Any, **options: Any) -> T:
        """Run a verb on the queue."""
        return self._runner.run(verb, self.name, *given, **options)

    def push(self, payload: Any, unique_key: str | None, **options: Any) -> Message:
        """Push one payload."""
        keys = None if unique_key is None else [unique_key]
        return self.run(verbs.PUSH_MANY, [payload], unique_keys=keys, **options)[0]

    def push_many(
        self, payloads: Iterable[Any], unique_keys: Iterable[str | None] | None, **options: Any
    ) -> list[Message]:
        """Push the payloads, each under its key if there are any."""
        values = verbs.listed("payloads", payloads)
        return self.run(verbs.PUSH_MANY, values, unique_keys=unique_keys, **options)

    def settle(self, verb: Verb[T], claim: Claim, **options: Any) -> T:
        """Run a verb on a claim of this queue."""
        self._check([claim])
        return self._runner.run(verb, claim, **options)

    def settle_many(self, verb: Verb[T], claims: Iterable[Claim], **options: Any) -> T:
        """Run a verb on claims of this queue."""
        listed = list(claims)
        self._check(listed)
        return self._runner.run(verb, listed, **options)

    def claim_many(self, limit: int, claimant: Claimant, wait: timedelta | None) -> list[Claim]:
        """Claim up to ``limit``, at once or within ``wait``."""
        if wait is None:
            return self.run(verbs.CLAIM_MANY, limit, **claimant)
        return self._loop().claim_waiting(limit, wait, claimant)

    def consume(
        self, claimant: Claimant, lease_limit: timedelta
    ) -> AbstractContextManager[Claim | None]:
        """Claim one message for a block."""
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop().consume_one(claimant, lease_limit)

    def consume_many(
        self, limit: int, claimant: Claimant, lease_limit: timedelta
    ) -> AbstractContextManager[list[Claim]]:
        """Claim for a block."""
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop().consume(limit, claimant, lease_limit)

    def working_on(
        self, claims: Iterable[Claim], lease: timedelta, lease_limit: timedelta
    ) -> AbstractContextManager[list[Claim]]:
        """Hold claims for a block."""
        check_lease_limit(lease, lease_limit)
        held = list(claims)
        self._check(held)
        return self._loop().hold(held, lease, lease_limit)

    def transact(
        self, claimant: Claimant, lease_limit: timedelta
    ) -> AbstractContextManager[tuple[Claim | None, Connection]]:
        """Claim for a block in a transaction."""
        if not isinstance(self.bind, Engine):
            raise InvalidArgumentError(
                "transact needs a queue bound to an engine: on a connection, claim and ack "
                "are in your transaction already"
            )
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop().transact(self.bind, claimant, lease_limit)

    def stream(
        self, batch: int, claimant: Claimant, lease_limit: timedelta, wait: timedelta | None
    ) -> Stream:
        """Return a stream of the queue's messages."""
        arguments.limit(batch)
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop().stream(batch, claimant, lease_limit, wait)

    def read(self, found: Message | Claim) -> Any:
        """Return a payload, read as this queue's settings say."""
        message = found.message if isinstance(found, Claim) else found
        settings, concurrency = self._runner.payloads, self._runner.concurrency
        return concurrency.offload(lambda: read_by(settings, message).payload)

    def close(self) -> None:
        """Close what was opened for this queue, when the verbs of other threads have ended."""
        if self._per_thread is not None:
            self._per_thread.close()
        if self._owned is not None:
            self._owned.dispose()

    def _loop(self) -> Loop:
        return Loop(self.name, self._runner, self._reconnect)

    def _check(self, claims: Iterable[object]) -> None:
        for claim in claims:  # the verb refuses what is not a claim
            if isinstance(claim, Claim) and claim.message.queue != self.name:
                raise InvalidArgumentError(
                    f"message {claim.message.id} was claimed from queue {claim.message.queue!r}, "
                    f"not from {self.name!r}: settle it with Queue({claim.message.queue!r}, ...)"
                )


def checked_bind(bind: object, kinds: tuple[type, type], otherwise: str) -> Any:
    """Return what a queue is to be bound to. Raise InvalidArgumentError if it is of no such kind.

    ``otherwise``: which queue is for which code.
    """
    if isinstance(bind, kinds):
        return bind
    engine, connection = (kind.__name__ for kind in kinds)
    article = "a" if connection == "Connection" else "an"
    raise InvalidArgumentError(
        f"bind must be an {engine}, {article} {connection} or a URL, not {type(bind).__name__}: "
        f"for {otherwise}"
    )


def _in_autocommit(bind: Engine | Connection) -> Engine | Connection:
    # Each verb is one statement: BEGIN and COMMIT would be two more round trips.
    if isinstance(bind, Connection) or is_verb_engine(bind):
        return bind
    return bind.execution_options(isolation_level="AUTOCOMMIT")
