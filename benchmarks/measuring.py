"""Rounds in which the contenders take turns, and what they yield."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.contenders import POSTGRESQL
from benchmarks.crew import Crew, Shift
from benchmarks.server import Server

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One measurement of one contender; ``error`` instead of figures when it failed."""

    workload: str
    contender: str
    round: int
    figures: Figures
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class Context:
    """What every workload is given."""

    server: Server
    crew: Crew
    quick: bool
    records: list[Record] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def rounds(self) -> int:
        """Return how often each contender is measured."""
        return 3 if self.quick else 4

    @property
    def contenders(self) -> tuple[str, ...]:
        """Return who takes part on PostgreSQL; the slowest only where there is time."""
        slowest = ("awa", "pgmq archive") if self.quick else ()
        return tuple(name for name in POSTGRESQL if name not in slowest)

    def choose(self, *, quick: int, full: int) -> int:
        """Return the size for this kind of run."""
        return quick if self.quick else full

    def compare(
        self,
        workload: str,
        contenders: Sequence[str],
        measure: Callable[[str], Figures],
        *,
        rounds: int | None = None,
    ) -> None:
        """Measure each contender once a round, each round beginning with another one."""
        for number in range(rounds or self.rounds):
            turn = number % len(contenders)
            for contender in (*contenders[turn:], *contenders[:turn]):
                self.measure(workload, contender, number, measure)

    def record(self, workload: str, contender: str, figures: Figures) -> None:
        """Add figures that were measured already, side by side with others."""
        self.measure(workload, contender, 0, lambda _contender: figures)

    def measure(
        self, workload: str, contender: str, number: int, measure: Callable[[str], Figures]
    ) -> None:
        """Add a record, also when the contender fails: the others go on."""
        try:
            figures, error = measure(contender), None
        except ImportError:
            raise
        except Exception as failure:  # noqa: BLE001  (a peer's failure is a result)
            figures, error = {}, f"{type(failure).__name__}: {failure}".splitlines()[0]
        record = Record(
            workload=workload, contender=contender, round=number, figures=figures, error=error
        )
        self.records.append(record)
        shown = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
        took = time.monotonic() - self.began
        print(f"{took:6.0f} s  {workload:20} {contender:24} {error or shown}", file=sys.stderr)


def payloads(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return payloads of about 200 bytes as JSON."""
    return [{"n": number, "text": "x" * 175} for number in range(first, first + count)]


def in_chunks(count: int, size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield so many payloads, some at a time."""
    for first in range(0, count, size):
        yield payloads(min(size, count - first), first)


def rate(shifts: Sequence[Shift]) -> float:
    """Return messages per second from the first's begin to the last's end. Raise on a duplicate."""
    consumed = [number for shift in shifts for number in shift.consumed]
    if len(set(consumed)) != len(consumed):
        raise AssertionError(f"{len(consumed) - len(set(consumed))} messages consumed twice")
    if not consumed:
        raise AssertionError("no message was consumed")
    return len(consumed) / (max(s.ended for s in shifts) - min(s.began for s in shifts))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which the share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
