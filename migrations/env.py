"""Run the migrations from the command line: ``alembic upgrade head`` in a checkout.

The database is ``-x url=...`` or XCLAIM_DATABASE_URL, and the PostgreSQL schema, if any, ``-x
schema=...`` or XCLAIM_SCHEMA. Online only: SQL scripts (``--sql``) are not offered, because the
schema is created and locked by what is found there. ``xclaim upgrade`` runs the same revisions in
the same way, but without this file.
"""

import os
from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError

from xclaim.operations import migrate
from xclaim.verbs import resolve_schema


def run() -> None:
    """Find the database as ``xclaim upgrade`` does, and migrate it in one transaction."""
    if context.is_offline_mode():
        raise CommandError("--sql is not offered: run the migration against a database")
    if context.config.config_file_name is not None:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    options = context.get_x_argument(as_dictionary=True)
    url = options.get("url") or os.environ.get("XCLAIM_DATABASE_URL")
    if not url:
        raise CommandError("no database: set XCLAIM_DATABASE_URL, or pass -x url=postgresql://...")
    with migrate.turn(url) as connection:
        named = resolve_schema(options.get("schema"), connection.dialect.name)
        with migrate.placed(connection, named) as schema:
            context.configure(connection=connection, **migrate.context_options(schema))
            with context.begin_transaction():
                context.run_migrations(**migrate.revision_arguments(context.get_context(), schema))


run()
