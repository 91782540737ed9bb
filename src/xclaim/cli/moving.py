"""Commands that move messages: push, claim, ack, release, extend."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from xclaim.cli.database import CLAIM_LOST, NOTHING_TO_CLAIM, opened
from xclaim.cli.lines import (
    MESSAGE_COLUMNS,
    batches,
    claims_of,
    parse_json,
    payloads_of,
    write,
    write_all,
)
from xclaim.cli.options import DURATION, database_options, lease_option, table_option

if TYPE_CHECKING:
    from xclaim.message import Claim
    from xclaim.sync import Queue

_BATCH = 1_000  # payloads per statement


@click.command()
@click.argument("queue_name", metavar="QUEUE")
@click.argument("payload", default="-")
@click.option("--unique-key", help="Push once under this key.")
@click.option("--unique-key-field", help="Take each payload's key from this field of it.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher is claimed first.")
@click.option("--delay", type=DURATION, help="How long until it can be claimed.")
@click.option("--max-attempts", type=int, help="After so many claims it is a dead letter.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@table_option
@database_options
def push(
    *,
    queue_name: str,
    payload: str,
    unique_key: str | None,
    unique_key_field: str | None,
    headers: tuple[str, ...],
    as_table: bool,
    priority: int,
    delay: timedelta | None,
    max_attempts: int | None,
    **database: Any,
) -> None:
    """Push PAYLOAD, or one payload for each line of stdin if it is left out or '-'.

    The lines are pushed in one transaction: a bad line is named, and then nothing was pushed.
    Of one payload the message is printed, of lines how many there were.
    """
    from xclaim.sync import Queue

    options: dict[str, Any] = {
        "priority": priority,
        "delay": delay,
        "max_attempts": max_attempts,
        "headers": _headers(headers),
    }
    if payload != "-":
        value = parse_json(payload, "PAYLOAD")
        key = unique_key if unique_key_field is None else _field(value, unique_key_field)
        with opened(database) as engine:
            message = Queue(queue_name, engine, schema=database["schema"]).push(
                value, unique_key=key, **options
            )
        write_all([message.to_dict()], MESSAGE_COLUMNS, as_table=as_table)
        return
    if unique_key is not None:
        raise click.UsageError("--unique-key is for one payload: for lines, --unique-key-field")
    with opened(database) as engine, engine.begin() as connection:
        queue = Queue(queue_name, connection, schema=database["schema"])
        count = _push_lines(queue, unique_key_field, options)
    write({"queue": queue_name, "pushed": count})


def _push_lines(queue: Queue, key_field: str | None, options: dict[str, Any]) -> int:
    count = 0
    for batch in batches(_with_progress(payloads_of(sys.stdin)), _BATCH):
        keys = None if key_field is None else [_field(value, key_field) for value in batch]
        queue.push_many(batch, unique_keys=keys, **options)
        count += len(batch)
    return count


def _with_progress(items: Iterator[Any]) -> Iterable[Any]:
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description="pushing", console=Console(stderr=True), transient=True)


def _headers(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise click.UsageError(f"--header {pair!r} has no '=': write NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _field(payload: Any, name: str) -> str:
    if not isinstance(payload, dict) or payload.get(name) is None:
        raise click.UsageError(f"--unique-key-field: a payload has no field {name!r}")
    return str(payload[name])


@click.command()
@click.argument("queue_name", metavar="QUEUE")
@click.option("--limit", type=int, default=1, show_default=True, help="How many at most.")
@click.option("--claimed-by", help="Who claims; by default host:pid.")
@click.option("--claim-key", help="Take back what an earlier attempt of this key still holds.")
@lease_option
@table_option
@database_options
def claim(
    *,
    queue_name: str,
    limit: int,
    claimed_by: str | None,
    claim_key: str | None,
    lease: timedelta,
    as_table: bool,
    **database: Any,
) -> int:
    """Claim messages and print one claim per line; exit with 1 if there is none.

    Settle them with the printed lines: `xclaim claim orders | xclaim ack`.
    """
    from xclaim.sync import Queue

    with opened(database) as engine:
        queue = Queue(queue_name, engine, schema=database["schema"])
        claims = queue.claim_many(limit, claimed_by=claimed_by, claim_key=claim_key, lease=lease)
    rows = [claim.to_dict() for claim in claims]
    if as_table:
        rows = [{**row["message"], "token": row["token"]} for row in rows]
    write_all(rows, (*MESSAGE_COLUMNS, "token"), as_table=as_table)
    return 0 if claims else NOTHING_TO_CLAIM


@click.command()
@click.argument("claim_line", metavar="[CLAIM]", required=False)
@database_options
def ack(*, claim_line: str | None, **database: Any) -> int:
    """Mark claimed messages consumed; exit with 3 if a claim was lost, the others are acked."""

    def acknowledge(queue: Queue, claim: Claim) -> dict[str, Any]:
        queue.ack(claim)
        return {"id": claim.message.id, "queue": queue.name, "status": "consumed"}

    return _settle(claims_of(claim_line), database, acknowledge)


@click.command()
@click.argument("claim_line", metavar="[CLAIM]", required=False)
@click.option("--delay", type=DURATION, help="How long until it can be claimed again.")
@click.option("--error", help="Kept as last_error.")
@click.option("--count/--no-count", default=True, help="Whether the attempt counts.")
@database_options
def release(
    *,
    claim_line: str | None,
    delay: timedelta | None,
    error: str | None,
    count: bool,
    **database: Any,
) -> int:
    """Give claimed messages back and print them as they are now; exit with 3 if one was lost."""

    def give_back(queue: Queue, claim: Claim) -> dict[str, Any]:
        return queue.release(claim, delay=delay, error=error, count=count).to_dict()

    return _settle(claims_of(claim_line), database, give_back)


@click.command()
@click.argument("claim_line", metavar="[CLAIM]", required=False)
@lease_option
@database_options
def extend(*, claim_line: str | None, lease: timedelta, **database: Any) -> int:
    """Extend leases, counted from now, and print the claims; exit with 3 if one was lost."""

    def prolong(queue: Queue, claim: Claim) -> dict[str, Any]:
        return queue.extend(claim, lease=lease).to_dict()

    return _settle(claims_of(claim_line), database, prolong)


def _settle(claims: list[Claim], database: dict[str, Any], settle: Any) -> int:
    from xclaim.errors import ClaimLostError
    from xclaim.sync import Queue

    status = 0
    with opened(database) as engine:
        for claim in claims:
            queue = Queue(claim.message.queue, engine, schema=database["schema"])
            try:
                write(settle(queue, claim))
            except ClaimLostError as error:
                click.echo(f"error: {error}", err=True)
                status = CLAIM_LOST
    return status


COMMANDS = (push, claim, ack, release, extend)
