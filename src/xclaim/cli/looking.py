"""Commands that look and change nothing: what is next, what there is, and who holds what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import MESSAGE_COLUMNS, UPCOMING_COLUMNS, tell_unreadable, write_all
from xclaim.cli.options import Output, ids_of, limit_option, output_options, queue_argument
from xclaim.cli.outcomes import NOTHING_TO_CLAIM, say

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from xclaim.message import Message

_COUNTS = ("available", "delayed", "claimed", "consumed", "dead_letters", "in_line")
_FAILING = ("retrying", "next_try_at", "head_attempts")
_AGES = ("oldest_available_age", "oldest_claim_age")
STATS_COLUMNS = ("queue", *_COUNTS, *_FAILING, *_AGES, "paused_at", "max_backlog", "limits")
ERROR_COLUMNS = ("queue", "state", "error_class", "messages", "attempts", "next_try_at")
HOLDER_COLUMNS = (
    *("id", "queue", "claimed_by", "attempts", "claimed_at", "claim_expires_at"),
    *("is_lapsed", "last_error_class"),
)
FAILURE_COLUMNS = ("attempt", "at", "claimed_by", "error_class", "error")


@click.command()
@queue_argument
@click.option("--limit", type=int, default=10, show_default=True, help="How many at most.")
@click.option(
    "--failing", is_flag=True, help="Those that failed and are tried again, the next try first."
)
@output_options
@database_options
def peek(*, queue_name: str, limit: int, failing: bool, output: Output, database: Database) -> None:
    """Print the messages that would be claimed next.

    Of a dead-letter queue (orders.dead) its dead letters. `available_at` is when a message can be
    claimed, so of one that failed the next try.
    """
    with database.queue(queue_name) as queue:
        messages = queue.failing(limit) if failing else queue.peek(limit)
        resting = [] if failing or len(messages) >= limit else queue.failing()
    _print(messages, output, UPCOMING_COLUMNS)
    if any(message not in messages for message in resting):
        _say_unless_quiet(
            database,
            f"messages that failed are tried again, the next at {resting[0].available_at:%H:%M:%S} "
            f"UTC: {database.about('peek', queue_name, option=' --failing')} shows them",
        )
    if not messages and not resting:
        database.tell_if_unknown(queue_name)


@click.command()
@click.argument("queue_name", metavar="[QUEUE]", required=False)
@click.option(
    "--errors", is_flag=True, help="Instead, what failed and is tried again or dead, by error."
)
@output_options
@database_options
def stats(*, queue_name: str | None, errors: bool, output: Output, database: Database) -> None:
    """Count the messages of QUEUE, or of every queue.

    A line per queue of the view xclaim_queue_stats; ages are in seconds. `in_line` stand behind
    another with their ordering key; `retrying` failed and are tried again; `head_attempts` is how
    often the message was tried that would be claimed next. `paused_at` is since when a queue hands
    out nothing, `max_backlog` how many messages may wait in it, `limits` what else `xclaim limits`
    has set.
    """
    databases = [database] if queue_name is None else database.places_of(queue_name)
    if errors:
        found = [row for each in databases for row in _errors(each)]
        wanted = set() if queue_name is None else _with_dead(database.parts_of(queue_name))
        rows = [row for row in found if queue_name is None or row["queue"] in wanted]
        write_all(rows, ERROR_COLUMNS, output)
        _tell_what_is_missing(database, queue_name, is_there=bool(rows))
        return
    rows = [row for each in databases for row in _stats(each)]
    if queue_name is not None:
        queue_name = queue_name.removesuffix(".dead")  # which is counted with it
        parts = database.parts_of(queue_name)
        rows = [row for row in rows if row["queue"] in parts]
        rows = [_together(queue_name, rows, len(parts))] if len(rows) > 1 else rows
    is_there = bool(rows)
    if queue_name is not None and not is_there:
        database.tell_if_unknown(queue_name)  # before zeros are printed for it
        rows = [_empty_line(queue_name)]
    write_all(rows, STATS_COLUMNS, output)
    if queue_name is None:
        database.tell_if_limited()


def _tell_what_is_missing(database: Database, queue: str | None, *, is_there: bool) -> None:
    if queue is None:
        database.tell_if_limited()
    elif not is_there:
        database.tell_if_unknown(queue)


_ZEROS = (*_COUNTS, "retrying")
_MOST = ("head_attempts", *_AGES)


def _with_dead(queues: Iterable[str]) -> set[str]:
    return {name for queue in queues for name in (queue, f"{queue}.dead")}


def _together(queue: str, rows: Sequence[dict[str, Any]], parts: int) -> dict[str, Any]:
    """Return the line of a queue that is split: sums, and of each age the greatest."""

    def known(name: str) -> list[Any]:
        return [row[name] for row in rows if row[name] is not None]

    paused, backlogs = known("paused_at"), known("max_backlog")
    return {
        "queue": queue,
        **{name: sum(known(name)) for name in (*_COUNTS, "retrying")},
        "next_try_at": min(known("next_try_at"), default=None),
        **{name: max(known(name), default=None) for name in _MOST},
        "paused_at": max(paused) if len(paused) == parts else None,
        "max_backlog": sum(backlogs) if len(backlogs) == parts else None,
        "limits": "; ".join(dict.fromkeys(known("limits"))) or None,
    }


@click.command()
@queue_argument
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@output_options
@database_options
def get(*, queue_name: str, ids: tuple[str, ...], output: Output, database: Database) -> int:
    """Print messages by their ids, whatever their status.

    They are in QUEUE, or were pushed to it. Exit with 1 if one is not there.
    """
    wanted = ids_of(ids)
    with database.queue(queue_name) as queue:
        found = [queue.get(id_) for id_ in wanted]
    _print((message for message in found if message is not None), output)
    missing = [str(id_) for id_, message in zip(wanted, found, strict=True) if message is None]
    return _missing(database, queue_name, "message", missing, is_empty=len(missing) == len(found))


@click.command()
@queue_argument
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@output_options
@database_options
def find(*, queue_name: str, keys: tuple[str, ...], output: Output, database: Database) -> int:
    """Print the messages pushed to QUEUE under unique keys, whatever their status.

    Exit with 1 if there is none for one of the keys.
    """
    with database.queue(queue_name) as queue:
        found = queue.find(keys)
    _print(found, output)
    known = {message.unique_key for message in found}
    missing = [repr(key) for key in dict.fromkeys(keys) if key not in known]
    return _missing(database, queue_name, "message under", missing, is_empty=not found)


@click.command()
@queue_argument
@click.argument("id_", metavar="ID")
@output_options
@database_options
def failures(*, queue_name: str, id_: str, output: Output, database: Database) -> int:
    """Print the attempts at a message that failed, the last 20 at most, in their order.

    Each with its time, claimant and error. Exit with 1 if QUEUE has no such message.
    """
    (wanted,) = ids_of((id_,))
    with database.queue(queue_name) as queue:
        found = queue.failures(wanted)
        missing = [] if found or queue.get(wanted) is not None else [id_]
    write_all([asdict(each) for each in found], FAILURE_COLUMNS, output)
    return _missing(database, queue_name, "message", missing, is_empty=bool(missing))


@click.command()
@click.argument("queue_name", metavar="[QUEUE]", required=False)
@limit_option
@output_options
@database_options
def claims(
    *, queue_name: str | None, limit: int | None, output: Output, database: Database
) -> None:
    """Print who holds what, the longest held first.

    In QUEUE and its dead letters, or everywhere. `is_lapsed`: the lease has run out, and whoever
    claims next gives the message back. Neither payloads nor tokens are shown.
    """
    from xclaim.operations.by_hand import held

    with database.engine() as engine:
        found = held(engine, queue_name, limit=limit, schema=database.schema)
    write_all([claim.to_dict() for claim in found], HOLDER_COLUMNS, output)
    _tell_what_is_missing(database, queue_name, is_there=bool(found))


def _print(
    messages: Iterable[Message], output: Output, columns: Sequence[str] = MESSAGE_COLUMNS
) -> None:
    rows = [message.to_dict() for message in messages]
    write_all(rows, columns, output)
    tell_unreadable(rows)


def _missing(
    database: Database, queue: str, noun: str, missing: list[str], *, is_empty: bool
) -> int:
    seen = database.of_what_is_seen() if missing else ""
    for each in missing:
        say(f"queue {queue!r} has no {noun} {each}{seen}")
    if missing and is_empty:
        database.tell_if_unknown(queue)
    return NOTHING_TO_CLAIM if missing else 0


def _say_unless_quiet(database: Database, line: str) -> None:
    if not database.quiet:
        say(line)


def _stats(database: Database) -> list[dict[str, Any]]:
    from xclaim.limits import limits_of
    from xclaim.sql.revision import mismatch, needs_upgrade, read_revision
    from xclaim.sql.statements import (
        limited_backlogs,
        limited_queues,
        paused_queues,
        queue_stats,
    )
    from xclaim.verbs.execution import as_utc
    from xclaim.verbs.unsendable import shown

    with database.engine() as engine, _connected(engine) as connection:
        schema = database.resolved_schema(engine)
        found = read_revision(connection, schema)
        if needs_upgrade(found):
            raise mismatch(found, schema, connection)
        rows = shown(connection, schema, queue_stats, {})
        paused = shown(connection, schema, paused_queues, {})
        waiting = shown(connection, schema, limited_backlogs, {})
        limited = shown(connection, schema, limited_queues, {})
    paused_at = {row.queue: as_utc(row.paused_at) for row in paused}
    backlogs = {row.queue: row.max_backlog for row in waiting}
    limits = {row.queue: str(limits_of(row)) for row in limited}
    lines = [row._asdict() for row in rows]
    for line in lines:
        line["next_try_at"] = as_utc(line["next_try_at"])
        line["paused_at"] = paused_at.pop(line["queue"], None)
        line["max_backlog"] = backlogs.pop(line["queue"], None)
        line["limits"] = limits.pop(line["queue"], None)
    # A dead-letter queue is counted with its queue; doctor says that it is paused, or limited.
    empty = [
        {
            **_empty_line(queue),
            "paused_at": paused_at.get(queue),
            "max_backlog": backlogs.get(queue),
            "limits": limits.get(queue),
        }
        for queue in dict.fromkeys([*paused_at, *backlogs, *limits])
        if not queue.endswith(".dead")
    ]
    lines = sorted([*lines, *empty], key=lambda line: line["queue"]) if empty else lines
    return [{name: line[name] for name in STATS_COLUMNS} for line in lines]


def _empty_line(queue: str) -> dict[str, Any]:
    return dict.fromkeys(STATS_COLUMNS) | {"queue": queue} | dict.fromkeys(_ZEROS, 0)


def _connected(engine: Engine) -> Connection:
    """Return a connection on which one statement can be asked after another that has failed."""
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="AUTOCOMMIT")
    return connection


def _errors(database: Database) -> list[dict[str, Any]]:
    """Return how many messages failed with which class of error: tried again, or dead."""
    from xclaim.sql import statements
    from xclaim.verbs.unsendable import shown

    with database.engine() as engine, _connected(engine) as connection:
        schema = database.resolved_schema(engine)
        failing = shown(connection, schema, statements.failing_queues, {})
        dead = shown(connection, schema, statements.dead_letters, {})
    return [
        {
            "queue": row.queue,
            "state": "failing",
            "error_class": row.last_error_class,
            "messages": row.messages,
            "attempts": row.attempts,  # of the one that was tried most often
            "next_try_at": row.available_at,
        }
        for row in failing
    ] + [
        {
            "queue": row.queue,
            "state": "dead",
            "error_class": row.last_error_class,
            "messages": row.letters,
            "attempts": None,
            "next_try_at": None,
        }
        for row in dead
    ]


COMMANDS = (peek, stats, get, find, failures, claims)
