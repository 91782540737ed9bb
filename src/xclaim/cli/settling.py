"""Commands that claim and settle: claims travel as JSON lines from one to the next.

An operator, who has no claim, settles a message by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from xclaim.cli.database import Database, database_options
from xclaim.cli.delivery import Delivery
from xclaim.cli.lines import CLAIM_COLUMNS, claims_of, line_of, tell_unreadable, write, write_all
from xclaim.cli.options import (
    Output,
    duration,
    ids_of,
    lease_option,
    output_options,
    queue_argument,
)
from xclaim.cli.outcomes import CLAIM_LOST, NOTHING_TO_CLAIM, say

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim.claims import Claim
    from xclaim.queues.sync import Queue

claim_argument = click.argument("claim_line", metavar="[CLAIM]", required=False)
# One argument is a claim, more are a queue and ids.
given_argument = click.argument("given", metavar="[CLAIM | QUEUE ID...]", nargs=-1)


@click.command()
@queue_argument
@click.option("--limit", type=int, default=1, show_default=True, help="How many at most.")
@click.option("--claimed-by", help="Who claims; by default host:pid.")
@click.option("--claim-key", help="Take back what an earlier attempt of this key still holds.")
@lease_option
@click.option("--wait", type=duration, help="How long to wait for the first one: 30s, 5m.")
@output_options
@database_options
def claim(
    *,
    queue_name: str,
    limit: int,
    claimed_by: str | None,
    claim_key: str | None,
    lease: timedelta,
    wait: timedelta | None,
    output: Output,
    database: Database,
) -> int:
    """Claim messages and print one claim per line.

    Exit with 1 if there is none, and with 4 if a place of a split queue is away that may have one.
    Settle them with the printed lines, as in `xclaim claim orders | xclaim ack`. A claim that
    nobody settles comes back after its lease; those whose lines nobody reads, because the reader of
    a pipe has gone, are given back at once, uncounted.
    """
    with database.queue(queue_name) as queue:
        who = {"claimed_by": claimed_by, "claim_key": claim_key, "lease": lease}
        # Whoever reads the exit status takes 1 for the end.
        claims = queue._queue.claim_everywhere(limit, who, wait)  # noqa: SLF001
        if claims:
            _hand_out(queue, claims, output)
    if claims:
        return 0
    database.tell_if_unknown(queue_name)
    return NOTHING_TO_CLAIM


def _hand_out(queue: Queue, claims: Sequence[Claim], output: Output) -> None:
    delivery = Delivery()
    try:
        values = [claim.to_dict() for claim in claims]
        rows = [value["message"] for value in values]
        if output is Output.JSON:
            delivery.send([line_of(value) for value in values])
        else:
            write_all(rows, CLAIM_COLUMNS, output)
    except BaseException:
        _give_back(queue, claims[delivery.taken :])
        raise
    tell_unreadable(rows)


def _give_back(queue: Queue, claims: Iterable[Claim]) -> None:
    from xclaim.errors import ClaimLostError

    for claim in claims:
        try:
            queue.release(claim, count=False)
        except ClaimLostError:
            continue  # somebody else has it already


@click.command()
@given_argument
@database_options
def ack(*, given: tuple[str, ...], database: Database) -> int:
    """Mark claimed messages consumed.

    CLAIM, or each line of stdin, is a claim as `xclaim claim` prints it. An operator names QUEUE
    and IDs instead, and acks what others hold; that is logged. Exit with 3 if one was lost; the
    others are acked.
    """
    if len(given) > 1:
        return _by_id(given, database, _ack_by_hand)
    return _ack_claims(claims_of(next(iter(given), None)), database)


def _ack_claims(claims: Sequence[Claim], database: Database) -> int:
    from xclaim.errors import ClaimLostError

    lost: list[Claim] = []
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
@given_argument
@click.option("--delay", type=duration, help="How long until it can be claimed again.")
@click.option("--error", help="Kept as last_error.")
@click.option("--count/--no-count", default=True, help="Whether the attempt counts.")
@database_options
def release(
    *,
    given: tuple[str, ...],
    delay: timedelta | None,
    error: str | None,
    count: bool,
    database: Database,
) -> int:
    """Give claimed messages back and print them.

    CLAIM, or each line of stdin, is a claim as `xclaim claim` prints it. An operator names QUEUE
    and IDs instead, and gives back what others hold; that is logged. Exit with 3 if one was lost;
    the others are released.
    """
    options: dict[str, Any] = {"delay": delay, "error": error, "count": count}

    def release_by_hand(engine: Engine, claim: Claim, database: Database) -> Mapping[str, Any]:
        from xclaim.operations import by_hand

        return by_hand.release(engine, claim, schema=database.schema, **options).to_dict()

    def give_back(queue: Queue, claim: Claim) -> Mapping[str, Any]:
        return queue.release(claim, **options).to_dict()

    if len(given) > 1:
        return _by_id(given, database, release_by_hand)
    return _one_by_one(claims_of(next(iter(given), None)), database, give_back)


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


def _ack_by_hand(engine: Engine, claim: Claim, database: Database) -> Mapping[str, Any]:
    from xclaim.operations import by_hand

    by_hand.ack(engine, claim, schema=database.schema, payloads=database.payloads)
    return {"id": claim.message.id, "queue": claim.message.queue, "status": "consumed"}


def _by_id(
    given: Sequence[str],
    database: Database,
    settle: Callable[[Engine, Claim, Database], Mapping[str, Any]],
) -> int:
    """Settle the messages as an operator; all of them are looked at before the first."""
    from xclaim.errors import ClaimLostError
    from xclaim.operations.by_hand import receipt

    queue_name, *ids = given
    database = database.at(queue_name)
    status = 0
    with database.engine() as engine:
        claims = [receipt(engine, queue_name, id_, schema=database.schema) for id_ in ids_of(ids)]
        settled = []
        for claim in claims:  # all of them, whether anybody reads what is written or not
            try:
                settled.append({**settle(engine, claim, database), "held_by": claim.claimed_by})
            except ClaimLostError:
                say(_changed_hands(claim, database))
                status = CLAIM_LOST
    for line in settled:
        write(line)
    return status


def _changed_hands(claim: Claim, database: Database) -> str:
    message = claim.message
    return (
        f"error: message {message.id} in {message.queue!r} changed hands: {claim.claimed_by!r} "
        "held it a moment ago and does not any more, so nothing was done; look again with "
        f"{database.about('get', message.queue, str(message.id))}"
    )


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
