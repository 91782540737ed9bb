"""Upgrade and downgrade the schema: the same migrations as ``alembic upgrade head``.

Alembic's commands, ``alembic.context`` and ``alembic.op`` keep what they work on in module globals,
which threads share, and so does a migration of an application that calls this one. Nothing of that
is used here: each run has a MigrationContext of its own and hands its revisions their ``op``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, Table, func, select, text
from sqlalchemy.exc import DBAPIError

from xclaim.connections import direct, missing_files
from xclaim.connections.busy_files import is_busy
from xclaim.connections.engine import create_engine, parse_url
from xclaim.errors import InvalidArgumentError
from xclaim.operations import verb_functions
from xclaim.sql.dialects import POSTGRESQL, SQLITE, dialect_of
from xclaim.sql.revision import (
    has_message_table,
    is_newer,
    mismatch,
    quoted,
    read_revision,
)
from xclaim.sql.schema import REVISION, VERSION_TABLE_NAME, tables
from xclaim.sql.statements import diagnosing
from xclaim.verbs import refuse_hidden_rows, schema_on
from xclaim.verbs.execution import execute

__all__ = ["check", "current", "downgrade", "upgrade"]

Bind = str | Engine | Connection
Steps = Callable[[ScriptDirectory, Any], Iterable[RevisionStep]]

_OURS = {table.name for table in tables().tables.values()}
_PACKAGE = Path(__file__).parents[1]
_logger = logging.getLogger(__name__)
# Any number nobody else locks by: the first bytes of sha256("xclaim").
_LOCK = 0xA58ED9D4
_SILENT_SECONDS = 2
# While a statement waits for its lock on the table, all verbs wait behind it.
_LIMIT_WAITING = (
    "SELECT set_config('lock_timeout', '10s', true) WHERE current_setting('lock_timeout') = '0'"
)
_TAKE_TURN = text("SELECT pg_advisory_xact_lock(:lock)").bindparams(lock=_LOCK)
_HAS_SCHEMA = text("SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = :name")
_LOCK_NOT_AVAILABLE = "55P03"
# PostgreSQL knows tables that a transaction with an older snapshot does not see the rows of.
_NO_REVISION = (
    "the table xclaim_message is there, and its revision is not: if another migration has just "
    "made it run this one again, in a transaction at READ COMMITTED if it is one of your own; else "
    "move the table away"
)
_IS_WORKER = (
    "this server is a worker of Citus, where no schema can be changed: run it through the "
    "coordinator"
)
_WAY_OUT = (
    "another transaction holds what the migration needs. If it is one of your own, as in a "
    "migration of your application, pass its connection: migrate.upgrade(op.get_bind())"
)


def upgrade(bind: Bind, revision: str = "head", *, schema: str | None = None) -> None:
    """Bring the schema to ``revision``, creating it where there is none.

    All of it or nothing. Safe to run from many processes and threads at once, within a migration of
    an application, and again when nothing is to be done. At the last revision the functions of the
    verbs that differ from those of this xclaim are made anew (PostgreSQL), as after another name
    was given to the schema; who may call them still may. On a connection that is passed in it joins
    the caller's transaction, and the caller commits. Raise SchemaVersionError if the database is at
    a revision this xclaim does not know.
    """

    def steps(scripts: ScriptDirectory, heads: Any) -> Iterable[RevisionStep]:
        return scripts._upgrade_revs(revision, heads)  # noqa: SLF001  (what Alembic's command asks)

    _migrate(bind, revision, schema, steps)


def downgrade(bind: Bind, revision: str, *, schema: str | None = None) -> None:
    """Take the schema back to ``revision``; ``base`` drops the table with all its messages."""

    def steps(scripts: ScriptDirectory, heads: Any) -> Iterable[RevisionStep]:
        return scripts._downgrade_revs(revision, heads)  # noqa: SLF001  (see upgrade)

    if not _has_no_file(bind):
        _migrate(bind, revision, schema, steps)


def messages_lost(bind: Bind, revision: str, *, schema: str | None = None) -> dict[str, int] | None:
    """Return the messages, by status, that a downgrade to ``revision`` would drop with their table.

    None: it keeps the table, or there is none. Raise HiddenRowsError if row-level security hides
    some of them from the role.
    """
    scripts = script_directory()
    if _has_no_file(bind):
        return None
    with _reading(bind) as connection:
        resolved = schema_on(connection, schema)
        found = read_revision(connection, resolved)
        if found is None or is_newer(found) or not has_message_table(connection, resolved):
            return None
        with _known(scripts, revision):
            steps = list(scripts._downgrade_revs(revision, found))  # noqa: SLF001  (see upgrade)
        if not steps or steps[-1].revision.down_revision is not None:
            return None
        rows = execute(connection, resolved, _by_status, {})
        refuse_hidden_rows(connection, resolved, "a downgrade that drops the table")
        return {row.status: row.messages for row in rows}


def _by_status(table: Table, _dialect: object) -> Any:
    status = table.c.status
    return select(status, func.count().label("messages")).group_by(status)


def current(bind: Bind, *, schema: str | None = None) -> str | None:
    """Return the revision of the schema, None if there is none."""
    if _has_no_file(bind):
        return None
    with _reading(bind) as connection:
        return read_revision(connection, schema_on(connection, schema))


def check(bind: Bind, *, schema: str | None = None) -> None:
    """Raise SchemaVersionError, saying what to run, unless the schema is the one this xclaim needs.

    A newer schema is refused as well; the verbs themselves keep working on it where they can, so
    that workers can be replaced one by one. A SQLite file that is not there is not made.
    """
    with _reading(bind) as connection:
        resolved = schema_on(connection, schema)
        found = read_revision(connection, resolved)
        if found != REVISION:
            raise mismatch(found, resolved, connection)


def script_location() -> Path:
    """Return the folder of the migrations: in the wheel, or beside ``src`` in a checkout."""
    installed = _PACKAGE / "migrations"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "migrations"


def script_directory() -> ScriptDirectory:
    """Return Alembic's view of the migrations."""
    return ScriptDirectory(str(script_location()))


