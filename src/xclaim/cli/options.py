"""Option types and options that several commands share."""

from __future__ import annotations

import re
from datetime import timedelta

import click

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)


def duration(value: str | timedelta) -> timedelta:
    """Return the duration that ``30s``, ``5m``, ``2h`` or ``7d`` means."""
    if isinstance(value, timedelta):  # Click may convert a default twice
        return value
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no duration: write 30s, 5m, 2h or 7d")
    number, unit = match.groups()
    try:
        return timedelta(**{_UNITS[unit]: float(number)})
    except OverflowError:
        raise click.BadParameter(f"{value!r} is too long: write 30s, 5m, 2h or 7d") from None


queue_argument = click.argument("queue_name", metavar="QUEUE")
table_option = click.option("--table", "as_table", is_flag=True, help="A table for people.")
lease_option = click.option(
    "--lease", type=duration, default="5m", show_default=True, help="After it others may claim."
)
limit_option = click.option("--limit", type=int, help="How many at most; by default all.")
