"""Claim messages: the next ones, what an attempt had, this very one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Unpack

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.arguments import LEASE
from xclaim.claims import Claim, Ticket
from xclaim.errors import InvalidArgumentError
from xclaim.retry import RETRY, Retry
from xclaim.sql import statements
from xclaim.verb import Verb
from xclaim.verbs.execution import execute
from xclaim.verbs.failing import limit_parameters
from xclaim.verbs.limiting import rows_within
from xclaim.verbs.settling import HAND_BACK
from xclaim.verbs.taking import (
    Who,
    as_claims,
    request,
    size_within,
    sweep,
    sweep_if_due,
    take,
    take_lately,
    token_parameters,
)
from xclaim.verbs.unsendable import Candidates, claim_the_others, ids_of


def claim_many(
    connection: Connection,
    queue: str,
    limit: int,
    *,
    claimed_by: str | None = None,
    claim_key: str | None = None,
    lease: timedelta = LEASE,
    whole_lines: bool = False,
    retry: Retry = RETRY,
    schema: str | None = None,
) -> list[Claim]:
    """Claim up to ``limit`` messages, the next one first; ``[]`` if there is none.

    Next is the highest priority, then the longest available. ``claimed_by`` says who, by default
    ``host:pid``. With a ``claim_key`` what an earlier attempt (same key, another ``claimed_by``)
    still holds is taken back first, and returned alone. When the ``lease`` runs out before ack,
    release or extend, the message may be claimed by others. ``whole_lines``: behind each message
    with an ordering key come those in line behind it, and nobody else claims one with that key
    before all of them have ended. Lapsed claims are given back on the way, as ``retry`` says: when
    nothing else is there, and about once a second.
    """
    asked = request(
        connection,
        queue,
        limit,
        claimed_by=claimed_by,
        claim_key=claim_key,
        lease=lease,
        whole_lines=whole_lines,
        retry=retry,
        schema=schema,
    )
    sweep_if_due(connection, asked)
    claims = take(connection, asked)
    if claims or not sweep(connection, asked):
        return claims
    return take(connection, asked)


def poll(connection: Connection, queue: str, limit: int, **who: Unpack[Who]) -> list[Claim]:
    """Do what ``claim_many`` does, for those who ask again and again.

    It looks everywhere, and for lapsed claims, no more often than each quarter of a second.
    """
    asked = request(connection, queue, limit, **who)
    sweep_if_due(connection, asked)
    claims = take_lately(connection, asked)
    if claims or not asked.hints.is_sweep_due_when_empty() or not sweep(connection, asked):
        return claims
    return take(connection, asked)


def take_back(connection: Connection, queue: str, limit: int, **who: Unpack[Who]) -> list[Claim]:
    """Take back up to ``limit`` messages that an earlier attempt holds; ``[]`` if it holds none.

    Of the same ``claim_key``, by another ``claimed_by``. It is the first half of ``claim_many``,
    for who has to ask the other parts of a split queue before he takes a new message.
    """
    asked = request(connection, queue, limit, **who)
    if not asked.resumes:
        return []
    build = partial(statements.take_back, limit=asked.limit)
    parameters = {**asked.parameters, **asked.limit_if_it_resumes()}

    def take() -> Sequence[Any]:
        given = {**parameters, **token_parameters(connection)}
        return execute(connection, asked.schema, build, given, named=False)

    try:
        rows = take()
    except DBAPIError as error:
        nobody = {"handed_on_key": None, "handed_on_by": None}
        held = Candidates(
            schema=asked.schema, build=statements.handed_on, parameters={**parameters, **nobody}
        )
        rows = claim_the_others(connection, error, take, held)
    return as_claims(rows, asked)


def resume(
    connection: Connection,
    queue: str,
    ticket: Ticket,
    *,
    claimed_by: str | None = None,
    claim_key: str | None = None,
    lease: timedelta = LEASE,
    retry: Retry = RETRY,
    schema: str | None = None,
) -> list[Claim]:
    """Take over the claims that a ticket hands on, with new tokens; ``[]`` if none is held.

    The first to resume a ticket has them, and whoever held them before is fenced off. With a
    ``claim_key`` a later attempt (same key, another ``claimed_by``) can resume the ticket again,
    and gets what the earlier attempt still holds. The lease is counted from now.
    """
    name = arguments.queue_name(queue)
    if not isinstance(ticket, Ticket):
        raise InvalidArgumentError(
            f"not a ticket but of type {type(ticket).__name__}: pass Ticket.of(claims), or "
            "Ticket.from_dict() of its to_dict()"
        )
    if ticket.queue != name:
        raise InvalidArgumentError(
            f"the ticket is for queue {ticket.queue!r}, not for {name!r}: resume it with "
            f"Queue({ticket.queue!r}, ...)"
        )
    asked = request(
        connection,
        name,
        1,
        claimed_by=claimed_by,
        claim_key=claim_key,
        lease=lease,
        retry=retry,
        schema=schema,
    )
    handed_on = {
        "handed_on_key": arguments.key("the ticket's claim_key", ticket.claim_key),
        "handed_on_by": arguments.key("the ticket's claimed_by", ticket.claimed_by),
    }
    parameters = {**asked.parameters, **limit_parameters(retry), **handed_on}

    def take() -> Sequence[Any]:
        given = {**parameters, **token_parameters(connection)}
        return execute(connection, schema, statements.resume, given)

    try:
        rows = take()
    except DBAPIError as error:
        held = Candidates(schema=schema, build=statements.handed_on, parameters=parameters)
        rows = claim_the_others(connection, error, take, held)
    return as_claims(rows, asked)


def claim_message(
    connection: Connection,
    queue: str,
    message_id: int,
    *,
    claimed_by: str | None = None,
    claim_key: str | None = None,
    lease: timedelta = LEASE,
    retry: Retry = RETRY,
    schema: str | None = None,
) -> Claim | None:
    """Claim this very message, or return None if it cannot be claimed now.

    For who was told of it, by ``push`` or ``peek``. With a ``claim_key`` it is taken back when an
    earlier attempt (same key, another ``claimed_by``) holds it. None: another has it, it was
    consumed, is delayed, or is not in the queue, as ``get`` tells; or the queue is paused, or its
    limits are reached.
    """
    asked = request(
        connection,
        queue,
        1,
        claimed_by=claimed_by,
        claim_key=claim_key,
        lease=lease,
        retry=retry,
        schema=schema,
    )
    parameters = {
        **asked.parameters,
        **limit_parameters(retry),
        "message_id": arguments.message_id(message_id),
    }

    def take() -> list[Claim]:
        given = {**parameters, **token_parameters(connection)}
        rows = execute(connection, schema, statements.claim_one, given, named=False)
        if not rows and size_within(connection, asked):
            rows = rows_within(connection, schema, 1, parameters, one=True)
        return as_claims(rows, asked)

    def take_if_sent() -> list[Claim]:
        try:
            return take()
        except DBAPIError as error:
            build = partial(ids_of, statements.get)
            this_one = Candidates(schema=schema, build=build, parameters=parameters)
            return claim_the_others(connection, error, take, this_one)

    claims = take_if_sent()
    if not claims and sweep(connection, asked, spared_key=claim_key):
        claims = take_if_sent()
    return claims[0] if claims else None


CLAIM_MANY = Verb(function=claim_many, retries=True, undone_by=HAND_BACK)
DRAIN = Verb(function=claim_many, retries=True, undone_by=HAND_BACK, everywhere=True)
POLL = Verb(function=poll, retries=True, undone_by=HAND_BACK)
TAKE_BACK = Verb(function=take_back, retries=True, undone_by=HAND_BACK)
RESUME = Verb(function=resume, retries=True, undone_by=HAND_BACK)
CLAIM_MESSAGE = Verb(function=claim_message, retries=True, undone_by=HAND_BACK)
