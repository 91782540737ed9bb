"""One process of a race at a queue with limits: it claims and ends its claims in every way."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

from tests.ordering.racer import LEASE, QUEUE, RETRY, STOP, Log
from xclaim import Claim, ClaimLostError, Queue, create_engine

_FORGOTTEN = 0.05  # of all claims: their lease lapses
_OPEN = 0.15  # of all claims are made in a transaction of the caller
_ROLLED_BACK = 0.3  # of those


class _RolledBackError(Exception):
    """The caller has thought better of it."""


class LimitRacer:
    """Does what the dice say until it is killed or told to stop."""

    def __init__(self, name: str, url: str, folder: Path, seed: int) -> None:
        self._name, self._folder, self._random = name, folder, Random(seed)
        self._log = Log(folder / f"{name}.jsonl")
        self._engine = create_engine(url)
        self._queue = Queue(QUEUE, self._engine, retry=RETRY)

    def run(self) -> None:
        """Go on until told to stop."""
        while not (self._folder / STOP).exists():
            try:
                self._turn()
            except Exception as error:
                self._log.write("unexpected", error=f"{type(error).__name__}: {error}"[:2000])

    def _turn(self) -> None:
        drawn = self._random.random()
        if drawn < 0.05:
            self._queue.redrive(limit=1)
        elif drawn < 0.1:
            self._queue.expire()
        elif drawn < 0.1 + _OPEN:
            self._work_in_a_transaction()
        else:
            self._work()

    def _work(self) -> None:
        asked_at = time.monotonic()
        claims = self._queue.claim_many(self._random.choice([1, 1, 3]), lease=LEASE)
        self._note(claims, asked_at)
        if not claims:
            time.sleep(0.002)
        elif self._random.random() < 0.1:
            time.sleep(LEASE.total_seconds() * 1.2)  # it comes too late
        for claim in claims:
            time.sleep(self._random.uniform(0, 0.01))
            self._end(claim)

    def _work_in_a_transaction(self) -> None:
        """Claim and end in one transaction, of which others see nothing before its end."""
        try:
            with self._engine.begin() as connection:
                joined = Queue(QUEUE, connection, retry=RETRY)
                claims = joined.claim_many(2, lease=LEASE)
                time.sleep(self._random.uniform(0, 0.02))
                if self._random.random() < _ROLLED_BACK:
                    raise _RolledBackError
                if self._random.random() < 0.5:
                    joined.ack_many(claims)
        except _RolledBackError:
            pass

    def _note(self, claims: list[Claim], asked_at: float) -> None:
        if not claims:
            return  # who has told of nothing has done nothing, and is not killed yet
        self._log.claimed(claims, asked_at=asked_at, lease=LEASE)

    def _end(self, claim: Claim) -> None:
        fate = self._random.random()
        if fate < _FORGOTTEN:
            return
        token = str(claim.token)
        how = "ack" if fate < 0.7 else "release"
        self._log.write("ending", token=token, how=how)
        try:
            if how == "ack":
                self._queue.ack(claim)
            else:
                self._queue.release(claim, error="failed" if fate < 0.85 else None)
        except ClaimLostError:
            self._log.write("lost", token=token)
        else:
            self._log.write("ended", token=token)


def race(name: str, url: str, folder: Path, seed: int) -> None:
    """Be one process of the race."""
    LimitRacer(name, url, folder, seed).run()