def revision_modules(scripts: ScriptDirectory) -> list[object]:
    """Return the modules of the revisions, the first one first."""
    return [revision.module for revision in reversed(list(scripts.walk_revisions()))]


@contextmanager
def turn(bind: Bind) -> Iterator[Connection]:
    """Yield a connection in a transaction in which nobody else migrates its database.

    Wait for locks that others hold, and log that after two seconds; the way out is noted on the
    error if they are not to be had. On a connection that is passed
    in, join its transaction with a savepoint: if the caller goes on after an error, nothing is half
    done.
    """
    with _noting_the_way_out():
        if isinstance(bind, Connection):
            with _saying_what_is_waited_for():
                _refuse_autocommit(bind)
                _lock(bind)
            with bind.begin_nested():
                yield bind
            return
        with engine_of(bind) as engine, _connection(engine) as connection:
            take_turn(connection)
            if engine.dialect.name == POSTGRESQL.name:
                direct.run(connection, text(_LIMIT_WAITING), {})
            yield connection
            connection.commit()


def take_turn(connection: Connection) -> None:
    """Wait until nobody else migrates the database, and keep others from it.

    Until the end of the transaction, which is begun unless it was.
    """
    with _saying_what_is_waited_for():
        _lock(connection)


@contextmanager
def placed(connection: Connection, schema: str | None) -> Iterator[str | None]:
    """Yield the schema by its name, and create it, while the search path is empty.

    What is created within binds its functions, operators and types for ever, and whoever migrates
    may be a superuser: it finds PostgreSQL's own, whoever may create objects in a schema of the
    path. The path ends with the transaction at the latest.
    """
    if connection.dialect.name == SQLITE.name:
        yield schema
        return
    (found,) = direct.run(connection, diagnosing.place(), {})
    if schema is None and found.schema is None:
        raise InvalidArgumentError("no schema of the search path is there: name one, schema=...")
    direct.run(connection, diagnosing.set_search_path(), {"search_path": ""})
    if schema is not None:
        _create_schema(connection, schema)
    yield found.schema if schema is None else schema
    direct.run(connection, diagnosing.set_search_path(), {"search_path": found.search_path})


def _create_schema(connection: Connection, schema: str) -> None:
    # Asked first: IF NOT EXISTS wants the right to create one even where it exists.
    (found,) = direct.run(connection, _HAS_SCHEMA, {"name": schema})
    if not found.schemas:
        connection.exec_driver_sql(f"CREATE SCHEMA {quoted(schema)}".replace("%", "%%"))


def context_options(schema: str | None) -> dict[str, Any]:
    """Return how a MigrationContext is configured: here, and in env.py for the command line."""
    return {
        "target_metadata": tables(schema),
        "version_table": VERSION_TABLE_NAME,
        "version_table_schema": schema,
        "include_schemas": schema is not None,
        "include_name": lambda name, kind, _parents: _is_ours(name, kind, schema),
        "transactional_ddl": True,  # SQLite too: the transaction is begun before
    }


def revision_arguments(context: MigrationContext, schema: str | None) -> dict[str, Any]:
    """Return what the functions of a revision are called with."""
    return {"op": Operations(context), "schema": schema}


