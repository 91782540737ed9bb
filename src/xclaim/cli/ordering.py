"""The commands that make a database ready for ordering keys."""

from __future__ import annotations

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write


@click.group()
def ordering() -> None:
    """Make the database ready for ordering keys, or take that away."""


@ordering.command()
@database_options
def enable(*, database: Database) -> None:
    """Make the indexes and triggers that ordering keys need, once, as the owner of the table.

    Nobody writes to the table until they are made: it is read once.
    """
    from xclaim.operations import ordering as operation

    with database.engine() as engine:
        made = operation.enable(engine, schema=database.schema)
    write({"enabled": True, "changed": made})


@ordering.command()
@database_options
def disable(*, database: Database) -> None:
    """Take them away again. Refused as long as an unconsumed message has an ordering key."""
    from xclaim.operations import ordering as operation

    with database.engine() as engine:
        made = operation.disable(engine, schema=database.schema)
    write({"enabled": False, "changed": made})


COMMANDS = (ordering,)
