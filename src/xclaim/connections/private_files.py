"""SQLite files that only their owner may read: made before SQLite makes them, whatever the umask.

SQLite gives its write-ahead log and shared memory the rights of the file. A file that is there
already is left as it is; ``doctor`` tells of one that others may read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from urllib.parse import parse_qs, unquote, urlsplit

MODE = 0o600
_MADE_BY_SQLITE = ("", "rwc")  # modes of a URI in which SQLite makes a file that is not there
_OPENED_ONLY = ("ro", "rw")  # not "memory"


def make(database: object, *, is_uri: bool = False) -> None:
    """Make the file that SQLite is about to open, unless it is there or in memory.

    What goes wrong here SQLite says better when it opens it.
    """
    path = file_of(database, is_uri=is_uri)
    if path is None:
        return
    with suppress(OSError, ValueError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(os.path.realpath(path), flags, MODE)
        try:
            os.fchmod(descriptor, MODE)  # also where the umask takes rights from the owner
        finally:
            os.close(descriptor)


def file_of(database: object, *, is_uri: bool = False, any_mode: bool = False) -> str | None:
    """Return the file that SQLite would make of a name or URI that is not there; None if none.

    :param database: as it is given to SQLite.
    :param is_uri: whether that may be a URI.
    :param any_mode: return also the file of a URI whose mode makes none.
    """
    if not isinstance(database, str | bytes | os.PathLike):
        return None
    name = os.fsdecode(database)
    if is_uri and name.startswith("file:"):
        parts = urlsplit(name)
        options = parse_qs(parts.query)
        modes = (*_MADE_BY_SQLITE, *_OPENED_ONLY) if any_mode else _MADE_BY_SQLITE
        # Another "vfs" may keep its files elsewhere, or have none.
        is_made = options.get("mode", [""])[-1] in modes and "vfs" not in options
        name = unquote(parts.path) if is_made else ""
    return None if name in ("", ":memory:") else name
