"""What the doctor says of queues: what is stuck, failing, dead, paused or limited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection

from xclaim.limits import limits_of
from xclaim.operations import few_of_many
from xclaim.operations.few_of_many import EVERY as _EVERY
from xclaim.operations.few_of_many import Few
from xclaim.operations.findings import LONGER, Finding, Level, unseen
from xclaim.sql import statements
from xclaim.sql.revision import (
    commands_of,
)
from xclaim.verbs.backlog import backlog_of
from xclaim.verbs.execution import as_utc
from xclaim.verbs.unsendable import shown

_LAPSED = 60.0  # seconds after its lease: somebody who claims would have given it back
_HELD_LONG = 12 * 3600.0  # seconds: as LEASE_LIMIT of the loops
_MOST_LIMITED = 100  # queues with a limit, of which each is counted
_ON_FULL = {"raise": "raise QueueFullError", "wait": "wait", "skip": "are skipped"}
_MOST_ERRORS = 5  # classes of errors in a finding


_OF_CLAIMS = {"lapsed_seconds": _LAPSED, "held_seconds": _HELD_LONG}


def stuck_claims(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield lapsed claims that nobody gives back, and claims that are held for long."""
    rows = shown(connection, schema, statements.stuck_claims, _OF_CLAIMS)
    yield from _of_stuck_claims(connection, schema, rows, _EVERY)


