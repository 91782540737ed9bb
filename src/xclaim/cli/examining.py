"""Commands that examine a queue: does every row keep the promises, and is anything in the way."""

from __future__ import annotations

import json
from pathlib import Path

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write, write_all
from xclaim.cli.options import Output, output_options, table_option
from xclaim.cli.outcomes import UNSOUND

CHECK_COLUMNS = ("name", "promise", "checked", "broken", "examples", "remedy")
FINDING_COLUMNS = ("name", "level", "found", "remedy")


@click.command()
@click.argument("queue_name", metavar="[QUEUE]", required=False)
@click.option("--newest", type=int, help="Only so many of the newest messages; by default all.")
@click.option(
    "--output",
    metavar="FORMAT|FILE",
    default=Output.JSON.value,
    help="json (the default), table or tsv; or write the whole audit to this file, as one JSON"
    " document.",
)
@table_option
@database_options
def audit(
    *,
    queue_name: str | None,
    newest: int | None,
    output: str,
    as_table: bool,
    database: Database,
) -> int:
    """Check that every message keeps the promises.

    Of QUEUE, or of every queue. Read-only, and in small parts: it disturbs no claim. A line per
    promise, with what was checked, what breaks it and the SQL that mends it, then the rows by
    status. Exit status 5 if anything is broken.
    """
    from xclaim.operations.audit import audit as run

    with database.engine() as engine:
        audited = run(engine, queue=queue_name, newest=newest, schema=database.schema)
    values = audited.to_dict()
    is_file = output not in list(Output)
    printed = Output.JSON if is_file else Output(output)
    printed = Output.TABLE if as_table else printed
    write_all(values["checks"], CHECK_COLUMNS, printed)
    if printed is Output.JSON:
        write({name: values[name] for name in ("is_sound", "rows", "gone")})
    if is_file:
        Path(output).write_text(json.dumps(values, indent=2) + "\n")
    return 0 if audited.is_sound else UNSOUND


@click.command()
@output_options
@database_options
def doctor(*, output: Output, database: Database) -> int:
    """Look for what slows the queues down or makes them forget.

    A line per finding, each with its level (ok, warning, problem) and the remedy. Exit status 5 if
    there is a problem.
    """
    from xclaim.operations.doctor import Level, examine

    with database.engine() as engine:
        findings = examine(engine, schema=database.schema)
    write_all([finding.to_dict() for finding in findings], FINDING_COLUMNS, output)
    return UNSOUND if any(finding.level is Level.PROBLEM for finding in findings) else 0


COMMANDS = (audit, doctor)
