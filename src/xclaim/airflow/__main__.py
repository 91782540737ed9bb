"""``python -m xclaim.airflow ...``: what ``airflow xclaim ...`` is, also on Airflow 3.1.

That version asks no provider for commands.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from xclaim.airflow.commands import get_commands


def command_parser() -> argparse.ArgumentParser:
    """Return the parser of the commands that a provider adds to ``airflow``."""
    parser = argparse.ArgumentParser(prog="python -m xclaim.airflow")
    (group,) = get_commands()
    parser.description = group.help
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in group.subcommands:
        one = commands.add_parser(
            command.name, help=command.help, description=command.description or command.help
        )
        for argument in command.args:
            argument.add_to_parser(one)
        one.set_defaults(func=command.func)
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Run a command, and exit as it does.

    :param words: of the command line; by default this process's.
    """
    arguments = command_parser().parse_args(words)
    arguments.func(arguments)


if __name__ == "__main__":
    main()
