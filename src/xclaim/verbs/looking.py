"""Look at a queue without changing it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.errors import InvalidArgumentError
from xclaim.message import Counts, Message
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of
from xclaim.verb import Verb
from xclaim.verbs.execution import as_message, as_utc, execute


def peek(
    connection: Connection, queue: str, limit: int = 1, *, schema: str | None = None
) -> list[Message]:
    """Return the messages that would be claimed next, without claiming them."""
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_limit": arguments.limit(limit),
    }
    return [as_message(row) for row in execute(connection, schema, statements.peek, parameters)]


def newest_available_at(
    connection: Connection, queue: str, *, schema: str | None = None
) -> datetime | None:
    """Return when the newest message that can be claimed now became available; None if none can.

    For those who watch a queue: a push, a delay that ended and a delayed release move it on.
    """
    parameters = {"queue_name": arguments.queue_name(queue)}
    (row,) = execute(connection, schema, statements.newest, parameters)
    return as_utc(row.available_at)  # type: ignore[no-any-return]


def get(
    connection: Connection, queue: str, message_id: int, *, schema: str | None = None
) -> Message | None:
    """Return the message if it is in the queue, or was pushed to it; else None."""
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_id": arguments.message_id(message_id),
    }
    rows = execute(connection, schema, statements.get, parameters)
    return as_message(rows[0]) if rows else None


def find(
    connection: Connection, queue: str, unique_keys: Iterable[str], *, schema: str | None = None
) -> list[Message]:
    """Return the messages that were pushed to the queue under these keys, whatever their status.

    By id; a key that nothing was pushed under has none.
    """
    parameters = keyed(connection, queue, unique_keys)
    rows = execute(connection, schema, statements.find, parameters)
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
    """Count the queue's messages by state. It reads them all: not for a hot path."""
    name = arguments.queue_name(queue)
    parameters = {"queue_name": name, "dead_letter_queue": arguments.dead_letter_queue(name)}
    (row,) = execute(connection, schema, statements.counts, parameters)
    return Counts(**row._asdict())


PEEK = Verb(function=peek, reads=True)
NEWEST_AVAILABLE_AT = Verb(function=newest_available_at, reads=True)
GET = Verb(function=get, reads=True)
FIND = Verb(function=find, reads=True)
COUNTS = Verb(function=counts, reads=True)
