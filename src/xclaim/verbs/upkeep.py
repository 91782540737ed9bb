"""Keep the queue tidy: give back lapsed claims, redrive dead letters, prune what was consumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.sql import statements
from xclaim.verb import Verb
from xclaim.verbs.execution import Build, execute
from xclaim.verbs.hints import is_to_notify, recall
from xclaim.verbs.looking import keyed

BATCH = 1_000  # rows per statement: short locks, and little to redo after a crash


def expire(
    connection: Connection, queue: str, *, limit: int | None = None, schema: str | None = None
) -> int:
    """Give back the messages whose lease ran out, and return how many.

    They keep their place in the queue; those whose ``max_attempts`` are used up become dead
    letters. ``limit`` None: all of them, in batches.
    """
    name = arguments.queue_name(queue)
    parameters = {
        "queue_name": name,
        "dead_letter_queue": arguments.dead_letter_queue(name),
    }
    count = _in_batches(connection, schema, statements.expire, parameters, limit)
    recall(connection, schema, name).forget()
    return count


def expire_some(
    connection: Connection, schema: str | None, queue: str, size: int, *, spared_key: str | None
) -> int:
    """Give back up to ``size`` lapsed messages in one statement, and return how many.

    Those of the claim key ``spared_key`` stay: their claimant is about to take them back.
    """
    parameters = {
        "queue_name": queue,
        "dead_letter_queue": arguments.dead_letter_queue(queue),
        "message_limit": size,
    }
    if spared_key is None:
        return len(execute(connection, schema, statements.expire, parameters))
    parameters["key"] = spared_key
    return len(execute(connection, schema, statements.expire_others, parameters))


def redrive(
    connection: Connection,
    queue: str,
    *,
    limit: int | None = None,
    to: str | None = None,
    notify: bool = False,
    schema: str | None = None,
) -> int:
    """Move dead letters of the queue back to it, or ``to`` another; return how many.

    The next one first; they can be claimed at once and start again with no attempts counted. Their
    unique keys stay reserved in the queue they were pushed to. ``limit`` None: all of them, in
    batches. ``notify`` wakes those who wait for the queue.
    """
    name = arguments.pushable(arguments.queue_name(queue))
    parameters = {
        "dead_letter_queue": arguments.dead_letter_queue(name),
        "queue_name": name if to is None else arguments.pushable(arguments.queue_name(to)),
    }
    target = parameters["queue_name"]
    notifies = notify and is_to_notify(connection, schema, target)
    build = partial(statements.redrive, notifies=notifies)
    count = _in_batches(connection, schema, build, parameters, limit)
    recall(connection, schema, target).forget()
    return count


def prune(
    connection: Connection,
    queue: str,
    *,
    older_than: timedelta,
    limit: int | None = None,
    removed: list[str] | None = None,
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
    build = partial(statements.prune, objects=removed is not None)
    total = 0
    for each in dict.fromkeys((name, arguments.dead_letter_queue(name))):
        left = None if limit is None else limit - total
        if left != 0:
            parameters = {"queue_name": each, "age_seconds": age}
            total += _in_batches(connection, schema, build, parameters, left, removed=removed)
    return total


def withdraw(
    connection: Connection,
    queue: str,
    unique_keys: Iterable[str],
    *,
    removed: list[str] | None = None,
    schema: str | None = None,
) -> int:
    """Delete the messages under these keys that nobody has claimed; return how many.

    For a producer that takes back what it pushed. Dead letters are withdrawn too; what is claimed
    or consumed stays. A withdrawn key can be pushed again. Payloads in a storage are deleted as
    ``prune`` does it.
    """
    parameters = keyed(connection, queue, unique_keys)
    build = partial(statements.withdraw, objects=removed is not None)
    rows = execute(connection, schema, build, parameters)
    if removed is not None:
        removed += [row.uri for row in rows if row.uri is not None]
    return len(rows)


def _in_batches(
    connection: Connection,
    schema: str | None,
    build: Build,
    parameters: Mapping[str, Any],
    limit: int | None,
    *,
    removed: list[str] | None = None,
) -> int:
    arguments.optional_limit(limit)
    total = 0
    while limit is None or total < limit:
        size = BATCH if limit is None else min(BATCH, limit - total)
        rows = execute(connection, schema, build, {**parameters, "message_limit": size})
        total += len(rows)
        if removed is not None:
            removed += [row.uri for row in rows if row.uri is not None]
        if len(rows) < size:
            break
    return total


EXPIRE = Verb(function=expire)
REDRIVE = Verb(function=redrive, notifies=True)
PRUNE = Verb(function=prune, deletes=True)
WITHDRAW = Verb(function=withdraw, deletes=True)
