"""The command that shows and sets the limits of a queue."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

from xclaim import arguments
from xclaim.arguments import MAX_LIMIT, OnFull
from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write
from xclaim.cli.options import queue_argument
from xclaim.limits import Limits

_RATE = re.compile(r"([1-9]\d{0,6})/(\d{0,6})(s|m|h|d)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@click.command()
@queue_argument
@click.option("--concurrency", type=int, metavar="N", help="So many messages are claimed at once.")
@click.option("--rate", metavar="N/TIME", help="So many claims begin in a time: 10/s, 100/15m.")
@click.option("--burst", type=int, metavar="N", help="So many of them may begin together.")
@click.option(
    "--max-backlog",
    type=click.IntRange(1, MAX_LIMIT),
    metavar="N",
    help="So many messages wait at most.",
)
@click.option(
    "--on-full",
    type=click.Choice(["raise", "wait", "skip"]),
    help="What a push does when so many wait.  [default: as before, or raise]",
)
@click.option("--none", is_flag=True, help="End all limits.")
@database_options
def limits(
    *,
    queue_name: str,
    concurrency: int | None,
    rate: str | None,
    burst: int | None,
    max_backlog: int | None,
    on_full: OnFull | None,
    none: bool,
    database: Database,
) -> None:
    """Show the limits of a queue, or set them.

    Of --concurrency and --rate what is not named ends where the other one is set; --max-backlog is
    set apart from them. What waits in the queue comes under them within a second, and what is
    claimed counts.
    """
    asked = {"concurrency": concurrency, "burst": burst, **_rate(rate)}
    is_set = any(value is not None for value in asked.values())
    if none and (is_set or max_backlog is not None):
        raise click.UsageError("--none ends all limits: leave the others out")
    if on_full is not None and max_backlog is None:
        raise click.UsageError("--on-full is of --max-backlog: name that, too")
    if max_backlog is not None:
        arguments.pushable(queue_name)  # before anything is set
    with database.queue(queue_name) as queue:
        is_split = database.parts_of(queue_name) != [queue_name]  # its parts have claims' limits
        found: Limits | None = None
        if is_set or (none and not is_split):
            found = queue.limit(**asked)
        elif not is_split:
            found = queue.limits()
        if max_backlog is not None or (none and queue.backlog().max_backlog is not None):
            on_full = on_full or queue.backlog().on_full or "raise"
            queue.limit_backlog(max_backlog=max_backlog, on_full=on_full)
        backlog = queue.backlog()
    said = (found or Limits()).to_dict()
    write({"queue": queue_name, **said, **backlog.to_dict()})
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
