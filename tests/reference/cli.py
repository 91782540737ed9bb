"""The page of the command line, from Click's own description of each command."""

from __future__ import annotations

import click

from tests.reference import markdown
from tests.reference.markdown import block, code, table
from xclaim.cli import outcomes
from xclaim.cli.app import COMMANDS, group

_STATUSES = {
    "DONE": "done",
    "NOTHING_TO_CLAIM": "nothing to claim; of `get` and `find`, something is not there",
    "WRONG_USE": "wrong use: an argument, a payload or a URL; nothing was changed",
    "CLAIM_LOST": "a claim was lost, or changed hands; the others were settled",
    "NO_DATABASE": (
        "the database or the payload storage cannot be reached or refuses, or the schema is missing"
        " or of another version"
    ),
    "UNSOUND": "`audit` or `doctor` found something broken, or `rotate-keys` left something",
    "BROKEN": "a fault of xclaim or of what it uses; `XCLAIM_TRACEBACK=1` shows where",
    "INPUT_OUTPUT": "stdin or stdout failed, such as a full disk",
    "INTERRUPTED": "interrupted",
    "NOBODY_READS": "nobody reads the output any more, as in `xclaim peek orders | head -1`",
}


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Command line",
        "Every command of `xclaim` with its options. [The command](../cli.md) tells how to use "
        "them. `airflow xclaim` has the same, with `--conn-id` in the place of `--url`; "
        "[configuration](configuration.md) lists the variables.",
        "## Options of every command",
        _options(group),
        "## Exit status",
        table(("status", "meaning"), _statuses()),
        *[part for command in COMMANDS for part in _section(command)],
    )


def _statuses() -> list[tuple[str, str]]:
    numbers = {name: value for name, value in vars(outcomes).items() if type(value) is int}
    numbers["DONE"] = 0
    return [
        (str(number), _STATUSES[name])
        for name, number in sorted(numbers.items(), key=lambda each: each[1])
        if name.isupper()
    ]


def _section(command: click.Command, before: str = "xclaim") -> list[str]:
    """Return what the page says of a command; of a group, what it says of each of its commands."""
    name = f"{before} {command.name}"
    said = " ".join((command.help or "").split())
    if isinstance(command, click.Group):
        below = [part for each in command.commands.values() for part in _section(each, name)]
        return [f"## {name}", said, *below]
    context = click.Context(command, info_name=name)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    return [f"## {name}", block(usage, "text"), said, _options(command)]


def _options(command: click.Command) -> str:
    common = {parameter.name for parameter in group.params} if command is not group else set()
    rows = [
        _option(parameter, click.Context(command))
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in common
    ]
    return table(("option", "default", "meaning"), rows) if rows else "It has no other options."


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    default = option.default if option.show_default else ""
    shown = "required" if option.required else code(str(default))
    return code(names + value), shown, option.help or ""
