"""One queue as blocking code; both facades are signatures over it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from xclaim import arguments, verbs
from xclaim.claims import Claim, checked_claim, listed_claims
from xclaim.connections import forks
from xclaim.connections.companions import Outcome
from xclaim.connections.concurrency import Concurrency, within_asyncio
from xclaim.connections.engine import check_driver, in_autocommit, is_in_memory, shown_url
from xclaim.connections.payload_work import read_by, settings_of
from xclaim.connections.per_thread import PerThread
from xclaim.connections.runner import Runner
from xclaim.connections.sessions import OrmSession, SessionScope
from xclaim.consuming import room
from xclaim.consuming.holding import Holding, by_holding, holding_of
from xclaim.consuming.keep_alive import check_lease_limit
from xclaim.consuming.keeping import Keeper, NobodyKeeps
from xclaim.consuming.loop import Claimant, Loop
from xclaim.consuming.pacing import paced
from xclaim.consuming.streaming import Stream
from xclaim.errors import ClaimLostError, InvalidArgumentError
from xclaim.message import Message
from xclaim.payloads.payloads import Payloads
from xclaim.retry import Retry, checked_retry
from xclaim.verb import Verb

T = TypeVar("T")
Bind = Engine | Connection | OrmSession | SessionScope

_RATES = (0.001, 1_000_000)  # messages per second
_queue_of = attrgetter("message.queue")


class BoundQueue:
    """One named queue on an engine, or in the transaction of a connection or an ORM session.

    ``owned``: the engine was made for this queue and is closed with it. ``holds_connections``: one
    for each thread stays out of the pool.
    """

    def __init__(
        self,
        name: str,
        bind: Bind,
        concurrency: Concurrency,
        *,
        owned: bool,
        holds_connections: bool,
        schema: str | None,
        notify: bool,
        reconnect: timedelta,
        retry: Retry,
        type_: Any,
        payloads: Payloads | None,
        whereabouts: str | None = None,
    ) -> None:
        self._begin(name, bind, reconnect)
        self._owned = bind if owned and isinstance(bind, Engine) else None
        self._make_runner = partial(
            _runner_on,
            concurrency=concurrency,
            schema=schema,
            notify=notify,
            retry=checked_retry(retry),
            payloads=settings_of(payloads, type_),
            whereabouts=whereabouts,
        )
        self._per_thread: PerThread | None = None
        self._fixed_runner: Runner | None = None
        if isinstance(bind, Engine):
            self._fixed_runner = self._runner_on_engine(bind, holds_connections=holds_connections)
        elif not isinstance(bind, SessionScope):  # in which each caller has a session of his own
            self._fixed_runner = self._make_runner(bind)

    def _begin(self, name: str, bind: Bind, reconnect: timedelta) -> None:
        self.name = arguments.queue_name(name)
        self.bind: Any = bind
        arguments.seconds("reconnect", reconnect)
        self._reconnect = reconnect
        self.keeper: Keeper = NobodyKeeps()
        self.log_level = logging.DEBUG  # lines of the log that have a lower level are raised to it

    def _runner_on_engine(self, engine: Engine, *, holds_connections: bool) -> Runner:
        check_driver(engine.dialect)
        is_shared = is_in_memory(engine.url)  # its one connection is for all threads
        if not is_shared:
            forks.protect(engine)
        verbs_engine = in_autocommit(engine)
        if holds_connections and not is_shared:
            self._per_thread = PerThread(verbs_engine)
        return self._make_runner(verbs_engine, per_thread=self._per_thread)

    @property
    def _runner(self) -> Runner:
        runner = self._fixed_runner or self._make_runner(self.bind.session())
        runner.log_level = self.log_level
        return runner

    def saying_where(self) -> AbstractContextManager[None]:
        """Let errors of the database say where it is, if this is known by a name."""
        return self._runner.saying_where()

    def shown_database(self) -> str:
        """Return the URL of the database without its passwords; of a scope, that it is one."""
        if isinstance(self.bind, SessionScope):
            return "the session of each scope"
        bind = self.bind.database() if isinstance(self.bind, OrmSession) else self.bind
        return shown_url(bind.engine.url)

    @property
    def runner(self) -> Runner:
        """What runs the verbs here."""
        return self._runner

    @property
    def reconnect(self) -> timedelta:
        """How long what loops or waits asks again while the database is away."""
        return self._reconnect

    @property
    def retry(self) -> Retry:
        """How what fails here is tried again."""
        return self._runner.retry

    def run(self, verb: Verb[T], *given: Any, **options: Any) -> T:
        """Run a verb on the queue."""
        return self._runner.run(verb, self.name, *given, **options)

    def push(
        self, payload: Any, unique_key: str | None, *, ordering_key: str | None, **options: Any
    ) -> Message | None:
        """Push one payload; None if it was left out of a full queue."""
        keys = None if unique_key is None else [unique_key]
        lines = None if ordering_key is None else [ordering_key]
        return self._push([payload], unique_keys=keys, ordering_keys=lines, **options)[0]

    def push_many(
        self,
        payloads: Iterable[Any],
        unique_keys: Iterable[str | None] | None,
        *,
        ordering_keys: Iterable[str | None] | None,
        **options: Any,
    ) -> list[Message | None]:
        """Push the payloads, each under its key if there are any, and in the line of the other.

        None stands for those that were left out of a full queue.
        """
        values = verbs.listed("payloads", payloads)
        keys = None if unique_keys is None else verbs.listed("unique_keys", unique_keys)
        lines = None if ordering_keys is None else verbs.listed("ordering_keys", ordering_keys)
        return self._push(values, unique_keys=keys, ordering_keys=lines, **options)

    def _push(self, values: list[Any], **options: Any) -> list[Message | None]:
        return room.push(self._runner, self.name, values, **options)

    def settle(self, verb: Verb[T], claim: Claim, **options: Any) -> T:
        """Run a verb on a claim of this queue."""
        self._check([checked_claim(claim)])
        holding = holding_of(claim) if verb.settles else None
        if holding is None:
            return self._runner.run(verb, claim, **options)
        return self._settle_held(holding, verb, [claim], claim, options)

    def release(self, claim: Claim, retry: Retry | None, **options: Any) -> Message:
        """Give a message back, by a retry of this call if there is one."""
        if retry is not None:
            options["retry"] = checked_retry(retry)
        return self.settle(verbs.RELEASE, claim, **options)

    def settle_many(self, verb: Verb[None], claims: Iterable[Claim], **options: Any) -> None:
        """Run a verb on claims of this queue. Raise ClaimLostError naming all that were lost."""
        listed = listed_claims(claims)
        self._check(listed)
        if not verb.settles:
            self._runner.run(verb, listed, **options)
            return
        lost: list[Claim] = []
        for holding, held in by_holding(listed):
            try:
                if holding is None:
                    self._runner.run(verb, held, **options)
                else:
                    self._settle_held(holding, verb, held, held, options)
            except ClaimLostError as error:
                lost += error.claims
        if lost:
            raise ClaimLostError(lost)

    def _settle_held(
        self, holding: Holding, verb: Verb[T], claims: list[Claim], given: Any, options: Any
    ) -> T:
        """Settle claims that a block or a stream holds, which then does it no more."""
        if verb.retries:
            options = {"retry": holding.retry, **options}

        def run(runner: Runner = self._runner) -> T:
            return runner.run(verb, given, **options)

        error = options.get("error") if options.get("count", True) else None
        outcome = Outcome.RELEASED if error is None else Outcome.FAILED
        if verb.acks:
            outcome = Outcome.ACKED
        hand_back = partial(self._runner.run_once, verbs.HAND_BACK)
        return holding.settle_by_hand(claims, run, outcome, error, hand_back)

    def claim_many(self, limit: int, claimant: Claimant, wait: timedelta | None) -> list[Claim]:
        """Claim up to ``limit``, at once or within ``wait``."""
        if wait is None:
            return self.run(verbs.CLAIM_MANY, limit, **claimant)
        return self._loop().claim_waiting(limit, wait, claimant)

    def claim_everywhere(
        self, limit: int, claimant: Claimant, wait: timedelta | None = None
    ) -> list[Claim]:
        """Claim as ``claim_many``; ``[]`` only if nothing is in any place of a split queue.

        Else raise the error of one that is away. For who tells others that there is nothing.
        """
        claims = [] if wait is None else self.claim_many(limit, claimant, wait)
        return claims or self.run(verbs.DRAIN, limit, **claimant)

    def consume(
        self,
        claimant: Claimant,
        lease_limit: timedelta,
        wait: timedelta | None,
        retry: Retry | None,
    ) -> AbstractContextManager[Claim | None]:
        """Claim one message for a block."""
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop(retry).consume_one(claimant, lease_limit, wait)

    def consume_many(
        self,
        limit: int,
        claimant: Claimant,
        lease_limit: timedelta,
        wait: timedelta | None,
        retry: Retry | None,
    ) -> AbstractContextManager[list[Claim]]:
        """Claim for a block."""
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop(retry).consume(limit, claimant, lease_limit, wait)

    def working_on(
        self,
        claims: Iterable[Claim],
        lease: timedelta,
        lease_limit: timedelta,
        retry: Retry | None,
    ) -> AbstractContextManager[list[Claim]]:
        """Hold claims for a block."""
        check_lease_limit(lease, lease_limit)
        held = listed_claims(claims)
        self._check(held)
        return self._loop(retry).hold(held, lease, lease_limit)

    def transact(
        self,
        claimant: Claimant,
        lease_limit: timedelta,
        wait: timedelta | None,
        retry: Retry | None,
    ) -> AbstractContextManager[tuple[Claim | None, Connection]]:
        """Claim for a block in a transaction."""
        if not isinstance(self.bind, Engine):
            raise InvalidArgumentError(
                "transact needs a queue bound to an engine: on a connection or in a session, claim "
                "and ack are in your transaction already, and consume() does both"
            )
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop(retry).transact(self.bind, claimant, lease_limit, wait)

    def stream(
        self,
        batch: int,
        claimant: Claimant,
        lease_limit: timedelta,
        wait: timedelta | None,
        retry: Retry | None,
    ) -> Stream:
        """Return a stream of the queue's messages."""
        arguments.whole_number("batch", batch, 1, arguments.MAX_LIMIT)
        check_lease_limit(claimant["lease"], lease_limit)
        return self._loop(retry).stream(batch, claimant, lease_limit, wait)

    def redrive(
        self,
        limit: int | None,
        ids: Iterable[int] | None,
        older_than: timedelta | None,
        rate: float | None,
        *,
        dry_run: bool,
        **options: Any,
    ) -> int:
        """Move dead letters back, with ``rate`` step by step; or only count them."""
        options = {**options, "limit": limit, "older_than": older_than}
        if ids is not None:
            options["ids"] = arguments.message_ids(ids)
            self.run(verbs.REFUSE_OTHERS, options["ids"])
        if rate is not None:
            arguments.number("rate", rate, *_RATES)
        if dry_run:
            return self.run(verbs.COUNT_REDRIVABLE, **options)
        if rate is None:
            return self.run(verbs.REDRIVE, **options)
        if not isinstance(self.bind, Engine):
            raise InvalidArgumentError(
                "a rate needs a queue bound to an engine: on a connection, all of it becomes "
                "visible when you commit"
            )

        # What dies again meanwhile is not moved again, by the database's clock: between a look at
        # ours and a statement there may be any time, a reconnection say.
        age = arguments.optional_seconds("older_than", older_than) or 0.0
        cut = {name: now - timedelta(seconds=age) for name, now in self.run(verbs.CLOCK).items()}
        options |= {"older_than": None, "died_before": cut}

        def step(size: int) -> int:
            return self.run(verbs.REDRIVE, **{**options, "limit": size})

        return paced(step, self._runner.concurrency.sleep, rate=rate, limit=limit)

    def withdraw(self, unique_keys: Iterable[str] | None, ids: Iterable[int] | None) -> int:
        """Delete what nobody has claimed: under these keys, or with these ids."""
        if (unique_keys is None) == (ids is None):
            raise InvalidArgumentError("withdraw takes unique_keys or ids: pass one of them")
        if ids is None:
            return self.run(verbs.WITHDRAW, unique_keys)
        return self.run(verbs.WITHDRAW_BY_ID, ids)

    def read(self, found: Message | Claim) -> Any:
        """Return a payload, read as this queue's settings say."""
        message = found.message if isinstance(found, Claim) else found
        if not isinstance(message, Message):
            raise InvalidArgumentError(
                f"not a message or a claim but of type {type(found).__name__}: pass what push(), "
                "peek() or claim() returned"
            )
        settings, concurrency = self._runner.payloads, self._runner.concurrency
        return concurrency.offload(lambda: read_by(settings, message).payload)

    def close(self) -> None:
        """Close what was opened for this queue, when the verbs of other threads have ended."""
        if self._per_thread is not None:
            self._per_thread.close()
        if self._owned is not None:
            self._owned.dispose()

    def _loop(self, retry: Retry | None = None) -> Loop:
        return Loop(self.name, self._runner.retrying(retry), self._reconnect, self.keeper)

    def _has(self, queue: str) -> bool:
        return queue == self.name

    def _check(self, claims: Sequence[Claim]) -> None:
        for queue in dict.fromkeys(map(_queue_of, claims)):
            if not self._has(queue):
                claim = next(claim for claim in claims if claim.message.queue == queue)
                raise InvalidArgumentError(
                    f"message {claim.message.id} was claimed from queue {claim.message.queue!r}, "
                    f"not from {self.name!r}: settle it with Queue({claim.message.queue!r}, ...)"
                )


def unusable_bind(bind: object, kinds: str, otherwise: str) -> InvalidArgumentError:
    """Return the error for what no queue is bound to: of which ``kinds`` it must be.

    ``otherwise``: which queue is for which code.
    """
    return InvalidArgumentError(
        f"bind must be {kinds} or a URL, not {type(bind).__name__}: for {otherwise}"
    )


def _runner_on(
    bind: Engine | Connection | OrmSession,
    *,
    concurrency: Concurrency,
    schema: str | None,
    **options: Any,
) -> Runner:
    database = bind.database() if isinstance(bind, OrmSession) else bind
    check_driver(database.dialect)
    return Runner(
        bind,
        within_asyncio(concurrency) if database.dialect.is_async else concurrency,
        schema=verbs.resolve_schema(schema, database.dialect.name),
        **options,
    )
