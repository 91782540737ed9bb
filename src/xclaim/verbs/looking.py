"""Look at a queue without changing it."""

from __future__ import annotations

from sqlalchemy import Connection

from xclaim import arguments, statements
from xclaim.message import Counts, Message
from xclaim.verbs.rows import as_message, execute


def peek(
    connection: Connection, queue: str, limit: int = 1, *, schema: str | None = None
) -> list[Message]:
    """Return the messages that would be claimed next, without claiming them."""
    parameters = {
        "queue_name": arguments.queue_name(queue),
        "message_limit": arguments.limit(limit),
    }
    return [as_message(row) for row in execute(connection, schema, statements.peek, parameters)]


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


def counts(connection: Connection, queue: str, *, schema: str | None = None) -> Counts:
    """Count the queue's messages by state. It reads them all: not for a hot path."""
    name = arguments.queue_name(queue)
    parameters = {"queue_name": name, "dead_letter_queue": arguments.dead_letter_queue(name)}
    (row,) = execute(connection, schema, statements.counts, parameters)
    return Counts(**row._asdict())
