"""Pause a queue, so that it hands out nothing, and let it go on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.connections.encodings import holdable
from xclaim.connections.log_lines import operator
from xclaim.limits import Pause
from xclaim.sql import statements
from xclaim.verb import Verb
from xclaim.verbs.execution import as_utc, execute
from xclaim.verbs.hints import recall
from xclaim.verbs.unsendable import shown


def pause(
    connection: Connection,
    queue: str,
    *,
    reason: str | None = None,
    by: str | None = None,
    schema: str | None = None,
) -> Pause:
    """Let the queue hand out nothing, and return since when, by whom and why it is so.

    What is held may still be settled, taken back by its claim key and resumed by its ticket. If the
    queue is paused already it stays so as it is, but for a new ``reason``. ``by``: by default who
    runs this process, as ``user@host``.
    """
    name = arguments.queue_name(queue)
    parameters = {
        "queue_name": name,
        "paused_by": holdable(connection, operator()) if by is None else arguments.key("by", by),
        "reason": None if reason is None else arguments.reason(reason),
    }
    (row,) = execute(connection, schema, statements.pause, parameters)
    recall(connection, schema, name).forget()
    return pause_of(row)


def unpause(
    connection: Connection, queue: str, *, by: str | None = None, schema: str | None = None
) -> bool:
    """Let the queue hand out messages again, and return whether it was paused.

    ``by``: who is named in the log, by default who runs this process.
    """
    arguments.optional_key("by", by)
    parameters = {"queue_name": arguments.queue_name(queue)}
    return bool(execute(connection, schema, statements.unpause, parameters))


def paused(connection: Connection, queue: str, *, schema: str | None = None) -> Pause | None:
    """Return since when the queue hands out nothing, by whom and why; None if it is not paused."""
    parameters = {"queue_name": arguments.queue_name(queue)}
    rows = shown(connection, schema, statements.paused, parameters)
    return pause_of(rows[0]) if rows else None


def pause_of(row: Any) -> Pause:
    """Return a row of the settings as its pause."""
    # Where the CHECK was dropped somebody may have written no name.
    return Pause(paused_at=as_utc(row.paused_at), paused_by=row.paused_by or "", reason=row.reason)


PAUSE = Verb(function=pause)
UNPAUSE = Verb(function=unpause)
PAUSED = Verb(function=paused, reads=True)
