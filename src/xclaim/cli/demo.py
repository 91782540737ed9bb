"""``xclaim demo``: workers share a queue, one is killed, and nothing is lost or doubled."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TYPE_CHECKING

from xclaim.cli.database import Database
from xclaim.cli.lines import write_all
from xclaim.cli.options import Output
from xclaim.cli.outcomes import DemonstrationError, emit
from xclaim.operations import migrate
from xclaim.queues.sync import Queue

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from xclaim.message import Message

PAYLOADS = 100
WORKERS = 3
DOOMED = "worker-0"
_LEASE = timedelta(seconds=1)  # of the worker that is killed: after it, its message comes back
_WORK_SECONDS = 0.01
_PATIENCE_SECONDS = 120.0  # a busy machine takes long to start the workers
_COLUMNS = ("status", "consumed_by", "messages", "of worker-0")

_processes = multiprocessing.get_context("spawn")


def run(database: Database) -> None:
    """Run it. Raise DemonstrationError unless each payload was consumed exactly once."""
    if database.url is not None:
        name = f"demo-{secrets.token_hex(4)}"
        _share(database.url, database, name)
        prune = database.about("prune", name, option=" --older-than 0s")
        _tell(f"its messages stay until you {prune}")
        return
    with tempfile.TemporaryDirectory(prefix="xclaim-demo-") as folder:
        url = f"sqlite:///{Path(folder) / 'xclaim.db'}"
        os.environ.pop("XCLAIM_SCHEMA", None)  # it is of another database, SQLite has none
        migrate.upgrade(url)
        _share(url, replace(database, url=url), "demo")


def claim_and_hang(url: str, schema: str | None, name: str) -> None:
    """Claim a message and never settle it."""
    with Queue(name, url, schema=schema) as queue:
        queue.claim(claimed_by=DOOMED, lease=_LEASE)
        signal.pause()


def work_off(
    url: str, schema: str | None, name: str, claimed_by: str, acked: SimpleQueue[int]
) -> None:
    """Claim and ack until all is consumed, also what the killed worker held."""
    with Queue(name, url, schema=schema) as queue:
        while queue.counts().consumed < PAYLOADS:
            claim = queue.claim(claimed_by=claimed_by)
            time.sleep(_WORK_SECONDS)
            if claim is not None:
                queue.ack(claim)
                acked.put(claim.payload["number"])


def _share(url: str, database: Database, name: str) -> None:
    place = (url, database.schema, name)
    acked: SimpleQueue[int] = _processes.SimpleQueue()
    with database.queue(name) as queue:
        pushed = queue.push_many([{"number": number} for number in range(PAYLOADS)])
        _tell(f"pushed {PAYLOADS} payloads to the queue {name}")
        _kill_one(queue, place)
        names = [f"worker-{number}" for number in range(1, WORKERS + 1)]
        workers = [_started(work_off, *place, worker, acked) for worker in names]
        _tell(f"{', '.join(names)} claim and ack what is there, and what comes back")
        for process in workers:
            process.join(_PATIENCE_SECONDS)
        _report([queue.get(message.id) or message for message in pushed])
    _check(acked)


def _kill_one(queue: Queue, place: tuple[str, str | None, str]) -> None:
    doomed = _started(claim_and_hang, *place)
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while not queue.counts().claimed and doomed.is_alive() and time.monotonic() < give_up_at:
        time.sleep(_WORK_SECONDS)
    doomed.kill()
    doomed.join()
    _tell(f"killed {DOOMED} (kill -9) while it held a message")


def _started(work: Callable[..., None], *arguments: object) -> BaseProcess:
    process = _processes.Process(target=work, args=arguments, daemon=True)
    # Inherited: Ctrl-C ends this process, which ends its daemons, without a traceback from each.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    return process


def _report(messages: Sequence[Message]) -> None:
    shares = Counter((message.status, message.consumed_by) for message in messages)
    again = Counter(
        (message.status, message.consumed_by) for message in messages if message.attempts > 1
    )
    rows = [
        dict(zip(_COLUMNS, (*share, number, again[share]), strict=True))
        for share, number in sorted(shares.items(), key=str)
    ]
    write_all(rows, _COLUMNS, Output.TABLE)


def _check(acked: SimpleQueue[int]) -> None:
    numbers = []
    while not acked.empty():
        numbers.append(acked.get())
    if sorted(numbers) != list(range(PAYLOADS)):
        raise DemonstrationError(
            f"{len(numbers)} acks for {PAYLOADS} payloads, {len(set(numbers))} of them different"
        )
    _tell(f"{len(numbers)} acks: all {PAYLOADS} payloads were consumed exactly once")


def _tell(line: str) -> None:
    emit(line.encode())
