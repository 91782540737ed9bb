"""This checkout against an earlier commit, in turn: `python -m benchmarks.against REV`.

The sources of REV are taken from git. Each side has a process of its own, which lives through the
run, and for each lap an empty database that its own migrations fill: on one durable embedded
PostgreSQL, and in a SQLite file. The sides take turns lap by lap. Several pairs of processes come
one after the other, because two that run the same code are not equally fast. Every lap consumes
all it pushed; if one does not, its rows fail and the status is 1. Five minutes, `--quick` one.

The rates are now's divided by before's: above 1 is quicker. The client's processor per message,
which the noise of the machine touches less, is divided the same way: below 1 is cheaper. On SQLite
it has the database in it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import turns
from benchmarks.server import Server, run_server, settle
from benchmarks.sides.checkout import BEFORE, NOW, ROOT, both, commit
from benchmarks.sides.laps import LAPS, PARTS, ROWS, Lap
from benchmarks.sides.process import Side, SideFailedError, both_sides

OUTPUT = ROOT / "benchmarks" / "output" / "against.json"
POSTGRESQL, SQLITE = "postgresql", "sqlite"
_WARM_UP = 2  # rounds: plans are made, connections too

Seconds = tuple[float, float]  # by the clock, and of the client's processor


@dataclass(slots=True, kw_only=True)
class Course:
    """A lap with one facade on one database, and what each of its rounds took."""

    database: str
    facade: str
    lap: Lap
    rounds: list[dict[str, dict[str, Seconds]]] = field(default_factory=list)  # by side and part
    error: str | None = None

    def __str__(self) -> str:
        """Return what it is, for the log."""
        return f"{self.database} {self.facade} {self.lap.name}"


def main() -> None:
    """Measure, print and keep; exit with status 1 if a lap did not consume every message."""
    options = _options()
    courses = _courses(options)
    with (
        both(options.revision) as sources,
        _server(options.database) as server,
        tempfile.TemporaryDirectory(prefix="xclaim-against-") as folder,
    ):
        for number in range(options.processes):
            with both_sides("benchmarks.sides.worker", sources) as sides:
                for place, course in enumerate(courses):
                    files = Path(folder) / f"{number}-{place}"
                    _measure(course, sides, _Places(server, files), options.rounds)
    measured = [row for course in courses for row in rows(course, options.only)]
    _keep(measured, options)
    print("\n".join(table(measured)))
    sys.exit(any(row["error"] for row in measured))


def _server(databases: Sequence[str]) -> AbstractContextManager[Server | None]:
    if POSTGRESQL not in databases:
        return nullcontext()
    # Autovacuum is off: it visits one side's database after the other's.
    return run_server(autovacuum="off")


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the databases of a lap are."""

    server: Server | None
    files: Path

    def urls(self, database: str, names: Sequence[str], stack: ExitStack) -> dict[str, str]:
        """Return the URL of an empty database for each side."""
        if database == POSTGRESQL and self.server is not None:
            return {name: stack.enter_context(self.server.copy_of()) for name in names}
        self.files.mkdir()
        return {name: f"sqlite:///{self.files / name}.db" for name in names}


def _measure(course: Course, sides: Mapping[str, Side], places: _Places, rounds: int) -> None:
    """Run a lap some rounds; add what each took, or why it failed."""
    with ExitStack() as stack:
        urls = places.urls(course.database, list(sides), stack)
        try:
            for name, side in sides.items():
                side.ask(act="open", facade=course.facade, lap=course.lap.name, url=urls[name])
            _run(sides, _WARM_UP)
            for url in urls.values() if course.database == POSTGRESQL else ():
                settle(url)
            course.rounds += _run(sides, rounds)
            for side in sides.values():
                side.ask(act="close")
        except SideFailedError as error:
            course.error = str(error)
    print(f"{course}: {course.error or 'measured'}", file=sys.stderr)


