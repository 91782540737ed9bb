"""What an operator does to a message by its id, and sees of who holds what.

An operator has no claim: he takes the receipt of the one that is on the row now, and settles with
it as its holder would. If the claim changes hands in between, nothing is done. Each of these writes
one line to the logger ``xclaim``, at the level WARNING, that says who it was: ``by``, or who runs
this process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from xclaim import arguments
from xclaim.arguments import visible
from xclaim.claims import Claim
from xclaim.connections.endings import ending_within
from xclaim.connections.log_lines import operator
from xclaim.errors import InvalidArgumentError
from xclaim.message import Message, Status
from xclaim.payloads.payloads import Payloads
from xclaim.queues.sync import Queue
from xclaim.sql import statements
from xclaim.sql.revision import commands_of
from xclaim.verbs import of_what_is_seen, schema_on
from xclaim.verbs.execution import as_message, as_utc, execute
from xclaim.verbs.unsendable import shown

_logger = logging.getLogger("xclaim")
_ALL = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One claim: who holds which message, since when and until when; without its token.

    ``is_lapsed``: its lease has run out, and the next that claims there gives the message back.
    """

    id: int
    queue: str
    claimed_by: str
    attempts: int
    claimed_at: datetime
    claim_expires_at: datetime
    is_lapsed: bool
    claim_key: str | None
    last_error_class: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON-serialisable values, times in ISO 8601."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in values.items()
        }


def held(
    engine: Engine,
    queue: str | None = None,
    *,
    limit: int | None = None,
    schema: str | None = None,
) -> list[Held]:
    """Return who holds what, the longest held first: in a queue and its dead letters, or in all."""
    schema = schema_on(engine, schema)
    parameters: dict[str, Any] = {"message_limit": arguments.optional_limit(limit) or _ALL}
    if queue is not None:
        name = arguments.queue_name(queue)
        parameters["queue_name"] = name
        parameters["dead_letter_queue"] = arguments.dead_letter_queue(name)

    def build(table: Any, dialect: Any) -> statements.Statement:
        return statements.holders(table, dialect, of_queue=queue is not None)

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        rows = shown(connection, schema, build, parameters)
    return [
        Held(
            id=row.id,
            queue=row.queue,
            claimed_by=row.claimed_by,
            attempts=row.attempts,
            claimed_at=as_utc(row.claimed_at),
            claim_expires_at=as_utc(row.claim_expires_at),
            is_lapsed=bool(row.is_lapsed),
            claim_key=row.claim_key,
            last_error_class=row.last_error_class,
        )
        for row in rows
    ]


def receipt(
    engine: Engine, queue: str, message_id: int, *, schema: str | None = None
) -> Claim[Any]:
    """Return the claim that is on a message now, with its token.

    Raise InvalidArgumentError if the queue has no such message, or nobody has claimed it.
    """
    schema = schema_on(engine, schema)
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_id": arguments.message_id(message_id),
    }
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        rows = execute(connection, schema, statements.receipt, parameters)
    if not rows:
        raise InvalidArgumentError(
            f"queue {queue!r} has no message {message_id}{_seen(engine, schema)}: see what it has "
            "with stats and peek"
        )
    message = as_message(rows[0])
    if message.status is not Status.CLAIMED:
        raise InvalidArgumentError(f"{_state(message)}: there is no claim to settle")
    token = rows[0].claim_token
    if token is None:
        raise InvalidArgumentError(
            f"{_state(message)} with a token that is none: when its lease is over, "
            f"{commands_of(engine).about('expire', queue, schema=schema)} gives it back"
        )
    return Claim(message=message, token=token)


def ack(
    engine: Engine,
    claim: Claim,
    *,
    schema: str | None = None,
    payloads: Payloads | None = None,
    by: str | None = None,
) -> None:
    """Mark the message of somebody else's claim consumed.

    ``claim`` is what ``receipt`` returned. Raise ClaimLostError if it is no longer held.
    """
    with Queue(claim.message.queue, engine, schema=schema, payloads=payloads) as queue:
        queue.ack(claim)
    _note("acked", claim, by)


def release(
    engine: Engine,
    claim: Claim,
    *,
    delay: timedelta | None = None,
    error: object = None,
    count: bool = True,
    schema: str | None = None,
    by: str | None = None,
) -> Message:
    """Give back the message of somebody else's claim, as ``Queue.release`` does.

    ``claim`` is what ``receipt`` returned. Raise ClaimLostError if it is no longer held.
    """
    with Queue(claim.message.queue, engine, schema=schema) as queue:
        message = queue.release(claim, delay=delay, error=error, count=count)
    _note("released", claim, by)
    return message


def withdraw(
    engine: Engine,
    queue: str,
    ids: Iterable[int],
    *,
    schema: str | None = None,
    payloads: Payloads | None = None,
    by: str | None = None,
) -> int:
    """Delete messages that nobody has claimed, also dead letters; return how many.

    Raise InvalidArgumentError, before any is deleted, for an id that the queue has not, and for a
    message that is claimed or consumed. One that is claimed in the meantime stays.
    """
    asked = arguments.message_ids(ids)
    with Queue(queue, engine, schema=schema, payloads=payloads) as withdrawn_from:
        for id_ in asked:
            message = withdrawn_from.get(id_)
            if message is None:
                seen = _seen(engine, schema_on(engine, schema))
                raise InvalidArgumentError(
                    f"queue {queue!r} has no message {id_}{seen}: nothing was withdrawn"
                )
            if message.status is not Status.AVAILABLE:
                raise InvalidArgumentError(f"{_state(message)}: nothing was withdrawn")
        count = withdrawn_from.withdraw(ids=asked)
    if count:
        shown = ", ".join(map(str, asked))
        note("withdrew %s from %r: message %s", count, queue, shown, by=by)
    return count


def in_time(engine: Engine, patience: timedelta) -> Engine:
    """Return the engine for what somebody waits for: it ends in time, or nothing of it is done."""
    return ending_within(engine, patience)


def note(done: str, *values: object, by: str | None = None) -> None:
    """Write to the log what was done by hand: a format with its values, as ``logging`` takes them.

    ``by`` is shown in one line that turns no terminal around, whatever name it is.
    """
    who = operator() if by is None else visible(by)
    _logger.warning("operator %s %s", who, done % values)


def _note(done: str, claim: Claim, by: str | None) -> None:
    message = claim.message
    note(
        f"{done} message %s in %r, attempt %s, which %r held since %s",
        message.id,
        message.queue,
        message.attempts,
        claim.claimed_by,
        message.claimed_at and message.claimed_at.isoformat(timespec="seconds"),
        by=by,
    )


def _seen(engine: Engine, schema: str | None) -> str:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        return of_what_is_seen(connection, schema)


def _state(message: Message) -> str:
    place = f"message {message.id} in {message.queue!r}"
    match message.status:
        case Status.CLAIMED:
            return f"{place} is claimed by {message.claimed_by!r}"
        case Status.CONSUMED:
            return f"{place} was consumed by {message.consumed_by!r}"
        case Status.AVAILABLE:
            return f"{place} is available, nobody holds it"