def _migrate(bind: Bind, revision: str, schema: str | None, steps: Steps) -> None:
    scripts = script_directory()

    def chosen(heads: Any, _context: MigrationContext | None) -> Iterable[RevisionStep]:
        with _known(scripts, revision):
            return steps(scripts, heads)

    with turn(bind) as connection:
        resolved = schema_on(connection, schema)
        is_worker = _is_citus_worker(connection)
        if is_worker and list(chosen(read_revision(connection, resolved), None)):
            raise InvalidArgumentError(_IS_WORKER)
        with placed(connection, resolved) as place:
            found = read_revision(connection, place)
            if found is not None and is_newer(found):
                raise mismatch(found, resolved, connection)
            if found is None and has_message_table(connection, place):
                raise InvalidArgumentError(_NO_REVISION)
            options = {**context_options(place), "fn": chosen}
            context = MigrationContext.configure(connection, opts=options)
            context.run_migrations(**revision_arguments(context, place))
            if not is_worker and read_revision(connection, place) == REVISION:
                verb_functions.make_anew(connection, revision_modules(scripts), place)


def _is_citus_worker(connection: Connection) -> bool:
    if connection.dialect.name == SQLITE.name or not direct.run(connection, diagnosing.citus(), {}):
        return False
    return bool(direct.run(connection, diagnosing.citus_group(), {})[0].number)


@contextmanager
def _known(scripts: ScriptDirectory, revision: str) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        known = ", ".join(script.revision for script in scripts.walk_revisions())
        raise InvalidArgumentError(
            f"revision {revision!r} cannot be reached ({error}): use head, base, or one of {known}"
        ) from error


def _is_ours(name: str | None, kind: str, schema: str | None) -> bool:
    """Keep autogenerate and compare away from the tables of an application or of Airflow."""
    if kind == "schema":
        return name == schema
    return kind != "table" or name in _OURS


def _refuse_autocommit(connection: Connection) -> None:
    if not connection.in_transaction():
        connection.begin()
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == SQLITE.name:
        is_autocommit = driver.isolation_level is None and not driver.in_transaction
    else:
        is_autocommit = getattr(driver, "autocommit", False)
    if is_autocommit:
        raise InvalidArgumentError(
            "the connection is in autocommit, where a migration that fails would stay half done: "
            "pass one that is in a transaction, or the engine"
        )


def _lock(connection: Connection) -> None:
    if not connection.in_transaction():
        connection.begin()
    if dialect_of(connection.dialect.name) is POSTGRESQL:
        direct.run(connection, _TAKE_TURN, {})
        return
    # The driver, left to itself, begins a transaction with the first row and not with a table.
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _saying_what_is_waited_for() -> AbstractContextManager[None]:
    return saying_after(_SILENT_SECONDS, _logger.warning, ["the migration waits: %s", _WAY_OUT])


@contextmanager
def saying_after(seconds: float, log: Callable[..., None], line: list[str]) -> Iterator[None]:
    """Log a line if the block takes longer than that."""
    word = threading.Timer(seconds, log, line)
    word.daemon = True
    word.start()
    try:
        yield
    finally:
        word.cancel()


@contextmanager
def _reading(bind: Bind) -> Iterator[Connection]:
    if isinstance(bind, Connection):
        yield bind
        return
    # In autocommit: a transaction on SQLite would wait for whoever writes.
    with engine_of(bind) as engine:
        missing_files.refuse(engine)
        with engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")


def _has_no_file(bind: Bind) -> bool:
    match bind:
        case Connection():
            return False
        case Engine():
            return missing_files.is_missing(bind.url)
        case url:
            return missing_files.is_missing(parse_url(url))


@contextmanager
def engine_of(bind: str | Engine) -> Iterator[Engine]:
    """Yield the engine, or one for the URL as long as it is needed."""
    if isinstance(bind, Engine):
        yield bind
        return
    engine = create_engine(bind)
    try:
        yield engine
    finally:
        engine.dispose()


def _connection(engine: Engine) -> Connection:
    if dialect_of(engine.dialect.name) is SQLITE:
        missing_files.make(engine)
        return engine.connect()
    # Whatever the engine or role sets: autocommit would give the lock back at once, and a snapshot
    # from before the lock would not show the migration we waited for.
    return engine.connect().execution_options(isolation_level="READ COMMITTED")


@contextmanager
def _noting_the_way_out() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        is_held = is_busy(error.orig) or (
            getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE
        )
        if is_held:
            error.add_note(_WAY_OUT)
        raise