def stuck_among_few(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield the same of the first and the last messages of each queue."""
    few = few_of_many.stuck_claims(connection, schema, _OF_CLAIMS)
    yield from _of_stuck_claims(connection, schema, few.rows, few)


def _of_stuck_claims(
    connection: Connection, schema: str | None, rows: Sequence[Any], few: Few
) -> Iterator[Finding]:
    commands = commands_of(connection)
    lapsed = [row for row in rows if row.lapsed]
    held = [row for row in rows if row.held_long]
    for row in lapsed:
        yield Finding(
            name="stuck_claims",
            level=Level.WARNING,
            found=f"{_number(row.lapsed, row, few)} in {row.queue!r} are past their lease, and "
            "nobody claims there",
            remedy=f"start a worker, or run {commands.about('expire', row.queue, schema=schema)}",
            queue=row.queue,
        )
    for row in held:
        yield Finding(
            name="stuck_claims",
            level=Level.WARNING,
            found=f"{_number(row.held_long, row, few)} in {row.queue!r} were claimed more than 12 "
            "hours ago",
            remedy=f"{commands.about('claims', row.queue, schema=schema)} shows who holds them; "
            "a shorter lease brings them back sooner",
            queue=row.queue,
        )
    yield from _without_any("stuck_claims", few, is_there=bool(lapsed or held))


def _number(count: int, row: Any, few: Few) -> str:
    """Return how many there are, at least where not all of the queue was looked at."""
    return f"{count} or more" if few.may_be_more(row) else str(count)


def _without_any(name: str, few: Few, *, is_there: bool) -> Iterator[Finding]:
    """Say that there is none, and that not all was looked at."""
    if few.is_cut:
        found = f"only the first {few_of_many.MOST_QUEUES:,} queues were looked at"
        yield unseen(name, found, LONGER)
    if not is_there:
        among = f" among the first and the last {few.first} of each queue" if few.first else ""
        yield Finding(name=name, level=Level.OK, found=f"none{among}")


def paused(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield the queues that are paused."""
    rows = shown(connection, schema, statements.paused_queues, {})
    commands = commands_of(connection)
    for row in rows:
        why = f" ({row.reason})" if row.reason else ""
        yield Finding(
            name="paused",
            level=Level.WARNING,
            found=f"{row.queue!r} hands out nothing: {row.paused_by or 'somebody'} paused it at "
            f"{as_utc(row.paused_at):%Y-%m-%d %H:%M:%S} UTC{why}",
            remedy=f"{commands.about('unpause', row.queue, schema=schema)} lets it go on",
            queue=row.queue,
        )
    if not rows:
        yield Finding(name="paused", level=Level.OK, found="no queue is paused")


def backlog(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield the queues in which as many messages wait as may."""
    rows = shown(connection, schema, statements.limited_backlogs, {})
    are_full = False
    for row in rows[:_MOST_LIMITED]:
        waits = backlog_of(connection, row.queue, schema=schema)
        if not waits.is_full:
            continue
        are_full = True
        yield Finding(
            name="backlog",
            level=Level.WARNING,
            found=f"{row.queue!r} is full: {waits.waiting:,} messages wait, max_backlog is "
            f"{waits.max_backlog:,}, pushes {_ON_FULL[waits.on_full or 'raise']}",
            remedy="let more workers claim, or more wait: Queue.limit_backlog(...)",
            queue=row.queue,
        )
    if not are_full:
        seen = f" among the first {_MOST_LIMITED}" if len(rows) > _MOST_LIMITED else ""
        found = f"no queue is full{seen}" if rows else "no queue has a max_backlog"
        yield Finding(name="backlog", level=Level.OK, found=found)


def limits(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield the limits of claims."""
    rows = shown(connection, schema, statements.limited_queues, {})
    for row in rows:
        yield Finding(
            name="limits",
            level=Level.OK,
            found=f"{row.queue!r} is limited to {limits_of(row)}",
            queue=row.queue,
        )
    if not rows:
        yield Finding(name="limits", level=Level.OK, found="no queue has limits")


def dead_letters(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield how many dead letters each queue has."""
    rows = shown(connection, schema, statements.dead_letters, {})
    yield from _of_dead_letters(connection, schema, rows, _EVERY)


def dead_among_few(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield the same of the first and the last messages of each queue."""
    few = few_of_many.dead_letters(connection, schema)
    yield from _of_dead_letters(connection, schema, few.rows, few)


def _of_dead_letters(
    connection: Connection, schema: str | None, rows: Sequence[Any], few: Few
) -> Iterator[Finding]:
    commands = commands_of(connection)
    for dead, group in groupby(rows, key=lambda row: row.queue):
        lines = list(group)
        errors = {row.last_error_class: row.letters for row in lines}
        number = _number(sum(errors.values()), lines[0], few)
        name = dead.removesuffix(".dead")
        yield Finding(
            name="dead_letters",
            level=Level.WARNING,
            found=f"{number} in {dead!r}{_by_error(errors)}",
            remedy=f"{commands.about('peek', dead, schema=schema)} shows last_error; when the "
            f"cause is mended {commands.about('redrive', name, schema=schema)}, "
            "for some of them with --error",
            queue=name,
        )
    yield from _without_any("dead_letters", few, is_there=bool(rows))


def failing(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield the queues whose messages fail."""
    rows = shown(connection, schema, statements.failing_queues, {})
    stats = shown(connection, schema, statements.queue_stats, {}) if rows else ()
    heads = {row.queue: row.head_attempts for row in stats}
    yield from _of_failing(connection, schema, rows, heads, _EVERY)


def failing_among_few(connection: Connection, schema: str | None) -> Iterator[Finding]:
    """Yield the same of the first and the last messages of each queue."""
    few = few_of_many.failing_queues(connection, schema)
    yield from _of_failing(connection, schema, few.rows, {}, few)


def _of_failing(
    connection: Connection,
    schema: str | None,
    rows: Sequence[Any],
    heads: Mapping[str, int | None],
    few: Few,
) -> Iterator[Finding]:
    commands = commands_of(connection)
    for queue, group in groupby(rows, key=lambda row: row.queue):
        lines = list(group)
        errors = {row.last_error_class: row.messages for row in lines}
        next_try_at = as_utc(min(row.available_at for row in lines))
        of_them = " of them" if few.may_be_more(lines[0]) else ""
        found = (
            f"{_number(sum(errors.values()), lines[0], few)} in {queue!r} failed and are tried "
            f"again, the next{of_them} at "
            f"{next_try_at:%Y-%m-%d %H:%M:%S} UTC, attempts so far "
            f"{max(row.attempts for row in lines)} at most{_by_error(errors)}"
        )
        if heads.get(queue):
            found += f"; the head of the queue is being retried, attempts so far {heads[queue]}"
        yield Finding(
            name="failing",
            level=Level.WARNING,
            found=found,
            remedy=f"{commands.about('peek', queue, schema=schema, option=' --failing')} shows "
            "last_error",
            queue=queue,
        )
    yield from _without_any("failing", few, is_there=bool(rows))


def _by_error(errors: Mapping[str | None, int]) -> str:
    if errors.keys() == {None}:  # all were released with a text, or with nothing
        return ""
    named = [f"{count} {name or 'without a class'}" for name, count in errors.items()]
    more = len(named) - _MOST_ERRORS
    return ": " + ", ".join(named[:_MOST_ERRORS]) + (f" and {more} more kinds" if more > 0 else "")
