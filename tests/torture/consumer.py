"""What every loop of a consumer does around the library: it works, and logs what it believes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import Any

from sqlalchemy import Engine, text

from tests.torture.logs import Event, Log
from tests.torture.payloads import payload_of
from xclaim import Claim, ClaimLostError, Queue

QUEUE = "torture"
EFFECT = text("INSERT INTO effects (message_id, claimed_by) VALUES (:message_id, :claimed_by)")
TURN = 25  # messages, after which another loop has its turn
BATCH = 50

_LEASES = (1.0, 1.5, 2.0, 3.0)  # seconds
_PAUSE = 0.001  # seconds that the work on a message takes on average
_SLOW_ONES = 0.002  # of the messages take longer than their lease
_FAILING_ONES = 0.01  # of the messages raise


class WorkFailedError(Exception):
    """The work on a message has failed, as work does."""


class Consumer:
    """One worker process, or thread, that consumes."""

    def __init__(
        self, name: str, *, url: str, log: Log, random: Random, queue: Queue, engine: Engine
    ) -> None:
        self.name = name
        self.url = url
        self.log = log
        self.random = random
        self.queue = queue
        self.engine = engine
        self.loop = ""
        self._turn = 0
        self._asked_at = 0.0
        self._lease = 0.0

    def ask(self) -> dict[str, Any]:
        """Return the options of the next claim; its claimant is one of its own."""
        self._turn += 1
        self._lease = self.random.choice(_LEASES)
        self._asked_at = time.monotonic()
        return {
            "claimed_by": f"{self.name}#{self._turn}",
            "lease": timedelta(seconds=self._lease),
        }

    @contextmanager
    def settling(self) -> Iterator[list[Claim]]:
        """Log how the claims that are put in the list were settled.

        It yields to the error of the database: then the outcome is unknown.
        """
        held: list[Claim] = []
        try:
            yield held
        except WorkFailedError:
            return
        except ClaimLostError as error:
            lost = {claim.token for claim in error.claims}
            self.log.settle(Event.LOST, [claim for claim in held if claim.token in lost])
            self.log.settle(Event.ACKED, [claim for claim in held if claim.token not in lost])
        else:
            self.log.settle(Event.ACKED, held)

    @contextmanager
    def holding(self, claims: Iterable[Claim], held: list[Claim]) -> Iterator[None]:
        """Log that the claims were made, and that they are given back if the block raises."""
        claims = list(claims)
        held += claims
        self.see(claims)
        try:
            yield
        except BaseException:
            self.log.settle(Event.RELEASING, claims)
            raise

    def see(self, claims: Iterable[Claim]) -> None:
        """Log that the claims were made, and look at what came with them."""
        claims = list(claims)
        self.log.claimed(claims, loop=self.loop, asked_at=self._asked_at, lease=self._lease)
        for claim in claims:
            key = claim.message.unique_key or ""
            if claim.payload != payload_of(key):
                self.log.write(Event.UNEXPECTED, error=f"key {key} came with {claim.payload!r}")

    def pause(self) -> float:
        """Return how long the work on a message takes, in seconds."""
        if self.random.random() < _SLOW_ONES:
            return self._lease * 1.5
        return self.random.expovariate(1 / _PAUSE)

    def work(self) -> None:
        """Take some time, and fail now and then."""
        time.sleep(self.pause())
        self.maybe_fail()

    def maybe_fail(self) -> None:
        """Fail now and then."""
        if self.random.random() < _FAILING_ONES:
            raise WorkFailedError
