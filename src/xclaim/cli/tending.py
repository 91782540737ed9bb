"""Commands that look after a queue and its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import write
from xclaim.cli.options import duration, ids_of, limit_option, queue_argument
from xclaim.cli.outcomes import CLAIM_LOST, UNSOUND, RefusedError, say
from xclaim.cli.progress import progress

if TYPE_CHECKING:
    from xclaim.queues.sync import Queue
    from xclaim.verb import VerbEvent


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
@click.option("--yes", is_flag=True, help="Drop the messages that this costs.")
@database_options
def downgrade(*, revision: str, yes: bool, database: Database) -> None:
    """Take the schema back to REVISION.

    'base' drops the table with all its messages: it says how many, and wants --yes.
    """
    from xclaim.operations import migrate

    with database.engine() as engine:
        lost = migrate.messages_lost(engine, revision, schema=database.schema)
        if lost is not None and not yes:
            raise RefusedError(
                f"a downgrade to {revision} drops the table with {_counted(lost)}, and nothing "
                "brings them back: say --yes if that is meant"
            )
        migrate.downgrade(engine, revision, schema=database.schema)
        done: dict[str, Any] = {"revision": migrate.current(engine, schema=database.schema)}
    write(done if lost is None else {**done, "dropped": sum(lost.values())})


def _counted(by_status: Mapping[str, int]) -> str:
    total = sum(by_status.values())
    parts = ", ".join(f"{count:,} {status}" for status, count in sorted(by_status.items()))
    noun = "message" if total == 1 else "messages"
    return f"{total:,} {noun}" + (f" ({parts})" if parts else "")


@click.command()
@queue_argument
@limit_option
@database_options
def expire(*, queue_name: str, limit: int | None, database: Database) -> None:
    """Give back the messages whose lease ran out."""
    with database.queue(queue_name) as queue:
        count = queue.expire(limit=limit)
    write({"queue": queue_name, "expired": count})
    if not count:
        database.tell_if_unknown(queue_name)


@click.command()
@queue_argument
@click.option("--reason", help="Why; kept until it goes on.")
@database_options
def pause(*, queue_name: str, reason: str | None, database: Database) -> None:
    """Let a queue hand out nothing, within a second, until `unpause`.

    What is held may still be settled, and pushes go on. Its dead letters (orders.dead) are another
    queue. If it is paused already only the reason changes.
    """
    with database.queue(queue_name) as queue:
        paused = queue.pause(reason=reason)
    write({"queue": queue_name, **paused.to_dict()})
    database.tell_if_unknown(queue_name)


@click.command()
@queue_argument
@database_options
def unpause(*, queue_name: str, database: Database) -> None:
    """Let a paused queue hand out messages again."""
    with database.queue(queue_name) as queue:
        was_paused = queue.unpause()
    write({"queue": queue_name, "was_paused": was_paused})
    if not was_paused:
        database.tell_if_unknown(queue_name)


@click.command()
@queue_argument
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--to", help="Another queue; by default the one they died in.")
@click.option("--error", help="Only those whose last error has this class, or this in its text.")
@click.option("--older-than", type=duration, help="Only those that have been dead for so long.")
@limit_option
@click.option("--rate", type=float, help="How many a second, so as not to flood consumers.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@database_options
def redrive(
    *,
    queue_name: str,
    ids: tuple[str, ...],
    to: str | None,
    error: str | None,
    older_than: timedelta | None,
    limit: int | None,
    rate: float | None,
    dry_run: bool,
    database: Database,
) -> None:
    """Move dead letters back to be claimed anew.

    QUEUE is the queue or its dead-letter queue (orders.dead). With IDs only these; one that is no
    dead letter there is named, and then none is moved.
    """
    chosen: dict[str, Any] = {
        "to": to,
        "error": error,
        "older_than": older_than,
        "limit": limit,
        "ids": ids_of(ids) if ids else None,
    }
    with database.queue(queue_name) as queue:
        if dry_run:
            count = queue.redrive(**chosen, rate=rate, dry_run=True)
            write({"queue": queue_name, "redriven": 0, "would_redrive": count})
        else:
            count = _redrive(queue, rate, chosen)
            write({"queue": queue_name, "redriven": count})
    if not count:
        database.tell_if_unknown(queue_name.removesuffix(".dead"))


def _redrive(queue: Queue, rate: float | None, chosen: dict[str, Any]) -> int:
    if rate is None:
        return queue.redrive(**chosen)
    from xclaim.connections.events import add_listener, remove_listener

    total = queue.redrive(**chosen, rate=rate, dry_run=True)
    with progress("redriving", total, unit="messages") as advance:

        def note(event: VerbEvent) -> None:
            if event.verb == "redrive":
                advance(event.count, event.count)

        add_listener(note)
        try:
            return queue.redrive(**chosen, rate=rate)
        finally:
            remove_listener(note)


@click.command()
@click.argument("queue_name", metavar="[QUEUE]", required=False)
@click.option("--older-than", type=duration, required=True, help="Since when consumed: 30d.")
@limit_option
@click.option(
    "--orphans", is_flag=True, help="Instead, objects of XCLAIM_STORAGE that no message has."
)
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--every", is_flag=True, help="With --orphans: no other database stores there.")
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
    left in the payload storage: those of queues that have others with a message in this database,
    and of a place those of its queues.
    """
    if orphans:
        if queue_name is not None or limit is not None:
            raise click.UsageError("--orphans is for the whole storage: no QUEUE, no --limit")
        _prune_orphans(database, older_than=older_than, dry_run=dry_run, every=every)
        return
    if queue_name is None:
        raise click.UsageError("name a QUEUE, or --orphans")
    if every:
        raise click.UsageError("--every is for --orphans")
    with database.queue(queue_name) as queue:
        count = queue.prune(older_than=older_than, limit=limit, dry_run=dry_run)
    done = {"pruned": 0, "would_prune": count} if dry_run else {"pruned": count}
    write({"queue": queue_name, **done})
    if not count:
        database.tell_if_unknown(queue_name)


