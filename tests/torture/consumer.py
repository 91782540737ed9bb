"""What every loop of a consumer does around the library: it works, and logs what it believes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Any

from sqlalchemy import Connection, Engine, text

from tests.torture.logs import Event, Log
from tests.torture.payloads import is_poison, payload_of
from xclaim import Claim, ClaimLostError, Queue, Retry

QUEUE = "torture"
TURN = 25  # messages, after which another loop has its turn
BATCH = 50
WAIT = timedelta(seconds=0.3)
REST = (0.05, 0.4)  # seconds after an error
# So short that poison is a dead letter a few seconds after it was pushed.
RETRY = Retry(first=timedelta(seconds=0.1), most=timedelta(seconds=0.5))

_EFFECT = text("INSERT INTO effects (message_id, claimed_by) VALUES (:message_id, :claimed_by)")
_LEASES = (1.0, 1.5, 2.0, 3.0)  # seconds
_PAUSE = 0.001  # seconds that the work on a message takes on average
_SLOW_ONES = 0.002  # of the messages take longer than their lease
_FAILING_ONES = 0.01  # of the messages raise
_FORKING_ONES = 0.005  # of the messages are those during which the process forks


class WorkFailedError(Exception):
    """The work on a message has failed, as work does."""


class PoisonError(WorkFailedError):
    """The work on this message always fails."""


class Consumer:
    """One worker process, a child of it, or an asyncio task in it, that consumes.

    ``errors`` tells how many errors of the database its process has seen so far. ``fork`` is
    called in the middle of the work on a message.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        log: Log,
        random: Random,
        queue: Queue,
        engine: Engine,
        errors: Callable[[], int],
        fork: Callable[[Consumer], object] | None = None,
    ) -> None:
        self.name = name
        self.url = url
        self.log = log
        self.random = random
        self.queue = queue
        self.engine = engine
        self.loop = ""
        self.cuts = 0  # how often this turn was cancelled or interrupted
        self.claimants: list[str] = []  # of this turn
        self.own: list[Claim] = []  # which this turn settles by itself, if at all
        self.finished: list[Claim] = []  # of which the stream of this turn knows it
        self._failing: list[Claim] = []  # which the block that is left releases
        self._fork = fork
        self._errors = errors
        self._errors_before = 0
        self._asked = 0
        self._asked_at = 0.0
        self._lease = 0.0

    def as_task(self, number: int) -> Consumer:
        """Return one that shares everything, for a task among others."""
        self._asked += 1
        return Consumer(
            f"{self.name}/{self._asked}.{number}",
            url=self.url,
            log=self.log,
            random=self.random,
            queue=self.queue,
            engine=self.engine,
            errors=self._errors,
            fork=self._fork,
        )

    def as_child(self, name: str, log: Log) -> Consumer:
        """Return one for a child of this process, on the same queue; it does not fork again."""
        return Consumer(
            name,
            url=self.url,
            log=log,
            random=Random(name),
            queue=self.queue,
            engine=self.engine,
            errors=self._errors,
        )

    def begin_turn(self, loop: str) -> None:
        """Forget the last turn."""
        self.loop = loop
        self.cuts = 0
        self.claimants, self.own, self.finished, self._failing = [], [], [], []
        self._errors_before = self._errors()

    def errors_of_turn(self) -> int:
        """Return how many errors the process has seen in this turn."""
        return self._errors() - self._errors_before

    def cut_short(self, kind: str) -> None:
        """Log that the turn is cancelled or interrupted."""
        self.cuts += 1
        self.log.write(Event.FAULT, kind=kind)

    def ask(self) -> dict[str, Any]:
        """Return the options of the next claim; its claimant is one of its own."""
        self._asked += 1
        self._lease = self.random.choice(_LEASES)
        self._asked_at = time.monotonic()
        self.claimants.append(f"{self.name}#{self._asked}")
        return {"claimed_by": self.claimants[-1], "lease": timedelta(seconds=self._lease)}

    @contextmanager
    def settling(self) -> Iterator[list[Claim]]:
        """Log how the claims that are put in the list were settled.

        It yields to the error of the database: then the outcome is unknown.
        """
        held: list[Claim] = []
        try:
            yield held
        except WorkFailedError as error:
            if not getattr(error, "__notes__", ()):  # or it could not be released
                self.log.settle(Event.FAILED, self._failing)
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
        with self.giving_back(claims):
            try:
                yield
            except WorkFailedError:
                self._failing = claims
                raise

    @contextmanager
    def giving_back(self, claims: Iterable[Claim]) -> Iterator[None]:
        """Log that the claims are given back if the block raises, or is cancelled."""
        try:
            yield
        except BaseException as error:
            fails = isinstance(error, WorkFailedError)
            self.log.settle(Event.FAILING if fails else Event.RELEASING, claims)
            raise

    @contextmanager
    def failing(self, claim: Claim) -> Iterator[None]:
        """Log that the block releases this one claim with an error, and that it has."""
        self.log.settle(Event.FAILING, [claim])
        with suppress(ClaimLostError):
            yield
            self.log.settle(Event.FAILED, [claim])

    def see(self, claims: Iterable[Claim]) -> None:
        """Log that the claims were made, and look at what came with them."""
        claims = list(claims)
        self.log.claimed(claims, loop=self.loop, asked_at=self._asked_at, lease=self._lease)
        for claim in claims:
            key = claim.message.unique_key or ""
            if claim.payload != payload_of(key):
                self.log.write(Event.UNEXPECTED, error=f"key {key} came with {claim.payload!r}")

    def take(self, claims: Iterable[Claim]) -> None:
        """See claims that nobody else settles: they stay claimed if this turn is cut short."""
        claims = list(claims)
        self.own += claims
        self.see(claims)

    def finish(self, claims: Iterable[Claim]) -> None:
        """Note all that the stream was told of by asking for the next one."""
        self.finished = list(claims)

    def work(self, claim: Claim) -> None:
        """Take some time, and fail now and then; with poison always."""
        time.sleep(self._pause())
        self._go_wrong(claim)

    async def work_in_a_task(self, claim: Claim) -> None:
        """Do the same in an event loop."""
        await asyncio.sleep(self._pause())
        self._go_wrong(claim)

    def write_effect(self, connection: Connection, claim: Claim) -> None:
        """Write what is to be there once for a message, in the transaction of its ack."""
        effect = {"message_id": claim.message.id, "claimed_by": claim.claimed_by}
        connection.execute(_EFFECT, effect)

    def _pause(self) -> float:
        if self.random.random() < _SLOW_ONES:
            return self._lease * 1.5
        return self.random.expovariate(1 / _PAUSE)

    def _go_wrong(self, claim: Claim) -> None:
        if is_poison(claim.message.unique_key or ""):
            raise PoisonError
        if self._fork is not None and self.random.random() < _FORKING_ONES:
            self._fork(self)
        if self.random.random() < _FAILING_ONES:
            raise WorkFailedError
