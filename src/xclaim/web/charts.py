"""Lines and bars as SVG: coordinates as attributes, for no style may stand in a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from xclaim.web.formats import duration, estimate, moment, number

if TYPE_CHECKING:
    from xclaim.observing.values import Chart

SPARK_WIDTH, SPARK_HEIGHT = 100, 24
WIDTH, HEIGHT = 600, 120
_GAP = 0.15  # of a bar's width


def spark_path(values: Sequence[int]) -> str:
    """Return the path of a line through the values, from the left to the right edge."""
    if not values:
        return ""
    most, steps = max(*values, 1), max(len(values) - 1, 1)
    points = [
        (SPARK_WIDTH * index / steps, SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / most)
        for index, value in enumerate(values)
    ]
    if len(points) == 1:
        points.append((SPARK_WIDTH, points[0][1]))
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """A chart as a page shows it: the path of its bars, and what it says in words."""

    path: str
    most: str
    summary: str
    rows: tuple[tuple[datetime, int], ...]
    note: str = ""  # what is to be known of the numbers


def total_of(chart: Chart) -> str:
    """Return how many in all, and how sure that is: ``1,200``, ``about 1,200``."""
    total = sum(chart.values)
    if chart.is_estimate:
        return estimate(total)
    return f"{total:,}" if chart.is_complete else f"at least {total:,}"


def bars_of(chart: Chart, what: str) -> Bars:
    """Return the chart as bars; ``what`` says of what, as in "1,200 consumed"."""
    values = chart.values
    most = max(*values, 0) if values else 0
    summary = f"{total_of(chart)} {what} in {duration(chart.step * len(values))}"
    if most:
        busiest = chart.begins_at + chart.step * values.index(most)
        peak = estimate(most) if chart.is_estimate else f"{most:,}"
        summary += f", peak {peak} {_each(chart.step)} at {moment(busiest)}"
    return Bars(
        path=_bars_path(values, most),
        most=number(most),
        summary=summary,
        rows=tuple(
            (chart.begins_at + chart.step * index, value)
            for index, value in enumerate(values)
            if value
        ),
        note=_note(chart),
    )


def _note(chart: Chart) -> str:
    if chart.is_estimate:
        return "where there were many, some were counted and the number is reckoned from those"
    return "" if chart.is_complete else "there are more, counting ended"


def _each(step: timedelta) -> str:
    return "a minute" if step == timedelta(minutes=1) else f"in {duration(step)}"


def _bars_path(values: Sequence[int], most: int) -> str:
    if not most:
        return ""
    width = WIDTH / len(values)
    return "".join(
        f"M{(index + _GAP / 2) * width:.2f} {HEIGHT}v{-HEIGHT * value / most:.2f}"
        f"h{width * (1 - _GAP):.2f}V{HEIGHT}z"
        for index, value in enumerate(values)
        if value
    )
