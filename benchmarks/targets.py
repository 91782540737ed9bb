"""What was asked for, and whether it was reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Any

from benchmarks.contenders import (
    ASYNC,
    ORDERED_PEERS,
    PEERS,
    SAME,
    SQLITE_BY_HAND,
    SQLITE_PEERS,
    SQLITE_XCLAIM,
    STREAM,
    XCLAIM,
)
from benchmarks.figures import Figures

RATE = "messages/s"
CROWD = "crowd_"  # of `benchmarks.concurrency`, before the number of workers
_ENTRIES = tuple(f"entries {number}" for number in range(1, 6))  # of `benchmarks.steady`


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure, and how the page says it."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Target:
    """A limit for a figure: at least, or at most."""

    workload: str
    aim: str
    measure: Callable[[Figures], Measured | None]
    limit: float
    at_most: bool = False

    def is_reached(self, measured: Measured) -> bool:
        """Return whether the figure keeps to the limit."""
        if self.at_most:
            return measured.value <= self.limit
        return measured.value >= self.limit


def _against(workload: str, other: str, name: str = RATE, ours: str = XCLAIM) -> Any:
    def measure(figures: Figures) -> Measured | None:
        value = figures.ratio(workload, ours, other, name)
        return None if value is None else Measured(value, f"{value:.2f}")

    return measure


def _against_best(
    workload: str,
    name: str = RATE,
    *,
    ours: str = XCLAIM,
    peers: tuple[str, ...] = PEERS,
    pick: Any = max,
) -> Any:
    def measure(figures: Figures) -> Measured | None:
        best = figures.best(workload, peers, name, pick)
        value = None if best is None else figures.ratio(workload, ours, best, name)
        return None if value is None else Measured(value, f"{value:.2f} ({best})")

    return measure


def _plain(workload: str, contender: str, name: str, shown: str) -> Any:
    def measure(figures: Figures) -> Measured | None:
        value = figures.median(workload, contender, name)
        return None if value is None else Measured(value, shown.format(value))

    return measure


def _grown(prefix: str, small: int, name: str = "median ms") -> Any:
    """Compare the largest size that ran with the smallest."""

    def measure(figures: Figures) -> Measured | None:
        sizes = [
            int(each.removeprefix(prefix))
            for each in figures.workloads()
            if each.startswith(prefix)
        ]
        if not sizes:
            return None
        first = figures.median(f"{prefix}{small}", XCLAIM, name)
        last = figures.median(f"{prefix}{max(sizes)}", XCLAIM, name)
        if first is None or last is None:
            return None
        return Measured(last / first, f"{last / first:.2f} at {max(sizes):,}")

    return measure


def _pinned(figures: Figures) -> Measured | None:
    free = figures.median("unpinned", XCLAIM, "last")
    held = figures.median("pinned", XCLAIM, "last")
    if free is None or held is None:
        return None
    others = [
        f"{each} {(figures.median('pinned', each, 'last') or 0) / other:.2f}"
        for each in figures.contenders("pinned")
        if each != XCLAIM and (other := figures.median("unpinned", each, "last"))
    ]
    return Measured(held / free, f"{held / free:.2f} ({', '.join(others)})")


def _latest(figures: Figures) -> Measured | None:
    modes = figures.contenders("priorities")
    values = [figures.median("priorities", mode, "longest s") for mode in modes]
    measured = [value for value in values if value is not None]
    return Measured(max(measured), f"{max(measured):.2f} s") if measured else None


def _faults(figures: Figures) -> Measured | None:
    values = [
        value
        for name in ("duplicates", "missing")
        for value in figures.values("connections_200", XCLAIM, name)
    ]
    error = figures.error("connections_200", XCLAIM)
    return Measured(sum(values), error or f"{sum(values):.0f}") if values or error else None


def _cost(name: str, unit: str) -> Any:
    def measure(figures: Figures) -> Measured | None:
        value = figures.median("wal", XCLAIM, name)
        best = figures.best("wal", PEERS, name, min)
        if value is None or best is None:
            return None
        other = figures.median("wal", best, name)
        return Measured(value, f"{value:,.3g}{unit} ({best} {other:,.3g})")

    return measure


def _stream(figures: Figures) -> Measured | None:
    """Compare a stream of 1,000 with one of 100."""
    small, large = (figures.median(f"batch_{size}", STREAM, RATE) for size in (100, 1_000))
    return Measured(large / small, f"{large / small:.2f}") if small and large else None


def _worst(workload: str, *names: str, unit: str = "") -> Any:
    """Take the highest of these figures, of all who took part."""

    def measure(figures: Figures) -> Measured | None:
        taken: dict[str, list[float]] = {}
        for contender in figures.contenders(workload):
            if error := figures.error(workload, contender):
                return Measured(inf, f"{contender}: {error}")
            medians = [figures.median(workload, contender, name) for name in names]
            if values := [value for value in medians if value is not None]:
                taken[contender] = values
        if not taken:
            return None
        contender, values = max(taken.items(), key=lambda each: max(each[1]))
        from_least = f"{min(values):,.3g} to " if len(names) > 1 else ""
        return Measured(max(values), f"{from_least}{max(values):,.3g}{unit} ({contender})")

    return measure


def _dearest(workload: str, ours: str, others: str) -> Any:
    """Take the figure that has risen most beside others', whichever it is."""

    def measure(figures: Figures) -> Measured | None:
        ratios = {
            name: ratio
            for name in figures.names(workload)
            if (ratio := figures.ratio(workload, ours, others, name)) is not None
        }
        if not ratios:
            return None
        name = max(ratios, key=lambda each: ratios[each])
        return Measured(ratios[name], f"{ratios[name]:.3f} ({name})")

    return measure


