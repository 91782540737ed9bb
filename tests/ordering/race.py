"""Processes at few keys, one of them killed every 0.15 s; then one of them drains the queue."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

from sqlalchemy import Engine, text

from tests.ordering import history
from tests.ordering.history import History
from tests.ordering.racer import LEASE, LETTERS, QUEUE, RETRY, STOP, Job, Log, race
from xclaim import Queue, create_engine

_KILL_EVERY = 0.15  # seconds
_AT_WORK = 2_000  # bytes of a log: whoever is killed has done something
_END_SECONDS = 30
_LATEST_SECONDS = 60
_NEXT_YEAR = f"{datetime.now(UTC).year + 1}-12-31"
_TWO_AT_ONCE = text(
    "SELECT ordering_key, count(*) FROM xclaim_message"
    " WHERE ordering_key IS NOT NULL AND queue = origin_queue"
    " AND (status = 'claimed' OR (status = 'available' AND available_at IS NOT NULL))"
    " GROUP BY ordering_key HAVING count(available_at) > 1"
    # One that can be claimed, and another of a batch that has not ended.
    " OR count(*) > 1 AND sum(CASE WHEN status = 'available' AND available_at < '"
    f"{_NEXT_YEAR}' "
    "THEN 1 ELSE 0 END) > 0"
)
_STUCK = text(
    "SELECT ordering_key, count(*) FROM xclaim_message AS waiting"
    " WHERE ordering_key IS NOT NULL AND status = 'available' AND available_at IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM xclaim_message AS head"
    " WHERE head.origin_queue = waiting.origin_queue"
    " AND head.ordering_key = waiting.ordering_key"
    " AND (head.queue = head.origin_queue OR head.keeps_turn AND head.due_at IS NULL)"
    " AND head.available_at IS NOT NULL AND head.status <> 'consumed')"
    " GROUP BY ordering_key"
)
# Beside a dead letter that holds the line: it does not owe the turn, which has a time.
_PASSED = text(
    "SELECT letter.id, other.id FROM xclaim_message AS letter JOIN xclaim_message AS other"
    " ON letter.origin_queue = other.origin_queue AND letter.ordering_key = other.ordering_key"
    " WHERE letter.queue <> letter.origin_queue AND letter.status <> 'consumed'"
    " AND letter.keeps_turn AND letter.due_at IS NULL AND other.queue = other.origin_queue"
    " AND (other.status = 'claimed' OR other.status = 'available'"
    " AND other.available_at IS NOT NULL)"
)
_NOWHERE = text(
    "SELECT id FROM xclaim_message"
    " WHERE ordering_key IS NULL AND status <> 'consumed' AND available_at IS NULL"
)
_NEVER = {
    "two at once": _TWO_AT_ONCE,
    "beside a letter that holds": _PASSED,
    "no key and in line": _NOWHERE,
}
_LEFT = text(
    "SELECT id, queue, status, ordering_key FROM xclaim_message WHERE status <> 'consumed'"
)
_THERE = text("SELECT id, unique_key, status FROM xclaim_message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How long, how many, and at how many keys."""

    url: str
    folder: Path
    seconds: float
    keys: int
    processes: int
    seed: int = 1
    least_kills: int = 0  # on a busy machine it takes longer to come so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it. ``broken`` names each promise that does not hold."""

    broken: list[str]
    kills: int
    pushed: int
    claims: int
    acks: int
    lost: int
    by_id: int  # of the claims
    plain: int  # of the acks: of messages without a key
    held: int  # of the acks: of dead letters that held their line

    def __str__(self) -> str:
        """Return one line of numbers."""
        return (
            f"{self.kills} kills, {self.pushed:,} pushed, {self.claims:,} claims,"
            f" {self.by_id:,} by id, {self.acks:,} acks, {self.plain:,} without a key,"
            f" {self.held:,} of letters that hold, {self.lost:,} lost,"
            f" {len(self.broken)} broken"
        )


