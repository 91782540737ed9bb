"""Look at a queue without changing it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.errors import InvalidArgumentError
from xclaim.message import Counts, Failure, Message
from xclaim.payloads import plain_json
from xclaim.retry import RETRY, Retry
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of, marked
from xclaim.verb import Verb
from xclaim.verbs.execution import as_message, as_utc, execute
from xclaim.verbs.failing import limit_parameters
from xclaim.verbs.limiting import room_within
from xclaim.verbs.unsendable import look, unless_unsendable


def peek(
    connection: Connection, queue: str, limit: int = 1, *, schema: str | None = None
) -> list[Message]:
    """Return the messages that would be claimed next, without claiming them."""
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_limit": arguments.limit(limit),
    }
    return list(map(as_message, look(connection, schema, statements.peek, parameters)))


def upcoming(
    connection: Connection, queue: str, limit: int = 1, *, schema: str | None = None
) -> list[int]:
    """Return the ids of the messages that would be claimed next, and nothing else of them.

    For those who only want to know whether there are some: a payload may be large. Of a paused
    queue there are none, and no more than the limits of the queue let anybody claim now.
    """
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_limit": arguments.limit(limit),
    }
    build = partial(statements.peek, ids_only=True)
    ids = [row.id for row in execute(connection, schema, build, parameters)]
    return ids[: room_within(connection, queue, len(ids), schema=schema)] if ids else []


def is_known(connection: Connection, queue: str, *, schema: str | None = None) -> bool:
    """Return whether the queue, or its dead-letter queue, has a message, whatever its status."""
    name = arguments.queue_name(queue)
    parameters = {"queue_name": name, "dead_letter_queue": arguments.dead_letter_queue(name)}
    return bool(execute(connection, schema, statements.is_known, parameters)[0].is_known)


def newest_available_at(
    connection: Connection, queue: str, *, schema: str | None = None
) -> datetime | None:
    """Return when the newest message that can be claimed now became available; None if none can.

    For those who watch a queue: a push, a delay that ended and a delayed release move it on. Of a
    queue that is paused, or whose limits are reached, none can be claimed.
    """
    parameters = {"queue_name": arguments.queue_name(queue)}
    (row,) = execute(connection, schema, statements.newest, parameters)
    newest: datetime | None = as_utc(row.available_at)
    if newest is None or not room_within(connection, queue, 1, schema=schema):
        return None
    return newest


def get(
    connection: Connection, queue: str, message_id: int, *, schema: str | None = None
) -> Message | None:
    """Return the message if it is in the queue, or was pushed to it; else None."""
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_id": arguments.message_id(message_id),
    }
    rows = look(connection, schema, statements.get, parameters)
    return as_message(rows[0]) if rows else None


def failing(
    connection: Connection, queue: str, limit: int = 1, *, schema: str | None = None
) -> list[Message]:
    """Return the messages that failed and are tried again, the next try (``available_at``) first.

    Those whose attempt was given up: it failed, its lease ran out, or it was released and counted.
    """
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_limit": arguments.limit(limit),
    }
    return list(map(as_message, look(connection, schema, statements.failing_messages, parameters)))


def failures(
    connection: Connection, queue: str, message_id: int, *, schema: str | None = None
) -> list[Failure]:
    """Return the attempts at a message that failed, the last 20 at most, the first of them first.

    ``[]`` also if there is no such message.
    """
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_id": arguments.message_id(message_id),
    }
    rows = unless_unsendable(connection, schema, statements.failures, parameters)
    return failures_of(rows[0].failures if rows else None)


def failures_of(text: str | bytes | None) -> list[Failure]:
    """Return the failures that a row has as JSON text, without what somebody wrote by hand."""
    kept = None if text is None else _parsed(text)
    read = map(_as_failure, kept if isinstance(kept, list) else ())
    return [failure for failure in read if failure is not None]


def _parsed(text: str | bytes) -> Any:
    """Return the JSON; None for what cannot be read, as what a hand has written there."""
    try:
        return plain_json.decode_strictly(text)
    except UnicodeEncodeError:  # half a surrogate pair: its text is marked, and the others are read
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def spent(
    connection: Connection,
    queue: str,
    limit: int = 10,
    *,
    claim_key: str,
    claimed_by: str,
    retry: Retry = RETRY,
    schema: str | None = None,
) -> list[Message]:
    """Return what earlier attempts (same key, another ``claimed_by``) have used up all attempts of.

    They are dead letters, or will be when their lease ends; until they are moved back.
    """
    name = arguments.queue_name(queue)
    parameters = {
        "queue_name": name,
        "dead_letter_queue": arguments.dead_letter_queue(name),
        "key": arguments.optional_key("claim_key", claim_key),
        "claimant": arguments.optional_key("claimed_by", claimed_by),
        "message_limit": arguments.limit(limit),
        **limit_parameters(retry),
    }
    found = list(map(as_message, look(connection, schema, statements.spent, parameters)))
    return found[::-1]  # by id, as all lists


def _as_failure(kept: Any) -> Failure | None:
    """Return what a release or a lapsed lease has kept; None for what somebody wrote by hand."""
    try:
        return Failure(
            attempt=int(kept["attempt"]),
            at=as_utc(datetime.fromisoformat(kept["at"])),
            claimed_by=marked(str(kept["claimed_by"])),
            error_class=None if kept["error_class"] is None else marked(str(kept["error_class"])),
            error=marked(str(kept["error"])),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def find(
    connection: Connection, queue: str, unique_keys: Iterable[str], *, schema: str | None = None
) -> list[Message]:
    """Return the messages that were pushed to the queue under these keys, whatever their status.

    By id; a key that nothing was pushed under has none.
    """
    parameters = keyed(connection, queue, unique_keys)
    rows = look(connection, schema, statements.find, parameters)
    return sorted(map(as_message, rows), key=lambda message: message.id)


def keyed(connection: Connection, queue: str, unique_keys: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of a statement about unique keys of a queue, each once."""
    if isinstance(unique_keys, str) or not isinstance(unique_keys, Iterable):
        raise InvalidArgumentError(
            f"unique_keys must be a list, not {type(unique_keys).__name__}: pass [key]"
        )
    keys = dict.fromkeys(arguments.key("unique_key", key) for key in unique_keys)
    rows = dialect_of(connection.dialect.name).row_parameters(unique_key=list(keys))
    return {"queue_name": arguments.queue_name(queue), **rows}


