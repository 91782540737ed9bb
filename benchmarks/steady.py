"""A queue that keeps up: `python -m benchmarks.steady [--against REV]`.

Messages are pushed at a steady rate, with wake-ups, and workers wait for them, in one process or in
two: how long from the push to the claim, and how many entries of the claim index are read for each
message, in each fifth of the run: without a snapshot, with one that is open all the time and keeps
dead entries, and with readers that come and go, one of whom always has one. And many claims have
lapsed at once: how long the claims take that give them back. With ``--against`` an earlier commit
takes turns with this checkout. Every message must have been consumed, and once, or the status is 1.

``--page`` is the long form, three quarters of an hour: 60,000 messages where there are snapshots.
It writes the rows that docs/benchmarks.md shows; of ``--only`` and the like those that were run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import turns
from benchmarks.figures import STEADY, keep, keep_part, record
from benchmarks.measuring import percentile
from benchmarks.server import Server, query, run_server, settle
from benchmarks.sides.checkout import NOW, ROOT, both
from benchmarks.sides.laps import ASYNC_QUEUE, QUEUE
from benchmarks.sides.process import Side, SideFailedError, one_side
from xclaim import Queue

OUTPUT = ROOT / "benchmarks" / "output" / "steady.json"
_MODULE = "benchmarks.sides.steady"
_REPLICAS = 2
_PARTS = 5  # of a run, in each of which the entries are counted
_BEGIN = 1.0  # seconds that workers have to connect
_READERS = (2.0, 3.0, 5.0, 7.0)  # seconds that each keeps its snapshot: there is always one
_OUTLIVED = 1_000  # claims after many have lapsed: a sweep gives back a hundred
_LONG = 60_000  # messages
_READ = """
SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'ix_xclaim_message_claim'
"""
_LAPSE = "UPDATE xclaim_message SET claim_expires_at = now() WHERE status = 'claimed'"
_LEFT = "SELECT count(*) FROM xclaim_message WHERE status <> 'consumed'"


class WrongResultError(Exception):
    """Not each message was consumed once."""


class Snapshots(StrEnum):
    """Who has a snapshot meanwhile; the value is the workload that docs/benchmarks.md shows."""

    NONE = "steady"
    HELD = "steady_held"
    COME_AND_GO = "steady_come_and_go"


@dataclass(slots=True, kw_only=True)
class Row:
    """A way of working, and what each side reached in each round."""

    name: str
    facade: str = QUEUE
    replicas: int = 1
    snapshots: Snapshots = Snapshots.NONE
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """The server, and how much there is to do."""

    server: Server
    messages: int
    rate: float
    workers: int
    lapsed: int

    def steady(self, sides: Sequence[Side], row: Row) -> dict[str, float]:
        """Let the replicas of a side keep up with a producer."""
        replicas = sides[: row.replicas]
        with ExitStack() as stack:
            url = stack.enter_context(self.server.copy_of())
            pool = stack.enter_context(ThreadPoolExecutor(_REPLICAS))
            home = stack.enter_context(tempfile.TemporaryDirectory(prefix="xclaim-steady-"))
            stop = Path(home) / "stop"
            stack.callback(stop.touch)
            replicas[0].ask(act="prepare", url=url)
            settle(url)
            order = {
                "facade": row.facade,
                "url": url,
                "workers": self.workers // row.replicas,
                "stop": str(stop),
            }
            working = [pool.submit(partial(each.ask, act="work", **order)) for each in replicas]
            time.sleep(_BEGIN)
            with _WITH[row.snapshots](url):
                entries = list(self._produce(url))
                stop.touch()
                results = [each.result() for each in working]
            consumed = [each for result in results for each in result["consumed"]]
            self._check(url, [number for number, _ in consumed])
        delays = [seconds * 1e3 for _, seconds in consumed]
        processor = sum(result["processor"] for result in results) * 1e6 / self.messages
        return {
            "p50 ms": statistics.median(delays),
            "p99 ms": percentile(delays, 0.99),
            **{f"entries {number}": each for number, each in enumerate(entries, 1)},
            "processor us": processor,
        }

    def _produce(self, url: str) -> Iterator[float]:
        """Push at a steady rate; yield the index entries that were read for each message.

        A server process reports what it has read about once a second: so much later it is counted.
        Not after a pause, in which those who wait would look everywhere at last.
        """
        of_a_part = self.messages // _PARTS
        with Queue("orders", url, notify=True) as queue:
            for part in range(_PARTS):
                before, began = _entries(url), time.monotonic()
                for number in range(of_a_part):
                    time.sleep(max(0.0, began + number / self.rate - time.monotonic()))
                    queue.push({"n": part * of_a_part + number, "at": time.time()})
                yield (_entries(url) - before) / of_a_part

    def _check(self, url: str, consumed: Sequence[int]) -> None:
        left = query(url, _LEFT)[0]
        if sorted(consumed) != list(range(self.messages)) or left:
            raise WrongResultError(
                f"of {self.messages} messages {len(set(consumed))} were consumed, some "
                f"{len(consumed)} times in all, and {left} are left"
            )

    def lapse(self, sides: Sequence[Side], _row: Row) -> dict[str, float]:
        """Let a worker claim where many claims have lapsed, which nobody has analyzed yet."""
        side, *_ = sides
        with self.server.copy_of() as url:
            side.ask(act="prepare", url=url)
            settle(url)
            side.ask(act="lapse", url=url, count=self.lapsed)
            with closing(psycopg.connect(url, autocommit=True)) as connection:
                connection.execute(_LAPSE)
            claims = min(_OUTLIVED, self.lapsed)
            seconds = side.ask(act="outlive", url=url, claims=claims)["seconds"]
        return {"p50 ms": statistics.median(seconds) * 1e3, "longest ms": max(seconds) * 1e3}


def _entries(url: str) -> int:
    return int(str(query(url, _READ)[0]))


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    with closing(psycopg.connect(url)) as connection:
        _take_snapshot(connection)
        yield


@contextmanager
def _readers(url: str) -> Iterator[None]:
    """Let several take a snapshot, keep it for some seconds and take another, all the time."""
    stop = threading.Event()

    def read(seconds: float) -> None:
        with closing(psycopg.connect(url)) as connection:
            is_over = False
            while not is_over:
                _take_snapshot(connection)
                is_over = stop.wait(seconds)
                connection.rollback()

    with ThreadPoolExecutor(len(_READERS)) as pool:
        reading = [pool.submit(read, seconds) for seconds in _READERS]
        try:
            yield
        finally:
            stop.set()
        for each in reading:
            each.result()


def _take_snapshot(connection: psycopg.Connection) -> None:
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute("SELECT count(*) FROM pg_class")


_WITH: Mapping[Snapshots, Callable[[str], AbstractContextManager[None]]] = {
    Snapshots.NONE: lambda _url: nullcontext(),
    Snapshots.HELD: _snapshot,
    Snapshots.COME_AND_GO: _readers,
}


def _rows() -> list[Row]:
    steady = [
        Row(name="steady", facade=facade, replicas=replicas, snapshots=snapshots)
        for facade in (QUEUE, ASYNC_QUEUE)
        for replicas in (1, _REPLICAS)
        for snapshots in Snapshots
    ]
    return [*steady, Row(name="lapsed")]


def _chosen(options: argparse.Namespace) -> list[Row]:
    rows = [row for row in _rows() if options.only in (None, row.name)]
    rows = [row for row in rows if options.snapshots in (None, row.snapshots.name.lower())]
    rows = [row for row in rows if options.facade in (None, row.facade)]
    return [row for row in rows if row.replicas == 1] if options.page else rows


def main() -> None:
    """Measure, print and keep; exit with status 1 if not every message was consumed once."""
    options = _options()
    rows = _chosen(options)
    with ExitStack() as stack:
        sources: dict[str, Path] = {NOW: ROOT / "src"}
        if options.against:
            sources = stack.enter_context(both(options.against))
        stand = Stand(
            server=stack.enter_context(run_server()),
            messages=options.messages // _PARTS * _PARTS,
            rate=options.rate,
            workers=options.workers,
            lapsed=options.lapsed,
        )
        sides = {
            name: [stack.enter_context(one_side(_MODULE, source, name)) for _ in range(_REPLICAS)]
            for name, source in sources.items()
        }
        for row in rows:
            is_long = options.page and row.snapshots is not Snapshots.NONE
            its_stand = replace(stand, messages=_LONG) if is_long else stand
            _measure(row, sides, its_stand, options.rounds)
    _keep(rows)
    if options.page:
        write(rows, is_part=any((options.only, options.snapshots, options.facade)))
    print("\n".join(table(rows)))
    sys.exit(any(row.error for row in rows))


def _measure(row: Row, sides: Mapping[str, Sequence[Side]], stand: Stand, rounds: int) -> None:
    run = stand.lapse if row.name == "lapsed" else stand.steady
    contenders = {name: partial(run, replicas, row) for name, replicas in sides.items()}
    try:
        row.rounds.update(turns.by_turns(contenders, rounds))
    except (SideFailedError, WrongResultError) as error:
        row.error = str(error)
    print(f"{_title(row)}: {row.error or 'measured'}", file=sys.stderr)


def _title(row: Row) -> str:
    if row.name == "lapsed":
        return "lapsed claims"
    snapshots = {
        Snapshots.NONE: "",
        Snapshots.HELD: ", snapshot held",
        Snapshots.COME_AND_GO: ", snapshots come and go",
    }[row.snapshots]
    return f"{_contender(row)}{snapshots}"


def _contender(row: Row) -> str:
    return f"{row.facade}, {row.replicas} process{'es' if row.replicas > 1 else ''}"


def write(rows: Sequence[Row], *, is_part: bool) -> None:
    """Write the rows for the page; where only some were run the others stay as they are there."""
    (keep_part if is_part else keep)(STEADY, records(rows))


def records(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield what this checkout has reached, as docs/benchmarks.md shows it."""
    for row in rows:
        workload = row.snapshots.value if row.name == "steady" else row.name
        if row.error:
            yield record(workload, _contender(row), 0, {}, row.error)
        for number, figures in enumerate(row.rounds.get(NOW, [])):
            yield record(workload, _contender(row), number, figures)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Return the lines of a Markdown table, with the medians of the rounds."""
    yield "| what | side | figures |"
    yield "| --- | --- | --- |"
    for row in rows:
        if row.error:
            yield f"| {_title(row)} | **failed**: {row.error} | |"
        for side, rounds in row.rounds.items():
            medians = (
                f"{name} {statistics.median(each[name] for each in rounds):,.4g}"
                for name in rounds[0]
            )
            yield f"| {_title(row)} | {side} | {', '.join(medians)} |"


def _keep(rows: Sequence[Row]) -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    measured: list[dict[str, Any]] = [
        {"what": _title(row), "rounds": row.rounds, "error": row.error} for row in rows
    ]
    OUTPUT.write_text(json.dumps({"machine": turns.machine(), "rows": measured}, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.steady",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--against", metavar="REV", help="a commit that takes turns with this one")
    parser.add_argument("--only", choices=("steady", "lapsed"))
    parser.add_argument("--snapshots", choices=[each.name.lower() for each in Snapshots])
    parser.add_argument("--page", action="store_true", help="the long form, for docs/benchmarks.md")
    parser.add_argument("--facade", choices=(QUEUE, ASYNC_QUEUE))
    parser.add_argument("--messages", type=int, default=6_000, help="in each run (6,000)")
    parser.add_argument("--rate", type=float, default=100, help="messages a second (100)")
    parser.add_argument("--workers", type=int, default=8, help="of all replicas together (8)")
    parser.add_argument("--lapsed", type=int, default=20_000, help="claims that lapse (20,000)")
    parser.add_argument("--rounds", type=int, default=1, help="of each side (1)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
