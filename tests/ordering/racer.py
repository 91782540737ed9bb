"""One process of the race: it pushes to few keys, claims, and ends its claims in every way.

The last letter of a message's name says what becomes of it: `i` is tried for ever, `m` dies after
two attempts and lets others pass, `h` after one and holds its line. Some have no key.

Each line of its log is written before it goes on. A push is `pushing` before and `pushed` after its
commit; a claim has the time before and after it; an end is `ending` before and `ended` after. The
clock is the monotonic one, which all processes of a machine share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine

from xclaim import Claim, ClaimLostError, Queue, Retry, create_engine

QUEUE = "race"
LETTERS = f"{QUEUE}.dead"
LEASE = timedelta(seconds=0.3)
# Its attempts are those of each message: a limit here, or none, would go before them.
RETRY = Retry(first=timedelta(0), most=timedelta(0))
STOP = "stop"  # a file
Item = tuple[str, str | None]  # the name of a message, and its key
_KINDS = {"i": 0.55, "m": 0.3, "h": 0.15}  # of all messages
_PLAIN = 0.2  # of all messages have no key
_LATEST = 20  # messages of its own, one of which it claims by its id
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

    def claimed(
        self,
        claims: Iterable[Claim],
        *,
        asked_at: float,
        lease: timedelta,
        wanted: int | None = None,
    ) -> None:
        """Write down what was claimed, each with the line in which nobody else has one meanwhile.

        A dead letter stands in none, unless it holds it. ``wanted``: the id that was asked for.
        """
        held = [_held(claim) for claim in claims]
        more = {} if wanted is None else {"wanted": wanted}
        self.write("claimed", claims=held, asked_at=asked_at, lease=lease.total_seconds(), **more)


def _held(claim: Claim) -> dict[str, object]:
    message, name = claim.message, str(claim.payload)
    is_in_line = message.queue == QUEUE or name.endswith("h")
    return {
        "id": message.id,
        "name": name,
        "queue": message.queue,
        "key": message.ordering_key if is_in_line else None,
        "token": str(claim.token),
    }


class Racer:
    """Does what the dice say until it is killed or told to stop."""

    def __init__(self, job: Job) -> None:
        self._random = Random(job.seed)
        self._job = job
        self._log = Log(job.folder / f"{job.name}.jsonl")
        self._engine: Engine = create_engine(job.url)
        self._queue = Queue(QUEUE, self._engine, retry=RETRY)
        self._letters = Queue(LETTERS, self._engine, retry=RETRY)
        self._pushed: list[str] = []
        self._ids: list[int] = []
        self._deeds: list[tuple[float, Callable[[], None]]] = [
            (40, self._push),
            (12, self._push_slowly),
            (50, self._work),
            (12, self._work_on_one),
            (6, self._work_on_letters),
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
            self._note_pushed(items, ids)

    def _push_to(self, queue: Queue, items: list[Item]) -> None:
        self._log.write("pushing", items=items)
        self._note_pushed(items, self._pushed_to(queue, items))

    def _note_pushed(self, items: list[Item], ids: list[int]) -> None:
        self._log.write("pushed", items=items, ids=ids)
        self._ids += ids

    def _pushed_to(self, queue: Queue, items: list[Item]) -> list[int]:
        kind = items[0][0][-1]
        options: dict[str, Any] = {
            "max_attempts": {"i": None, "m": 2, "h": 1}[kind],
            "on_dead": "hold" if kind == "h" else "skip",
        }
        if len(items) == 1:
            [(name, key)] = items
            return [queue.push(name, unique_key=name, ordering_key=key, **options).id]
        names, keys = [name for name, _ in items], [key for _, key in items]
        pushed = queue.push_many(names, unique_keys=names, ordering_keys=keys, **options)
        return [message.id for message in pushed]

    def _draw(self) -> list[Item]:
        [kind] = self._random.choices([*_KINDS], [*_KINDS.values()])
        count = self._random.choice([1, 1, 1, 2, 4, 6])
        names = [f"{self._job.name}-{len(self._pushed) + n}{kind}" for n in range(count)]
        self._pushed += names
        return [(name, self._draw_key()) for name in names]

    def _draw_key(self) -> str | None:
        if self._random.random() < _PLAIN:
            return None
        return f"key {self._random.randrange(self._job.keys)}"

    def _work(self) -> None:
        asked_at = time.monotonic()
        claims = self._queue.claim_many(
            self._random.choice([1, 1, 5]),
            claimed_by=self._job.name,
            lease=LEASE,
            whole_lines=self._random.random() < _WHOLE_LINES,
        )
        self._log.claimed(claims, asked_at=asked_at, lease=LEASE)
        self._end_all(self._queue, claims)

    def _work_on_one(self) -> None:
        """Claim a message by its id: it is had if it has the turn of its key, or has none."""
        if not self._ids:
            return
        wanted = self._random.choice(self._ids[-_LATEST:])
        asked_at = time.monotonic()
        found = self._queue.claim_message(wanted, claimed_by=self._job.name, lease=LEASE)
        claims = [] if found is None else [found]
        self._log.claimed(claims, asked_at=asked_at, lease=LEASE, wanted=wanted)
        self._end_all(self._queue, claims)

    def _work_on_letters(self) -> None:
        """Claim a dead letter where it is: when it ends it holds its line no more."""
        asked_at = time.monotonic()
        claims = self._letters.claim_many(2, claimed_by=self._job.name, lease=LEASE)
        self._log.claimed(claims, asked_at=asked_at, lease=LEASE)
        self._end_all(self._letters, claims)

    def _end_all(self, queue: Queue, claims: list[Claim]) -> None:
        if claims and self._random.random() < 0.1:
            time.sleep(LEASE.total_seconds() * 1.2)  # it comes too late
        if self._random.random() < _OUT_OF_ORDER:
            self._random.shuffle(claims)
        for claim in claims:
            time.sleep(self._random.uniform(0, 0.01))
            self._end(queue, claim)

    def _end(self, queue: Queue, claim: Claim) -> None:
        fate = self._random.random()
        if fate < _FORGOTTEN:
            return
        if fate < 0.8:
            self._settle(claim, "ack", queue.ack)
        elif fate < 0.88:
            self._settle(claim, "release", queue.release)
        else:
            self._settle(claim, "fail", lambda each: queue.release(each, error="failed"))

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
