"""The command that shows and sets the limits of a queue."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write
from xclaim.cli.options import queue_argument

_RATE = re.compile(r"([1-9]\d{0,6})/(\d{0,6})(s|m|h|d)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.command()
@queue_argument
@click.option("--concurrency", type=int, metavar="N", help="So many messages are claimed at once.")
@click.option("--rate", metavar="N/TIME", help="So many claims begin in a time: 10/s, 100/15m.")
@click.option("--burst", type=int, metavar="N", help="So many of them may begin together.")
@click.option("--none", is_flag=True, help="End all limits.")
@database_options
def limits(
    *,
    queue_name: str,
    concurrency: int | None,
    rate: str | None,
    burst: int | None,
    none: bool,
    database: Database,
) -> None:
    """Show the limits of a queue, or set them.

    What is not named has no limit any more. What waits in the queue comes under them within a
    second, and what is claimed counts.
    """
    asked = {"concurrency": concurrency, "burst": burst, **_rate(rate)}
    is_set = any(value is not None for value in asked.values())
    if none and is_set:
        raise click.UsageError("--none ends all limits: leave the others out")
    with database.queue(queue_name) as queue:
        found = queue.limit(**asked) if is_set or none else queue.limits()
    said: dict[str, Any] = dict.fromkeys(("concurrency", "rate", "per", "burst"))
    write({"queue": queue_name, **(said if found is None else found.to_dict())})
    database.tell_if_unknown(queue_name)


def _rate(text: str | None) -> dict[str, Any]:
    """Return the rate and its time."""
    if text is None:
        return {"rate": None, "per": None}
    found = _RATE.fullmatch(text)
    if found is None:
        raise click.UsageError(
            f"{text[:50]!r} is no rate: a number, a slash and a time, as 10/s or 100/15m"
        )
    count, number, unit = found.groups()
    return {"rate": int(count), "per": timedelta(**{_UNITS[unit]: int(number or 1)})}


COMMANDS = (limits,)
