"""Settle what is done and claim the next, in one commit: half the commits of ack, then claim."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xclaim.claims import Claim
from xclaim.connections.autocommit import one_transaction
from xclaim.errors import ClaimLostError
from xclaim.payloads.options import AfterAck
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE
from xclaim.sql.statements import Start
from xclaim.verb import Over, Verb
from xclaim.verbs import taking
from xclaim.verbs.execution import execute
from xclaim.verbs.hints import lately_of, position_of, start_of
from xclaim.verbs.settling import HAND_BACK, ack_held, receipt, receipts
from xclaim.verbs.taking import Request, Who
from xclaim.verbs.unsendable import claim_the_others


def ack_and_claim(
    connection: Connection,
    queue: str,
    claims: Sequence[Claim],
    limit: int,
    *,
    after: AfterAck = AfterAck.KEEP,
    waits: bool = False,
    **who: Unpack[Who],
) -> list[Claim]:
    """Mark the messages consumed and claim up to ``limit``, in one commit; ``[]`` if none is there.

    ``waits``: whoever gets ``[]`` asks again and again, as ``poll`` is for.
    Raise ClaimLostError naming those that are no longer held; then the others were acked, and
    nothing was claimed.
    """
    asked = taking.request(connection, queue, limit, **who)
    taking.sweep_if_due(connection, asked)
    if connection.dialect.name == SQLITE.name or after is not AfterAck.KEEP:
        run = partial(_in_a_transaction, connection, asked, claims, after)
    else:
        run = partial(_in_one_statement, connection, asked, claims, waits=waits)
    try:
        lost, taken = run()
    except DBAPIError as error:  # nothing was acked either
        asked.hints.forget()  # so that it starts where the candidates are looked for
        next_ones = taking.candidates(asked, Start.HEAD)
        lost, taken = claim_the_others(connection, error, run, next_ones)
    if lost:
        raise ClaimLostError(lost)
    return taken if taken or waits else taking.take_what_is_left(connection, asked)


def _in_a_transaction(
    connection: Connection, asked: Request, claims: Sequence[Claim], after: AfterAck
) -> tuple[list[Claim], list[Claim]]:
    with one_transaction(connection):
        lost = ack_held(connection, claims, after=after, schema=asked.schema)
        return lost, [] if lost else taking.take(connection, asked)


def _in_one_statement(
    connection: Connection, asked: Request, claims: Sequence[Claim], *, waits: bool
) -> tuple[list[Claim], list[Claim]]:
    lately = lately_of(connection, asked.hints) if waits else None
    start, place = (
        position_of(connection, asked.hints) or lately or start_of(connection, asked.hints)
    )
    if start is Start.TOP:  # all priorities: what is only on top could be less than asked for
        start = Start.HEAD
    parameters: dict[str, Any] = {
        **asked.parameters,
        **place,
        **asked.limit_if_it_resumes(),
        **taking.token_parameters(connection),
        **(receipt(claims[0]) if len(claims) == 1 else receipts(connection, claims)),
        "ack_count": len(claims),
    }
    build = partial(
        statements.ack_and_claim,
        limit=asked.limit,
        start=start,
        resumes=asked.resumes,
        whole_lines=asked.whole_lines,
        acks_one=len(claims) == 1,
    )
    rows = execute(
        connection,
        asked.schema,
        build,
        parameters,
        named=False,
        prepare=None if asked.hints.is_busy() else False,
    )
    *_, acked_ids = rows[0]
    if acked_ids is not None:
        return [claim for claim in claims if claim.message.id not in set(acked_ids)], []
    claimed = [row for *row, _ in rows if row[0] is not None]
    taken = taking.as_claims(claimed, asked)
    if taken:
        asked.hints.remember(connection, taken, start)
    return [], taken


ACK_AND_CLAIM = Verb(
    function=ack_and_claim,
    over=Over.QUEUE_AND_CLAIMS,
    acks=True,
    retries=True,
    undone_by=HAND_BACK,
)
