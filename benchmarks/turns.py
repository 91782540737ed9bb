"""Ratios of contenders that take turns, and the file in which they are kept for the docs."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

RESULTS = Path(__file__).parents[1] / "docs" / "artefacts" / "benchmarks" / "payloads.json"


def by_turns(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Measure each contender once a round, each round beginning with another one."""
    names = list(contenders)
    measured: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            measured[name].append(contenders[name]())
    return measured


def ratio(ours: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Return the median of the rounds' ratios, and its spread.

    ``low`` and ``high``: where the median lies with 95 % confidence, whatever the distribution.
    The quartiles are those of single rounds: how restless the machine was. ``undisturbed``: the
    ratio of what each has reached in the best tenth of its rounds.
    """
    ratios = sorted(one / other for one, other in zip(ours, others, strict=True))
    count = len(ratios)
    margin = 1.96 * count**0.5 / 2
    first, _, third = statistics.quantiles(ratios, n=4) if count > 1 else ratios * 3
    return {
        "median": round(statistics.median(ratios), 4),
        "low": round(ratios[max(0, int(count / 2 - margin))], 4),
        "high": round(ratios[min(count - 1, int(count / 2 + margin))], 4),
        "first quartile": round(first, 4),
        "third quartile": round(third, 4),
        "least": round(ratios[0], 4),
        "most": round(ratios[-1], 4),
        "undisturbed": round(_best_tenth(ours) / _best_tenth(others), 4),
        "rounds": count,
    }


def _best_tenth(values: Sequence[float]) -> float:
    return statistics.median(sorted(values)[-max(1, len(values) // 10) :])


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Return the median of what was measured, the least and the most."""
    return {
        "median": round(statistics.median(values), digits),
        "least": round(min(values), digits),
        "most": round(max(values), digits),
    }


def keep(section: str, figures: Mapping[str, Any]) -> None:
    """Write the figures of one benchmark beside those of the others."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[section] = {"machine": machine(), **figures}
    RESULTS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    print(f"written: {section} in {RESULTS.name}")


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1),
        "python": platform.python_version(),
    }
