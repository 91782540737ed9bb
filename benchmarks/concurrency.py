"""Many workers on one queue made from a URL: `python -m benchmarks.concurrency [--against REV]`.

Threads on a Queue and tasks on an AsyncQueue claim and ack for some seconds: how many a second, how
long a claim takes, and how many connections the server saw opened after the first second, when all
workers have begun: a pool that opens and closes them for each verb shows here. The server's own log
is counted. With ``--against`` an earlier commit takes turns with this checkout. What is left is
consumed afterwards, and every message must have been consumed once, or the status is 1. ``--page``
writes the rows that docs/benchmarks.md shows; of ``--workers`` and ``--facade`` those that ran.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from benchmarks import turns
from benchmarks.figures import CONCURRENCY, keep, keep_part, record
from benchmarks.server import Server, run_server, settle
from benchmarks.sides.checkout import BEFORE, NOW, ROOT, both
from benchmarks.sides.laps import ASYNC_QUEUE, QUEUE
from benchmarks.sides.process import Side, SideFailedError, both_sides

OUTPUT = ROOT / "benchmarks" / "output" / "concurrency.json"
WORKERS = (1, 5, 15, 30, 50)
FACADES = (QUEUE, ASYNC_QUEUE)
_BACKLOG = 3_000  # messages for each second: more than anybody consumes
_FIGURES = ("messages/s", "claim p50 ms", "claim p95 ms", "connections", "processor us")
# `%n` is the time in seconds, `%d` the database.
_LOGGED = {"log_connections": "on", "log_line_prefix": "%n %d "}
_CONNECTED = re.compile(r"^(\d+\.\d+) (\S+) LOG:  connection authorized", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class Row:
    """A number of workers on one facade, and what each side reached in each round."""

    facade: str
    workers: int
    rounds: dict[str, list[Mapping[str, float]]] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Stand:
    """The server, its log, and how long a crowd works."""

    server: Server
    log: Path
    seconds: float

    def measure(self, side: Side, row: Row) -> dict[str, float]:
        """Let a side's crowd work on a database of its own. Raise if it did not consume it all."""
        count = round(self.seconds * _BACKLOG)
        with self.server.copy_of() as url:
            side.ask(act="fill", url=url, count=count)
            settle(url)
            figures = side.ask(
                act="work",
                facade=row.facade,
                url=url,
                workers=row.workers,
                seconds=self.seconds,
            )
            opened = connections(self.log, make_url(url).database, since=figures["began"] + 1)
            side.ask(act="check", url=url, count=count, consumed=figures["consumed"])
        return {name: figures.get(name, opened) for name in _FIGURES}


def connections(log: Path, database: str | None, since: float) -> int:
    """Count the connections to a database that the server's log has after a time."""
    logged = _CONNECTED.findall(log.read_text(errors="replace"))
    return sum(name == database and float(at) > since for at, name in logged)


def main() -> None:
    """Measure, print and keep; exit with status 1 if a crowd did not consume every message."""
    options = _options()
    rows = [Row(facade=facade, workers=n) for facade in options.facade for n in options.workers]
    with ExitStack() as stack:
        sources = {NOW: ROOT / "src"}
        if options.against:
            sources = stack.enter_context(both(options.against))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xclaim-crowds-")))
        home.chmod(0o755)  # the server, which does not run as root, must get in
        server = stack.enter_context(run_server(home, **_LOGGED))
        stand = Stand(server, home / "postgresql.log", options.seconds)
        sides = stack.enter_context(both_sides("benchmarks.sides.crowds", sources))
        for row in rows:
            _measure(row, sides, stand, options.rounds)
    _keep(rows)
    if options.page:
        write(rows)
    print("\n".join(table(rows)))
    sys.exit(any(row.error for row in rows))


def _measure(row: Row, sides: Mapping[str, Side], stand: Stand, rounds: int) -> None:
    crowds = {name: partial(stand.measure, side, row) for name, side in sides.items()}
    try:
        row.rounds.update(turns.by_turns(crowds, rounds))
    except SideFailedError as error:
        row.error = str(error)
    print(f"{row.facade}, {row.workers} workers: {row.error or 'measured'}", file=sys.stderr)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Return the lines of a Markdown table; the ratio is now's rate divided by before's."""
    yield f"| facade | workers | side | {' | '.join(_FIGURES)} | rate, now / before |"
    yield f"| --- | ---: | --- |{' ---: |' * len(_FIGURES)} --- |"
    for row in rows:
        if row.error:
            yield f"| {row.facade} | {row.workers} | **failed**: {row.error} |"
            continue
        for side in row.rounds:
            cells = " | ".join(f"{_median(row, side, name):,.4g}" for name in _FIGURES)
            ratio = _ratio(row) if side == NOW and BEFORE in row.rounds else ""
            yield f"| {row.facade} | {row.workers} | {side} | {cells} | {ratio} |"


def _median(row: Row, side: str, name: str) -> float:
    return statistics.median(figures[name] for figures in row.rounds[side])


def _ratio(row: Row) -> str:
    now, before = ([each["messages/s"] for each in row.rounds[side]] for side in (NOW, BEFORE))
    ratio = turns.ratio(now, before)
    return f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f})"


def write(rows: Sequence[Row]) -> None:
    """Write the rows for the page; where only some were run the others stay as they are there."""
    were_run = {(row.facade, row.workers) for row in rows}
    is_part = not were_run >= {*product(FACADES, WORKERS)}
    (keep_part if is_part else keep)(CONCURRENCY, records(rows))


def records(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield what this checkout has reached, as docs/benchmarks.md shows it."""
    for row in rows:
        workload, contender = f"crowd_{row.workers}", row.facade
        if row.error:
            yield record(workload, contender, 0, {}, row.error)
        for number, figures in enumerate(row.rounds.get(NOW, [])):
            yield record(workload, contender, number, figures)


def _keep(rows: Sequence[Row]) -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    measured = [
        {"facade": row.facade, "workers": row.workers, "rounds": row.rounds, "error": row.error}
        for row in rows
    ]
    OUTPUT.write_text(json.dumps({"machine": turns.machine(), "rows": measured}, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.concurrency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--against", metavar="REV", help="a commit that takes turns with this one")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--facade", choices=FACADES, nargs="+")
    parser.add_argument("--seconds", type=float, default=4, help="that a crowd works (4)")
    parser.add_argument("--rounds", type=int, default=3, help="of each side (3)")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds")
    parser.add_argument("--page", action="store_true", help="write rows of docs/benchmarks.md")
    options = parser.parse_args()
    options.facade = options.facade or FACADES
    if options.quick:
        options.seconds, options.rounds = 2, 1
    return options


if __name__ == "__main__":
    main()
