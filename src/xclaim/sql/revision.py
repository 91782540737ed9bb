"""Which revision of the xclaim schema a database has, read without Alembic."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect

from xclaim.errors import Commands, SchemaVersionError
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import (
    REVISION,
    REVISIONS,
    TABLE_NAME,
    VERSION_TABLE_NAME,
    VIEW_NAME,
    tables,
)

# An execution option of ours: how somebody calls our commands who has this engine.
COMMANDS = "xclaim_commands"
_FIND = "SELECT pg_catalog.to_regclass(%(name)s::pg_catalog.text)"


def read_revision(connection: Connection, schema: str | None) -> str | None:
    """Return the Alembic revision of the xclaim schema, None if there is none."""
    if not _has_table(connection, VERSION_TABLE_NAME, schema):
        return None
    table = qualified(VERSION_TABLE_NAME, schema).replace("%", "%%")
    version: str | None = connection.exec_driver_sql(
        f"SELECT version_num FROM {table}"  # noqa: S608  (quoted)
    ).scalar()
    return version


def qualified(name: str, schema: str | None) -> str:
    """Return the name of a table or view of ours as SQL, in a PostgreSQL schema if one is said."""
    return name if schema is None else f"{quoted(schema)}.{name}"


def quoted(name: str) -> str:
    """Return a name as SQL, whatever it consists of."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def is_newer(revision: str) -> bool:
    """Return whether a later xclaim made this revision: ours does not know it."""
    return revision not in REVISIONS


def needs_upgrade(found: str | None) -> bool:
    """Return whether the schema is missing, or older than this code needs."""
    return found is None or (found != REVISION and not is_newer(found))


def mismatch(
    found: str | None, schema: str | None, connection: Connection, *, function: str | None = None
) -> SchemaVersionError:
    """Return the error that says what was found, what is needed, and what to run.

    ``connection``: one of the engine that the commands are about. ``function``: the one of ours
    that failed.
    """
    return SchemaVersionError(
        found=found,
        expected=REVISION,
        newer=found is not None and is_newer(found),
        schema=schema,
        missing_table=(
            missing_table(connection, schema) if found == REVISION and function is None else None
        ),
        function=function,
        commands=commands_of(connection),
    )


def commands_of(bind: Engine | Connection) -> Commands:
    """Return how commands are called on a database: as its engine was told, else without more."""
    commands: Commands = bind.get_execution_options().get(COMMANDS, Commands())
    return commands


def has_message_table(connection: Connection, schema: str | None) -> bool:
    """Return whether the message table is there, whatever its columns."""
    return _has_table(connection, TABLE_NAME, schema)


def missing_table(connection: Connection, schema: str | None) -> str | None:
    """Return the name of a table of ours that is not there, None if all are."""
    names = [table.name for table in tables().tables.values()]
    return next((name for name in names if not _has_table(connection, name, schema)), None)


def is_whole(connection: Connection) -> bool:
    """Return whether a file of SQLite has all columns of our tables, and our view."""
    inspector = inspect(connection)
    for table in tables().tables.values():
        if not inspector.has_table(table.name):
            return False
        found = {column["name"] for column in inspector.get_columns(table.name)}
        if not {column.name for column in table.c} <= found:
            return False
    return inspector.has_table(VIEW_NAME)


def _has_table(connection: Connection, name: str, schema: str | None) -> bool:
    if connection.dialect.name != POSTGRESQL.name:
        return inspect(connection).has_table(name)
    # Not by SQLAlchemy, which looks for its operators along the search path.
    found = connection.exec_driver_sql(_FIND, {"name": qualified(name, schema)})
    return found.scalar() is not None
