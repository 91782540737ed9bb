"""Commands that look after a queue and its schema."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import MESSAGE_COLUMNS, write, write_all
from xclaim.cli.options import duration, limit_option, queue_argument, table_option
from xclaim.cli.outcomes import UNSOUND

_COUNTS = ("available", "delayed", "claimed", "consumed", "dead_letters")
STATS_COLUMNS = ("queue", *_COUNTS, "oldest_available_age", "oldest_claim_age")


@click.command()
@click.argument("revision", default="head")
@database_options
def upgrade(*, revision: str, database: Database) -> None:
    """Create the table, or bring it to REVISION."""
    from xclaim.operations import migrate

    with database.engine(create=True) as engine:
        migrate.upgrade(engine, revision, schema=database.schema)
        write({"revision": migrate.current(engine, schema=database.schema)})


@click.command()
@click.argument("revision")
@database_options
def downgrade(*, revision: str, database: Database) -> None:
    """Take the schema back to REVISION.

    'base' drops the table with all its messages.
    """
    from xclaim.operations import migrate

    with database.engine() as engine:
        migrate.downgrade(engine, revision, schema=database.schema)
        write({"revision": migrate.current(engine, schema=database.schema)})


@click.command()
@queue_argument
@click.option("--limit", type=int, default=10, show_default=True, help="How many at most.")
@table_option
@database_options
def peek(*, queue_name: str, limit: int, as_table: bool, database: Database) -> None:
    """Print the messages that would be claimed next."""
    with database.queue(queue_name) as queue:
        messages = queue.peek(limit)
    write_all([message.to_dict() for message in messages], MESSAGE_COLUMNS, as_table=as_table)


@click.command()
@click.argument("queue_name", metavar="[QUEUE]", required=False)
@table_option
@database_options
def stats(*, queue_name: str | None, as_table: bool, database: Database) -> None:
    """Count the messages of QUEUE, or of every queue.

    A line per queue of the view xclaim_queue_stats; ages are in seconds.
    """
    rows = _stats(database)
    if queue_name is not None:
        nothing = {"queue": queue_name} | dict.fromkeys(_COUNTS, 0)
        rows = [row for row in rows if row["queue"] == queue_name] or [
            nothing | {"oldest_available_age": None, "oldest_claim_age": None}
        ]
    write_all(rows, STATS_COLUMNS, as_table=as_table)


@click.command()
@queue_argument
@limit_option
@database_options
def expire(*, queue_name: str, limit: int | None, database: Database) -> None:
    """Give back the messages whose lease ran out."""
    with database.queue(queue_name) as queue:
        count = queue.expire(limit=limit)
    write({"queue": queue_name, "expired": count})


@click.command()
@queue_argument
@click.option("--to", help="Another queue; by default QUEUE.")
@limit_option
@database_options
def redrive(*, queue_name: str, to: str | None, limit: int | None, database: Database) -> None:
    """Move dead letters back to be claimed anew."""
    with database.queue(queue_name) as queue:
        count = queue.redrive(limit=limit, to=to)
    write({"queue": queue_name, "redriven": count})


@click.command()
@click.argument("queue_name", metavar="[QUEUE]", required=False)
@click.option("--older-than", type=duration, required=True, help="Since when consumed: 30d.")
@limit_option
@click.option(
    "--orphans", is_flag=True, help="Instead, objects of XCLAIM_STORAGE that no message has."
)
@click.option("--dry-run", is_flag=True, help="With --orphans: only count them.")
@click.option("--every", is_flag=True, help="With --orphans: even if no object has a message.")
@database_options
def prune(
    *,
    queue_name: str | None,
    older_than: timedelta,
    limit: int | None,
    orphans: bool,
    dry_run: bool,
    every: bool,
    database: Database,
) -> None:
    """Delete messages that were consumed long ago.

    Nothing else is ever deleted: what is not consumed stays. With --orphans, objects that a crash
    left in the payload storage; it must be this database's alone.
    """
    if orphans:
        if queue_name is not None or limit is not None:
            raise click.UsageError("--orphans is for the whole storage: no QUEUE, no --limit")
        _prune_orphans(database, older_than=older_than, dry_run=dry_run, every=every)
        return
    if queue_name is None:
        raise click.UsageError("name a QUEUE, or --orphans")
    if dry_run or every:
        raise click.UsageError("--dry-run and --every are for --orphans")
    with database.queue(queue_name) as queue:
        count = queue.prune(older_than=older_than, limit=limit)
    write({"queue": queue_name, "pruned": count})


@click.command("rotate-keys")
@database_options
def rotate_keys(*, database: Database) -> int:
    """Encrypt payloads anew with the first of XCLAIM_FERNET_KEYS.

    Those encrypted with one of the others, in rows and in XCLAIM_STORAGE. Claimed messages are left
    for the next run. Exit status 5 if some are left.
    """
    from xclaim.operations.rotation import rotate_keys as run

    with database.engine() as engine:
        done = run(engine, schema=database.schema)
    errors = [{"id": id_, "error": error} for id_, error in done.errors.items()]
    write({"rotated": done.rotated, "claimed": done.claimed, "failed": done.failed})
    for error in errors:
        write(error)
    return 0 if done.is_complete else UNSOUND


def _prune_orphans(
    database: Database, *, older_than: timedelta, dry_run: bool, every: bool
) -> None:
    from xclaim.operations.orphans import prune_orphans

    with database.engine() as engine:
        found = prune_orphans(
            engine, older_than=older_than, dry_run=dry_run, every=every, schema=database.schema
        )
    write(asdict(found))


@click.command()
@database_options
def demo(*, database: Database) -> None:
    """Watch processes share a queue while one is killed.

    On a temporary SQLite file; with --url in a queue of its own in that database.
    """
    from xclaim.cli.demo import run

    run(database)


def _stats(database: Database) -> list[dict[str, Any]]:
    from xclaim.sql.revision import mismatch, needs_upgrade, read_revision
    from xclaim.sql.statements import queue_stats
    from xclaim.verbs import resolve_schema

    with database.engine() as engine, engine.connect() as connection:
        schema = resolve_schema(database.schema, engine.dialect.name)
        found = read_revision(connection, schema)
        if needs_upgrade(found):
            raise mismatch(found)
        return [dict(row) for row in connection.execute(queue_stats(schema)).mappings()]


COMMANDS = (upgrade, downgrade, peek, stats, expire, redrive, prune, rotate_keys, demo)
