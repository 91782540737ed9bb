"""Look at what surrounds a queue and slows it down or makes it forget, each with the remedy.

Everything here is advice: no promise of a verb rests on it.
"""

from __future__ import annotations

import shlex
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from xclaim.connections import missing_files
from xclaim.connections.autocommit import needs_transaction
from xclaim.connections.direct import run
from xclaim.errors import SchemaVersionError
from xclaim.message import limits_of
from xclaim.observing.asking import is_ended, is_locked_out, limiting
from xclaim.operations import few_of_many, function_checks
from xclaim.operations.audit import sound_checks, sound_indexes
from xclaim.operations.few_of_many import EVERY as _EVERY
from xclaim.operations.few_of_many import Few
from xclaim.operations.function_checks import Difference
from xclaim.operations.ordering import missing_parts
from xclaim.payloads.payloads import Payloads
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL, SQLITE
from xclaim.sql.revision import (
    commands_of,
    is_newer,
    mismatch,
    missing_table,
    quoted,
    read_revision,
)
from xclaim.sql.schema import AUTOVACUUM, CHECKS, QUEUE_CHECKS, REVISION, TABLE_NAME, message_table
from xclaim.sql.statements import diagnosing
from xclaim.verbs import BACKLOG, hides_rows, schema_on
from xclaim.verbs.execution import as_utc
from xclaim.verbs.ordering import is_enabled
from xclaim.verbs.unsendable import is_unsendable, shown

_PATIENCE = timedelta(minutes=5)  # of who runs it by hand
_TIMES = 3  # as long as one thing may take all things together
_LOCKED = timedelta(seconds=1)
_LONGER = "run `xclaim doctor`, which takes longer"
_OLD_SNAPSHOT = 300.0  # seconds; dead rows begin to be felt after minutes of busy work
_OLD_TRANSACTIONS = 50_000  # the same where no time is known: of slots, and of standbys
_LAPSED = 60.0  # seconds after its lease: somebody who claims would have given it back
_HELD_LONG = 12 * 3600.0  # seconds: as LEASE_LIMIT of the loops
_CLOCKS_APART = 2.0  # seconds
_BLOATED = 64 * 2**20, 400  # bytes of an index, and of each of its entries (usually about 60)
_MANY_DEAD = 50_000, 0.5  # dead rows, and their share of all
_CONNECTIONS_LEFT = 0.1
_MOST_LIMITED = 100  # queues with a limit, of which each is counted
_ON_FULL = {"raise": "raise QueueFullError", "wait": "wait", "skip": "are skipped"}
_MOST_ERRORS = 5  # classes of errors in a finding


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at, what was found, and what to do about it (None: nothing).

    ``queue``: the one it is about; None: it is about none.
    """

    name: str
    level: Level
    found: str
    remedy: str | None = None
    queue: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-serialisable values."""
        values = asdict(self)
        del values["queue"]  # is for pages; what is found names it
        return values


def examine(
    engine: Engine, *, schema: str | None = None, timeout: timedelta = _PATIENCE
) -> list[Finding]:
    """Look at everything, and return a finding for each thing there is to say.

    Nothing is written, and no file is made. What the role may not see is a finding, too, and so is
    what could not be seen in time: each thing has ``timeout``, all of them together have three
    times as long, and none waits for more than a second for a lock. With less than five minutes
    what is stuck, failing or dead is counted among the first and the last messages of each queue.
    """
    try:
        missing_files.refuse(engine)
    except SchemaVersionError as error:
        return [_unfit(error, Level.PROBLEM)]
    schema = schema_on(engine, schema)
    examinations = _EVERYWHERE
    examinations += _SQLITE if engine.dialect.name == SQLITE.name else _POSTGRESQL
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        look = _Look(connection, schema, timeout, is_patient=timeout >= _PATIENCE)
        findings = look.at(_schema_version)
        if findings[0].level is Level.PROBLEM:
            return findings
        for examination in examinations:
            findings += look.at(examination)
        try:
            with look.limited(timeout):
                hidden = list(_hidden(connection, schema))
        except DBAPIError as error:
            findings.append(_of_error("row_security", error))
            hidden = []
        for finding, names in hidden:
            findings = [*_of_what_is_seen(findings, names), finding]
    if engine.dialect.name == POSTGRESQL.name:
        findings.append(_pooler(engine))
    return findings


