"""The command and its subcommands.

Nothing heavy is imported here: SQLAlchemy, Alembic and Rich cost more than everything else that
``xclaim --help`` does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from xclaim import __version__
from xclaim.cli import (
    examining,
    granting,
    limits,
    looking,
    measuring,
    ordering,
    pushing,
    settling,
    showing,
    tending,
)
from xclaim.cli.database import Database, place_options
from xclaim.cli.outcomes import WRONG_USE, status_of


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.version_option(__version__, prog_name="xclaim")
@click.pass_context
@place_options
def group(context: click.Context, /, *, database: Database) -> None:
    """Share out payloads, each to be consumed exactly once.

    JSON lines in and out. Exit status: 0 done, 1 nothing to claim, 2 wrong use, 3 claim lost,
    4 database trouble, 5 audit or doctor found something broken.
    """
    context.obj = database
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(WRONG_USE)


COMMANDS = (
    *pushing.COMMANDS,
    *settling.COMMANDS,
    *looking.COMMANDS,
    *tending.COMMANDS,
    *examining.COMMANDS,
    *measuring.COMMANDS,
    *granting.COMMANDS,
    *ordering.COMMANDS,
    *limits.COMMANDS,
    *showing.COMMANDS,
)
for command in COMMANDS:
    group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    if "XCLAIM_OTEL" in os.environ:
        from xclaim.telemetry import instrument_if_asked

        instrument_if_asked()
    sys.exit(status_of(group, None if arguments is None else list(arguments)))