def _growing_crowd(figures: Figures) -> Measured | None:
    """Take the step to more workers at which the rate falls most, or rises least."""
    crowds = [name for name in figures.workloads() if name.startswith(CROWD)]
    steps: dict[str, float] = {}
    for fewer, more in pairwise(sorted(crowds, key=_size_of_a_crowd)):
        for facade in figures.contenders(more):
            before, after = (figures.median(each, facade, RATE) for each in (fewer, more))
            if before and after:
                sizes = f"{_size_of_a_crowd(fewer)} to {_size_of_a_crowd(more)}"
                steps[f"{facade}, {sizes}"] = after / before
    if not steps:
        return None
    step = min(steps, key=lambda each: steps[each])
    return Measured(steps[step], f"{steps[step]:.2f} ({step})")


def _size_of_a_crowd(workload: str) -> int:
    return int(workload.removeprefix(CROWD))


def _crowds_connections(figures: Figures) -> Measured | None:
    opened: list[float] = []
    for workload in figures.workloads():
        if not workload.startswith(CROWD):
            continue
        for facade in figures.contenders(workload):
            if error := figures.error(workload, facade):
                return Measured(inf, f"{facade}: {error}")
            opened += figures.values(workload, facade, "connections")
    return Measured(max(opened), f"{max(opened):.0f} at most") if opened else None


# Limits: the ratio to the same statements by hand, which ack, and the ratio to the best peer.
_RATIOS = (
    ("push one", "push_one", 1.1, 1.6),
    ("push many", "push_many", 0.9, 1.7),
    ("claim+ack one at a time, 1 worker", "claim_ack_1", 1.0, 1.5),
    ("claim+ack one at a time, 2 workers", "claim_ack_2", 1.0, 1.4),
    ("claim+ack one at a time, 8 workers", "claim_ack_8", 1.1, 2.0),
    ("batches of 100", "batch_100", 1.0, 1.2),
    ("batches of 1,000", "batch_1000", 1.0, 1.0),
)
_SQLITE_RATIOS = (
    ("push one", 0.85, 0.7),
    ("push many", 0.65, 1.1),
    ("claim+ack", 0.9, 0.9),
    ("batches of 100", 0.6, 10),
)


def _both(name: str, by_hand: Any, best: Any, limits: tuple[float, float]) -> Iterator[Target]:
    hand, peer = limits
    yield Target(name, f">= {hand:.2f} x by hand", by_hand, hand)
    yield Target(name, f">= {peer:.2f} x the best peer", best, peer)


