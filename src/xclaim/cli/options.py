"""Option types and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import wraps
from typing import Any

import click

from xclaim.arguments import is_id_text

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)


table_option = click.option(
    "--table", "as_table", is_flag=True, help="A table for people: --output table."
)


def attempts(value: str) -> int | None:
    """Return how many attempts a message may have; ``none`` is for ever."""
    if value == "none":
        return None
    try:
        return int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no whole number, and not none") from None


def ids_of(values: Sequence[str]) -> list[int]:
    """Return the message ids that the arguments are, each once."""
    for value in values:
        if not is_id_text(value):
            raise click.UsageError(
                f"{value[:50]!r} is no message id: a whole number, as `peek` prints"
            )
    return list(dict.fromkeys(map(int, values)))


class Output(StrEnum):
    """What is printed."""

    JSON = "json"  # a line each
    TABLE = "table"
    TSV = "tsv"


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --output and --table, which is short for one of its values."""

    @click.option(
        "--output",
        type=click.Choice([each.value for each in Output]),
        help="JSON lines (the default), a table for people, or TSV for pipes.",
    )
    @table_option
    @wraps(command)
    def with_output(*positional: Any, output: str | None, as_table: bool, **options: Any) -> Any:
        if as_table and output not in (None, Output.TABLE):
            raise click.UsageError(f"--table and --output {output} exclude each other")
        chosen = Output.TABLE if as_table else Output(output or Output.JSON)
        return command(*positional, output=chosen, **options)

    return with_output


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
lease_option = click.option(
    "--lease", type=duration, default="5m", show_default=True, help="After it others may claim."
)
look_timeout_option = click.option(
    "--timeout",
    type=duration,
    default="2s",  # as an Observer has it
    show_default=True,
    help="How long each look at the database may take.",
)
limit_option = click.option("--limit", type=int, help="How many at most; by default all.")