Examination = Callable[[Connection, str | None], Iterator[Finding]]


class _Look:
    """A look at all things, each for so long, and at none any more when the time is over."""

    def __init__(
        self, connection: Connection, schema: str | None, timeout: timedelta, *, is_patient: bool
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._timeout = timeout
        self._is_patient = is_patient
        self._ends_at = time.monotonic() + _TIMES * timeout.total_seconds()

    def at(self, examination: Examination) -> list[Finding]:
        """Return what there is to say of one thing, or why it cannot be said."""
        name = examination.__name__.removeprefix("_")
        if not self._is_patient:
            examination = _AMONG_FEW.get(examination, examination)
        left = min(self._timeout, timedelta(seconds=self._ends_at - time.monotonic()))
        if left <= timedelta(0):
            return [_unseen(name, "not looked at: the others took all the time", _LONGER)]
        try:
            return self._seen(examination, left)
        except (DBAPIError, SchemaVersionError) as error:
            return [_of_error(name, error)]

    def limited(self, timeout: timedelta) -> AbstractContextManager[object]:
        """Limit what the block asks."""
        what = "what surrounds the queues"
        return limiting(self._connection, self._schema, timeout, what, lock_timeout=_LOCKED)

    def _seen(self, examination: Examination, left: timedelta) -> list[Finding]:
        if examination in _OF_THE_SESSION:
            return list(examination(self._connection, self._schema))
        try:
            with self.limited(left):
                return list(examination(self._connection, self._schema))
        except DBAPIError as error:
            if not (self._is_patient and is_unsendable(error)):
                raise
        # Rows that cannot be sent are looked for by what a transaction that failed does not do.
        return list(examination(self._connection, self._schema))


def _of_error(name: str, error: DBAPIError | SchemaVersionError) -> Finding:
    refused = str(getattr(error, "orig", error)).strip().splitlines()[0]
    if isinstance(error, DBAPIError) and is_locked_out(error):
        remedy = "look again; if it stays so, end the session that holds the lock (pg_locks)"
        return _unseen(name, f"could not look: somebody has locked it ({refused})", remedy)
    if isinstance(error, DBAPIError) and is_ended(error):
        return _unseen(name, f"could not look in time ({refused})", _LONGER)
    remedy = "run it as the owner of the table, or grant pg_monitor"
    return _unseen(name, f"could not look ({refused})", remedy)


def _unseen(name: str, found: str, remedy: str) -> Finding:
    return Finding(name=name, level=Level.WARNING, found=found, remedy=remedy)


def _hidden(connection: Connection, schema: str | None) -> Iterator[tuple[Finding, set[str]]]:
    """Yield what the role does not see, and the names of the findings that say nothing of it."""
    if hides_rows(connection, schema):
        finding = Finding(
            name="row_security",
            level=Level.WARNING,
            found="row-level security hides messages from this role",
            remedy="run it as the owner of the table, or as a role with BYPASSRLS",
        )
        yield finding, {"paused", "backlog", "limits", "stuck_claims", "failing", "dead_letters"}
    if connection.dialect.name == SQLITE.name:
        return
    (row,) = run(connection, diagnosing.sees_sessions(), {})
    if not row.is_allowed:
        finding = Finding(
            name="sessions",
            level=Level.WARNING,
            found="sessions and standbys are hidden from this role, but for its own",
            remedy="GRANT pg_monitor to it",
        )
        yield finding, {"old_snapshots", "connections", "durability"}


def _of_what_is_seen(findings: list[Finding], hidden: set[str]) -> list[Finding]:
    return [
        replace(each, found=f"{each.found}; of what this role sees")
        if each.name in hidden
        else each
        for each in findings
    ]


def _schema_version(connection: Connection, schema: str | None) -> Iterator[Finding]:
    found = read_revision(connection, schema)
    if found == REVISION and missing_table(connection, schema) is None:
        yield Finding(name="schema_version", level=Level.OK, found=f"revision {found}")
        return
    level = Level.WARNING if found is not None and is_newer(found) else Level.PROBLEM
    yield _unfit(mismatch(found, schema, connection), level)


def _unfit(error: SchemaVersionError, level: Level) -> Finding:
    said, _, remedy = str(error).partition(": ")
    return Finding(name="schema_version", level=level, found=said, remedy=remedy)


def _parts_of_the_table(connection: Connection, schema: str | None) -> Iterator[Finding]:
    wanted = {
        "indexes": ({str(each.name) for each in message_table().indexes}, sound_indexes),
        "checks": ({*CHECKS, *QUEUE_CHECKS}, sound_checks),
    }
    for name, (names, sound) in wanted.items():
        missing = sorted(names - sound(connection, schema))
        if not missing:
            yield Finding(name=name, level=Level.OK, found=f"all {len(names)} are there and valid")
            continue
        yield Finding(
            name=name,
            level=Level.PROBLEM,
            found=f"missing or not valid: {', '.join(missing)}",
            remedy="REINDEX INDEX CONCURRENTLY what is not valid; create what is missing as in "
            "migrations/versions/0001"
            if name == "indexes"
            else "ALTER TABLE ... VALIDATE CONSTRAINT, or create it as in migrations/versions/0001",
        )


_OF_CLAIMS = {"lapsed_seconds": _LAPSED, "held_seconds": _HELD_LONG}


def _stuck_claims(connection: Connection, schema: str | None) -> Iterator[Finding]:
    rows = shown(connection, schema, statements.stuck_claims, _OF_CLAIMS)
    yield from _of_stuck_claims(connection, schema, rows, _EVERY)


def _stuck_among_few(connection: Connection, schema: str | None) -> Iterator[Finding]:
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
        yield _unseen(name, found, _LONGER)
    if not is_there:
        among = f" among the first and the last {few.first} of each queue" if few.first else ""
        yield Finding(name=name, level=Level.OK, found=f"none{among}")


def _paused(connection: Connection, schema: str | None) -> Iterator[Finding]:
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


def _full(connection: Connection, schema: str | None) -> Iterator[Finding]:
    rows = shown(connection, schema, statements.limited_backlogs, {})
    are_full = False
    for row in rows[:_MOST_LIMITED]:
        backlog = BACKLOG.function(connection, row.queue, schema=schema)
        if not backlog.is_full:
            continue
        are_full = True
        yield Finding(
            name="backlog",
            level=Level.WARNING,
            found=f"{row.queue!r} is full: {backlog.waiting:,} messages wait, max_backlog is "
            f"{backlog.max_backlog:,}, pushes {_ON_FULL[backlog.on_full or 'raise']}",
            remedy="let more workers claim, or more wait: Queue.limit_backlog(...)",
            queue=row.queue,
        )
    if not are_full:
        seen = f" among the first {_MOST_LIMITED}" if len(rows) > _MOST_LIMITED else ""
        found = f"no queue is full{seen}" if rows else "no queue has a max_backlog"
        yield Finding(name="backlog", level=Level.OK, found=found)


def _limited(connection: Connection, schema: str | None) -> Iterator[Finding]:
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


def _dead_letters(connection: Connection, schema: str | None) -> Iterator[Finding]:
    rows = shown(connection, schema, statements.dead_letters, {})
    yield from _of_dead_letters(connection, schema, rows, _EVERY)


def _dead_among_few(connection: Connection, schema: str | None) -> Iterator[Finding]:
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


def _failing(connection: Connection, schema: str | None) -> Iterator[Finding]:
    rows = shown(connection, schema, statements.failing_queues, {})
    stats = shown(connection, schema, statements.queue_stats, {}) if rows else ()
    heads = {row.queue: row.head_attempts for row in stats}
    yield from _of_failing(connection, schema, rows, heads, _EVERY)


def _failing_among_few(connection: Connection, schema: str | None) -> Iterator[Finding]:
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


def _time(value: Any) -> str:
    return "never" if value is None else f"{as_utc(value):%Y-%m-%d %H:%M:%S} UTC"


def _by_error(errors: Mapping[str | None, int]) -> str:
    if errors.keys() == {None}:  # all were released with a text, or with nothing
        return ""
    named = [f"{count} {name or 'without a class'}" for name, count in errors.items()]
    more = len(named) - _MOST_ERRORS
    return ": " + ", ".join(named[:_MOST_ERRORS]) + (f" and {more} more kinds" if more > 0 else "")


def _citus(connection: Connection, schema: str | None) -> Iterator[Finding]:
    for citus in run(connection, diagnosing.citus(), {}):
        nodes = _nodes_of_citus(connection, schema)
        where = f"on {', '.join(nodes)}: its sizes, dead rows and vacuum are to be seen there"
        yield Finding(
            name="citus",
            level=Level.OK,
            found=f"Citus {citus.version} has the schema {where if nodes else 'on this node'}",
        )


def _nodes_of_citus(connection: Connection, schema: str | None) -> list[str]:
    """Return the nodes to which Citus has moved the rows: the table here is an empty shell."""
    if not run(connection, diagnosing.citus(), {}):
        return []
    return [row.address for row in run(connection, diagnosing.citus_nodes(), {"schema": schema})]


def _bloat(connection: Connection, schema: str | None) -> Iterator[Finding]:
    if _nodes_of_citus(connection, schema):
        return
    largest, per_entry = _BLOATED
    rows = run(connection, diagnosing.indexes(), {"schema": schema})
    bloated = [row for row in rows if row.size > max(largest, per_entry * row.entries)]
    for row in bloated:
        yield Finding(
            name="bloat",
            level=Level.WARNING,
            found=f"{row.name} has {row.size / 2**20:.0f} MB for {row.entries:.0f} entries",
            remedy=f"REINDEX INDEX CONCURRENTLY {row.name}; then see old_snapshots and autovacuum",
        )
    if not bloated:
        size = sum(row.size for row in rows) / 2**20
        yield Finding(name="bloat", level=Level.OK, found=f"indexes of {size:.0f} MB in all")


def _old_snapshots(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    rows = run(connection, diagnosing.old_snapshots(), {})
    old = [row for row in rows if _is_old(row)]
    for row in old:
        yield Finding(
            name="old_snapshots",
            level=Level.WARNING,
            found=f"{row.kind} {row.name} ({row.detail}) keeps what died in the last {row.age} "
            "transactions from being removed",
            remedy=_HOW_TO_END[row.kind].format(name=row.name.replace("'", "''")),
        )
    if not old:
        yield Finding(name="old_snapshots", level=Level.OK, found="none older than five minutes")


def _is_old(row: Any) -> bool:
    if row.seconds is None:  # a standby with feedback always has one, usually of this moment
        return bool(row.age > _OLD_TRANSACTIONS)
    return bool(row.seconds > _OLD_SNAPSHOT)


_HOW_TO_END = {
    "backend": "end its transaction, or SELECT pg_terminate_backend({name}); "
    "idle_in_transaction_session_timeout does it by itself",
    "prepared transaction": "COMMIT PREPARED or ROLLBACK PREPARED '{name}'",
    "replication slot": "start its consumer, or SELECT pg_drop_replication_slot('{name}')",
    "standby": "end the long query there, or switch hot_standby_feedback off",
}


def _autovacuum(connection: Connection, schema: str | None) -> Iterator[Finding]:
    settings = _settings(connection)
    (health,) = run(connection, diagnosing.table_health(), {"schema": schema})
    if settings["autovacuum"] != "on" or settings["track_counts"] != "on":
        yield Finding(
            name="autovacuum",
            level=Level.PROBLEM,
            found="autovacuum is off: dead rows stay, and claims get slower and slower",
            remedy="ALTER SYSTEM SET autovacuum = on (and track_counts), then pg_reload_conf()",
        )
    told = {option.partition("=")[0] for option in health.options or []}
    if missing := sorted(set(AUTOVACUUM) - told):
        yield Finding(
            name="autovacuum",
            level=Level.WARNING,
            found=f"the table has not its own settings: {', '.join(missing)}",
            remedy=f"ALTER TABLE {TABLE_NAME} SET ("
            + ", ".join(f"{name} = {AUTOVACUUM[name]}" for name in missing)
            + ")",
        )
    if _nodes_of_citus(connection, schema):
        return
    dead, live = health.dead or 0, health.live or 0
    least, share = _MANY_DEAD
    is_bad = dead > least and dead > share * (live + dead)
    yield Finding(
        name="autovacuum",
        level=Level.WARNING if is_bad else Level.OK,
        found=f"{dead} dead rows beside {live} live ones, last vacuum {_time(health.vacuumed_at)}",
        remedy=f"VACUUM (VERBOSE) {TABLE_NAME} says what keeps them" if is_bad else None,
    )


def _durability(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    settings = _settings(connection)
    off = [name for name in ("fsync", "full_page_writes") if settings[name] != "on"]
    if settings["synchronous_commit"] == "off":
        off.append("synchronous_commit")
    yield Finding(
        name="durability",
        level=Level.WARNING if off else Level.OK,
        found=f"off: {', '.join(off)}; a crash can undo acks that were answered"
        if off
        else "a commit is on disk when it is answered",
        remedy="switch them on, unless the data is disposable" if off else None,
    )
    standbys = run(connection, diagnosing.standbys(), {})
    if standbys and all(standby.sync_state == "async" for standby in standbys):
        yield Finding(
            name="durability",
            level=Level.WARNING,
            found=f"standbys follow asynchronously: {', '.join(each.name for each in standbys)}; "
            "a failover can undo acks that were answered",
            remedy="set synchronous_standby_names, or make the work idempotent by message.id",
        )


def _connections(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    most = int(_settings(connection)["max_connections"])
    used = run(connection, diagnosing.connections(), {})[0].connections
    is_tight = most - used < _CONNECTIONS_LEFT * most
    yield Finding(
        name="connections",
        level=Level.WARNING if is_tight else Level.OK,
        found=f"{used} of {most} are in use",
        remedy="raise max_connections, or put pgbouncer in between" if is_tight else None,
    )


def _session(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    driver: Any = connection.connection.driver_connection
    reported = driver.pgconn.parameter_status(b"server_encoding")  # not by all poolers
    encoding = "UTF8" if reported is None else reported.decode()
    is_stricter = needs_transaction(connection, driver)
    if encoding != "UTF8":
        yield Finding(
            name="session",
            level=Level.WARNING,
            found=f"the database is in {encoding}: what it cannot hold is refused at push, and of "
            "errors only ASCII is kept as it is",
            remedy="create the database with ENCODING 'UTF8'",
        )
    if is_stricter:
        yield Finding(
            name="session",
            level=Level.WARNING,
            found="transactions are stricter than READ COMMITTED by default, so each verb takes "
            "two more round trips",
            remedy="ALTER ROLE ... SET default_transaction_isolation = 'read committed', for the "
            "roles that use queues",
        )
    if encoding == "UTF8" and not is_stricter:
        yield Finding(name="session", level=Level.OK, found="in UTF8 and READ COMMITTED")


def _writable(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    (row,) = run(connection, diagnosing.read_only(), {})
    if not row.is_read_only:
        yield Finding(name="writable", level=Level.OK, found="the server takes what is written")
        return
    found = "it is a standby" if row.is_standby else "default_transaction_read_only is on"
    yield Finding(
        name="writable",
        level=Level.PROBLEM,
        found=f"nothing can be written here, {found}: no push, claim or ack works",
        remedy="connect to the primary: name all hosts in the URL, and "
        "target_session_attrs=read-write"
        if row.is_standby
        else "set it off for the server, the database and the role, unless this is an old primary",
    )


def _search_path(connection: Connection, schema: str | None) -> Iterator[Finding]:
    rows = run(connection, diagnosing.open_path(), {})
    risk = "" if schema else ": a table of our name that is found first would be taken for ours"
    other = "" if schema else "; or name the schema of the table, schema=..."
    for row in rows:
        roles = ", ".join(role if role == "PUBLIC" else quoted(role) for role in row.roles)
        yield Finding(
            name="search_path",
            level=Level.WARNING,
            found=f"{roles} may create objects in the {row.kind.lower()} {row.name!r}, where the "
            f"search path looks{risk}",
            remedy=f"REVOKE CREATE ON {row.kind} {quoted(row.name)} FROM {roles}{other}",
        )
    if not rows:
        found = "nobody else may create objects where it looks"
        yield Finding(name="search_path", level=Level.OK, found=found)


def _clock(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    asked_at = datetime.now(UTC)
    server = _backend(connection).now
    answered_at = datetime.now(UTC)
    apart = (server - (asked_at + (answered_at - asked_at) / 2)).total_seconds()
    is_apart = abs(apart) > _CLOCKS_APART
    yield Finding(
        name="clock",
        level=Level.WARNING if is_apart else Level.OK,
        found=f"the server's is {apart:+.1f} s from this machine's",
        remedy="set both by NTP; leases go by the server's alone" if is_apart else None,
    )


def _pooler(engine: Engine) -> Finding:
    """Tell whether a pooler is in between: it gives out process numbers of its own."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        serving = _backend(connection).pid
        driver: Any = connection.connection.driver_connection
        if driver.info.backend_pid == serving:
            return Finding(name="pooler", level=Level.OK, found="none in between")
        is_prepared = driver.prepare_threshold is not None
        is_shared = _is_shared(engine, serving)
    if is_shared and is_prepared:
        return Finding(
            name="pooler",
            level=Level.WARNING,
            found="one in transaction mode, and prepared statements are on",
            remedy="append ?prepare_threshold=none to the URL, unless it is pgbouncer 1.22 or "
            "later with max_prepared_statements; wake-ups do not pass it",
        )
    mode = "transaction mode: wake-ups do not pass it" if is_shared else "session mode, it seems"
    return Finding(name="pooler", level=Level.OK, found=f"one in {mode}")


def _is_shared(engine: Engine, serving: int) -> bool:
    """Return whether a second client gets the first one's process while that does nothing."""
    with engine.connect() as second, second.begin():
        return bool(_backend(second).pid == serving)


def _backend(connection: Connection) -> Any:
    return run(connection, diagnosing.backend_process(), {})[0]


def _settings(connection: Connection) -> dict[str, str]:
    rows = run(connection, diagnosing.settings(), {})
    return {row.name: row.setting for row in rows}


def _sqlite_settings(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    is_wal = str(mode).lower() in ("wal", "memory")
    yield Finding(
        name="journal",
        level=Level.OK if is_wal else Level.WARNING,
        found=f"journal_mode {mode}",
        remedy=None if is_wal else "PRAGMA journal_mode = WAL: readers and the writer in parallel",
    )
    waits = int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())
    yield Finding(
        name="busy_timeout",
        level=Level.OK if waits else Level.PROBLEM,
        found=f"{waits / 1000:g} s",
        remedy=None if waits else "make the engine with xclaim.create_engine",
    )


def _file_rights(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Tell of SQLite files that others may read; they are left as their owner made them."""
    rows = connection.exec_driver_sql("PRAGMA database_list").all()
    names = [str(row[2]) for row in rows if row[1] == "main" and row[2]]
    files = [Path(f"{name}{ending}") for name in names for ending in ("", "-wal", "-shm")]
    open_ones = [str(file) for file in files if _rights_of_others(file)]
    if open_ones:
        yield Finding(
            name="file_rights",
            level=Level.WARNING,
            found=f"others may read or write {', '.join(open_ones)}, and with it all messages",
            remedy=f"chmod 600 {shlex.join(open_ones)}, unless other users work on it",
        )
    elif names:
        yield Finding(name="file_rights", level=Level.OK, found="for the owner of the file only")


def _payload_folder(_connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Tell of a folder of payloads, as the environment names it, that others may read."""
    payloads = Payloads.from_environment()
    if payloads is None or payloads.storage is None:
        return
    scheme, _, folder = payloads.storage.url.partition("://")
    if scheme != "file" or not Path(folder).is_dir():
        return
    if _rights_of_others(Path(folder)):
        yield Finding(
            name="payload_folder",
            level=Level.WARNING,
            found=f"others may enter {folder}, where payloads lie",
            remedy=f"chmod -R go-rwx {shlex.quote(folder)}; to share it with a group, "
            f"chmod 2770 {shlex.quote(folder)}",
        )
    else:
        yield Finding(name="payload_folder", level=Level.OK, found="for its owner or its group")


def _rights_of_others(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:  # it is not there, or in a folder that even this user cannot enter
        return False
    is_shared = bool(mode & stat.S_ISGID) and path.is_dir()
    return bool(mode & (stat.S_IRWXO if is_shared else stat.S_IRWXG | stat.S_IRWXO))


def _ordering_keys(connection: Connection, schema: str | None) -> Iterator[Finding]:
    if not is_enabled(connection, schema):
        return
    if missing := missing_parts(connection, schema):
        yield Finding(
            name="ordering",
            level=Level.PROBLEM,
            found=f"of what ordering keys need is missing: {', '.join(missing)}",
            remedy=f"run {commands_of(connection).command('ordering enable', schema)}",
        )
    else:
        yield Finding(name="ordering", level=Level.OK, found="ordering keys are enabled")


def _functions(connection: Connection, schema: str | None) -> Iterator[Finding]:
    differences = list(function_checks.verbs_that_differ(connection, schema))
    yield from _of_differences("functions", "", differences)
    if not differences:
        yield Finding(name="functions", level=Level.OK, found="as this xclaim makes them")


def _capabilities(connection: Connection, schema: str | None) -> Iterator[Finding]:
    for capability, differences in function_checks.capabilities_that_differ(connection, schema):
        yield from _of_differences("capabilities", f"in {capability.name!r} ", differences)
        if not differences:
            yield Finding(
                name="capabilities",
                level=Level.OK,
                found=f"{capability.name!r}: {', '.join(capability.verbs)} in {capability.queue!r}",
            )


def _of_differences(name: str, where: str, differences: list[Difference]) -> Iterator[Finding]:
    for each in differences:
        level = Level.PROBLEM if each.is_open else Level.WARNING
        yield Finding(name=name, level=level, found=where + each.found, remedy=each.remedy)


_EVERYWHERE: tuple[Examination, ...] = (
    _parts_of_the_table,
    _ordering_keys,
    _paused,
    _full,
    _limited,
    _stuck_claims,
    _failing,
    _dead_letters,
    _payload_folder,
)
# What counts all messages, and the same of few, for whoever has not so much time.
_AMONG_FEW: dict[Examination, Examination] = {
    _stuck_claims: _stuck_among_few,
    _failing: _failing_among_few,
    _dead_letters: _dead_among_few,
}
_SQLITE: tuple[Examination, ...] = (_sqlite_settings, _file_rights)
_POSTGRESQL: tuple[Examination, ...] = (
    _citus,
    _bloat,
    _old_snapshots,
    _autovacuum,
    _durability,
    _connections,
    _session,
    _writable,
    _search_path,
    _functions,
    _capabilities,
    _clock,
)
# What a transaction of ours would change; they ask for nothing that could be locked.
_OF_THE_SESSION: tuple[Examination, ...] = (_sqlite_settings, _session, _writable)
