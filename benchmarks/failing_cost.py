"""What messages that fail cost the others: `python -m benchmarks.failing_cost`.

A queue has good messages, and before them none, 1,000 or 100,000 whose attempt has failed and that
rest. Each of these queues is in a database of its own, on one durable embedded PostgreSQL and in a
SQLite file, and they take turns: each claims and acks some of its good messages. Only the claims
are timed. The limit is that a claim takes at most 1.1 times as long with 1,000 that fail; the other
rows are there to see. So is a second queue in which none has failed: what it differs from the first
is the machine. The client's processor is less restless; on SQLite it has the database in it. A row
that claimed anything but a good message, or left anything but what it should, ends the run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import turns
from benchmarks.measuring import WrongResultError
from benchmarks.server import Server, run_server, settle
from xclaim import Queue, Retry
from xclaim.operations import migrate

OUTPUT = Path(__file__).parent / "output" / "failing.json"
_CLAIMS = 20  # of a queue in one turn
_WARM_UP = 3  # rounds: plans are made, dead entries of the index are marked
_BY_HAND = 1_000  # of the failed are released, the others lapse: that is one statement for many
_HOURS = Retry(first=timedelta(hours=1))  # none of them comes back while this runs
_PAYLOAD = {"text": "x" * 200}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What has failed before the good messages came to their turn."""

    count: int = 0
    priority: int = 0
    is_vacuumed: bool = False  # since they failed; autovacuum would do so within minutes
    is_control: bool = False  # the same as another, to see what the machine makes of that

    def __str__(self) -> str:
        """Return what it is, for the table."""
        higher = ", of a higher priority" if self.priority else ""
        vacuumed = ", vacuumed" if self.is_vacuumed else ""
        return f"{self.count:,}{higher}{vacuumed}{' again' if self.is_control else ''}"


NOTHING = Head()
CONTROL = Head(is_control=True)
Seconds = tuple[float, float]  # by the clock, and of the client's processor
HEADS = {
    "postgresql": (
        NOTHING,
        CONTROL,
        Head(count=1_000),
        Head(count=1_000, is_vacuumed=True),
        Head(count=1_000, priority=1),
        Head(count=100_000),
        Head(count=100_000, is_vacuumed=True),
    ),
    "sqlite": (
        NOTHING,
        CONTROL,
        Head(count=1_000),
        Head(count=1_000, priority=1),
        Head(count=100_000),
    ),
}


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    with run_server(autovacuum="off") as server:
        measured = [
            row
            for database in HEADS
            for row in _compare(database, server, 20 if options.quick else options.rounds)
        ]
    OUTPUT.parent.mkdir(exist_ok=True)
    kept = {"machine": turns.machine(), "rows": measured}
    OUTPUT.write_text(json.dumps(kept, indent=1) + "\n")
    print("\n".join(_table(measured)))


def _compare(database: str, server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    heads = HEADS[database]
    with ExitStack() as stack:
        queues = {
            head: stack.enter_context(_filled(database, server, head, rounds)) for head in heads
        }
        claims = {str(head): partial(_claim, queue) for head, queue in queues.items()}
        turns.by_turns(claims, _WARM_UP)
        taken = turns.by_turns(claims, rounds)
        for head, queue in queues.items():
            _check(queue, head, rounds)
    for head in heads:
        clock, processor = _split(taken[str(head)])
        clock_without, processor_without = _split(taken[str(NOTHING)])
        yield {
            "database": database,
            "failed": str(head),
            "us": turns.spread([seconds / _CLAIMS * 1e6 for seconds in clock], 0),
            "ratio": turns.ratio(clock, clock_without),
            "processor": turns.ratio(processor, processor_without),
        }


def _split(taken: Sequence[Seconds]) -> tuple[list[float], list[float]]:
    return [clock for clock, _ in taken], [processor for _, processor in taken]


@contextmanager
def _filled(database: str, server: Server, head: Head, rounds: int) -> Iterator[Queue]:
    """Yield a queue of good messages behind those that have failed."""
    with ExitStack() as stack:
        if database == "postgresql":
            url = stack.enter_context(server.copy_of())
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xclaim-failing-"))
            url = f"sqlite:///{folder}/xclaim.db"
        migrate.upgrade(url)
        queue = stack.enter_context(Queue("orders", url, retry=_HOURS))
        _push(queue, head.count, is_good=False, priority=head.priority)
        _push(queue, (rounds + _WARM_UP) * _CLAIMS, is_good=True)
        if database == "postgresql":
            settle(url)
        _fail(queue, head.count)
        if head.is_vacuumed:
            settle(url)
        yield queue


def _push(queue: Queue, count: int, *, is_good: bool, priority: int = 0) -> None:
    for begin in range(0, count, 10_000):
        size = min(10_000, count - begin)
        queue.push_many([{**_PAYLOAD, "is_good": is_good}] * size, priority=priority)


def _fail(queue: Queue, count: int) -> None:
    """Fail what comes next, by an error or by a lease that runs out."""
    for claim in queue.claim_many(_BY_HAND) if count else ():
        queue.release(claim, error=ValueError("the work on this message fails"))
    lapsed = 0
    while lapsed < count - _BY_HAND:
        left = min(10_000, count - _BY_HAND - lapsed)
        lapsed += len(queue.claim_many(left, lease=timedelta(0)))
        queue.expire()


def _claim(queue: Queue) -> Seconds:
    """Claim some messages one by one, ack them, and return how long the claims took."""
    clock = processor = 0.0
    for _ in range(_CLAIMS):
        began, used = time.perf_counter(), time.process_time()
        claim = queue.claim()
        clock += time.perf_counter() - began
        processor += time.process_time() - used
        if claim is None or not claim.payload["is_good"]:
            raise WrongResultError(f"claimed {claim} instead of a good message")
        queue.ack(claim)
    return clock, processor


def _check(queue: Queue, head: Head, rounds: int) -> None:
    counts = queue.counts()
    expected = (rounds + _WARM_UP) * _CLAIMS
    if (counts.consumed, counts.delayed) != (expected, head.count):
        raise WrongResultError(f"{head} failed, {expected} good ones: {counts}")


def _table(measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| database | failed before | us for a claim | ratio | 95 % | client's processor | 95 % |"
    yield "| --- | --- | ---: | ---: | --- | ---: | --- |"
    for row in measured:
        yield (
            f"| {row['database']} | {row['failed']} | {row['us']['median']:,.0f} "
            f"| {_shown(row['ratio'])} | {_shown(row['processor'])} |"
        )


def _shown(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} | {ratio['low']:.2f}-{ratio['high']:.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.failing_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=100, help="of 20 claims each (100)")
    parser.add_argument("--quick", action="store_true", help="20 rounds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
