"""The command push: one payload, or one for each line of stdin or of a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any

import click

from xclaim.arguments import MAX_LIMIT, OnFull
from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import (
    MESSAGE_COLUMNS,
    NotExactError,
    batches,
    json_lines,
    parse_json,
    stdin_of,
    write_all,
)
from xclaim.cli.options import Output, attempts, duration, output_options, queue_argument
from xclaim.cli.outcomes import RefusedError, say
from xclaim.cli.progress import Advance, progress
from xclaim.errors import DuplicateMessageError
from xclaim.retry import MAX_ATTEMPTS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xclaim import Message, Queue
    from xclaim.payloads.plain_json import Encoded

_BATCH = 1_000  # payloads per statement
_MOST_NAMED = 10  # lines in an error
_SUFFIXES = (".json", ".jsonl", ".ndjson")  # what is no JSON and ends so is meant to be a file
_IN_MEMORY = 64 * 1024 * 1024  # bytes of checked lines, more go to a temporary file


@click.command()
@queue_argument
@click.argument("payload", required=False)
@click.option("--unique-key", help="Push once under this key.")
@click.option(
    "--unique-key-field", metavar="NAME", help="Take each payload's key from this field of it."
)
@click.option(
    "--ordering-key",
    help="Of the messages with the same one, one at a time is claimed, in the order of pushes.",
)
@click.option(
    "--ordering-key-field",
    metavar="NAME",
    help="Take each payload's ordering key from this field of it; null is none.",
)
@click.option(
    "--on-dead",
    type=click.Choice(["skip", "hold"]),
    default="skip",
    show_default=True,
    help="A dead letter lets the next with its ordering key be claimed, or keeps all waiting.",
)
@click.option(
    "--max-backlog",
    type=click.IntRange(1, MAX_LIMIT),
    help="How many messages may wait, instead of what is set for the queue.",
)
@click.option(
    "--on-full",
    type=click.Choice(["raise", "wait", "skip"]),
    help="What to do when so many wait: fail, wait for room, or push nothing.",
)
@click.option("--wait", type=duration, help="How long to wait for room, by default 60s.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher is claimed first.")
@click.option("--delay", type=duration, help="How long until it can be claimed: 30s, 5m, 2h, 7d.")
@click.option(
    "--max-attempts",
    type=attempts,
    default=str(MAX_ATTEMPTS),
    show_default=True,
    help="After so many failed attempts it is a dead letter; none: never.",
)
@click.option("--notify", is_flag=True, help="Wake those who wait for the queue (PostgreSQL).")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@output_options
@database_options
def push(
    *,
    queue_name: str,
    payload: str | None,
    unique_key: str | None,
    unique_key_field: str | None,
    ordering_key: str | None,
    ordering_key_field: str | None,
    on_dead: str,
    headers: tuple[str, ...],
    output: Output,
    priority: int,
    delay: timedelta | None,
    max_attempts: int | None,
    max_backlog: int | None,
    on_full: OnFull | None,
    wait: timedelta | None,
    notify: bool,
    database: Database,
) -> None:
    """Push a payload, or one per line of stdin or of a file.

    PAYLOAD is JSON, or the name of a file; stdin is read if it is left out or '-'. Lines are all
    checked, then pushed in one transaction: a bad line is named, and then nothing was pushed. Of
    one payload the message is printed, of lines how many there were, and how many were new.
    """
    from xclaim.payloads.plain_json import encode
    from xclaim.queues.sync import Queue

    options: dict[str, Any] = {
        "priority": priority,
        "delay": delay,
        "max_attempts": max_attempts,
        "headers": _headers(headers),
        "ordering_key": ordering_key,
        "on_dead": on_dead,
        "max_backlog": max_backlog,
        "on_full": on_full,
        "wait": wait,
    }
    fields = KeyFields(unique_key=unique_key_field, ordering_key=ordering_key_field)
    if on_dead == "hold" and ordering_key is None and ordering_key_field is None:
        raise click.UsageError("--on-dead hold is for messages with an --ordering-key")
    if ordering_key is not None and ordering_key_field is not None:
        raise click.UsageError("--ordering-key and --ordering-key-field exclude each other")
    source = _source(payload)
    if on_full == "wait" and not isinstance(source, Value):
        raise click.UsageError(
            "--on-full wait is for one payload: lines are pushed in one transaction, which would "
            "hold its locks meanwhile; leave it out, and push again when there is room"
        )
    _check_keys(unique_key, unique_key_field, is_one=isinstance(source, Value))
    if isinstance(source, Value):
        encoded = encode(source.value)  # checked as lines are
        if unique_key_field is not None:
            unique_key = fields.unique_key_of(encoded.value, "PAYLOAD")
        if ordering_key_field is not None:
            options["ordering_key"] = fields.ordering_key_of(encoded.value, "PAYLOAD")
        with database.queue(queue_name, notify=notify) as queue:
            message = _push_one(queue, encoded, unique_key, options, database)
        if message is None:
            say(f"queue {queue_name!r} is full: nothing was pushed")
            return
        write_all([message.to_dict()], MESSAGE_COLUMNS, output)
        return
    if database.parts_of(queue_name) != [queue_name]:
        with source as lines:
            split = partial(database.queue, queue_name, notify=notify)
            pushed = _push_to_parts(split, lines, fields, options)
        write_all([{"queue": queue_name, **pushed}], ("queue", "pushed", "new"), output)
        return
    open_queue = partial(
        Queue, queue_name, schema=database.schema, notify=notify, payloads=database.payloads
    )
    with source as lines:
        pushed = _push_lines(database, lines, open_queue, fields, options)
    write_all([{"queue": queue_name, **pushed}], ("queue", "pushed", "new"), output)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFields:
    """The fields of a payload that have its keys, if any do."""

    unique_key: str | None
    ordering_key: str | None

    def unique_key_of(self, payload: Any, place: str) -> str | None:
        """Return the payload's unique key; None if no field has it. Raise UsageError for none."""
        from xclaim import arguments

        if self.unique_key is None:
            return None
        value = _text_of(payload, self.unique_key, place, "--unique-key-field")
        return arguments.key(f"{place}: {self.unique_key}", value)

    def ordering_key_of(self, payload: Any, place: str) -> str | None:
        """Return the payload's ordering key; None if no field has it, or if it is null there.

        Without the field it is an error: a name that is misspelt would order nothing.
        """
        from xclaim import arguments

        field = self.ordering_key
        if field is None or (isinstance(payload, dict) and payload.get(field, "") is None):
            return None
        value = _text_of(payload, field, place, "--ordering-key-field")
        return arguments.ordering_key(f"{place}: {field}", value)


