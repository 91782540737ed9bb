"""``xclaim demo``: workers share a queue, one is killed, and nothing is lost or doubled."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xclaim import migrate
from xclaim.cli.lines import write_all
from xclaim.sync import Queue

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

PAYLOADS = 100
WORKERS = 4
LEASE = timedelta(seconds=1)
_WORK_SECONDS = 0.01
_PATIENCE_SECONDS = 30.0


def run() -> int:
    """Run the demonstration and return 0 if each payload was consumed exactly once."""
    with tempfile.TemporaryDirectory(prefix="xclaim-demo-") as folder:
        url = f"sqlite:///{Path(folder) / 'xclaim.db'}"
        migrate.upgrade(url)
        with Queue("demo", url) as queue:
            queue.push_many([{"number": number} for number in range(PAYLOADS)])
            click.echo(f"pushed {PAYLOADS} payloads to a temporary SQLite file")
            return _share(queue, url)


def _share(queue: Queue, url: str) -> int:
    start = multiprocessing.get_context("spawn").Process
    doomed = start(target=claim_and_hang, args=(url,), name="worker-0")
    workers = [
        start(target=work_off, args=(url, f"worker-{number}"), name=f"worker-{number}")
        for number in range(1, WORKERS)
    ]
    doomed.start()
    _wait_for_claim(queue, doomed)
    os.kill(doomed.pid or 0, signal.SIGKILL)
    click.echo("killed worker-0 with a message in its hands: kill -9")
    for worker in workers:
        worker.start()
    for process in (doomed, *workers):
        process.join(_PATIENCE_SECONDS)
    return _report(queue)


def claim_and_hang(url: str) -> None:
    """Claim a message and never settle it."""
    with Queue("demo", url) as queue:
        queue.claim(claimed_by="worker-0", lease=LEASE)
        signal.pause()


def work_off(url: str, name: str) -> None:
    """Claim and ack until nothing is left, also not what the killed worker held."""
    with Queue("demo", url) as queue:
        while queue.counts().consumed < PAYLOADS:
            with queue.consume(claimed_by=name, lease=LEASE):
                time.sleep(_WORK_SECONDS)


def _wait_for_claim(queue: Queue, process: BaseProcess) -> None:
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while queue.counts().claimed == 0 and process.is_alive() and time.monotonic() < give_up_at:
        time.sleep(_WORK_SECONDS)


def _report(queue: Queue) -> int:
    messages = [queue.get(number) for number in range(1, PAYLOADS + 1)]
    consumed = [message for message in messages if message is not None and message.consumed_by]
    names = sorted({message.consumed_by or "" for message in consumed})
    rows = [
        {
            "consumed_by": name,
            "messages": sum(message.consumed_by == name for message in consumed),
            "of the killed worker": sum(
                message.consumed_by == name and message.attempts > 1 for message in consumed
            ),
        }
        for name in names
    ]
    write_all(rows, ("consumed_by", "messages", "of the killed worker"), as_table=True)
    numbers = sorted(message.payload["number"] for message in consumed)
    if numbers != list(range(PAYLOADS)):
        click.echo(f"error: {len(numbers)} of {PAYLOADS} payloads were consumed", err=True)
        return 1
    click.echo(f"all {PAYLOADS} payloads were consumed exactly once")
    return 0
