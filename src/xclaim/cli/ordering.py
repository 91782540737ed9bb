"""The commands that make a database ready for ordering keys."""

from __future__ import annotations

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write
from xclaim.cli.outcomes import WRONG_USE


@click.group(invoke_without_command=True)
@click.pass_context
def ordering(context: click.Context) -> None:
    """Make the database ready for ordering keys, or take that away."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(WRONG_USE)


@ordering.command()
@database_options
def enable(*, database: Database) -> None:
    """Make what ordering keys need: indexes and triggers.

    Run it once for a schema, as the owner of the table. Others go on writing. What was cut
    short goes on with the next run.
    """
    from xclaim.operations import ordering as operation

    with database.engine() as engine:
        made = operation.enable(engine, schema=database.schema)
    write({"enabled": True, "changed": made})


@ordering.command()
@database_options
def disable(*, database: Database) -> None:
    """Take away what `enable` has made.

    It is refused as long as a message that is not consumed has an ordering key.
    """
    from xclaim.operations import ordering as operation

    with database.engine() as engine:
        made = operation.disable(engine, schema=database.schema)
    write({"enabled": False, "changed": made})


COMMANDS = (ordering,)