@click.command()
@queue_argument
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--unique-key", "keys", multiple=True, help="Instead of IDs; repeatable.")
@database_options
def withdraw(
    *, queue_name: str, ids: tuple[str, ...], keys: tuple[str, ...], database: Database
) -> int:
    """Delete messages that nobody has claimed, by ID or unique key.

    Dead letters too; what is claimed or consumed stays. An operator's withdrawal by ID is logged;
    an ID that cannot be withdrawn is named, and then none is. Exit with 3 if one was claimed
    meanwhile.
    """
    if bool(ids) == bool(keys):
        raise click.UsageError("name IDs, or --unique-key: one of them")
    wanted = ids_of(ids)
    count = _by_key(database, queue_name, keys) if keys else _by_id(database, queue_name, wanted)
    write({"queue": queue_name, "withdrawn": count})
    if keys and not count:
        database.tell_if_unknown(queue_name)
    if count < len(wanted):
        say(
            f"error: {len(wanted) - count} of {len(wanted)} messages were claimed, consumed or "
            "withdrawn a moment ago, and stay as they are: see "
            f"{database.about('get', queue_name, 'ID')}"
        )
        return CLAIM_LOST
    return 0


def _by_key(database: Database, queue_name: str, keys: Sequence[str]) -> int:
    with database.queue(queue_name) as queue:
        return queue.withdraw(keys)


def _by_id(database: Database, queue_name: str, ids: Sequence[int]) -> int:
    from xclaim.operations.by_hand import withdraw as withdraw_by_hand

    schema, payloads = database.schema, database.payloads
    with database.engine() as engine:
        return withdraw_by_hand(engine, queue_name, ids, schema=schema, payloads=payloads)


@click.command("rotate-keys")
@database_options
def rotate_keys(*, database: Database) -> int:
    """Encrypt payloads anew with the first of XCLAIM_FERNET_KEYS.

    Those encrypted with one of the others, in rows and in XCLAIM_STORAGE. Claimed messages are left
    for the next run. Exit status 5 if some are left. `unencrypted` counts, for each queue, what has
    no encryption and is not consumed: it stays as it is.
    """
    from xclaim.operations.rotation import rotate_keys as run

    with database.engine() as engine:
        done = run(engine, database.payloads, schema=database.schema)
    errors = [{"id": id_, "error": error} for id_, error in done.errors.items()]
    counts = {"rotated": done.rotated, "claimed": done.claimed, "failed": done.failed}
    write({**counts, "unencrypted": done.unencrypted})
    for error in errors:
        write(error)
    return 0 if done.is_complete else UNSOUND


def _prune_orphans(
    database: Database, *, older_than: timedelta, dry_run: bool, every: bool
) -> None:
    from xclaim.operations.orphans import prune_orphans

    with database.engine() as engine:
        found = prune_orphans(
            engine,
            database.payloads,
            older_than=older_than,
            dry_run=dry_run,
            every=every,
            has_queue=None if database.places is None else database.has,
            schema=database.schema,
        )
    write(asdict(found))
    if found.left:
        say(
            f"{found.left} objects without a message here are left: none of their queue has one, "
            "or another place has the queue. If no other database stores there, use --every"
        )


@click.command()
@database_options
def demo(*, database: Database) -> None:
    """Watch processes share a queue while one is killed.

    On a temporary SQLite file; with --url in a queue of its own in that database.
    """
    from xclaim.cli.demo import run

    run(database)


COMMANDS = (upgrade, downgrade, pause, unpause, expire, redrive, prune, withdraw, rotate_keys, demo)
