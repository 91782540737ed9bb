"""SQLite files that are not there. SQLite makes them, and an empty one is of no use to a queue.

Only a migration makes the file of a queue, and an application its own with ``create_engine``. Who
looks or works is told that it is not there, and what makes it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, event

from xclaim.connections import private_files
from xclaim.errors import Commands, SchemaVersionError
from xclaim.sql.revision import commands_of
from xclaim.sql.schema import REVISION

# An execution option of ours: the engine is for a queue, and connects to no file that is not there.
MAKES_NO_FILE = "xclaim_makes_no_file"


def is_missing(url: URL) -> bool:
    """Return whether the URL is of a SQLite file that is not there."""
    return _file_of(url) is not None


def missing(url: URL, commands: Commands) -> SchemaVersionError:
    """Return the error that names the file and what makes it."""
    return _missing(Path(url.database or "").absolute(), commands)


def refuse(engine: Engine) -> None:
    """Raise SchemaVersionError, naming the file, if the engine's SQLite file is not there."""
    path = _file_of(engine.url)
    if path is not None:
        raise _missing(path, _commands_of(engine, path))


def refuse_always(engine: Engine) -> None:
    """Let the engine do that before each connection, so that none makes the file."""

    @event.listens_for(engine, "do_connect")
    def look(*_: Any) -> None:
        refuse(engine)


def make(engine: Engine) -> None:
    """Make the engine's file, which a migration is about to fill, if it is not there."""
    if is_missing(engine.url):
        private_files.make(engine.url.database)


def _missing(path: Path, commands: Commands) -> SchemaVersionError:
    return SchemaVersionError(found=None, expected=REVISION, missing_file=path, commands=commands)


def _commands_of(engine: Engine, path: Path) -> Commands:
    commands = commands_of(engine)
    if commands != Commands():
        return commands
    return Commands(place=f" --url {shlex.quote(f'sqlite:///{path}')}")


def _file_of(url: URL) -> Path | None:
    """Return the file that is not there; None if there is one, or none to be."""
    name = url.database or ""
    if url.get_backend_name() != "sqlite" or name in ("", ":memory:") or name.startswith("file:"):
        return None
    path = Path(name).absolute()
    return None if path.exists() else path