@dataclass(frozen=True, slots=True)
class Value:
    """One payload, given as an argument."""

    value: Any


def _source(argument: str | None) -> Value | AbstractContextManager[IO[bytes]]:
    """Return the payload that the argument is, or the lines that it names."""
    if argument == "-" or argument is None:
        if argument is None and (sys.stdin is None or sys.stdin.isatty()):
            raise click.UsageError("no payload: pass one, a file, or pipe in one per line")
        return nullcontext(stdin_of("no stdin to read payloads from"))
    try:
        return Value(parse_json(argument, "PAYLOAD"))
    except NotExactError:
        raise
    except click.UsageError as error:
        path = Path(argument)
        if _is_there(path):
            return path.open("rb")
        if path.suffix in _SUFFIXES:
            raise click.UsageError(f"there is no file {argument!r} here") from error
        raise click.UsageError(f"{error.message}, and there is no file of this name") from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL: a payload that is no JSON
        return False


def _push_one(
    queue: Queue, payload: Encoded, key: str | None, options: dict[str, Any], database: Database
) -> Message | None:
    known = set() if key is None else {message.id for message in queue.find([key])}
    message: Message | None = queue.push(payload, unique_key=key, **options)
    if message is not None and message.id in known and not database.quiet:
        say(f"message {message.id} was there already under {key!r}: nothing was pushed")
    return message


def _check_keys(unique_key: str | None, key_field: str | None, *, is_one: bool) -> None:
    if unique_key is not None and key_field is not None:
        raise click.UsageError("--unique-key and --unique-key-field exclude each other")
    if unique_key is not None and not is_one:
        raise click.UsageError("--unique-key is for one payload: for lines, --unique-key-field")


def _push_lines(
    database: Database,
    lines: IO[bytes],
    open_queue: Callable[[Connection], Queue],
    fields: KeyFields,
    options: dict[str, Any],
) -> dict[str, int]:
    # Read and checked first: a slow stdin must hold no transaction, on SQLite the one write lock.
    with database.engine() as engine, _checked_lines(lines, fields) as (checked, count):
        engine.dispose()  # its connection was idle all the while, and may be gone
        with engine.begin() as connection:
            return _push_checked(open_queue(connection), checked, count, fields, options)


def _push_to_parts(
    split: Callable[[], AbstractContextManager[Queue]],
    lines: IO[bytes],
    fields: KeyFields,
    options: dict[str, Any],
) -> dict[str, int]:
    """Push to a queue that is split, batch by batch, each part's in a transaction of its own."""
    if fields.ordering_key is not None or options["ordering_key"] is not None:
        raise click.UsageError(
            "the lines of a queue that is split are pushed under unique keys, and there a payload "
            "has either a unique key or an ordering key: push them one by one, or from a program"
        )
    if fields.unique_key is None:
        raise click.UsageError(
            "the lines of a queue that is split are not pushed in one transaction: name "
            "--unique-key-field, and they can be pushed again if that fails"
        )
    with _checked_lines(lines, fields) as (checked, count), split() as queue:
        return _push_checked(queue, checked, count, fields, options)


