"""What many priorities cost a claim: `python -m benchmarks.priority_cost`.

A queue has good messages of one priority; of 1,000; or of one, among 65,536 priorities that hold
nothing but delayed messages. Each of these queues is in a database of its own, on one durable
embedded PostgreSQL and in a SQLite file, and they take turns: each claims and acks some of its good
messages, one by one. Only the claims are timed. The limits: with 1,000 priorities a claim takes at
most twice as long as with one, with 65,536 of delayed messages at most ten times. ``look back`` is
a claim that looks everywhere, as one each quarter of a second does, a new worker's first, and each
claim of those who claim seldom. A second queue of one priority shows what the machine makes of the
same. A row that claimed anything but the next good message, or left anything but what it should,
ends the run.
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

from sqlalchemy import text

from benchmarks import turns
from benchmarks.measuring import WrongResultError
from benchmarks.server import Server, run_server, settle
from xclaim import Queue, create_engine
from xclaim.operations import migrate
from xclaim.verbs.hints import recall

OUTPUT = Path(__file__).parent / "output" / "priorities.json"
DATABASES = ("postgresql", "sqlite")
_CLAIMS = 20  # of a queue in one turn
_WARM_UP = 3  # rounds
_ALL = 65_536  # priorities there are
_PAYLOAD = {"text": "x" * 200, "is_good": True}
_DELAYED = {"text": "x" * 200, "is_good": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How many priorities the good messages have, and how many the delayed ones."""

    good: int = 1
    delayed: int = 0
    looks_back: bool = False  # each claim looks everywhere
    is_control: bool = False  # the same as another, to see what the machine makes of that
    limit: float | None = None

    def __str__(self) -> str:
        """Return what it is, for the table."""
        delayed = f", {self.delayed:,} of delayed ones" if self.delayed else ""
        looks_back = ", look back" if self.looks_back else ""
        return f"{self.good:,}{delayed}{looks_back}{' again' if self.is_control else ''}"


ONE = Levels()
LEVELS = (
    ONE,
    Levels(is_control=True),
    Levels(good=1_000, limit=2.0),
    Levels(delayed=_ALL, limit=10.0),
    Levels(looks_back=True),
    Levels(good=1_000, looks_back=True),
    Levels(delayed=_ALL, looks_back=True),
)


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    with run_server(autovacuum="off") as server:
        measured = [
            row
            for database in DATABASES
            for row in _compare(database, server, 10 if options.quick else options.rounds)
        ]
    OUTPUT.parent.mkdir(exist_ok=True)
    kept = {"machine": turns.machine(), "rows": measured}
    OUTPUT.write_text(json.dumps(kept, indent=1) + "\n")
    print("\n".join(_table(measured)))


def _compare(database: str, server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        queues = {
            levels: stack.enter_context(_filled(database, server, levels, rounds))
            for levels in LEVELS
        }
        claims = {
            str(levels): partial(_claim, queue, looks_back=levels.looks_back)
            for levels, queue in queues.items()
        }
        turns.by_turns(claims, _WARM_UP)
        taken = turns.by_turns(claims, rounds)
        for levels, queue in queues.items():
            _check(queue, levels, rounds)
    for levels in LEVELS:
        seconds = taken[str(levels)]
        yield {
            "database": database,
            "priorities": str(levels),
            "us": turns.spread([each / _CLAIMS * 1e6 for each in seconds], 0),
            "ratio": turns.ratio(seconds, taken[str(ONE)]),
            "limit": levels.limit,
        }


@contextmanager
def _filled(database: str, server: Server, levels: Levels, rounds: int) -> Iterator[Queue]:
    """Yield a queue of good messages among delayed ones."""
    with ExitStack() as stack:
        if database == "postgresql":
            url = stack.enter_context(server.copy_of())
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="xclaim-priorities-"))
            url = f"sqlite:///{folder}/xclaim.db"
        migrate.upgrade(url)
        queue = stack.enter_context(Queue("orders", url))
        queue.push_many([_DELAYED] * levels.delayed, delay=timedelta(days=1))
        _spread(url, _ALL, first=-_ALL // 2)
        good = (rounds + _WARM_UP) * _CLAIMS
        queue.push_many([_PAYLOAD] * good)
        if levels.good > 1:
            _spread(url, levels.good, first=0)
        if database == "postgresql":
            settle(url)
        yield queue


def _spread(url: str, count: int, *, first: int) -> None:
    """Give what is in the table so many priorities."""
    engine = create_engine(url)
    with engine.begin() as connection:
        change = text("UPDATE xclaim_message SET priority = id % :count + :first")
        connection.execute(change, {"count": count, "first": first})
    engine.dispose()


def _claim(queue: Queue, *, looks_back: bool) -> float:
    """Claim some messages one by one, ack them, and return how long the claims took."""
    taken, last = 0.0, None
    for _ in range(_CLAIMS):
        if looks_back:
            _forget(queue)
        began = time.perf_counter()
        claim = queue.claim()
        taken += time.perf_counter() - began
        if claim is None or not claim.payload["is_good"]:
            raise WrongResultError(f"claimed {claim} instead of a good message")
        place = (-claim.message.priority, claim.message.available_at, claim.message.id)
        if last is not None and place < last:
            raise WrongResultError(f"claimed {claim} after one that comes behind it")
        last = place
        queue.ack(claim)
    return taken


def _forget(queue: Queue) -> None:
    engine: Any = queue._queue.bind  # noqa: SLF001  (nobody else asks)
    with engine.connect() as connection:
        recall(connection, None, "orders").forget()


def _check(queue: Queue, levels: Levels, rounds: int) -> None:
    counts = queue.counts()
    expected = (rounds + _WARM_UP) * _CLAIMS
    if (counts.consumed, counts.delayed, counts.available) != (expected, levels.delayed, 0):
        raise WrongResultError(f"{levels} priorities, {expected} good messages: {counts}")


def _table(measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| database | priorities | us for a claim | ratio | 95 % | limit |"
    yield "| --- | --- | ---: | ---: | --- | ---: |"
    for row in measured:
        ratio = row["ratio"]
        yield (
            f"| {row['database']} | {row['priorities']} | {row['us']['median']:,.0f} "
            f"| {ratio['median']:.2f} | {ratio['low']:.2f}-{ratio['high']:.2f} "
            f"| {row['limit'] or ''} |"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.priority_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=50, help="of 20 claims each (50)")
    parser.add_argument("--quick", action="store_true", help="10 rounds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