def _run(sides: Mapping[str, Side], rounds: int) -> list[dict[str, dict[str, Seconds]]]:
    """Let the sides take turns; each round begins with the other one."""
    taken = turns.by_turns({name: partial(_lap, side) for name, side in sides.items()}, rounds)
    return [{name: taken[name][number] for name in sides} for number in range(rounds)]


def _lap(side: Side) -> dict[str, Seconds]:
    return {part: side.ask(act="run", part=part) for part in PARTS}


def rows(course: Course, only: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the figures of a lap, for each of its rows that is asked for."""
    for part, row in course.lap.rows.items():
        if row in only:
            about = {"database": course.database, "facade": course.facade, "row": row}
            yield about | {"error": course.error} | _figures(course, part)


def _figures(course: Course, part: str) -> dict[str, Any]:
    if course.error or not course.rounds:
        return {}
    clock, processor = (
        {
            name: [round_[name][part][place] / course.lap.messages for round_ in course.rounds]
            for name in (NOW, BEFORE)
        }
        for place in (0, 1)
    )
    rates = {name: [1 / seconds for seconds in each] for name, each in clock.items()}
    return {
        "messages/s": {name: turns.spread(each, 0) for name, each in rates.items()},
        "rate": turns.ratio(rates[NOW], rates[BEFORE]),
        "processor us": {
            name: turns.spread([seconds * 1e6 for seconds in each], 1)
            for name, each in processor.items()
        },
        "processor": turns.ratio(processor[NOW], processor[BEFORE]),
    }


def table(measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return the lines of a Markdown table, one for each row; a row that failed says why."""
    yield (
        "| database | facade | row | before/s | now/s | rate, now / before | 95 % "
        "| before us | now us | client's processor, now / before | 95 % |"
    )
    yield "| --- | --- | --- | ---: | ---: | --- | --- | ---: | ---: | --- | --- |"
    for row in measured:
        about = f"| {row['database']} | {row['facade']} | {row['row']} |"
        if row["error"]:
            yield f"{about} **failed**: {row['error']} |"
            continue
        rates, efforts = row["messages/s"], row["processor us"]
        yield (
            f"{about} {rates[BEFORE]['median']:,.0f} | {rates[NOW]['median']:,.0f} "
            f"| {_shown(row['rate'])} | {efforts[BEFORE]['median']:.1f} "
            f"| {efforts[NOW]['median']:.1f} | {_shown(row['processor'])} |"
        )


def _shown(ratio: Mapping[str, float]) -> str:
    return (
        f"{ratio['median']:.2f} ({ratio['least']:.2f}-{ratio['most']:.2f}) "
        f"| {ratio['low']:.2f}-{ratio['high']:.2f}"
    )


def _keep(measured: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    kept = {
        "machine": turns.machine(),
        "before": commit(options.revision),
        "rounds": options.rounds * options.processes,
        "rows": measured,
    }
    OUTPUT.write_text(json.dumps(kept, indent=1) + "\n")


def _courses(options: argparse.Namespace) -> list[Course]:
    return [
        Course(database=database, facade=facade, lap=lap)
        for database in (POSTGRESQL, SQLITE)
        for lap in LAPS
        for facade in lap.facades
        if database in options.database and set(lap.rows.values()) & set(options.only)
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("revision", metavar="REV", help="the commit to measure against")
    parser.add_argument("--rounds", type=int, default=20, help="of each pair of processes (20)")
    parser.add_argument("--processes", type=int, default=3, help="pairs, one after the other (3)")
    parser.add_argument("--quick", action="store_true", help="one pair of processes, eight rounds")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=ROWS, help="these rows alone")
    parser.add_argument("--database", choices=(POSTGRESQL, SQLITE), help="this one alone")
    options = parser.parse_args()
    options.database = (options.database,) if options.database else (POSTGRESQL, SQLITE)
    if options.quick:
        options.rounds, options.processes = 8, 1
    return options


if __name__ == "__main__":
    main()