def counts(connection: Connection, queue: str, *, schema: str | None = None) -> Counts:
    """Count the queue's messages by state, exactly, and nothing of other queues.

    It reads an index entry for each, and after many changes without a vacuum their rows: not
    for a hot path.
    """
    name = arguments.queue_name(queue)
    parameters = {"queue_name": name, "dead_letter_queue": arguments.dead_letter_queue(name)}
    (row,) = execute(connection, schema, statements.counts, parameters)
    return Counts(**row._asdict())


def clock(connection: Connection, queue: str, *, schema: str | None = None) -> dict[str, datetime]:
    """Return the time of the database that the queue is in, by the queue's name."""
    (row,) = execute(connection, schema, statements.clock, {})
    return {arguments.queue_name(queue): as_utc(row.available_at)}


PEEK = Verb(function=peek, reads=True)
UPCOMING = Verb(function=upcoming, reads=True)
CLOCK = Verb(function=clock, reads=True)
NEWEST_AVAILABLE_AT = Verb(function=newest_available_at, reads=True)
GET = Verb(function=get, reads=True)
FAILING = Verb(function=failing, reads=True)
SPENT = Verb(function=spent, reads=True, retries=True)
FAILURES = Verb(function=failures, reads=True)
FIND = Verb(function=find, reads=True)
COUNTS = Verb(function=counts, reads=True)
