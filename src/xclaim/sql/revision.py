"""Which revision of the xclaim schema a database has, read without Alembic."""

from __future__ import annotations

from sqlalchemy import Connection, column, inspect, select, table

from xclaim.errors import SchemaVersionError
from xclaim.sql.schema import REVISION, REVISIONS, TABLE_NAME, VERSION_TABLE_NAME


def read_revision(connection: Connection, schema: str | None) -> str | None:
    """Return the Alembic revision of the xclaim schema, None if there is none."""
    inspector = inspect(connection)
    if not inspector.has_table(VERSION_TABLE_NAME, schema=schema):
        return None
    version = table(VERSION_TABLE_NAME, column("version_num"), schema=schema)
    return connection.scalar(select(version.c.version_num))


def is_newer(revision: str) -> bool:
    """Return whether a later xclaim made this revision: ours does not know it."""
    return revision not in REVISIONS


def needs_upgrade(found: str | None) -> bool:
    """Return whether the schema is missing, or older than this code needs."""
    return found is None or (found != REVISION and not is_newer(found))


def mismatch(found: str | None, schema: str | None) -> SchemaVersionError:
    """Return the error that says what was found, what is needed, and what to run."""
    newer = found is not None and is_newer(found)
    return SchemaVersionError(found=found, expected=REVISION, newer=newer, schema=schema)


def has_message_table(connection: Connection, schema: str | None) -> bool:
    """Return whether the message table is there, whatever its columns."""
    return inspect(connection).has_table(TABLE_NAME, schema=schema)
