"""Options and parameter types that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")


class Duration(click.ParamType[timedelta]):
    """A duration such as ``30s``, ``5m``, ``2h`` or ``7d``."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """Return the duration, or fail with the way to write one."""
        if isinstance(value, timedelta):
            return value
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            self.fail(f"{value!r} is no duration: write 30s, 5m, 2h or 7d", param, ctx)
        number, unit = match.groups()
        try:
            return timedelta(**{_UNITS[unit]: float(number)})
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)


DURATION = Duration()


def database_options(command: Command) -> Command:
    """Add --url, --schema and --quiet."""
    for option in (
        click.option("--quiet", is_flag=True, help="Do not say which database is used."),
        click.option("--schema", envvar="XCLAIM_SCHEMA", help="PostgreSQL schema of the table."),
        click.option(
            "--url",
            envvar="XCLAIM_DATABASE_URL",
            help="Database; by default the SQLite file xclaim.db in the current folder.",
        ),
    ):
        command = option(command)
    return command


table_option = click.option("--table", "as_table", is_flag=True, help="A table for people.")
lease_option = click.option(
    "--lease", type=DURATION, default="5m", show_default=True, help="After it others may claim."
)
limit_option = click.option("--limit", type=int, help="How many at most; by default all.")
