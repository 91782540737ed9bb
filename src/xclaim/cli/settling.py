"""The commands claim, ack, release and extend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.lines import CLAIM_COLUMNS, claims_of, write, write_all
from xclaim.cli.options import duration, lease_option, queue_argument, table_option
from xclaim.cli.outcomes import CLAIM_LOST, NOTHING_TO_CLAIM, say

if TYPE_CHECKING:
    from xclaim.message import Claim
    from xclaim.queues.sync import Queue

claim_argument = click.argument("claim_line", metavar="[CLAIM]", required=False)


@click.command()
@queue_argument
@click.option("--limit", type=int, default=1, show_default=True, help="How many at most.")
@click.option("--claimed-by", help="Who claims; by default host:pid.")
@click.option("--claim-key", help="Take back what an earlier attempt of this key still holds.")
@lease_option
@click.option("--wait", type=duration, help="How long to wait for the first one: 30s, 5m.")
@table_option
@database_options
def claim(
    *,
    queue_name: str,
    limit: int,
    claimed_by: str | None,
    claim_key: str | None,
    lease: timedelta,
    wait: timedelta | None,
    as_table: bool,
    database: Database,
) -> int:
    """Claim messages and print one claim per line.

    Exit with 1 if there is none. Settle them with the printed lines, as in `xclaim claim orders |
    xclaim ack`. A claim that nobody settles comes back after its lease.
    """
    with database.queue(queue_name) as queue:
        claims = queue.claim_many(
            limit, claimed_by=claimed_by, claim_key=claim_key, lease=lease, wait=wait
        )
    if not claims:
        return NOTHING_TO_CLAIM
    rows = [(claim.message if as_table else claim).to_dict() for claim in claims]
    write_all(rows, CLAIM_COLUMNS, as_table=as_table)
    return 0


@click.command()
@claim_argument
@database_options
def ack(*, claim_line: str | None, database: Database) -> int:
    """Mark claimed messages consumed.

    CLAIM, or each line of stdin, is a claim as `xclaim claim` prints it. Exit with 3 if one was
    lost; the others are acked.
    """
    from xclaim.errors import ClaimLostError

    lost: list[Claim] = []
    claims = claims_of(claim_line)
    with database.queues() as queue_of:
        for name in dict.fromkeys(claim.message.queue for claim in claims):
            held = [claim for claim in claims if claim.message.queue == name]
            try:
                queue_of(name).ack_many(held)
            except ClaimLostError as error:
                lost += error.claims
            gone = {claim.token for claim in lost}
            for claim in held:
                if claim.token not in gone:
                    write({"id": claim.message.id, "queue": name, "status": "consumed"})
    return _status(lost)


@click.command()
@claim_argument
@click.option("--delay", type=duration, help="How long until it can be claimed again.")
@click.option("--error", help="Kept as last_error.")
@click.option("--count/--no-count", default=True, help="Whether the attempt counts.")
@database_options
def release(
    *,
    claim_line: str | None,
    delay: timedelta | None,
    error: str | None,
    count: bool,
    database: Database,
) -> int:
    """Give claimed messages back and print them.

    CLAIM, or each line of stdin, is a claim as `xclaim claim` prints it. Exit with 3 if one was
    lost; the others are released.
    """

    def give_back(queue: Queue, claim: Claim) -> Mapping[str, Any]:
        return queue.release(claim, delay=delay, error=error, count=count).to_dict()

    return _one_by_one(claims_of(claim_line), database, give_back)


@click.command()
@claim_argument
@lease_option
@database_options
def extend(*, claim_line: str | None, lease: timedelta, database: Database) -> int:
    """Extend leases, counted from now.

    CLAIM, or each line of stdin, is a claim as `xclaim claim` prints it, and is printed with its
    new end. Exit with 3 if one was lost; the others are extended.
    """

    def prolong(queue: Queue, claim: Claim) -> Mapping[str, Any]:
        return queue.extend(claim, lease=lease).to_dict()

    return _one_by_one(claims_of(claim_line), database, prolong)


def _one_by_one(
    claims: Iterable[Claim],
    database: Database,
    settle: Callable[[Queue, Claim], Mapping[str, Any]],
) -> int:
    from xclaim.errors import ClaimLostError

    lost: list[Claim] = []
    with database.queues() as queue_of:
        for claim in claims:
            try:
                write(settle(queue_of(claim.message.queue), claim))
            except ClaimLostError as error:
                lost += error.claims
    return _status(lost)


def _status(lost: list[Claim]) -> int:
    from xclaim.errors import ClaimLostError

    for claim in lost:  # a line each: one error for all would name ten of them
        say(f"error: {ClaimLostError([claim])}")
    return CLAIM_LOST if lost else 0


COMMANDS = (claim, ack, release, extend)