TARGETS = (
    *(
        target
        for name, workload, hand, peer in _RATIOS
        for target in _both(name, _against(workload, SAME), _against_best(workload), (hand, peer))
    ),
    *_both(
        "stream of 1, beside claim and then ack",
        _against("claim_ack_1", SAME, ours=STREAM),
        _against_best("claim_ack_1", ours=STREAM),
        (1.4, 2.0),
    ),
    Target("stream of 1,000", ">= 1.00 x that of 100", _stream, 1.0),
    Target(
        "AsyncQueue, batches of 100",
        ">= 0.90 x Queue",
        _against("batch_100", XCLAIM, ours=ASYNC),
        0.9,
    ),
    Target(
        "backlog and history", "median claim <= 1.1 x empty", _grown("growth_", 1_000), 1.1, True
    ),
    Target("delayed ahead", "median claim <= 1.1 x none", _grown("delayed_", 0), 1.1, True),
    Target("snapshot pinned", "last tenth >= 0.9 x unpinned", _pinned, 0.9),
    Target("late high priority", "<= 0.3 s in every mode", _latest, 0.3, True),
    Target("200 connections", "no error, none twice", _faults, 0, True),
    Target(
        "200 connections",
        "p99 <= 0.8 x the best peer's",
        _against_best("connections_200", "p99 ms", pick=min),
        0.8,
        True,
    ),
    *(
        Target(
            "push to claim, with wake-ups",
            f"{name} <= {limit} ms",
            _plain("wake_up", "wake-ups", f"{name} ms", "{:.1f} ms"),
            limit,
            True,
        )
        for name, limit in (("median", 10), ("p99", 50))
    ),
    *(
        Target(
            "100 messages a second, 8 workers wait",
            f"{name} <= {limit} ms",
            _worst("steady", f"{name} ms", unit=" ms"),
            limit,
            True,
        )
        for name, limit in (("p50", 5), ("p99", 50))
    ),
    *(
        Target(
            f"60,000 messages in a queue that keeps up, {snapshots}",
            "<= 20 index entries read per message, in each fifth",
            _worst(workload, *_ENTRIES),
            20,
            True,
        )
        for workload, snapshots in (
            ("steady_held", "a snapshot held"),
            ("steady_come_and_go", "snapshots come and go"),
        )
    ),
    Target(
        "1 to 50 workers on one queue",
        ">= 0.95 x the rate of fewer, at each step",
        _growing_crowd,
        0.95,
    ),
    Target(
        "1 to 50 workers on one queue",
        "no connection after the first second",
        _crowds_connections,
        0,
        True,
    ),
    Target(
        "20,000 lapsed claims",
        "no claim takes over 100 ms",
        _worst("lapsed", "longest ms", unit=" ms"),
        100,
        True,
    ),
    Target(
        "bulk push with wake-ups",
        ">= 0.9 x without",
        _against("notify_push", "without", ours="with wake-ups"),
        0.9,
    ),
    Target(
        "write-ahead log per message", "<= 1.4 KB", _cost("WAL bytes", " bytes"), 1.4 * 1_024, True
    ),
    Target("dead rows per message", "<= 2.5", _cost("dead rows", ""), 2.5, True),
    *(
        Target(
            f"ordering keys, {name}",
            f">= {limit:.2f} x without keys",
            _against(workload, f"{XCLAIM}, without keys"),
            limit,
        )
        for name, workload, limit in (
            ("push one", "ordering_push", 0.5),
            ("claim+ack one at a time", "ordering_claim_ack", 0.7),
        )
    ),
    Target(
        "ordering keys, claim+ack one at a time",
        ">= 5.00 x the best peer that keeps an order",
        _against_best("ordering_claim_ack", peers=ORDERED_PEERS),
        5,
    ),
    Target(
        "ordering keys, a million messages",
        "a claim reads <= 40 pages",
        _worst("ordering_pages", "pages"),
        40,
        True,
    ),
    Target(
        "messages without keys, ordering not enabled",
        "processor of the server <= 1.02 x before there were keys",
        _dearest("ordering_plain", "disabled", "before"),
        1.02,
        True,
    ),
    *(
        target
        for name, hand, peer in _SQLITE_RATIOS
        for target in _both(
            f"SQLite, {name}",
            _against("sqlite", SQLITE_BY_HAND, name, SQLITE_XCLAIM),
            _against_best("sqlite", name, ours=SQLITE_XCLAIM, peers=SQLITE_PEERS),
            (hand, peer),
        )
    ),
    Target(
        "100 idle waiters",
        "<= 5 % of one core",
        _plain("idle_waiters", "100 threads", "% of a core", "{:.1f} %"),
        5,
        True,
    ),
)


def table(figures: Figures) -> Iterator[str]:
    """Return the lines of a Markdown table that says what was reached and what was missed."""
    yield "| workload | target | measured | |"
    yield "| --- | --- | --- | --- |"
    for target in TARGETS:
        measured = target.measure(figures)
        if measured is None:
            yield f"| {target.workload} | {target.aim} | not run | |"
            continue
        verdict = "reached" if target.is_reached(measured) else "**missed**"
        yield f"| {target.workload} | {target.aim} | {measured.text} | {verdict} |"
