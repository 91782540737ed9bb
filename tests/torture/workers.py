"""Producers and consumers, each a process that goes on until it is told to stop, or killed.

After an error of the database a worker rests for a moment and goes on with the same queue: that it
connects again is the library's business.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random

from sqlalchemy import Engine

from tests.torture.async_loops import ASYNC_LOOPS
from tests.torture.cancelling import in_cancelled_tasks
from tests.torture.clock import skew_clock
from tests.torture.consumer import QUEUE, REST, RETRY, Consumer
from tests.torture.forking import Children
from tests.torture.interrupting import Interrupts
from tests.torture.logs import Event, Log, read
from tests.torture.loops import LOOPS
from tests.torture.payloads import payload_of
from tests.torture.winding_up import Errors, look_back
from xclaim import Queue, create_engine

_IDLE = (0.05, 0.2)  # seconds after there was nothing to do
_INTERRUPTED = 0.6  # of the turns of blocking loops
_LARGEST_PUSH = 50
_BACKLOG = 5_000  # waiting messages at which producers wait too
_BACKLOG_EVERY = 2.0  # seconds between two looks at the backlog


class Role(StrEnum):
    """What a worker does."""

    PRODUCER = "producer"
    CONSUMER = "consumer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is told. One that is killed is followed by the next incarnation."""

    role: Role
    number: int
    incarnation: int
    folder: Path
    url: str
    seed: int
    messages_per_second: float  # of this producer; 0: as many as it can

    @property
    def name(self) -> str:
        return f"{self.role}-{self.number}.{self.incarnation}"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def is_over(self) -> bool:
        return (self.folder / f"{self.role}.stop").exists()


def work(job: Job) -> None:
    """Do the job: what a worker process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started us stops us, and not a terminal
    _redirect_output(job.folder / f"{job.name}.err")
    skew_clock(Random(f"{job.seed} {job.name} clock"))
    random = Random(f"{job.seed} {job.name}")
    log = Log(job.log)
    engine = create_engine(job.url, pool_size=2)
    notify = job.role is Role.PRODUCER
    with closing(Queue(QUEUE, job.url, notify=notify, retry=RETRY)) as queue:
        if job.role is Role.PRODUCER:
            produce(job, log, random, queue, engine)
        else:
            consume_with_children(job, log, random, queue, engine)


def produce(job: Job, log: Log, random: Random, queue: Queue, engine: Engine) -> None:
    """Push batch after batch, each again and again until the push returns."""
    number = _next_number(job)
    began_at, pushed, look_at = time.monotonic(), 0, 0.0
    while _is_to_go_on(job):
        size = random.randint(1, _LARGEST_PUSH)
        keys = [f"{job.role}-{job.number}-{number + each}" for each in range(size)]
        log.pushing(keys)
        push = random.choice((_push_one_by_one, _push_many, _push_in_a_transaction))
        while not _try(log, random, partial(push, log, queue, engine, keys)):
            if not _is_to_go_on(job):
                return  # it is not known whether they are there
        number, pushed = number + size, pushed + size
        if job.messages_per_second:
            ahead = began_at + pushed / job.messages_per_second - time.monotonic()
            time.sleep(max(ahead, 0.0))
        if time.monotonic() > look_at:
            _try(log, random, partial(_wait_for_consumers, job, queue))
            look_at = time.monotonic() + _BACKLOG_EVERY


def consume_with_children(job: Job, log: Log, random: Random, queue: Queue, engine: Engine) -> None:
    """Consume, and fork now and then."""
    children = Children(
        job.name,
        job.folder,
        lambda child, lives: consume(child, lambda: lives() and not job.is_over),
    )
    worker = Consumer(
        job.name,
        url=job.url,
        log=log,
        random=random,
        queue=queue,
        engine=engine,
        errors=Errors(),
        fork=children.fork,
    )
    consume(worker, lambda: _is_to_go_on(job))
    children.bury(log, wait=True)


def consume(worker: Consumer, is_to_go_on: Callable[[], bool]) -> None:
    """Use every loop by turns; some turns are cut short."""
    interrupts = Interrupts(worker)
    turns: list[Callable[[Consumer], int]] = []
    while is_to_go_on():
        if not turns:
            turns = [*LOOPS, *ASYNC_LOOPS, in_cancelled_tasks]
            worker.random.shuffle(turns)
        loop = turns.pop()
        is_interrupted = loop in LOOPS and worker.random.random() < _INTERRUPTED
        worker.begin_turn(loop.__name__)
        seen: list[int] = []
        with interrupts.striking() if is_interrupted else nullcontext():
            _try(worker.log, worker.random, lambda: seen.append(loop(worker)))  # noqa: B023  (called at once)
        look_back(worker)
        if seen == [0]:
            time.sleep(worker.random.uniform(*_IDLE))


def _push_one_by_one(log: Log, queue: Queue, _engine: Engine, keys: list[str]) -> None:
    for key in keys:
        message = queue.push(payload_of(key), unique_key=key)
        log.pushed({key: message.id})


def _push_many(log: Log, queue: Queue, _engine: Engine, keys: list[str]) -> None:
    messages = queue.push_many([payload_of(key) for key in keys], unique_keys=keys)
    log.pushed({key: message.id for key, message in zip(keys, messages, strict=True)})


def _push_in_a_transaction(log: Log, queue: Queue, engine: Engine, keys: list[str]) -> None:
    """Push by a queue on a connection, as one does beside rows of one's own."""
    with engine.begin() as connection:
        joined = Queue(queue.name, connection)
        ids = {key: joined.push(payload_of(key), unique_key=key).id for key in keys}
    log.pushed(ids)


def _wait_for_consumers(job: Job, queue: Queue) -> None:
    while queue.counts().available > _BACKLOG and _is_to_go_on(job):
        time.sleep(0.2)


def _next_number(job: Job) -> int:
    """Return where the last incarnation was: what it pushed, or did not, is pushed again."""
    for incarnation in range(job.incarnation - 1, -1, -1):
        log = job.log.with_name(f"{job.role}-{job.number}.{incarnation}.jsonl")
        said = (
            [line for line in read(log) if line["event"] == Event.PUSHING] if log.exists() else []
        )
        if said:
            return int(said[-1]["keys"][0].rpartition("-")[2])
    return 0


def _try(log: Log, random: Random, attempt: Callable[[], None]) -> bool:
    """Return whether it went well; an error of the database is expected, others are not."""
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  (the run goes on; the log says if it was expected)
        log.note(error)
        time.sleep(random.uniform(*REST))
    else:
        return True
    return False


def _is_to_go_on(job: Job) -> bool:
    # A worker whose run was killed ends as well: init has become its parent.
    return os.getppid() != 1 and not job.is_over


def _redirect_output(path: Path) -> None:
    """Write what the library logs, and a crash, to a file."""
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
