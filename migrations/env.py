"""Run the migrations on the connection xclaim passes in, or on a URL from the command line.

From the command line the database is ``-x url=...`` or XCLAIM_DATABASE_URL, and the PostgreSQL
schema, if any, ``-x schema=...`` or XCLAIM_SCHEMA. Online only: SQL scripts (``--sql``) are not
offered, because the schema is created and locked by what is found there.
"""

import os
from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateSchema

from xclaim.connections.engine import create_engine
from xclaim.sql.schema import TABLE_NAME, VERSION_TABLE_NAME, message_table

# Any number nobody else locks by: the first bytes of sha256("xclaim").
UPGRADE_LOCK = 0xA58ED9D4


def run(connection: Connection, schema: str | None) -> None:
    """Migrate within one transaction, one process at a time."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
        # Asked first: IF NOT EXISTS wants the right to create one even where it exists.
        if schema is not None and not inspect(connection).has_schema(schema):
            connection.execute(CreateSchema(schema))
    context.configure(
        connection=connection,
        target_metadata=message_table(schema).metadata,
        version_table=VERSION_TABLE_NAME,
        version_table_schema=schema,
        include_schemas=schema is not None,
        include_name=lambda name, kind, _parents: is_ours(name, kind, schema),
        transactional_ddl=True,  # SQLite too: the engine opens the transaction itself
        schema=schema,
    )
    with context.begin_transaction():
        context.run_migrations(schema=schema)


def is_ours(name: str | None, kind: str, schema: str | None) -> bool:
    """Keep autogenerate and compare away from the tables of an application or of Airflow."""
    if kind == "schema":
        return name == schema
    return kind != "table" or name == TABLE_NAME


def run_from_command_line() -> None:
    """Find the database as ``xclaim upgrade`` does."""
    if context.config.config_file_name is not None:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    options = context.get_x_argument(as_dictionary=True)
    url = options.get("url") or os.environ.get("XCLAIM_DATABASE_URL")
    if not url:
        raise CommandError("no database: set XCLAIM_DATABASE_URL, or pass -x url=postgresql://...")
    engine = create_engine(url)
    with engine.begin() as connection:
        run(connection, options.get("schema") or os.environ.get("XCLAIM_SCHEMA") or None)
    engine.dispose()


if context.is_offline_mode():
    raise CommandError("--sql is not offered: run the migration against a database")
if "connection" in context.config.attributes:
    run(context.config.attributes["connection"], context.config.attributes.get("schema"))
else:
    run_from_command_line()
