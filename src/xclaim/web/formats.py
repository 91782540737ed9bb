"""Numbers, durations and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from xclaim.arguments import visible
from xclaim.observing.values import Count

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_LONG = 10  # from so many seconds on without decimals


def number(value: float) -> str:
    """Return a number with separators: ``12,345``, ``0.5``."""
    if isinstance(value, int) or value >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.1f}".removesuffix(".0")


def count(value: Count) -> str:
    """Return how many: ``17``, ``10,000+``, ``10,000+ (about 480,000)``."""
    if value.is_exact:
        return number(value.at_least)
    about = "" if value.estimate is None else f" ({estimate(value.estimate)})"
    return f"{number(value.at_least)}+{about}"


def estimate(value: float) -> str:
    """Return a number that was not counted: ``about 480,000``."""
    return f"about {number(_rounded(round(value)) if value >= 100 else value)}"  # noqa: PLR2004


def duration(value: timedelta | None) -> str:
    """Return a length of time in its largest units: ``12 ms``, ``3.4 s``, ``5 min 2 s``."""
    if value is None:
        return "–"  # noqa: RUF001
    seconds = value.total_seconds()
    if seconds < 0:
        return f"-{duration(-value)}"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.0f} s" if seconds >= _LONG else f"{seconds:.1f} s"
    return _of_large_units(round(seconds))


def moment(value: datetime) -> str:
    """Return a time in UTC: ``2026-11-26 23:51:43 UTC``."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC"


def since(value: datetime) -> str:
    """Return how far away a time is: ``5 min ago``, ``in 20 s``."""
    away = datetime.now(UTC) - value
    return f"{duration(away)} ago" if away >= timedelta(0) else f"in {duration(-away)}"


def readable(text: str) -> str:
    """Return text of several lines as it is, but for what would turn or hide a part of it."""
    return "\n".join(visible(line.replace("\t", "    ")) for line in text.split("\n"))


def _of_large_units(seconds: int) -> str:
    for (size, unit), (next_size, next_unit) in pairwise(_UNITS):
        if seconds >= size:
            rest = seconds % size // next_size
            return f"{seconds // size:,} {unit}" + (f" {rest} {next_unit}" if rest else "")
    return f"{seconds} s"


def _rounded(value: int) -> int:
    """Return an estimate without the digits that nobody can believe."""
    digits = len(str(value))
    return round(value, -(digits - 2)) if digits > 2 else value  # noqa: PLR2004
