"""Move dead letters back: all of a queue, or those that are chosen by error, age or id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.errors import InvalidArgumentError
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of
from xclaim.sql.statements import Letters
from xclaim.verb import Verb
from xclaim.verbs.execution import execute, is_allowed
from xclaim.verbs.hints import is_to_notify, recall
from xclaim.verbs.seeing import of_what_is_seen
from xclaim.verbs.upkeep import counted, in_batches

_MOST_NAMED = 10  # ids in an error


def redrive(
    connection: Connection,
    queue: str,
    *,
    limit: int | None = None,
    to: str | None = None,
    error: str | None = None,
    older_than: timedelta | None = None,
    ids: Iterable[int] | None = None,
    died_before: Mapping[str, datetime] | None = None,
    notify: bool = False,
    schema: str | None = None,
) -> int:
    """Move dead letters of the queue back to it, or ``to`` another; return how many.

    The next one first; they can be claimed at once and start again with no attempts counted. Their
    unique keys stay reserved in the queue they were pushed to. ``limit`` None: all of them, in
    batches. ``error``, ``older_than``, ``ids``: only those that all of these choose, as
    ``_chosen`` says. ``died_before``: and no others than had died by then, by the clock of the
    database that each queue is in, as ``clock`` tells it. ``notify`` wakes those who wait for the
    queue.
    """
    which, parameters = _chosen(
        connection, schema, queue, error=error, older_than=older_than, ids=ids
    )
    if died_before is not None:
        which = replace(which, before=True)
        time = died_before[arguments.queue_name(queue)]
        parameters["died_before"] = dialect_of(connection.dialect.name).time_parameter(time)
    target = _target(queue, to)
    notifies = notify and is_to_notify(connection, schema, target)
    build = partial(statements.redrive, which=which, notifies=notifies)
    count = in_batches(connection, schema, build, {**parameters, "queue_name": target}, limit)
    recall(connection, schema, target).forget()
    return count


def count_redrivable(
    connection: Connection,
    queue: str,
    *,
    limit: int | None = None,
    to: str | None = None,
    error: str | None = None,
    older_than: timedelta | None = None,
    ids: Iterable[int] | None = None,
    schema: str | None = None,
) -> int:
    """Return how many dead letters ``redrive`` would move, and move none."""
    which, parameters = _chosen(
        connection, schema, queue, error=error, older_than=older_than, ids=ids
    )
    _target(queue, to)
    build = partial(statements.redrivable, which=which)
    return counted(connection, schema, build, parameters, limit)


def refuse_others(
    connection: Connection, queue: str, ids: Iterable[int], *, schema: str | None = None
) -> None:
    """Raise InvalidArgumentError naming those of the ids that are no dead letters of the queue."""
    which, parameters = _chosen(connection, schema, queue, error=None, older_than=None, ids=ids)
    asked = arguments.message_ids(ids)
    if not asked:
        return
    build = partial(statements.letters, which=which)
    rows = execute(connection, schema, build, {**parameters, "message_limit": len(asked)})
    others = sorted(set(asked) - {row.id for row in rows})
    if others:
        shown = ", ".join(map(str, others[:_MOST_NAMED])) + (
            f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        )
        seen = of_what_is_seen(connection, schema)
        raise InvalidArgumentError(
            f"message {shown} is no dead letter in {parameters['dead_letter_queue']!r}{seen}: "
            "nothing was redriven; leave it out, or look at it with get()"
        )


def _target(queue: str, to: str | None) -> str:
    if to is None:
        return arguments.redriven(queue)
    return arguments.pushable(arguments.queue_name(to))


def _chosen(
    connection: Connection,
    schema: str | None,
    queue: str,
    *,
    error: str | None,
    older_than: timedelta | None,
    ids: Iterable[int] | None,
) -> tuple[Letters, dict[str, Any]]:
    """Return by what dead letters are chosen, and the parameters for it.

    ``error``: the class of the last error, with its module or without, or what its text contains;
    a role that may not read the texts compares classes. ``older_than``: dead for so long.
    """
    parameters: dict[str, Any] = {
        "dead_letter_queue": arguments.dead_letter_queue(arguments.redriven(queue))
    }
    if error is not None:
        parameters["error"] = arguments.key("error", error)
    if older_than is not None:
        parameters["age_seconds"] = arguments.seconds("older_than", older_than)
    if ids is not None:
        dialect = dialect_of(connection.dialect.name)
        parameters |= dialect.row_parameters(id=arguments.message_ids(ids))
    which = Letters(
        by_class=error is not None,
        by_text=error is not None and is_allowed(connection, schema, statements.reads_errors),
        aged=older_than is not None,
        by_id=ids is not None,
    )
    return which, parameters


REDRIVE = Verb(function=redrive, notifies=True)
COUNT_REDRIVABLE = Verb(function=count_redrivable, reads=True)
REFUSE_OTHERS = Verb(function=refuse_others, reads=True)
