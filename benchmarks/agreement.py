"""Whether a quick run says the same of the targets as the long run that the docs show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.figures import Figures
from benchmarks.targets import TARGETS, Measured, Target

_NOISE = 0.2  # two figures that differ by less are the same on a machine with other work


def section(quick: Figures, long_run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a page that compare a quick run with the long one, target by target."""
    long = Figures(long_run["records"])
    pairs = [
        (target, ours, theirs)
        for target in TARGETS
        if (ours := target.measure(quick)) and (theirs := target.measure(long))
    ]
    differing = [pair for pair in pairs if not agree(*pair)]
    yield f"## Beside the long run of {long_run['machine']['date']}\n"
    yield f"{len(pairs) - len(differing)} of {len(pairs)} targets that both have measured come out"
    yield f"the same, or within {_NOISE:.0%} of each other."
    yield ""
    if differing:
        yield "| workload | target | this run | the long run |"
        yield "| --- | --- | --- | --- |"
    for target, ours, theirs in differing:
        yield f"| {target.workload} | {target.aim} | {ours.text} | {theirs.text} |"
    yield ""


def agree(target: Target, ours: Measured, theirs: Measured) -> bool:
    """Return whether both reach the target, or miss it, or are too close to be told apart."""
    if target.is_reached(ours) == target.is_reached(theirs):
        return True
    return abs(ours.value - theirs.value) <= _NOISE * max(abs(ours.value), abs(theirs.value))
