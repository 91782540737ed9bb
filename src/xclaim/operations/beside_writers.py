"""Change a table of PostgreSQL that is in use: nobody who writes to it waits for long.

Indexes are built and dropped CONCURRENTLY, which takes no transaction: what stops in between leaves
an index that is not valid, and the next run goes on from there. What has to lock the table waits
less than a second for it, because all verbs wait behind it, and then lets them pass.
https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from xclaim.connections import direct
from xclaim.connections.autocommit import new_transaction
from xclaim.connections.calls import break_off
from xclaim.errors import InvalidArgumentError
from xclaim.operations.migrate import saying_after, take_turn
from xclaim.sql.revision import commands_of, qualified
from xclaim.sql.schema import TABLE_NAME
from xclaim.sql.statements import diagnosing

__all__ = ["alone", "build", "drop", "indexes_of", "refuse_read_only", "with_the_table", "within"]

# Any number nobody else locks by: the first bytes of sha256("xclaim ordering").
_LOCK = 0x04A9FFE2
_TRY = text("SELECT pg_try_advisory_xact_lock(:lock) AS is_alone").bindparams(lock=_LOCK)
# Of a run that was killed the server may still build an index. If that had seen the snapshot of
# this question it would wait until the transaction with the lock ends, which waits for the index:
# no deadlock that PostgreSQL could see, because they are two sessions.
_IS_BUILDING = text(
    "SELECT count(*) > 0 AS is_building FROM pg_stat_progress_create_index"
    " WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# Who holds the lock does nothing else, and is meant to. PostgreSQL 17 has the second of them.
_STAY = text(
    "SELECT set_config(name, '0', true) FROM pg_settings"
    " WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')"
)
# A result keeps its snapshot until the next statement, and an index waits for all older snapshots:
# this statement has none.
_FORGET_SNAPSHOT = "SET LOCAL lock_timeout = 0"
# Shorter than it takes PostgreSQL to look for a deadlock, which it might end with the other one.
_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', '800ms', true)")
_AGAIN_AFTER = 0.2  # seconds, of who waits for another run
_ANSWERS_WITHIN = 30.0  # seconds, of the second connection, while the first is in a transaction
_TRIES, _LET_PASS = 20, 0.5  # for the table, and seconds in between
_SILENT_SECONDS = 10.0
_LOCK_NOT_AVAILABLE, _NOT_UNIQUE, _CANCELLED = "55P03", "23505", "57014"
_BUSY = (
    "another transaction uses the table and does not end (pg_locks, pg_stat_activity): run it "
    "again when it has"
)
_TOO_SLOW = (
    "a timeout of this role is too short for it: end the transactions that it waits for, or let it "
    "take its time with ?options=-cstatement_timeout=0%20-clock_timeout=0 in the URL"
)
_GOES_ON = "what was made stays: run it again, and it goes on from there"
_NOT_UNIQUE_NOTE = "two messages lead the line of one ordering key: %s says which"
_NEEDS_TWO = "this takes two connections at once"
_IN_ONE = (
    "; or pass a connection of your own, in whose transaction it is done while nobody else writes"
)
_ONE_OF_THE_ENGINE = (
    f"{_NEEDS_TWO}, and the pool of the engine has no second one (%s): pass the URL, or an engine "
    f"with pool_size=2 or more{_IN_ONE}"
)
_ONE_OF_A_POOLER = (
    f"{_NEEDS_TWO}, and the second one got no answer within %g s while the first was in a "
    "transaction: a pooler in between lends one session of the server at a time; raise its "
    f"pool size to 2 or more, or connect past it{_IN_ONE}"
)
_STANDBY = "this server is a standby, which changes nothing: run it on the primary"
_READ_ONLY = "default_transaction_read_only is on in this session: run it as a role that may write"
_IS_BUILT = "an index is being built: this run waits for it"
_ANOTHER_RUN = (
    "another run is at work on the indexes of ordering keys, or an index is being built: this one "
    "waits for it"
)
_AT_WORK = (
    "at work on %s: it reads the table, and waits for the transactions that began before it; "
    "nobody waits for it"
)
_logger = logging.getLogger(__name__)


@contextmanager
def alone(engine: Engine) -> Iterator[Connection]:
    """Yield a connection in autocommit, while nobody else changes the table in this way.

    A second connection holds the lock in a transaction of its own, so that it ends with this
    process, and behind a pooler, too, that shares its sessions after each transaction. There is no
    third one. Raise InvalidArgumentError where there are no two.
    """
    with saying_after(_SILENT_SECONDS, _logger.warning, [_ANOTHER_RUN]):
        holding = _holding_the_lock(engine)
    with holding:
        direct.run(holding, _STAY, {})
        holding.exec_driver_sql(_FORGET_SNAPSHOT)
        with _another(engine, holding) as connection:
            yield connection


def _holding_the_lock(engine: Engine) -> Connection:
    """Return a connection in the transaction of which nobody else is at work.

    Asked again and again, each time in a new transaction: one that waited would have a snapshot,
    and the other run's index would wait for that. In between the connection is the pool's, from
    which the other run may be waiting for its second one.
    """
    while True:
        with ExitStack() as closing:
            connection = closing.enter_context(engine.connect())
            connection.execution_options(isolation_level="READ COMMITTED")
            refuse_read_only(connection)
            if _is_alone(connection) and not _is_building(connection):
                closing.pop_all()
                return connection
        time.sleep(_AGAIN_AFTER)


@contextmanager
def _another(engine: Engine, first: Connection) -> Iterator[Connection]:
    """Yield a second connection in autocommit, if there is one while the first is in use."""
    try:
        connection = engine.connect()
    except NoConnectionError as error:
        raise InvalidArgumentError(_ONE_OF_THE_ENGINE % engine.pool.status()) from error
    with connection:
        if connection.connection.driver_connection is first.connection.driver_connection:
            raise InvalidArgumentError(_ONE_OF_THE_ENGINE % engine.pool.status())
        connection.execution_options(isolation_level="AUTOCOMMIT")
        _check_that_it_answers(connection)
        yield connection


def _check_that_it_answers(connection: Connection) -> None:
    """Raise InvalidArgumentError if it gets no session of the server: then it would wait for ever.

    The server cannot end what it has not got, so the socket is closed.
    """
    is_given_up = threading.Event()

    def give_up() -> None:
        is_given_up.set()
        break_off(connection)

    waiting = threading.Timer(_ANSWERS_WITHIN, give_up)
    waiting.daemon = True
    waiting.start()
    try:
        connection.exec_driver_sql("SELECT 1")
    except DBAPIError as error:
        if not is_given_up.is_set():
            raise
        raise InvalidArgumentError(_ONE_OF_A_POOLER % _ANSWERS_WITHIN) from error
    finally:
        waiting.cancel()


def within(connection: Connection) -> None:
    """Keep others from changing the table until the transaction of this connection ends.

    Raise InvalidArgumentError if somebody does: it would wait for the snapshot of this transaction.
    """
    refuse_read_only(connection)
    if not _is_alone(connection):
        raise InvalidArgumentError(
            "another run is at work on the indexes of ordering keys: run this one again after it"
        )


def refuse_read_only(connection: Connection) -> None:
    """Raise InvalidArgumentError where nothing can be changed."""
    (row,) = direct.run(connection, diagnosing.read_only(), {})
    if row.is_read_only:
        raise InvalidArgumentError(_STANDBY if row.is_standby else _READ_ONLY)


def indexes_of(connection: Connection, schema: str | None) -> dict[str, bool]:
    """Return the indexes of the table by name, and whether each is valid."""
    rows = direct.run(connection, diagnosing.indexes(), {"schema": schema})
    return {row.name: row.is_valid for row in rows}


def build(connection: Connection, schema: str, name: str, statement: str) -> None:
    """Build an index, unless it is there and valid; what an earlier run left of it goes."""
    is_valid = indexes_of(connection, schema).get(name)
    if is_valid is False:
        _wait_for_builders(connection, schema)
        is_valid = indexes_of(connection, schema).get(name)
    if is_valid:
        return
    if is_valid is False:
        drop(connection, schema, name)
    _run_slowly(connection, schema, name, statement)


def drop(connection: Connection, schema: str, name: str) -> None:
    """Drop an index, if it is there."""
    statement = f"DROP INDEX CONCURRENTLY IF EXISTS {qualified(name, schema)}"
    _run_slowly(connection, schema, name, statement)


def with_the_table(
    connection: Connection, schema: str, locking: str, change: Callable[[Connection], None]
) -> None:
    """Lock the table and change it, in a short transaction on a connection in autocommit.

    Let others pass when the lock was not to be had in time, and try again.
    """
    for tried in range(1, _TRIES + 1):
        try:
            with _noting(connection, schema, _BUSY), new_transaction(connection):
                take_turn(connection)
                direct.run(connection, _LOCK_TIMEOUT, {})
                connection.exec_driver_sql(locking.replace("%", "%%"))
                change(connection)
                return
        except DBAPIError as error:
            is_busy = getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE
            if not is_busy or tried == _TRIES:
                raise
            if tried == 1:
                _logger.warning(
                    "the table is not to be had: who uses it lets nobody lock it; trying again"
                )
        time.sleep(_LET_PASS)


def _is_alone(connection: Connection) -> bool:
    (row,) = direct.run(connection, _TRY, {})
    return bool(row.is_alone)


def _is_building(connection: Connection) -> bool:
    (row,) = direct.run(connection, _IS_BUILDING, {})
    return bool(row.is_building)


def _wait_for_builders(connection: Connection, schema: str) -> None:
    """Return when nobody builds an index any more: the server goes on for a client that is gone."""
    table = qualified(TABLE_NAME, schema)
    with (
        saying_after(_SILENT_SECONDS, _logger.warning, [_IS_BUILT]),
        new_transaction(connection),
    ):
        locking = f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE".replace("%", "%%")
        connection.exec_driver_sql(locking)


def _run_slowly(connection: Connection, schema: str, name: str, statement: str) -> None:
    with (
        _noting(connection, schema, _TOO_SLOW),
        saying_after(_SILENT_SECONDS, _logger.warning, [_AT_WORK, name]),
    ):
        connection.exec_driver_sql(statement.replace("%", "%%"))


@contextmanager
def _noting(connection: Connection, schema: str, too_long: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state == _NOT_UNIQUE:
            error.add_note(_NOT_UNIQUE_NOTE % commands_of(connection).command("audit", schema))
        elif state in (_LOCK_NOT_AVAILABLE, _CANCELLED):
            error.add_note(too_long)
        error.add_note(_GOES_ON)
        raise
