"""Rounds in which the contenders take turns, and what they yield."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.contenders import BY_HAND, PEERS, QUICK_PEERS, SAME, XCLAIM
from benchmarks.contenders.contender import MissingError
from benchmarks.crew import Crew, Shift
from benchmarks.server import Server, unconsumed

T = TypeVar("T")
Figures = dict[str, float]
_SETTLED_AFTER = 2.0  # seconds
_FAR_BEHIND = 5  # times slower than xclaim: nothing that its other rounds could change


class WrongResultError(Exception):
    """A contender did not do the work that was measured: its figures mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One measurement of one contender; ``error`` instead of figures when it failed."""

    workload: str
    contender: str
    round: int
    figures: Figures
    error: str | None = None
    is_wrong: bool = False  # it did not do the work that was measured


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
        """Return who takes part on PostgreSQL."""
        return (XCLAIM, *((SAME,) if self.quick else BY_HAND), *self.peers)

    @property
    def peers(self) -> tuple[str, ...]:
        """Return which other queues take part on PostgreSQL."""
        return QUICK_PEERS if self.quick else PEERS

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
        """Measure each contender once a round, each round beginning with another one.

        Who is far behind in the first round sits the others out.
        """
        for number in range(rounds or self.rounds):
            turn = number % len(contenders)
            for contender in (*contenders[turn:], *contenders[:turn]):
                self.measure(workload, contender, number, measure)
            contenders = self._near(workload, contenders)

    def _near(self, workload: str, contenders: Sequence[str]) -> Sequence[str]:
        rates = {
            record.contender: record.figures.get("messages/s", 0)
            for record in self.records
            if record.workload == workload and record.round == 0
        }
        least = rates.get(XCLAIM, 0) / _FAR_BEHIND
        return [each for each in contenders if rates.get(each, 0) >= least]

    def record(self, workload: str, contender: str, figures: Figures) -> None:
        """Add figures that were measured already, side by side with others."""
        self.measure(workload, contender, 0, lambda _contender: figures)

    def measure(
        self, workload: str, contender: str, number: int, measure: Callable[[str], Figures]
    ) -> None:
        """Add a record, also when the contender fails: the others go on."""
        figures: Figures = {}
        error, is_wrong = None, False
        try:
            figures = measure(contender)
        except ImportError:
            raise
        except MissingError as missing:
            error = str(missing)
        except Exception as failure:  # noqa: BLE001  (a peer's failure is a result)
            error = f"{type(failure).__name__}: {failure}".splitlines()[0]
            is_wrong = isinstance(failure, WrongResultError)
        record = Record(
            workload=workload,
            contender=contender,
            round=number,
            figures=figures,
            error=error,
            is_wrong=is_wrong,
        )
        self.records.append(record)
        shown = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
        took = time.monotonic() - self.began
        print(f"{took:6.0f} s  {workload:20} {contender:24} {error or shown}", file=sys.stderr)


def rate(shifts: Sequence[Shift], each: int) -> float:
    """Return messages per second from the first's begin to the last's end.

    Raise WrongResultError if a message was consumed twice, or a worker had fewer than ``each``.
    """
    for shift in shifts:
        check_consumed(shift.consumed, each)
    consumed = [number for shift in shifts for number in shift.consumed]
    check_consumed(consumed, len(consumed))
    return len(consumed) / (max(s.ended for s in shifts) - min(s.began for s in shifts))


def check_consumed(consumed: Sequence[int], least: int) -> None:
    """Raise WrongResultError if there are fewer messages than should be, or one is there twice."""
    if len(consumed) < max(1, least):
        raise WrongResultError(f"{len(consumed)} messages were consumed instead of {least}")
    if len(set(consumed)) != len(consumed):
        raise WrongResultError(f"{len(consumed) - len(set(consumed))} messages consumed twice")


def check_left(contender: str, url: str, left: int) -> None:
    """Raise WrongResultError unless the database has so many messages that are not consumed."""
    # awa still puts back what it has claimed too much when its worker has been shut down.
    deadline = time.monotonic() + _SETTLED_AFTER
    while (found := unconsumed(contender, url)) != left:
        if time.monotonic() > deadline:
            raise WrongResultError(f"{found} messages are left instead of {left}")
        time.sleep(0.05)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which the share of all lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds it takes."""
    seconds, _ = timed_result(work)
    return seconds


def timed_result(work: Callable[[], T]) -> tuple[float, T]:
    """Return the seconds it takes, and what it returns."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
