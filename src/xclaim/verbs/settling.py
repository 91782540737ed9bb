"""Settle claims: ack, release and extend match the id and the token, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.arguments import LEASE
from xclaim.claims import Claim, checked_claim, listed_claims
from xclaim.connections import encodings
from xclaim.errors import ClaimLostError, PayloadReadError
from xclaim.message import Message, Status
from xclaim.payloads.envelope import DIGEST, DROPPED, reduced
from xclaim.payloads.options import AfterAck
from xclaim.retry import RETRY, Retry
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of
from xclaim.verb import Over, Verb
from xclaim.verbs.execution import Build, as_message, as_utc, execute
from xclaim.verbs.failing import limit_parameters, pause_parameters
from xclaim.verbs.hints import is_to_notify, recall
from xclaim.verbs.looking import get
from xclaim.verbs.unsendable import look

_id_of, _token_of = attrgetter("message.id"), attrgetter("token")


def ack(
    connection: Connection,
    claim: Claim,
    *,
    after: AfterAck = AfterAck.KEEP,
    schema: str | None = None,
) -> None:
    """Mark the message consumed. Raise ClaimLostError if the claim is no longer held.

    A claim past its lease that nobody has taken meanwhile still acks.
    """
    if after is not AfterAck.KEEP:
        ack_many(connection, [claim], after=after, schema=schema)
        return
    _settle(connection, schema, statements.ack, claim, {}, named=False)


def ack_many(
    connection: Connection,
    claims: Iterable[Claim],
    *,
    after: AfterAck = AfterAck.KEEP,
    schema: str | None = None,
) -> None:
    """Mark the messages consumed, in one statement.

    Raise ClaimLostError naming those that are no longer held, after the others were acked.
    """
    lost = ack_held(connection, claims, after=after, schema=schema)
    if lost:
        raise ClaimLostError(lost)


def ack_held(
    connection: Connection,
    claims: Iterable[Claim],
    *,
    after: AfterAck = AfterAck.KEEP,
    schema: str | None,
) -> list[Claim]:
    """Mark the messages consumed and return the claims that are no longer held."""
    if after is AfterAck.KEEP:
        return _settle_many(connection, schema, statements.ack_many, claims, {})
    columns = partial(_what_is_left, after)
    return _settle_many(connection, schema, statements.ack_reduced, claims, {}, columns=columns)


def ack_again(
    connection: Connection,
    claims: Iterable[Claim],
    *,
    after: AfterAck = AfterAck.KEEP,
    schema: str | None = None,
) -> None:
    """Mark the messages consumed after an ack whose answer was lost, whether it was done or not.

    Raise ClaimLostError naming those that were not, and are no longer held.
    """
    left = ack_held(connection, claims, after=after, schema=schema)
    lost = unconsumed(connection, left, schema=schema)
    if lost:
        raise ClaimLostError(lost)


def unconsumed(
    connection: Connection, claims: Iterable[Claim], *, schema: str | None = None
) -> list[Claim]:
    """Return the claims that did not consume their message.

    The token is gone by then. What a consumed row keeps of its claim, claimant, time and number
    of the attempt, no other claim can have.
    """
    asked = list(claims)
    if not asked:
        return []
    ids = sorted({claim.message.id for claim in asked})
    parameters = dialect_of(connection.dialect.name).row_parameters(id=ids)
    rows = map(as_message, look(connection, schema, statements.get_many, parameters))
    messages = {message.id: message for message in rows}
    return [claim for claim in asked if not _is_consumed_by(claim, messages.get(claim.message.id))]


def _is_consumed_by(claim: Claim, message: Message | None) -> bool:
    if message is None:
        return False
    kept = (message.consumed_by, message.claimed_at, message.attempts)
    return kept == (claim.claimed_by, claim.message.claimed_at, claim.message.attempts)


def receipt(claim: Claim) -> dict[str, Any]:
    """Return id and token as the statements for one message take them."""
    return {"message_id": claim.message.id, "token": claim.token}


Columns = Callable[[Sequence[Claim]], dict[str, list[Any]]]


def receipts(
    connection: Connection, claims: Iterable[Claim], columns: Columns | None = None
) -> dict[str, Any]:
    """Return ids and tokens, and the other ``columns``, as the statements take them."""
    # Two batches lock their rows in the same order.
    held = sorted(claims, key=_id_of)
    ids, tokens = [*map(_id_of, held)], [*map(_token_of, held)]
    dialect = dialect_of(connection.dialect.name)
    if columns is None:
        return dialect.receipt_parameters(ids, tokens)
    return dialect.row_parameters(id=ids, token=tokens, **columns(held))


def _what_is_left(after: AfterAck, claims: Sequence[Claim]) -> dict[str, list[Any]]:
    messages = [claim.message for claim in claims]
    match after:
        case AfterAck.DIGEST:
            texts = [_reduced(message) for message in messages]
            return {"payload": texts, "codec": [DIGEST] * len(texts)}
        case _:
            return {"payload": ["{}"] * len(messages), "codec": [DROPPED] * len(messages)}


def _reduced(message: Message) -> str:
    try:
        return reduced(message.stored, message.codec)
    except (PayloadReadError, RecursionError):  # whoever cannot read a message may still ack it
        return "{}"


def release(
    connection: Connection,
    claim: Claim,
    *,
    delay: timedelta | None = None,
    error: object = None,
    count: bool = True,
    retry: Retry = RETRY,
    notify: bool = False,
    schema: str | None = None,
) -> Message:
    """Give the message back and return it as it is now. Raise ClaimLostError if no longer held.

    With an ``error``, an exception or a text, the attempt has failed: the error is kept, and the
    message comes back after the pause that ``retry`` says, or after ``delay``. Without one it keeps
    its place in the queue, and its last error. A message whose attempts are used up becomes a dead
    letter, and so does one that no other attempt could read, as ``is_for_good`` says;
    ``count=False`` hands it back without counting the attempt, which then is no failure: an error
    that is given then is only noted. ``notify`` wakes those who wait.
    """
    queue = checked_claim(claim).message.queue
    is_counted, with_error = bool(count), error is not None
    fails = is_counted and with_error
    parameters = error_parameters(connection, error) if with_error else {}
    if delay is not None:
        parameters["delay_seconds"] = arguments.seconds("delay", delay)
    if is_counted:
        retry = replace(retry, max_attempts=1) if is_for_good(claim, error) else retry
        parameters["dead_letter_queue"] = arguments.dead_letter_queue(queue)
        parameters |= pause_parameters(retry) if fails else limit_parameters(retry)
    notifies = notify and delay is None and not fails and is_to_notify(connection, schema, queue)
    build = partial(
        statements.release,
        delayed=delay is not None,
        counted=is_counted,
        with_error=with_error,
        notifies=notifies,
    )
    if notifies:
        parameters["queue_name"] = queue
    message = as_message(_settle(connection, schema, build, claim, parameters))
    recall(connection, schema, message.queue).forget()
    return _as_it_stands(connection, message, schema)


def _as_it_stands(connection: Connection, released: Message, schema: str | None) -> Message:
    """Return a message with an ordering key as it is when its turn has gone to another one.

    A trigger does that: while others of its batch are claimed, or if an earlier one stands in line.
    """
    has_turn = released.available_at is not None and released.queue == released.origin_queue
    if released.ordering_key is None or not has_turn:
        return released
    now = get(connection, released.queue, released.id, schema=schema)
    if now is None or now.status is not Status.AVAILABLE:  # somebody was quicker
        return released
    # Else it was put off for a moment, because nobody could be given its turn just now.
    return now if now.available_at is None else released


def is_for_good(claim: Claim, error: object) -> bool:
    """Return whether the error says of this message that no other attempt would read it."""
    if not isinstance(error, PayloadReadError):
        return False
    return error.is_for_good and error.message_id == claim.message.id


def note_failure(
    connection: Connection,
    claim: Claim,
    *,
    error: object,
    lease: timedelta = LEASE,
    schema: str | None = None,
) -> Message:
    """Keep the claim for another attempt of its claimant, and the error of this one.

    The lease ends ``lease`` from now. Raise ClaimLostError if the claim is no longer held.
    """
    parameters = {
        **error_parameters(connection, error),
        "lease_seconds": arguments.seconds("lease", lease),
    }
    return as_message(_settle(connection, schema, statements.note_failure, claim, parameters))


def error_parameters(connection: Connection, error: object) -> dict[str, Any]:
    """Return the text and the class of an error as the statements take them."""
    return {
        "error": encodings.holdable(connection, arguments.error_text(error)),
        "error_class": encodings.holdable(connection, arguments.error_class(error)),
    }


def hand_back(
    connection: Connection,
    claims: Iterable[Claim],
    *,
    notify: bool = False,
    schema: str | None = None,
) -> None:
    """Give back, in one statement for each queue, what was claimed and not begun: uncounted.

    The messages keep their places and their last errors. What others have by now stays theirs.
    ``notify`` wakes those who wait.
    """
    by_queue: dict[str, list[Claim]] = {}
    for claim in listed_claims(claims):
        by_queue.setdefault(claim.message.queue, []).append(claim)
    for queue, held in by_queue.items():
        notifies = notify and is_to_notify(connection, schema, queue)
        build = partial(statements.hand_back, notifies=notifies)
        _settle_many(connection, schema, build, held, {"queue_name": queue} if notifies else {})
        recall(connection, schema, queue).forget()


def extend(
    connection: Connection, claim: Claim, *, lease: timedelta = LEASE, schema: str | None = None
) -> Claim:
    """Let the lease end ``lease`` from now; return the claim with its new expiry.

    Raise ClaimLostError if the claim is no longer held.
    """
    parameters = {"lease_seconds": arguments.seconds("lease", lease)}
    row = _settle(connection, schema, statements.extend, claim, parameters)
    return claim.extended_to(as_utc(row.claim_expires_at))


def extend_many(
    connection: Connection,
    claims: Iterable[Claim],
    *,
    lease: timedelta = LEASE,
    schema: str | None = None,
) -> None:
    """Let the leases end ``lease`` from now, in one statement.

    Raise ClaimLostError naming those that are no longer held, after the others were extended.
    """
    parameters = {"lease_seconds": arguments.seconds("lease", lease)}
    lost = _settle_many(connection, schema, statements.extend_many, claims, parameters)
    if lost:
        raise ClaimLostError(lost)


def _settle(
    connection: Connection,
    schema: str | None,
    build: Build,
    claim: Claim,
    parameters: Mapping[str, Any],
    *,
    named: bool = True,
) -> Any:
    asked = {**parameters, **receipt(checked_claim(claim))}
    rows = execute(connection, schema, build, asked, named=named)
    if not rows:
        raise ClaimLostError([claim])
    return rows[0]


def _settle_many(
    connection: Connection,
    schema: str | None,
    build: Build,
    claims: Iterable[Claim],
    parameters: Mapping[str, Any],
    *,
    columns: Columns | None = None,
) -> list[Claim]:
    lost: list[Claim] = []
    for batch in _batches(listed_claims(claims)):
        batch_parameters = {**parameters, **receipts(connection, batch.values(), columns)}
        rows = execute(connection, schema, build, batch_parameters, named=False)
        settled = {id_ for id_, *_ in rows}
        lost += [batch[id_] for id_ in sorted(batch.keys() - settled)]
    return lost


def _batches(claims: Sequence[Claim]) -> list[dict[int, Claim]]:
    # One batch, unless an id comes with two tokens: the answer has ids only.
    by_id = {claim.message.id: claim for claim in claims}
    if len(by_id) == len(claims):  # as nearly always, and tokens take long to compare
        return [by_id] if by_id else []
    batches: list[dict[int, Claim]] = []
    for claim in {(claim.message.id, claim.token): claim for claim in claims}.values():
        for batch in batches:
            if claim.message.id not in batch:
                batch[claim.message.id] = claim
                break
        else:
            batches.append({claim.message.id: claim})
    return batches


ACK = Verb(function=ack, over=Over.CLAIM, settles=True, acks=True)
ACK_MANY = Verb(function=ack_many, over=Over.CLAIMS, settles=True, acks=True)
ACK_AGAIN = Verb(function=ack_again, over=Over.CLAIMS, acks=True)
UNCONSUMED = Verb(function=unconsumed, over=Over.CLAIMS, reads=True)
RELEASE = Verb(function=release, over=Over.CLAIM, settles=True, notifies=True, retries=True)
NOTE_FAILURE = Verb(function=note_failure, over=Over.CLAIM)
HAND_BACK = Verb(function=hand_back, over=Over.CLAIMS, notifies=True)
EXTEND = Verb(function=extend, over=Over.CLAIM)
EXTEND_MANY = Verb(function=extend_many, over=Over.CLAIMS)
