"""One process of the race: it pushes to few keys, claims, and ends its claims in every way.

Each line of its log is written before it goes on. A push is `pushing` before and `pushed` after its
commit; a claim has the time before and after it; an end is `ending` before and `ended` after. The
clock is the monotonic one, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine

from xclaim import Claim, ClaimLostError, Queue, Retry, create_engine

QUEUE = "race"
LEASE = timedelta(seconds=0.3)
RETRY = Retry(first=timedelta(0), most=timedelta(0), max_attempts=None)
STOP = "stop"  # a file
_MORTAL = 0.3  # of all messages have two attempts
_FORGOTTEN = 0.05  # of all claims: their lease lapses
_WHOLE_LINES = 0.5  # of all claims
_OUT_OF_ORDER = 0.3  # of all batches are ended so
_LONGEST_TRANSACTION = 0.05  # seconds


class RolledBackError(Exception):
    """A producer has thought better of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a process of the race is told."""

    name: str
    url: str
    folder: Path
    keys: int
    seed: int


class Log:
    """The lines of one process. Nothing of it is lost with the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, event: str, **values: Any) -> None:
        """Write a line, with the time."""
        line = json.dumps({"event": event, "at": time.monotonic(), **values}) + "\n"
        os.write(self._file, line.encode())


class Racer:
    """Does what the dice say until it is killed or told to stop."""

    def __init__(self, job: Job) -> None:
        self._random = Random(job.seed)
        self._job = job
        self._log = Log(job.folder / f"{job.name}.jsonl")
        self._engine: Engine = create_engine(job.url)
        self._queue = Queue(QUEUE, self._engine, retry=RETRY)
        self._pushed: list[str] = []
        self._deeds: list[tuple[float, Callable[[], None]]] = [
            (40, self._push),
            (12, self._push_slowly),
            (50, self._work),
            (2, self._queue_expire),
            (3, self._redrive),
            (3, self._withdraw),
        ]

    def run(self) -> None:
        """Go on until told to stop."""
        weights = [weight for weight, _ in self._deeds]
        while not (self._job.folder / STOP).exists():
            [(_, deed)] = self._random.choices(self._deeds, weights)
            try:
                deed()
            except Exception as error:
                self._log.write("unexpected", error=f"{type(error).__name__}: {error}"[:2000])

    def _push(self) -> None:
        """Push to one to six keys, in a transaction of the queue's own."""
        self._push_to(self._queue, self._draw())

    def _push_slowly(self) -> None:
        """Push in an open transaction; a third of them is rolled back."""
        items = self._draw()
        wants_none = self._random.random() < 1 / 3
        self._log.write("pushing", items=items)
        try:
            with self._engine.begin() as connection:
                ids = self._pushed_to(Queue(QUEUE, connection), items)
                time.sleep(self._random.uniform(0, _LONGEST_TRANSACTION))
                if wants_none:
                    raise RolledBackError
        except RolledBackError:
            self._log.write("rolled back", items=items)
        else:
            self._log.write("pushed", items=items, ids=ids)

    def _push_to(self, queue: Queue, items: list[list[str]]) -> None:
        self._log.write("pushing", items=items)
        ids = self._pushed_to(queue, items)
        self._log.write("pushed", items=items, ids=ids)

    def _pushed_to(self, queue: Queue, items: list[list[str]]) -> list[int]:
        is_mortal = items[0][0].endswith("m")
        options: dict[str, Any] = {"max_attempts": 2 if is_mortal else None}
        if len(items) == 1:
            [(name, key)] = items
            return [queue.push(name, unique_key=name, ordering_key=key, **options).id]
        names, keys = [name for name, _ in items], [key for _, key in items]
        pushed = queue.push_many(names, unique_keys=names, ordering_keys=keys, **options)
        return [message.id for message in pushed]

    def _draw(self) -> list[list[str]]:
        kind = "m" if self._random.random() < _MORTAL else "i"
        count = self._random.choice([1, 1, 1, 2, 4, 6])
        names = [f"{self._job.name}-{len(self._pushed) + n}{kind}" for n in range(count)]
        self._pushed += names
        return [[name, f"key {self._random.randrange(self._job.keys)}"] for name in names]

    def _work(self) -> None:
        asked_at = time.monotonic()
        count = self._random.choice([1, 1, 5])
        claims = self._queue.claim_many(
            count,
            claimed_by=self._job.name,
            lease=LEASE,
            whole_lines=self._random.random() < _WHOLE_LINES,
        )
        held = [
            [claim.message.id, claim.message.ordering_key, str(claim.token)] for claim in claims
        ]
        self._log.write("claimed", claims=held, asked_at=asked_at, lease=LEASE.total_seconds())
        if claims and self._random.random() < 0.1:
            time.sleep(LEASE.total_seconds() * 1.2)  # it comes too late
        if self._random.random() < _OUT_OF_ORDER:
            self._random.shuffle(claims)
        for claim in claims:
            time.sleep(self._random.uniform(0, 0.01))
            self._end(claim)

    def _end(self, claim: Claim) -> None:
        fate = self._random.random()
        if fate < _FORGOTTEN:
            return
        if fate < 0.8:
            self._settle(claim, "ack", self._queue.ack)
        elif fate < 0.88:
            self._settle(claim, "release", self._queue.release)
        else:
            self._settle(claim, "fail", lambda each: self._queue.release(each, error="failed"))

    def _settle(self, claim: Claim, how: str, settle: Callable[[Claim], object]) -> None:
        token = str(claim.token)
        self._log.write("ending", token=token, how=how)
        try:
            settle(claim)
        except ClaimLostError:
            self._log.write("lost", token=token)
        else:
            self._log.write("ended", token=token)

    def _queue_expire(self) -> None:
        self._queue.expire()

    def _redrive(self) -> None:
        self._queue.redrive(limit=self._random.choice([1, None]))

    def _withdraw(self) -> None:
        names = self._random.sample(self._pushed, min(3, len(self._pushed)))
        self._log.write("withdrawing", names=names)
        self._queue.withdraw(names)


def race(job: Job) -> None:
    """Be one process of the race."""
    Racer(job).run()
