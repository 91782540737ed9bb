"""What loops over a queue: it claims, waits and acks, and outlives a restart of the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Engine

from xclaim import arguments, verbs
from xclaim.claims import Claim
from xclaim.connections.runner import Runner
from xclaim.consuming.claims_ahead import ClaimsAhead
from xclaim.consuming.holding import Holding, QueueAndId
from xclaim.consuming.keeping import Keeper
from xclaim.consuming.listening import claim_waiting
from xclaim.consuming.reconnecting import Reconnecting, has_connected
from xclaim.consuming.streaming import Stream
from xclaim.consuming.transaction import Transaction
from xclaim.errors import InvalidArgumentError
from xclaim.verb import Verb

Claimant = dict[str, Any]  # claimed_by, claim_key and lease, as claim_many takes them

_NO_WAIT_ON_A_CONNECTION = (
    "wait needs a queue bound to an engine: on a connection or in a session it would keep your "
    "transaction open; wait in Queue(name, engine), or claim without wait"
)


class Loop:
    """One loop over one queue: how it claims, keeps alive, tries again and hands back.

    A claim is noted in a ``ClaimsAhead`` within the call that makes it, and stays there until it is
    settled. So whatever raises, and wherever, the one place that winds up finds what is held.
    """

    def __init__(self, name: str, runner: Runner, reconnect: timedelta, keeper: Keeper) -> None:
        self.name = name
        self.runner = runner
        self._keeper = keeper
        # What was in a transaction of the caller is lost with its connection.
        limit = reconnect if runner.engines else timedelta(0)
        self.again = Reconnecting(limit, has_connected(runner.engines), runner.concurrency)

    def holding(self, lease: timedelta, lease_limit: timedelta) -> Holding:
        """Return what holds claims for a block or a stream."""
        return Holding(self.runner, self.again, self._keeper, lease=lease, lease_limit=lease_limit)

    def fill(self, held: ClaimsAhead, verb: Verb[list[Claim]], *asked: Any, **who: Any) -> bool:
        """Claim into ``held``; return whether there was something."""

        def claim() -> bool:
            claims = self.runner.run_once(verb, *asked, **who)
            held.fill(claims)
            return bool(claims)

        return self.again.run(partial(self.runner.concurrency.finish, claim))

    def fill_waiting(
        self, held: ClaimsAhead, limit: int, wait: timedelta, claimant: Claimant
    ) -> bool:
        """Claim into ``held`` as soon as there is something; return whether there was."""
        wakes = self.runner.wakes(self.name)
        if not wakes:
            raise InvalidArgumentError(_NO_WAIT_ON_A_CONNECTION)
        poll = partial(self.fill, held, verbs.POLL, self.name, limit, **claimant)
        claim = poll
        # Of longer waits one of the polls looks everywhere, the last one if no other.
        if arguments.seconds("wait", wait) < verbs.LOOK_BACK_EVERY:
            claim = partial(self.fill, held, verbs.CLAIM_MANY, self.name, limit, **claimant)
        concurrency = self.runner.concurrency
        return bool(claim_waiting(concurrency, wakes, wait=wait, claim=claim, poll=poll))

    def claim_waiting(self, limit: int, wait: timedelta, claimant: Claimant) -> list[Claim]:
        """Claim up to ``limit``, as soon as there is something."""
        held = ClaimsAhead()
        try:
            self.fill_waiting(held, limit, wait, claimant)
            return held.waiting()
        except BaseException as error:
            self.runner.hand_back(verbs.HAND_BACK, held.waiting(), error)
            raise

    def fill_within(
        self, held: ClaimsAhead, limit: int, wait: timedelta | None, claimant: Claimant
    ) -> bool:
        """Claim into ``held``, at once or within ``wait``; return whether there was something."""
        if wait is not None:
            return self.fill_waiting(held, limit, wait, claimant)
        return self.fill(held, verbs.DRAIN, self.name, limit, **claimant)

    def fill_readable(
        self, holding: Holding, limit: int, wait: timedelta | None, claimant: Claimant
    ) -> None:
        """Claim what can be read, at once or within ``wait``; what cannot is released."""
        ends_at = time.monotonic() + (arguments.optional_seconds("wait", wait) or 0)
        seen: set[QueueAndId] = set()
        came_back: set[QueueAndId] = set()
        asked = limit
        while self.fill_within(holding.claims, asked, wait, claimant):
            released = holding.release_unreadable()
            if holding.claims.has_waiting():
                holding.hand_back_beyond(limit)
                return
            # Where failures come back at once, the same are claimed again: is there another one?
            if released <= seen and len(released) < asked:
                return
            came_back |= released & seen
            seen |= released
            asked = min(limit + len(came_back), arguments.MAX_LIMIT)
            if wait is not None:
                wait = timedelta(seconds=max(0.0, ends_at - time.monotonic()))

    @contextmanager
    def consume(
        self, limit: int, claimant: Claimant, lease_limit: timedelta, wait: timedelta | None
    ) -> Iterator[list[Claim]]:
        """Claim for a block what can be read: ack at its end, release if it raises."""
        with self.holding(claimant["lease"], lease_limit) as holding:
            self.fill_readable(holding, limit, wait, claimant)
            yield holding.begin()
            holding.finish()

    @contextmanager
    def consume_one(
        self, claimant: Claimant, lease_limit: timedelta, wait: timedelta | None
    ) -> Iterator[Claim | None]:
        """Claim one message for a block, readable or not; None if there is none."""
        with self.holding(claimant["lease"], lease_limit) as holding:
            self.fill_within(holding.claims, 1, wait, claimant)
            claims = holding.begin()
            yield claims[0] if claims else None
            holding.finish()

    @contextmanager
    def hold(
        self, claims: list[Claim], lease: timedelta, lease_limit: timedelta
    ) -> Iterator[list[Claim]]:
        """Hold claims for a block: ack them at its end, release them if it raises."""
        with self.holding(lease, lease_limit) as holding:
            holding.claims.fill(claims)
            holding.renew()
            yield holding.begin()
            holding.finish()

    @contextmanager
    def transact(
        self,
        engine: Engine,
        claimant: Claimant,
        lease_limit: timedelta,
        wait: timedelta | None,
    ) -> Iterator[tuple[Claim | None, Any]]:
        """Claim a message, and commit what the block writes together with the ack."""
        leases = {"lease": claimant["lease"], "lease_limit": lease_limit}
        with Transaction(self.runner, self.again, self._keeper, engine, **leases) as transaction:
            self.fill_within(transaction.claims, 1, wait, claimant)
            yield transaction.begin_transaction()
            transaction.commit()

    def stream(
        self, size: int, claimant: Claimant, lease_limit: timedelta, wait: timedelta | None
    ) -> Stream:
        """Return a stream of claims, each of which is settled when the next is asked for."""
        return Stream(self, size, claimant, lease_limit, wait)
