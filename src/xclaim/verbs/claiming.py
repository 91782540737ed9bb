"""Claim messages, and give back lapsed claims on the way."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine

from xclaim import arguments, statements
from xclaim.message import Claim
from xclaim.verbs.rows import as_message, execute
from xclaim.verbs.upkeep import expire_some

LEASE = timedelta(minutes=5)
_SWEEP_SIZE = 100  # lapsed claims that one claim gives back at most
_SWEEP_EVERY = 1.0  # seconds between the sweeps of one engine and queue, unless it is empty

_swept_at: WeakKeyDictionary[Engine, dict[tuple[str | None, str], float]] = WeakKeyDictionary()


def claim(
    connection: Connection,
    queue: str,
    *,
    claimed_by: str | None = None,
    claim_key: str | None = None,
    lease: timedelta = LEASE,
    schema: str | None = None,
) -> Claim | None:
    """Claim the next message, or return None if there is none that can be claimed now.

    Next is the highest priority, then the longest available. ``claimed_by`` says who, by default
    ``host:pid``. With a ``claim_key`` the message that an earlier attempt (same key, another
    ``claimed_by``) still holds is taken back first. When the ``lease`` runs out before ack,
    release or extend, the message may be claimed by others.
    """
    claims = claim_many(
        connection,
        queue,
        1,
        claimed_by=claimed_by,
        claim_key=claim_key,
        lease=lease,
        schema=schema,
    )
    return claims[0] if claims else None


def claim_many(
    connection: Connection,
    queue: str,
    limit: int,
    *,
    claimed_by: str | None = None,
    claim_key: str | None = None,
    lease: timedelta = LEASE,
    schema: str | None = None,
) -> list[Claim]:
    """Claim up to ``limit`` messages, the next one first; ``[]`` if there is none.

    What is taken back by ``claim_key`` is returned alone. Lapsed claims are given back on the way:
    when nothing else is there, and about once a second.
    """
    key = arguments.optional_key("claim_key", claim_key)
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_limit": arguments.limit(limit),
        "claimant": arguments.optional_key("claimed_by", claimed_by)
        or default_claimant(os.getpid()),
        "key": key,
        "lease_seconds": arguments.seconds("lease", lease),
    }
    if _sweep_is_due(connection, schema, queue):
        _sweep(connection, schema, queue, spared_key=key)
    claims = _claim(connection, schema, parameters)
    if claims or not _sweep(connection, schema, queue):
        return claims
    return _claim(connection, schema, parameters)


@cache
def default_claimant(process_id: int) -> str:
    """Return ``host:pid``."""
    return f"{socket.gethostname()}:{process_id}"


def _claim(
    connection: Connection, schema: str | None, parameters: Mapping[str, Any]
) -> list[Claim]:
    build = statements.claim if parameters["key"] is None else statements.claim_again
    rows = execute(connection, schema, build, parameters)
    return _sorted([Claim(message=as_message(row), token=row.claim_token) for row in rows])


def _sorted(claims: list[Claim]) -> list[Claim]:
    # RETURNING has no order.
    return sorted(
        claims,
        key=lambda claim: (-claim.message.priority, claim.message.available_at, claim.message.id),
    )


def _sweep_is_due(connection: Connection, schema: str | None, queue: str) -> bool:
    last = _swept_at.setdefault(connection.engine, {}).get((schema, queue))
    return last is None or time.monotonic() - last >= _SWEEP_EVERY


def _sweep(
    connection: Connection, schema: str | None, queue: str, spared_key: str | None = None
) -> int:
    _swept_at.setdefault(connection.engine, {})[schema, queue] = time.monotonic()
    return expire_some(connection, schema, queue, _SWEEP_SIZE, spared_key=spared_key)
