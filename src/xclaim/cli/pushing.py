"""The command push: one payload, or one for each line of stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import MESSAGE_COLUMNS, batches, parse_json, stdin_lines, write_all
from xclaim.cli.options import duration, queue_argument, table_option

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xclaim import Queue
    from xclaim.payloads.plain_json import Encoded

T = TypeVar("T")

_BATCH = 1_000  # payloads per statement
_IN_MEMORY = 64 * 1024 * 1024  # bytes of checked lines, more go to a temporary file


@click.command()
@queue_argument
@click.argument("payload", required=False)
@click.option("--unique-key", help="Push once under this key.")
@click.option(
    "--unique-key-field", metavar="NAME", help="Take each payload's key from this field of it."
)
@click.option("--priority", type=int, default=0, show_default=True, help="Higher is claimed first.")
@click.option("--delay", type=duration, help="How long until it can be claimed: 30s, 5m, 2h, 7d.")
@click.option("--max-attempts", type=int, help="After so many claims it is a dead letter.")
@click.option("--notify", is_flag=True, help="Wake those who wait for the queue (PostgreSQL).")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@table_option
@database_options
def push(
    *,
    queue_name: str,
    payload: str | None,
    unique_key: str | None,
    unique_key_field: str | None,
    headers: tuple[str, ...],
    as_table: bool,
    priority: int,
    delay: timedelta | None,
    max_attempts: int | None,
    notify: bool,
    database: Database,
) -> None:
    """Push a payload, or one per line of stdin.

    Stdin is read if PAYLOAD is left out or '-'. Its lines are all checked, then pushed in one
    transaction: a bad line is named, and then nothing was pushed. Of one payload the message is
    printed, of lines how many there were.
    """
    from xclaim.payloads.plain_json import encode
    from xclaim.queues.sync import Queue

    is_one = payload is not None and payload != "-"
    _check_keys(unique_key, unique_key_field, is_one=is_one)
    options: dict[str, Any] = {
        "priority": priority,
        "delay": delay,
        "max_attempts": max_attempts,
        "headers": _headers(headers),
    }
    if payload is not None and is_one:
        encoded = encode(parse_json(payload, "PAYLOAD"))  # checked as lines are
        if unique_key_field is not None:
            unique_key = _key(encoded.value, unique_key_field, "PAYLOAD")
        with database.queue(queue_name, notify=notify) as queue:
            message = queue.push(encoded, unique_key=unique_key, **options)
        write_all([message.to_dict()], MESSAGE_COLUMNS, as_table=as_table)
        return
    if payload is None and (sys.stdin is None or sys.stdin.isatty()):
        raise click.UsageError("no payload: pass one, or pipe in one per line")
    open_queue = partial(Queue, queue_name, schema=database.schema, notify=notify)
    count = _push_lines(database, open_queue, unique_key_field, options)
    write_all([{"queue": queue_name, "pushed": count}], ("queue", "pushed"), as_table=as_table)


def _check_keys(unique_key: str | None, key_field: str | None, *, is_one: bool) -> None:
    if unique_key is not None and key_field is not None:
        raise click.UsageError("--unique-key and --unique-key-field exclude each other")
    if unique_key is not None and not is_one:
        raise click.UsageError("--unique-key is for one payload: for lines, --unique-key-field")


def _push_lines(
    database: Database,
    open_queue: Callable[[Connection], Queue],
    key_field: str | None,
    options: dict[str, Any],
) -> int:
    # Read and checked first: a slow stdin must hold no transaction, on SQLite the one write lock.
    with database.engine() as engine, _checked_lines(key_field) as (lines, count):
        engine.dispose()  # its connection was idle all the while, and may be gone
        with engine.begin() as connection:
            queue = open_queue(connection)
            for batch in batches(_with_progress(lines, "pushing", count), _BATCH):
                payloads = _handed_on(batch)
                keys = None
                if key_field is not None:
                    keys = [_key(payload.value, key_field, "line") for payload in payloads]
                queue.push_many(payloads, unique_keys=keys, **options)
    return count


@contextmanager
def _checked_lines(key_field: str | None) -> Iterator[tuple[IO[bytes], int]]:
    from xclaim.payloads.plain_json import encode

    count = 0
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as lines:
        values = stdin_lines("no stdin to read payloads from")
        for place, value in _with_progress(values, "reading", None):
            if key_field is not None:
                _key(value, key_field, place)
            lines.write(encode(value, f"{place}: payload").text.encode() + b"\n")
            count += 1
        lines.seek(0)
        yield lines, count


def _handed_on(lines: Iterable[bytes]) -> list[Encoded]:
    from xclaim.payloads.plain_json import Encoded, decode

    # As the checks wrote them, so that the push neither checks nor encodes them again.
    return [Encoded(line.decode().removesuffix("\n"), decode(line)) for line in lines]


def _with_progress(items: Iterable[T], description: str, total: int | None) -> Iterable[T]:
    if sys.stderr is None or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, description=description, total=total, console=console, transient=True)


def _headers(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if pair.find("=") < 1:
            raise click.UsageError(f"--header {pair!r} lacks a name or a value: write NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _key(payload: Any, field: str, place: str) -> str:
    from xclaim import arguments

    value = payload.get(field) if isinstance(payload, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise click.UsageError(
            f"{place} has no field {field!r} with text or a whole number, for --unique-key-field"
        )
    return arguments.key(f"{place}: {field}", str(value))


COMMANDS = (push,)
