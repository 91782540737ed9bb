"""Commands that look after a queue and its schema."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from xclaim.cli.database import opened
from xclaim.cli.lines import MESSAGE_COLUMNS, write, write_all
from xclaim.cli.options import DURATION, database_options, limit_option, table_option

STATS_COLUMNS = (
    "queue",
    "available",
    "delayed",
    "claimed",
    "consumed",
    "dead_letters",
    "oldest_available_age",
    "oldest_claim_age",
)


@click.command()
@click.argument("revision", default="head")
@database_options
def upgrade(*, revision: str, **database: Any) -> None:
    """Create the table, or bring it to REVISION (by default the newest)."""
    from xclaim import migrate

    with opened(database, create=True) as engine:
        migrate.upgrade(engine, revision, schema=database["schema"])
        write({"revision": migrate.current(engine, schema=database["schema"])})


@click.command()
@click.argument("revision")
@database_options
def downgrade(*, revision: str, **database: Any) -> None:
    """Take the schema back to REVISION; 'base' drops the table with all its messages."""
    from xclaim import migrate

    with opened(database) as engine:
        migrate.downgrade(engine, revision, schema=database["schema"])
        write({"revision": migrate.current(engine, schema=database["schema"])})


@click.command()
@click.argument("queue_name", metavar="QUEUE")
@click.option("--limit", type=int, default=10, show_default=True, help="How many at most.")
@table_option
@database_options
def peek(*, queue_name: str, limit: int, as_table: bool, **database: Any) -> None:
    """Print the messages that would be claimed next."""
    from xclaim.sync import Queue

    with opened(database) as engine:
        messages = Queue(queue_name, engine, schema=database["schema"]).peek(limit)
    write_all([message.to_dict() for message in messages], MESSAGE_COLUMNS, as_table=as_table)


@click.command()
@click.argument("queue_name", metavar="[QUEUE]", required=False)
@table_option
@database_options
def stats(*, queue_name: str | None, as_table: bool, **database: Any) -> None:
    """Print what is in QUEUE, or in every queue: the view xclaim_queue_stats. Ages in seconds."""
    from xclaim import migrate
    from xclaim.statements import queue_stats
    from xclaim.verbs import resolve_schema

    with opened(database) as engine:
        migrate.check(engine, schema=database["schema"])
        schema = resolve_schema(database["schema"], engine.dialect.name)
        with engine.connect() as connection:
            found = connection.execute(queue_stats(schema)).mappings().all()
    rows = [dict(row) for row in found if queue_name in (None, row["queue"])]
    if queue_name is not None and not rows:
        rows = [dict.fromkeys(STATS_COLUMNS, 0) | {"queue": queue_name}]
        rows[0] |= {"oldest_available_age": None, "oldest_claim_age": None}
    write_all(rows, STATS_COLUMNS, as_table=as_table)


@click.command()
@click.argument("queue_name", metavar="QUEUE")
@limit_option
@database_options
def expire(*, queue_name: str, limit: int | None, **database: Any) -> None:
    """Give back the messages whose lease ran out."""
    from xclaim.sync import Queue

    with opened(database) as engine:
        count = Queue(queue_name, engine, schema=database["schema"]).expire(limit=limit)
    write({"queue": queue_name, "expired": count})


@click.command()
@click.argument("queue_name", metavar="QUEUE")
@click.option("--to", help="Another queue; by default the one they came from.")
@limit_option
@database_options
def redrive(*, queue_name: str, to: str | None, limit: int | None, **database: Any) -> None:
    """Move the dead letters of QUEUE back to it, to be claimed anew."""
    from xclaim.sync import Queue

    with opened(database) as engine:
        count = Queue(queue_name, engine, schema=database["schema"]).redrive(limit=limit, to=to)
    write({"queue": queue_name, "redriven": count})


@click.command()
@click.argument("queue_name", metavar="QUEUE")
@click.option("--older-than", type=DURATION, required=True, help="Since when consumed: 30d.")
@limit_option
@database_options
def prune(*, queue_name: str, older_than: timedelta, limit: int | None, **database: Any) -> None:
    """Delete messages that were consumed longer ago; nothing else is ever deleted."""
    from xclaim.sync import Queue

    with opened(database) as engine:
        queue = Queue(queue_name, engine, schema=database["schema"])
        count = queue.prune(older_than=older_than, limit=limit)
    write({"queue": queue_name, "pruned": count})


@click.command()
def demo() -> int:
    """Let four processes share 100 payloads on a temporary SQLite file, and kill one of them."""
    from xclaim.cli.demo import run

    return run()


COMMANDS = (upgrade, downgrade, peek, stats, expire, redrive, prune, demo)
