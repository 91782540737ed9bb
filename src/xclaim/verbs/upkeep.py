"""Keep the queue tidy: give back lapsed claims, prune what was consumed, withdraw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xclaim import arguments
from xclaim.connections import events, log_lines
from xclaim.connections.autocommit import is_autocommit
from xclaim.payloads.stores.references import OwnObject
from xclaim.retry import RETRY, Retry
from xclaim.sql import statements
from xclaim.sql.dialects import dialect_of
from xclaim.verb import LapseEvent, Verb
from xclaim.verbs.execution import Build, execute, is_allowed
from xclaim.verbs.failing import pause_parameters
from xclaim.verbs.hints import recall
from xclaim.verbs.looking import keyed
from xclaim.verbs.ordering import pass_owed
from xclaim.verbs.unsendable import refuse_where_nothing_can_be_asked

BATCH = 1_000  # rows per statement: short locks, and little to redo after a crash
_ALL = 2**31 - 1
_MOST_OWED = 100_000  # turns of ordering keys that one call looks at


def expire(
    connection: Connection,
    queue: str,
    *,
    limit: int | None = None,
    retry: Retry = RETRY,
    schema: str | None = None,
) -> int:
    """Give back the messages whose lease ran out, and return how many.

    They have failed: they come back after the pause that ``retry`` says, counted from their claim,
    so that most can be claimed at once; those whose attempts are used up become dead letters.
    ``limit`` None: all of them, in batches.
    """
    name = arguments.queue_name(queue)
    parameters = {
        **pause_parameters(retry),
        "queue_name": name,
        "dead_letter_queue": arguments.dead_letter_queue(name),
    }
    note = partial(_note_lapsed, connection, schema, name)
    count = in_batches(connection, schema, statements.expire, parameters, limit, note=note)
    pass_owed(connection, schema, name, most=_MOST_OWED)
    recall(connection, schema, name).forget()
    return count


def expire_some(
    connection: Connection,
    schema: str | None,
    queue: str,
    size: int,
    *,
    retry: Retry,
    spared_key: str | None,
) -> int:
    """Give back up to ``size`` lapsed messages in one statement, and return how many.

    Those of the claim key ``spared_key`` stay: their claimant is about to take them back.
    """
    parameters = {
        **pause_parameters(retry),
        "queue_name": queue,
        "dead_letter_queue": arguments.dead_letter_queue(queue),
        "message_limit": size,
    }
    build = statements.expire
    if spared_key is not None:
        parameters["key"] = spared_key
        build = statements.expire_others
    rows = execute(connection, schema, build, parameters)
    _note_lapsed(connection, schema, queue, rows)
    return len(rows)


def may_have_lapsed(connection: Connection, schema: str | None, queue: str) -> bool:
    """Return whether ``expire_some`` could find something: at a fraction of its cost if not."""
    return bool(execute(connection, schema, statements.any_lapsed, {"queue_name": queue}))


def _note_lapsed(
    connection: Connection, schema: str | None, queue: str, rows: Sequence[Any]
) -> None:
    if rows:
        is_open = not is_autocommit(connection)
        log_lines.write(partial(log_lines.lapsed, queue, schema, rows), is_open=is_open)
        if events.LAPSES.is_listened_to():
            died = sum(row.queue != queue for row in rows)
            events.LAPSES.emit(LapseEvent(queue=queue, count=len(rows), died=died))


def count_prunable(
    connection: Connection,
    queue: str,
    *,
    older_than: timedelta,
    limit: int | None = None,
    schema: str | None = None,
) -> int:
    """Return how many messages ``prune`` would delete, and delete none."""
    name = arguments.queue_name(queue)
    age = arguments.seconds("older_than", older_than)
    found = sum(
        counted(
            connection, schema, statements.prunable, {"queue_name": each, "age_seconds": age}, limit
        )
        for each in dict.fromkeys((name, arguments.dead_letter_queue(name)))
    )
    return found if limit is None else min(found, limit)


def prune(
    connection: Connection,
    queue: str,
    *,
    older_than: timedelta,
    limit: int | None = None,
    removed: list[OwnObject] | None = None,
    schema: str | None = None,
) -> int:
    """Delete messages that were consumed longer ago than ``older_than``; return how many.

    In batches, each of which commits by itself under autocommit. Their unique keys can be pushed
    again. Consumed dead letters are pruned too; what is not consumed never is. With a payload
    storage their objects are deleted with them; on a connection of yours, which may still roll
    back, they are left for ``prune_orphans``.
    """
    name = arguments.queue_name(queue)
    age = arguments.seconds("older_than", older_than)
    arguments.optional_limit(limit)
    build = _deleting(connection, schema, statements.prune, statements.prune_as_maintainer, removed)
    total = 0
    for each in dict.fromkeys((name, arguments.dead_letter_queue(name))):
        left = None if limit is None else limit - total
        if left != 0:
            parameters = {"queue_name": each, "age_seconds": age}
            total += in_batches(connection, schema, build, parameters, left, removed=removed)
    return total


def withdraw(
    connection: Connection,
    queue: str,
    unique_keys: Iterable[str],
    *,
    removed: list[OwnObject] | None = None,
    schema: str | None = None,
) -> int:
    """Delete the messages under these keys that nobody has claimed; return how many.

    For a producer that takes back what it pushed. Dead letters are withdrawn too; what is claimed
    or consumed stays. A withdrawn key can be pushed again. Payloads in a storage are deleted as
    ``prune`` does it.
    """
    parameters = keyed(connection, queue, unique_keys)
    build = _deleting(
        connection, schema, statements.withdraw, statements.withdraw_as_maintainer, removed
    )
    return _withdraw(connection, schema, build, parameters, removed)


def withdraw_by_id(
    connection: Connection,
    queue: str,
    ids: Iterable[int],
    *,
    removed: list[OwnObject] | None = None,
    schema: str | None = None,
) -> int:
    """Delete the messages with these ids that nobody has claimed; return how many.

    As ``withdraw``. They are in the queue, or were pushed to it.
    """
    rows = dialect_of(connection.dialect.name).row_parameters(id=arguments.message_ids(ids))
    parameters = {"queue_name": arguments.queue_name(queue), **rows}
    build = _deleting(
        connection,
        schema,
        statements.withdraw_by_id,
        statements.withdraw_by_id_as_maintainer,
        removed,
    )
    return _withdraw(connection, schema, build, parameters, removed)


def _deleting(
    connection: Connection,
    schema: str | None,
    delete: Callable[..., statements.Statement],
    call: Callable[..., statements.Statement],
    removed: list[OwnObject] | None,
) -> Build:
    """Return how the role deletes: by itself, or by the function that a maintainer may call."""
    statement = delete if is_allowed(connection, schema, statements.may_delete) else call
    return partial(statement, objects=removed is not None)


def _withdraw(
    connection: Connection,
    schema: str | None,
    build: Build,
    parameters: Mapping[str, Any],
    removed: list[OwnObject] | None,
) -> int:
    rows = _deleted(connection, schema, build, parameters)
    if removed is not None:
        removed += _objects_of(rows)
    return len(rows)


def _deleted(
    connection: Connection,
    schema: str | None,
    build: Callable[..., statements.Statement],
    parameters: Mapping[str, Any],
) -> Sequence[Any]:
    """Delete, and return what the rows say of their objects, unless that cannot be sent.

    Then their objects are left for ``prune_orphans``.
    """
    try:
        return execute(connection, schema, build, parameters)
    except DBAPIError as error:
        refuse_where_nothing_can_be_asked(connection, error, parameters)
        return execute(connection, schema, partial(build, objects=False), parameters)


def _objects_of(rows: Sequence[Any]) -> list[OwnObject]:
    named = [row for row in rows if getattr(row, "uri", None) is not None]
    return [OwnObject(row.uri, row.origin_queue) for row in named]


def in_batches(
    connection: Connection,
    schema: str | None,
    build: Build,
    parameters: Mapping[str, Any],
    limit: int | None,
    *,
    removed: list[OwnObject] | None = None,
    note: Callable[[Sequence[Any]], None] | None = None,
) -> int:
    """Run a statement of up to ``BATCH`` rows until it finds no more; return how many in all."""
    arguments.optional_limit(limit)
    total = 0
    while limit is None or total < limit:
        size = BATCH if limit is None else min(BATCH, limit - total)
        batch = {**parameters, "message_limit": size}
        if removed is None:
            rows = execute(connection, schema, build, batch)
        else:
            rows = _deleted(connection, schema, build, batch)
        total += len(rows)
        if removed is not None:
            removed += _objects_of(rows)
        if note is not None:
            note(rows)
        if len(rows) < size:
            break
    return total


def counted(
    connection: Connection,
    schema: str | None,
    build: Build,
    parameters: Mapping[str, Any],
    limit: int | None,
) -> int:
    """Return what a counting statement says, which counts no further than the limit."""
    most = _ALL if limit is None else arguments.limit(limit)
    rows = execute(connection, schema, build, {**parameters, "message_limit": most})
    return int(rows[0].messages)


EXPIRE = Verb(function=expire, retries=True)
PRUNE = Verb(function=prune, deletes=True)
COUNT_PRUNABLE = Verb(function=count_prunable, reads=True)
WITHDRAW = Verb(function=withdraw, deletes=True)
WITHDRAW_BY_ID = Verb(function=withdraw_by_id, deletes=True)
