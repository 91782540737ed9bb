"""Ask the database something without changing anything, and for no longer than a while.

Each look is one read-only transaction. What ends it is the database's own clock: PostgreSQL's
``statement_timeout``, set for this transaction alone, which a pooler in transaction mode keeps on
the same connection; on SQLite a handler that it calls while it works. So nothing that a page asks
for, however large the table is, holds a snapshot for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from xclaim.connections import direct, missing_files
from xclaim.connections.autocommit import AT_ONCE
from xclaim.connections.busy_files import is_busy
from xclaim.errors import ObservationTimeoutError, XclaimError
from xclaim.observing.rows import decoded
from xclaim.sql import full_names
from xclaim.sql.dialects import POSTGRESQL, SQLITE, Dialect, dialect_of
from xclaim.sql.schema import message_table
from xclaim.sql.statements import observing_rights, unsendable
from xclaim.verbs import schema_on
from xclaim.verbs.execution import schema_error

Build = Callable[..., Any]  # of a statement, from the table and the dialect

_QUERY_CANCELED = "57014"
_LOCK_NOT_AVAILABLE = "55P03"
_SQLITE_INTERRUPT = 9
_SQLITE_NOT_WRITABLE = (3, 8, 10, 14)  # no permission, read-only, the file system, not to be opened
_SQLITE_STEPS = 5_000  # of its virtual machine between two looks at the clock: some 0.1 ms
_CLOSE = 0.005  # seconds: by how much the clock of the server may be ahead of ours
_MUCH = 0.1  # of the time: when so much of it was used, the database is told what is left
_OF_LOCKS = 0.9  # of the time: whoever waits for a lock longer is told that it was a lock

# REPEATABLE READ: several statements see the same messages. To compile a statement takes longer
# than to run it if it is bounded, and so does starting other processes for it.
_BEGIN = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
    " SET LOCAL statement_timeout = {milliseconds}; SET LOCAL lock_timeout = {lock_milliseconds};"
    " SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"
)


class Question:
    """An open look at the database: ask it for rows. Of ``asking``, which ends it."""

    def __init__(
        self, connection: Connection, schema: str | None, what: str, timeout: float
    ) -> None:
        self.connection = connection
        self.schema = schema
        self.dialect: Dialect = dialect_of(connection.dialect.name)
        self.sends_bytes = False  # of texts, because one of them cannot be sent as it is
        self._what = what
        self._timeout = timeout
        self._ends_at = time.monotonic() + timeout
        self._told = timeout
        self.lock_seconds = _OF_LOCKS * timeout

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite, which has neither roles nor statistics of its work."""
        return self.dialect is SQLITE

    def rows(
        self, build: Build, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> Sequence[Any]:
        """Build a statement for this database, with these options, and return all its rows.

        Raise ObservationTimeoutError when the time is over, SchemaVersionError where the schema is
        not ours.
        """
        statement = build(message_table(self.schema), self.dialect, **options)
        return self.run(statement, parameters)

    def texts(
        self, build: Build, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> Sequence[Any]:
        """Do as ``rows``, also where texts have to be sent as bytes, which are read as texts."""
        if not self.sends_bytes:
            return self.rows(build, parameters, **options)
        statement = build(message_table(self.schema), self.dialect, **options)
        return decoded(self.run(unsendable.in_bytes(statement), parameters))

    def run(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Run a statement that is built already, and return all its rows."""
        self._heed_the_clock()
        try:
            # Planned anew each time: the numbers it is given decide how it is best done.
            return direct.run(self.connection, statement, parameters or {}, prepare=False)
        except DBAPIError as error:
            said = self._said(error)
            if said is None:
                raise
            raise said from error

    def plan(self, build: Build, parameters: Mapping[str, Any]) -> Any:
        """Return how PostgreSQL would run a statement, as JSON. Nothing is run."""
        self._heed_the_clock()
        statement = build(message_table(self.schema), self.dialect)
        sent = str(statement.compile(dialect=full_names.dialect()))
        return _send(self.connection, f"EXPLAIN (FORMAT JSON) {sent}", parameters).scalar()

    def is_so(self, statement: Any, parameters: Mapping[str, Any]) -> bool:
        """Return whether a condition of others holds, a policy's say; not, if it cannot be asked.

        It is sent as it stands: it has names of the search path, and was read along that path.
        """
        self._heed_the_clock()
        savepoint = "xclaim_is_so"
        _send(self.connection, f"SAVEPOINT {savepoint}")
        try:
            return bool(self.connection.execute(statement, parameters).scalar())
        except DBAPIError:
            if self.connection.invalidated or self.is_over():
                raise
            _send(self.connection, f"ROLLBACK TO SAVEPOINT {savepoint}")
            return False

    def can_be_written(self) -> bool:
        """Return whether the process can write to the file of SQLite, which is busy or not."""
        _send(self.connection, "PRAGMA query_only = 0")
        _send(self.connection, "PRAGMA busy_timeout = 0")  # busy is answer enough
        try:
            _send(self.connection, str(observing_rights.changes_nothing()))
        except DBAPIError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if is_busy(error.orig) or code in _SQLITE_NOT_WRITABLE:
                return code not in _SQLITE_NOT_WRITABLE
            raise schema_error(self.connection, self.schema, error) or error from None
        finally:
            _send(self.connection, "ROLLBACK")
            _send(self.connection, f"PRAGMA busy_timeout = {_milliseconds(self._timeout)}")
            _send(self.connection, "PRAGMA query_only = 1")
            _send(self.connection, "BEGIN")
        return True

    def is_over(self) -> bool:
        """Return whether no time is left."""
        return time.monotonic() >= self._ends_at - _CLOSE

    def _heed_the_clock(self) -> None:
        """Let the database end the next statement in time, too; a statement more takes time."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise ObservationTimeoutError(self._what, self._timeout)
        if self.dialect is POSTGRESQL and self._told - left > _MUCH * self._timeout:
            self._told = left
            locked = min(self.lock_seconds, _OF_LOCKS * left)
            _send(
                self.connection,
                f"SET LOCAL statement_timeout = {_milliseconds(left)};"
                f" SET LOCAL lock_timeout = {_milliseconds(locked)}",
            )

    def _said(self, error: DBAPIError) -> XclaimError | None:
        state = getattr(error.orig, "sqlstate", None)
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        is_locked = is_locked_out(error)
        is_ended = self.is_over() and (state == _QUERY_CANCELED or code == _SQLITE_INTERRUPT)
        if is_locked or is_ended:
            return ObservationTimeoutError(self._what, self._timeout, is_locked=is_locked)
        if self.dialect is POSTGRESQL and not self.connection.invalidated:
            with suppress(DBAPIError):
                _send(self.connection, "ROLLBACK")  # else nothing more could be asked
        return schema_error(self.connection, self.schema, error)


@contextmanager
def asking(engine: Engine, schema: str | None, timeout: timedelta, what: str) -> Iterator[Question]:
    """Open a look at the database, for ``timeout`` at most.

    ``what`` completes "the database did not say". Raise SchemaVersionError if the SQLite file is
    not there: none is made. The connection is taken from the engine's pool and given back.
    """
    missing_files.refuse(engine)
    resolved = schema_on(engine, schema)
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        limiting(connection, resolved, timeout, what) as question,
    ):
        yield question


@contextmanager
def limiting(
    connection: Connection,
    schema: str | None,
    timeout: timedelta,
    what: str,
    *,
    lock_timeout: timedelta | None = None,
) -> Iterator[Question]:
    """Limit what the block asks on a connection under autocommit, as ``asking`` does.

    ``lock_timeout``: how much of the time may go by waiting for one lock of PostgreSQL, nearly all
    by default.
    """
    seconds = timeout.total_seconds()
    question = Question(connection, schema, what, seconds)
    if lock_timeout is not None:
        question.lock_seconds = lock_timeout.total_seconds()
    if connection.dialect.name == SQLITE.name:
        with _on_sqlite(connection, question, seconds):
            yield question
        return
    with _on_postgresql(connection, seconds, question.lock_seconds):
        yield question


def is_ended(error: DBAPIError) -> bool:
    """Return whether the database ended a statement because its time was over."""
    state = getattr(error.orig, "sqlstate", None)
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return state == _QUERY_CANCELED or code == _SQLITE_INTERRUPT


def is_locked_out(error: DBAPIError) -> bool:
    """Return whether a statement has waited too long for somebody else's lock."""
    return getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE or is_busy(error.orig)


@contextmanager
def _on_postgresql(connection: Connection, seconds: float, lock_seconds: float) -> Iterator[None]:
    begin = _BEGIN.format(
        milliseconds=_milliseconds(seconds), lock_milliseconds=_milliseconds(lock_seconds)
    )
    _send(connection, begin)
    with _ended(connection):
        yield


@contextmanager
def _on_sqlite(connection: Connection, question: Question, seconds: float) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    patience = _send(connection, "PRAGMA busy_timeout").scalar()
    is_for_looking = _send(connection, "PRAGMA query_only").scalar()
    _send(connection, f"PRAGMA busy_timeout = {_milliseconds(seconds)}")
    _send(connection, "PRAGMA query_only = 1")
    driver.set_progress_handler(question.is_over, _SQLITE_STEPS)
    try:
        _send(connection, "BEGIN")
        with _ended(connection):
            yield
    finally:
        driver.set_progress_handler(None, 0)
        if not connection.invalidated:
            _send(connection, f"PRAGMA query_only = {is_for_looking:d}")
            _send(connection, f"PRAGMA busy_timeout = {patience:d}")


@contextmanager
def _ended(connection: Connection) -> Iterator[None]:
    """Roll back after the block: nothing was changed, and no setting stays."""
    try:
        yield
    except BaseException:
        with suppress(DBAPIError):  # the one that is on its way says more
            _roll_back(connection)
        raise
    _roll_back(connection)


def _roll_back(connection: Connection) -> None:
    if not connection.invalidated:
        _send(connection, "ROLLBACK")


def _send(connection: Connection, sql: str, parameters: Any = None) -> Any:
    return connection.exec_driver_sql(sql, parameters, execution_options=AT_ONCE)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # 0 would be for ever