class _Field:
    """The processes that race."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = Random(settings.seed)
        # Each is forked from a process that has imported everything and done nothing yet.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.ordering.racer"])
        self._started = self.kills = 0
        self._running: list[BaseProcess] = []
        self.crashed: list[str] = []
        for _ in range(settings.processes):
            self._start()

    def kill_one(self) -> None:
        """Kill one that is at work, and let another one take its place."""
        at_work = [each for each in self._running if self._is_at_work(each)]
        if not at_work:
            return
        process = self._random.choice(at_work)
        self._running.remove(process)
        if process.exitcode is not None:
            self.crashed.append(f"{process.name} ended with {process.exitcode}")
        process.kill()
        process.join()
        process.close()
        self.kills += 1
        self._start()

    def _is_at_work(self, process: BaseProcess) -> bool:
        log = self._settings.folder / f"{process.name}.jsonl"
        is_written = log.exists() and log.stat().st_size >= _AT_WORK
        return is_written or process.exitcode is not None

    def stop(self) -> None:
        """Let each finish what it does."""
        (self._settings.folder / STOP).touch()
        for process in self._running:
            process.join(_END_SECONDS)
            if process.exitcode != 0:
                self.crashed.append(f"{process.name} ended with {process.exitcode}")
                process.kill()
                process.join()
            process.close()

    def _start(self) -> None:
        self._started += 1
        job = Job(
            name=f"racer-{self._started}",
            url=self._settings.url,
            folder=self._settings.folder,
            keys=self._settings.keys,
            seed=self._settings.seed * 100_000 + self._started,
        )
        process = self._context.Process(target=race, args=(job,), name=job.name, daemon=True)
        process.start()
        self._running.append(process)


def run(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Result:
    """Race, drain, and judge what all have told."""
    engine = create_engine(settings.url)
    broken: list[str] = []
    field = _Field(settings)
    try:
        end = time.monotonic() + settings.seconds
        while time.monotonic() < end or field.kills < settings.least_kills:
            if time.monotonic() > end + _LATEST_SECONDS:
                broken.append(f"only {field.kills} were at work, and killed")
                break
            time.sleep(_KILL_EVERY)
            field.kill_one()
            for what, statement in _NEVER.items():
                broken += _shown(what, engine, statement)
    finally:
        field.stop()
    broken += field.crashed
    say(f"{field.kills} kills, draining")
    broken += _drain(engine, settings.folder)
    told = history.read(settings.folder)
    broken += [*told.broken(), *_compared(engine, told)]
    engine.dispose()
    return Result(
        broken=broken,
        kills=field.kills,
        pushed=len(told.pushed),
        claims=len(told.claims),
        acks=len(told.acks()),
        lost=told.lost,
        by_id=sum(held.wanted is not None for held in told.claims.values()),
        plain=sum(held.key is None and held.queue == QUEUE for held in told.acks()),
        held=sum(held.key is not None and held.queue == LETTERS for held in told.acks()),
    )


def _drain(engine: Engine, folder: Path) -> list[str]:
    """Take what is left, when all leases are over: nobody is stuck, nothing stays."""
    log = Log(folder / "drain.jsonl")
    queue = Queue(QUEUE, engine, retry=RETRY)
    time.sleep(LEASE.total_seconds() * 1.5)
    Queue(LETTERS, engine, retry=RETRY).expire()
    queue.expire()
    queue.expire()  # what the first one gave back may have been owed
    broken = _shown("stuck", engine, _STUCK)
    for _ in range(3):  # what dies meanwhile is redriven
        queue.redrive()
        while True:
            asked_at = time.monotonic()
            claims = queue.claim_many(20, claimed_by="drain", lease=LEASE * 100)
            if not claims:
                break
            log.claimed(claims, asked_at=asked_at, lease=LEASE * 100)
            for claim in claims:
                log.write("ending", token=str(claim.token), how="ack")
                queue.ack(claim)
                log.write("ended", token=str(claim.token))
    return broken + _shown("stuck", engine, _STUCK) + _shown("left", engine, _LEFT)


def _compared(engine: Engine, told: History) -> list[str]:
    with engine.connect() as connection:
        rows = {row.id: row for row in connection.execute(_THERE)}
    names = {row.unique_key for row in rows.values()}
    acked = {held.message_id for held in told.acks()}
    lost = [each.name for each in told.pushed.values() if each.id not in rows]
    return [
        *[f"{name} is lost" for name in lost if name not in told.withdrawn],
        *[f"{name} was rolled back and is there" for name in told.rolled_back & names],
        *[f"{id_} was acked and is {rows.get(id_)}" for id_ in acked if _is_open(rows.get(id_))],
    ]


def _is_open(row: object) -> bool:
    return getattr(row, "status", None) != "consumed"


def _shown(what: str, engine: Engine, statement: object) -> list[str]:
    with engine.connect() as connection:
        return [f"{what}: {tuple(row)}" for row in connection.execute(statement)]  # type: ignore[call-overload]
