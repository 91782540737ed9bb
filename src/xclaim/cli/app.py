"""The commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from xclaim import __version__
from xclaim.cli import moving, tending
from xclaim.cli.database import guarded


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="xclaim")
def group() -> None:
    """Share out payloads, each to be consumed exactly once.

    JSON lines in and out. Exit status: 0 done, 1 nothing to claim, 2 wrong use, 3 claim lost,
    4 database trouble.
    """


for command in (*moving.COMMANDS, *tending.COMMANDS):
    group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(guarded(group, None if arguments is None else list(arguments)))