def _push_checked(
    queue: Queue,
    checked: IO[bytes],
    count: int,
    fields: KeyFields,
    options: dict[str, Any],
) -> dict[str, int]:
    new = skipped = 0
    with progress("pushing", count) as advance:
        for batch in batches(checked, _BATCH):
            of_batch, left_out = _push_batch(queue, batch, fields, options)
            new, skipped = new + of_batch, skipped + left_out
            advance(len(batch), len(batch))
    if skipped:
        say(f"queue {queue.name!r} is full: {skipped} of {count} lines were not pushed")
    return {"pushed": count - skipped, "new": new}


def _push_batch(
    queue: Queue, lines: Iterable[bytes], fields: KeyFields, options: dict[str, Any]
) -> tuple[int, int]:
    """Push checked lines; return how many of them were new, and how many found no room."""
    numbers, payloads = _handed_on(lines)
    options = {**options, "ordering_keys": _ordering_keys(payloads, fields, options)}
    del options["ordering_key"]
    if fields.unique_key is None:
        new = sum(each is not None for each in queue.push_many(payloads, **options))
        return new, len(payloads) - new
    keys = [fields.unique_key_of(payload.value, "line") for payload in payloads]
    found = queue.find(key for key in keys if key is not None)
    known = {(message.queue, message.id) for message in found}
    try:
        messages = queue.push_many(payloads, unique_keys=keys, **options)
    except DuplicateMessageError as error:
        clashing = set(error.unique_keys)
        places = [number for number, key in zip(numbers, keys, strict=True) if key in clashing]
        raise RefusedError(f"{error} ({_named(places)})") from error
    pushed = [message for message in messages if message is not None]
    new = len({(message.queue, message.id) for message in pushed} - known)
    return new, len(messages) - len(pushed)


def _ordering_keys(
    payloads: Sequence[Encoded], fields: KeyFields, options: dict[str, Any]
) -> list[str | None] | None:
    """Return the key of each line: of its field, or one for all; None if they have none."""
    if fields.ordering_key is not None:
        return [fields.ordering_key_of(payload.value, "line") for payload in payloads]
    key = options["ordering_key"]
    return None if key is None else [key] * len(payloads)


def _named(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST_NAMED]))
    more = f" and {len(numbers) - _MOST_NAMED} more" if len(numbers) > _MOST_NAMED else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more}"


@contextmanager
def _checked_lines(lines: IO[bytes], fields: KeyFields) -> Iterator[tuple[IO[bytes], int]]:
    """Yield the lines that are payloads, each behind its number, and how many there are."""
    from xclaim.payloads.plain_json import encode

    count = 0
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as checked:
        with progress("reading", _size(lines)) as advance:
            for number, value in json_lines(_counting(lines, advance)):
                place = f"line {number}"
                fields.unique_key_of(value, place)
                fields.ordering_key_of(value, place)
                text = encode(value, f"{place}: payload").text
                checked.write(f"{number} {text}\n".encode())
                count += 1
        checked.seek(0)
        yield checked, count


def _size(lines: IO[bytes]) -> int | None:
    """Return the bytes of a file; None of a pipe, which does not know them."""
    with suppress(OSError, ValueError):  # a stream in memory has no descriptor
        found = os.fstat(lines.fileno())
        if stat.S_ISREG(found.st_mode):
            return found.st_size
    return None


def _counting(lines: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    for line in lines:
        yield line
        advance(1, len(line))


def _handed_on(lines: Iterable[bytes]) -> tuple[list[int], list[Encoded]]:
    """Return the numbers of checked lines and their payloads, neither checked nor encoded again."""
    from xclaim.payloads.plain_json import Encoded, decode

    numbers, payloads = [], []
    for line in lines:
        number, _, text = line.decode().removesuffix("\n").partition(" ")
        numbers.append(int(number))
        payloads.append(Encoded(text, decode(text)))
    return numbers, payloads


def _headers(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if pair.find("=") < 1:
            raise click.UsageError(f"--header {pair!r} lacks a name or a value: write NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _text_of(payload: Any, field: str, place: str, option: str) -> str:
    value = payload.get(field) if isinstance(payload, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise click.UsageError(
            f"{place} has no field {field!r} with text or a whole number, for {option}"
        )
    return str(value)


COMMANDS = (push,)
