"""SQLite files that are not there. SQLite makes them, and an empty one is of no use to a queue.

Only a migration makes the file of a queue, and an application its own with ``create_engine``. Who
looks or works is told that it is not there, and what makes it.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import URL, Engine, event

from xclaim.connections import private_files
from xclaim.errors import Commands, SchemaVersionError
from xclaim.sql.revision import commands_of
from xclaim.sql.schema import REVISION

# An execution option of ours: the engine is for a queue, and connects to no file that is not there.
MAKES_NO_FILE = "xclaim_makes_no_file"
_TRUE = ("true", "yes", "on", "y", "t", "1")


def is_missing(url: URL) -> bool:
    """Return whether the URL is of a SQLite file that is not there."""
    return _file_of(url) is not None


def missing(url: URL, commands: Commands) -> SchemaVersionError:
    """Return the error that names the file and what makes it."""
    if _is_uri(url):  # whose mode may be one in which no migration can make it
        commands = replace(commands, place=url_option(url))
    return _missing(_named_file(url) or Path(), commands)


def refuse(engine: Engine) -> None:
    """Raise SchemaVersionError, naming the file, if the engine's SQLite file is not there."""
    path = _file_of(engine.url)
    if path is not None:
        commands = commands_of(engine)
        if commands == Commands():
            commands = Commands(place=url_option(engine.url))
        raise _missing(path, commands)


def refuse_always(engine: Engine) -> None:
    """Let the engine do that before each connection, so that none makes the file."""

    @event.listens_for(engine, "do_connect")
    def look(*_: Any) -> None:
        refuse(engine)


def make(engine: Engine) -> None:
    """Make the engine's file, which a migration is about to fill, if it is not there."""
    if is_missing(engine.url):
        private_files.make(_name(engine.url), is_uri=_is_uri(engine.url))


def url_option(url: URL) -> str:
    """Return the option ``--url`` that leads to the SQLite file of a URL from any folder.

    Empty for PostgreSQL, whose URL may have a secret, and where there is no file.
    """
    path = _named_file(url)
    if path is None:
        return ""
    named = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    return f" --url {shlex.quote(named)}"


def _named_file(url: URL) -> Path | None:
    """Return the file that a SQLite URL names, there or not; None if none."""
    if url.get_backend_name() != "sqlite":
        return None
    name = private_files.file_of(_name(url), is_uri=_is_uri(url), any_mode=True)
    return None if name is None else Path(name).absolute()


def _name(url: URL) -> str:
    """Return what SQLite is given."""
    if not _is_uri(url):
        return url.database or ""
    return f"{url.database}?{urlencode(url.query, doseq=True)}"


def _is_uri(url: URL) -> bool:
    # Without uri=true, which SQLAlchemy asks for, it is the name of a file.
    said = str(url.query.get("uri", "")).lower()
    return (url.database or "").startswith("file:") and said in _TRUE


def _missing(path: Path, commands: Commands) -> SchemaVersionError:
    return SchemaVersionError(found=None, expected=REVISION, missing_file=path, commands=commands)


def _file_of(url: URL) -> Path | None:
    """Return the file that is not there; None if there is one, or none to be.

    Also None where that cannot be seen: what goes wrong then SQLite says better.
    """
    path = _named_file(url)
    try:
        return None if path is None or path.exists() else path
    except OSError:  # a folder that others may not enter, a name that is too long
        return None
