"""The command grants: who may do what, in PostgreSQL."""

from __future__ import annotations

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write
from xclaim.cli.outcomes import emit


@click.command()
@click.argument("kind")
@click.argument("role")
@click.option("--queue", "queues", multiple=True, help="Only this queue; repeatable.")
@click.option("--payloads", is_flag=True, help="Also to an observer or maintainer.")
@click.option("--apply", "is_applied", is_flag=True, help="Run the SQL instead of printing it.")
@database_options
def grants(
    *,
    kind: str,
    role: str,
    queues: tuple[str, ...],
    payloads: bool,
    is_applied: bool,
    database: Database,
) -> None:
    """Print the SQL that makes ROLE a producer, consumer, observer or maintainer.

    And nothing else: what it had on the table before is revoked. A missing role is created. A
    producer pushes; a consumer claims and settles; an observer counts, and sees no payloads; a
    maintainer expires, redrives, prunes and withdraws.
    """
    from xclaim.operations.grants import plan

    with database.engine() as engine, engine.begin() as connection:
        planned = plan(
            connection, kind, role, queues=queues, payloads=payloads, schema=database.schema
        )
        if not is_applied:
            emit(planned.script.encode())
            return
        done = planned.apply(connection)
    write(done)


COMMANDS = (grants,)
