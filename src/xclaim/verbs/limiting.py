"""Limit a queue, ask for its limits, and claim within them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from xclaim import arguments
from xclaim.connections.autocommit import is_autocommit, one_transaction
from xclaim.errors import InvalidArgumentError
from xclaim.limits import Limits, Vacancy, limits_of
from xclaim.sql import statements
from xclaim.sql.dialects import SQLITE, Dialect, dialect_of
from xclaim.sql.schema import CONCURRENCY, RATE
from xclaim.sql.statements import Start
from xclaim.verb import Verb
from xclaim.verbs.execution import execute
from xclaim.verbs.hints import Hints, recall
from xclaim.verbs.pausing import pause_of

MOST_SLOTS = 1_000  # a claim reads all of them
_MOST_OFTEN = 1_000_000
# Between two claims by one slot.
_SHORTEST = timedelta(milliseconds=1)  # what SQLite's times tell
_LONGEST = timedelta(days=365_250)  # a thousand years: the times of a database have an end
_SECOND = timedelta(seconds=1)


def limit(
    connection: Connection,
    queue: str,
    *,
    concurrency: int | None = None,
    rate: int | None = None,
    per: timedelta | None = None,
    burst: int | None = None,
    by: str | None = None,
    schema: str | None = None,
) -> Limits:
    """Set the limits of the queue, and return them; what is not named has none.

    ``concurrency``: so many messages are claimed at once. ``rate``: so many claims begin ``per`` a
    second, or another time; ``burst``, one by default, may begin together after a rest. What is
    claimed already counts. ``by``: who is named in the log, by default who runs this process.
    """
    name = arguments.queue_name(queue)
    arguments.optional_key("by", by)
    wanted = _checked(concurrency, rate, per, burst)
    for kind, count in ((CONCURRENCY, wanted.concurrency), (RATE, wanted.burst)):
        if count is not None:  # first, so that there is no limit without slots
            numbers = dialect_of(connection.dialect.name).row_parameters(slot=list(range(count)))
            parameters = {"queue_name": name, "kind": kind, **numbers}
            execute(connection, schema, statements.add_slots, parameters)
    parameters = {
        "queue_name": name,
        "concurrency": wanted.concurrency,
        "rate": wanted.rate,
        "rate_seconds": None if wanted.per is None else wanted.per.total_seconds(),
        "burst": wanted.burst,
    }
    execute(connection, schema, statements.limit, parameters)
    hints = recall(connection, schema, name)
    hints.forget()
    hints.forget_limits()
    return wanted


def limits(connection: Connection, queue: str, *, schema: str | None = None) -> Limits | None:
    """Return the limits of the queue, None if it has none."""
    parameters = {"queue_name": arguments.queue_name(queue)}
    rows = execute(connection, schema, statements.limits, parameters)
    return limits_of(rows[0]) if rows else None


def vacancy(connection: Connection, queue: str, *, schema: str | None = None) -> Vacancy | None:
    """Return what a pause or limits leave for messages that could be claimed without them.

    None: there is neither, or a limited queue has no such message. It is how an empty claim is told
    from an empty queue, for who wants to know.
    """
    found = seen_vacancy(connection, queue, schema=schema)
    if found is None or found.pause is not None:
        return found
    parameters = {"queue_name": arguments.queue_name(queue), "message_limit": 1}
    build = partial(statements.peek, ids_only=True)
    return found if execute(connection, schema, build, parameters) else None


def seen_vacancy(
    connection: Connection, queue: str, *, schema: str | None = None
) -> Vacancy | None:
    """Return how many claims may begin now, as far as can be seen; None: nothing limits them."""
    parameters = {"queue_name": arguments.queue_name(queue)}
    rows = execute(connection, schema, statements.vacancy, parameters)
    if not rows:
        return None
    (row,) = rows
    is_open = row.paused_at is None and (row.at_once is None or row.at_once > 0)
    is_waited_for = is_open and row.begun == 0 and row.due_in is not None
    return Vacancy(
        pause=None if row.paused_at is None else pause_of(row),
        limits=limits_of(row),
        at_once=row.at_once,
        begun=row.begun,
        due_in=max(0.0, row.due_in) if is_waited_for else None,
    )


def room_within(connection: Connection, queue: str, size: int, *, schema: str | None) -> int:
    """Return how many of so many messages the limits of the queue, if any, let be claimed now."""
    hints = recall(connection, schema, queue)
    if known_limits(connection, queue, hints, schema=schema) is None:
        return size
    found = seen_vacancy(connection, queue, schema=schema)
    return size if found is None else found.room(size)


def known_limits(
    connection: Connection, queue: str, hints: Hints, *, schema: str | None
) -> Limits | None:
    """Return the limits of the queue, None if it has none; it is asked once a second."""
    if hints.are_limits_known():
        return hints.limits()
    found = limits(connection, queue, schema=schema)
    if is_autocommit(connection):  # else they may be rolled back
        hints.note_limits(found)
    return found


def rows_within(
    connection: Connection,
    schema: str | None,
    size: int,
    parameters: Mapping[str, Any],
    *,
    whole_lines: bool = False,
    one: bool = False,
) -> Sequence[Any]:
    """Claim up to ``size`` messages within the limits of the queue; none if it has no limits.

    ``one``: the one that the parameters name.
    """
    dialect = dialect_of(connection.dialect.name)
    if dialect is SQLITE:
        # A stream that acks and claims has begun a transaction itself.
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction and not is_autocommit(connection):
            # Python's driver begins the caller's with a change, and here others come before it.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        with nullcontext() if driver.in_transaction else one_transaction(connection):
            return _rows_on_sqlite(
                connection, size, parameters, dialect, whole_lines=whole_lines, one=one
            )

    def run(size: int) -> Sequence[Any]:
        build = partial(statements.claim_within, limit=size, whole_lines=whole_lines, one=one)
        given = {**parameters, **dialect.token_parameters()}
        return execute(connection, schema, build, given, named=False, prepare=False)

    return run(size) if is_autocommit(connection) else _no_more_locked(connection, size, run)


def _no_more_locked(
    connection: Connection, size: int, run: Callable[[int], Sequence[Any]]
) -> Sequence[Any]:
    """Claim in a transaction of the caller, and lock nothing until its end that was not taken.

    A claim locks the slots of all that it asks for, and messages that it may not have then.
    """
    while size:
        with connection.begin_nested() as savepoint:
            rows = run(size)
            if len(rows) == size:
                return rows
            savepoint.rollback()
        size = len(rows)
    return []


def _rows_on_sqlite(
    connection: Connection,
    size: int,
    parameters: Mapping[str, Any],
    dialect: Dialect,
    *,
    whole_lines: bool,
    one: bool,
) -> Sequence[Any]:
    """Claim in three statements: there is one writer at a time, and this is it."""
    queue = {"queue_name": parameters["queue_name"]}
    found = execute(connection, None, statements.room, queue)
    if not found:
        return []
    (row,) = found
    size = size if row.room is None else min(size, row.room)
    due: list[int] = []
    if row.rate is not None:
        due = [each.slot for each in execute(connection, None, statements.due_slots, queue)]
        size = min(size, len(due))
    if size < 1:
        return []
    build: Any = partial(
        statements.claim, limit=size, start=Start.HEAD, whole_lines=whole_lines, within=True
    )
    if one:
        build = statements.claim_this_one
    claimed = execute(connection, None, build, parameters, named=False)
    if claimed and due:
        taken = dialect.row_parameters(slot=due[: len(claimed)])
        execute(connection, None, statements.take_slots, {**queue, **taken})
    return claimed


def _checked(concurrency: Any, rate: Any, per: timedelta | None, burst: Any) -> Limits:
    if concurrency is not None:
        arguments.whole_number("concurrency", concurrency, 1, MOST_SLOTS)
    if rate is None:
        if per is not None or burst is not None:
            raise InvalidArgumentError("per and burst are of a rate: pass rate=..., too")
        return Limits(concurrency=concurrency)
    arguments.whole_number("rate", rate, 1, _MOST_OFTEN)
    per = _SECOND if per is None else per
    seconds = arguments.seconds("per", per)
    if not seconds:
        raise InvalidArgumentError(f"per must be longer than 0, not {per}")
    burst = arguments.whole_number("burst", 1 if burst is None else burst, 1, MOST_SLOTS)
    spacing = timedelta(seconds=burst * seconds / rate)
    if spacing < _SHORTEST:
        raise InvalidArgumentError(
            f"rate={rate} per {per} is more than {burst} in a millisecond: pass a larger burst"
        )
    if spacing > _LONGEST:
        raise InvalidArgumentError(
            f"at rate={rate} per {per} a burst of {burst} takes more than a thousand years: pass a "
            "smaller burst"
        )
    return Limits(concurrency=concurrency, rate=rate, per=per, burst=burst)


LIMIT = Verb(function=limit)
LIMITS = Verb(function=limits, reads=True)
VACANCY = Verb(function=vacancy, reads=True)
