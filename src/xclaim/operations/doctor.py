"""Look at what surrounds a queue and slows it down or makes it forget, each with the remedy.

Everything here is advice: no promise of a verb rests on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from xclaim.connections import missing_files
from xclaim.connections.direct import run
from xclaim.connections.encodings import check_names
from xclaim.errors import SchemaVersionError
from xclaim.observing.asking import is_ended, is_locked_out, limiting
from xclaim.operations import (
    doctor_of_files,
    doctor_of_queues,
    doctor_of_server,
    function_checks,
)
from xclaim.operations.audit import sound_checks, sound_indexes
from xclaim.operations.findings import LONGER, Finding, Level, unseen
from xclaim.operations.function_checks import Difference
from xclaim.operations.ordering import is_begun
from xclaim.operations.ordering_parts import GRANTS, differing_parts, missing_parts
from xclaim.sql.dialects import POSTGRESQL, SQLITE
from xclaim.sql.revision import (
    commands_of,
    is_newer,
    mismatch,
    missing_table,
    read_revision,
)
from xclaim.sql.schema import CHECKS, QUEUE_CHECKS, REVISION, message_table
from xclaim.sql.statements import diagnosing
from xclaim.verbs import hides_rows, schema_on
from xclaim.verbs.ordering import is_enabled
from xclaim.verbs.unsendable import is_unsendable

__all__ = ["Finding", "Level", "examine"]

_PATIENCE = timedelta(minutes=5)  # of who runs it by hand
_TIMES = 3  # as long as one thing may take all things together
_LOCKED = timedelta(seconds=1)


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
        check_names(connection, schema=schema)
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
        findings.append(doctor_of_server.pooler(engine))
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
            return [unseen(name, "not looked at: the others took all the time", LONGER)]
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
        return unseen(name, f"could not look: somebody has locked it ({refused})", remedy)
    if isinstance(error, DBAPIError) and is_ended(error):
        return unseen(name, f"could not look in time ({refused})", LONGER)
    remedy = "run it as the owner of the table, or grant pg_monitor"
    return unseen(name, f"could not look ({refused})", remedy)


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


def _ordering(connection: Connection, schema: str | None) -> Iterator[Finding]:
    is_on = is_enabled(connection, schema)
    is_half = not is_on and connection.dialect.name != SQLITE.name and is_begun(connection, schema)
    if not is_on and not is_half:
        return
    enable = commands_of(connection).command("ordering enable", schema)
    if missing := missing_parts(connection, schema):
        found = f"of what ordering keys need is missing: {', '.join(missing)}"
        yield Finding(
            name="ordering",
            level=Level.WARNING if is_half else Level.PROBLEM,
            found=f"not enabled, but begun: {found}" if is_half else found,
            remedy=f"run {enable}" + (", which goes on, or disable" if is_half else ""),
        )
    if differing := differing_parts(connection, schema):
        listed = "; ".join(f"{name} in {what}" for name, what in differing.items())
        yield Finding(
            name="ordering",
            level=Level.WARNING if {*differing.values()} == {GRANTS} else Level.PROBLEM,
            found=f"not as this xclaim makes it: {listed}",
            remedy=f"run {enable} as the owner of the table, which makes it anew",
        )
    if not missing and not differing:
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
    _ordering,
    doctor_of_queues.paused,
    doctor_of_queues.backlog,
    doctor_of_queues.limits,
    doctor_of_queues.stuck_claims,
    doctor_of_queues.failing,
    doctor_of_queues.dead_letters,
    doctor_of_files.payload_folder,
)
# What counts all messages, and the same of few, for whoever has not so much time.
_AMONG_FEW: dict[Examination, Examination] = {
    doctor_of_queues.stuck_claims: doctor_of_queues.stuck_among_few,
    doctor_of_queues.failing: doctor_of_queues.failing_among_few,
    doctor_of_queues.dead_letters: doctor_of_queues.dead_among_few,
}
_SQLITE: tuple[Examination, ...] = (doctor_of_files.sqlite_settings, doctor_of_files.file_rights)
_POSTGRESQL: tuple[Examination, ...] = (
    doctor_of_server.citus,
    doctor_of_server.bloat,
    doctor_of_server.old_snapshots,
    doctor_of_server.autovacuum,
    doctor_of_server.durability,
    doctor_of_server.connections,
    doctor_of_server.session,
    doctor_of_server.writable,
    doctor_of_server.search_path,
    _functions,
    _capabilities,
    doctor_of_server.clock,
)
# What a transaction of ours would change; they ask for nothing that could be locked.
_OF_THE_SESSION: tuple[Examination, ...] = (
    doctor_of_files.sqlite_settings,
    doctor_of_server.session,
    doctor_of_server.writable,
)
