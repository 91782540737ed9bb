"""The verbs as plain functions, in the transaction of an open connection or an ORM session."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack, overload

from sqlalchemy import Connection

from xclaim.arguments import LEASE, Loud, OnFull, PushOptions, WhenDead
from xclaim.claims import Claim, checked_claim
from xclaim.message import Message
from xclaim.queues.sync import Queue
from xclaim.retry import MAX_ATTEMPTS

if TYPE_CHECKING:
    from sqlalchemy.orm import Session, scoped_session


@overload
def push(
    connection: Connection | Session | scoped_session[Any],
    queue: str,
    payload: Any,
    *,
    on_full: Loud | None = None,
    unique_key: str | None = ...,
    ordering_key: str | None = ...,
    notify: bool = ...,
    schema: str | None = ...,
    **options: Unpack[PushOptions],
) -> Message: ...


@overload
def push(
    connection: Connection | Session | scoped_session[Any],
    queue: str,
    payload: Any,
    *,
    on_full: OnFull | None,
    unique_key: str | None = ...,
    ordering_key: str | None = ...,
    notify: bool = ...,
    schema: str | None = ...,
    **options: Unpack[PushOptions],
) -> Message | None: ...


def push(
    connection: Connection | Session | scoped_session[Any],
    queue: str,
    payload: Any,
    *,
    unique_key: str | None = None,
    priority: int = 0,
    delay: timedelta | None = None,
    max_attempts: int | None = MAX_ATTEMPTS,
    headers: Mapping[str, Any] | None = None,
    ordering_key: str | None = None,
    on_dead: WhenDead = "skip",
    max_backlog: int | None = None,
    on_full: OnFull | None = None,
    wait: timedelta | None = None,
    notify: bool = False,
    schema: str | None = None,
) -> Message | None:
    """Push one payload and return its message, as ``Queue.push``.

    ``notify`` wakes those who wait for the queue, at the commit.
    """
    return Queue(queue, connection, schema=schema, notify=notify).push(
        payload,
        unique_key=unique_key,
        priority=priority,
        delay=delay,
        max_attempts=max_attempts,
        headers=headers,
        ordering_key=ordering_key,
        on_dead=on_dead,
        max_backlog=max_backlog,
        on_full=on_full,
        wait=wait,
    )


def claim(
    connection: Connection | Session | scoped_session[Any],
    queue: str,
    *,
    claimed_by: str | None = None,
    claim_key: str | None = None,
    lease: timedelta = LEASE,
    schema: str | None = None,
) -> Claim | None:
    """Claim the next message, or return None if there is none, as ``Queue.claim``."""
    return Queue(queue, connection, schema=schema).claim(
        claimed_by=claimed_by, claim_key=claim_key, lease=lease
    )


def ack(
    connection: Connection | Session | scoped_session[Any],
    claim: Claim,
    *,
    schema: str | None = None,
) -> None:
    """Mark the message consumed. Raise ClaimLostError if the claim is no longer held."""
    Queue(checked_claim(claim).message.queue, connection, schema=schema).ack(claim)
