"""Upgrade and downgrade the schema: the same migrations as ``alembic upgrade head``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from xclaim.connections.engine import create_engine
from xclaim.errors import InvalidArgumentError
from xclaim.sql.revision import is_newer, mismatch, read_revision
from xclaim.sql.schema import REVISION
from xclaim.verbs import resolve_schema

__all__ = ["check", "current", "downgrade", "upgrade"]

_PACKAGE = Path(__file__).parents[1]


def upgrade(bind: str | Engine, revision: str = "head", *, schema: str | None = None) -> None:
    """Bring the schema to ``revision``, creating it where there is none.

    Safe to run from many processes at once, and again when nothing is to be done. Raise
    SchemaVersionError if the database is at a revision this xclaim does not know.
    """
    with _engine(bind) as engine, _connection(engine) as connection:
        _refuse_newer(connection, schema)
        with _command_errors(revision):
            command.upgrade(_config(connection, schema), revision)


def downgrade(bind: str | Engine, revision: str, *, schema: str | None = None) -> None:
    """Take the schema back to ``revision``; ``base`` drops the table with all its messages."""
    with _engine(bind) as engine, _connection(engine) as connection:
        _refuse_newer(connection, schema)
        with _command_errors(revision):
            command.downgrade(_config(connection, schema), revision)


def current(bind: str | Engine, *, schema: str | None = None) -> str | None:
    """Return the revision of the schema, None if there is none."""
    with _engine(bind) as engine, engine.connect() as connection:
        return read_revision(connection, resolve_schema(schema, engine.dialect.name))


def check(bind: str | Engine, *, schema: str | None = None) -> None:
    """Raise SchemaVersionError, saying what to run, unless the schema is the one this xclaim needs.

    A newer schema is refused as well; the verbs themselves keep working on it where they can, so
    that workers can be replaced one by one.
    """
    found = current(bind, schema=schema)
    if found != REVISION:
        raise mismatch(found)


def script_location() -> Path:
    """Return the folder of the migrations: in the wheel, or beside ``src`` in a checkout."""
    installed = _PACKAGE / "migrations"
    return installed if installed.is_dir() else _PACKAGE.parents[1] / "migrations"


def script_directory() -> ScriptDirectory:
    """Return Alembic's view of the migrations."""
    return ScriptDirectory(str(script_location()))


def _config(connection: Connection, schema: str | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["schema"] = resolve_schema(schema, connection.dialect.name)
    return config


@contextmanager
def _engine(bind: str | Engine) -> Iterator[Engine]:
    if isinstance(bind, Engine):
        yield bind
        return
    engine = create_engine(bind)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


def _refuse_newer(connection: Connection, schema: str | None) -> None:
    found = read_revision(connection, resolve_schema(schema, connection.dialect.name))
    if found is not None and is_newer(found):
        raise mismatch(found)


@contextmanager
def _command_errors(revision: str) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise InvalidArgumentError(
            f"revision {revision!r} cannot be reached ({error}): use head, base, or one of "
            + ", ".join(script.revision for script in script_directory().walk_revisions())
        ) from error
