"""What the doctor says of files: of SQLite, and of payload folders."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection

from xclaim.operations.findings import Finding, Level
from xclaim.payloads.payloads import Payloads


def sqlite_settings(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Yield whether the file is in WAL mode, and how it is flushed."""
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    is_wal = str(mode).lower() in ("wal", "memory")
    yield Finding(
        name="journal",
        level=Level.OK if is_wal else Level.WARNING,
        found=f"journal_mode {mode}",
        remedy=None if is_wal else "PRAGMA journal_mode = WAL: readers and the writer in parallel",
    )
    waits = int(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one())
    yield Finding(
        name="busy_timeout",
        level=Level.OK if waits else Level.PROBLEM,
        found=f"{waits / 1000:g} s",
        remedy=None if waits else "make the engine with xclaim.create_engine",
    )


def file_rights(connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Tell of SQLite files that others may read; they are left as their owner made them."""
    rows = connection.exec_driver_sql("PRAGMA database_list").all()
    names = [str(row[2]) for row in rows if row[1] == "main" and row[2]]
    files = [Path(f"{name}{ending}") for name in names for ending in ("", "-wal", "-shm")]
    open_ones = [str(file) for file in files if _rights_of_others(file)]
    if open_ones:
        yield Finding(
            name="file_rights",
            level=Level.WARNING,
            found=f"others may read or write {', '.join(open_ones)}, and with it all messages",
            remedy=f"chmod 600 {shlex.join(open_ones)}, unless other users work on it",
        )
    elif names:
        yield Finding(name="file_rights", level=Level.OK, found="for the owner of the file only")


def payload_folder(_connection: Connection, _schema: str | None) -> Iterator[Finding]:
    """Tell of a folder of payloads, as the environment names it, that others may read."""
    payloads = Payloads.from_environment()
    if payloads is None or payloads.storage is None:
        return
    scheme, _, folder = payloads.storage.url.partition("://")
    if scheme != "file" or not Path(folder).is_dir():
        return
    if _rights_of_others(Path(folder)):
        yield Finding(
            name="payload_folder",
            level=Level.WARNING,
            found=f"others may enter {folder}, where payloads lie",
            remedy=f"chmod -R go-rwx {shlex.quote(folder)}; to share it with a group, "
            f"chmod 2770 {shlex.quote(folder)}",
        )
    else:
        yield Finding(name="payload_folder", level=Level.OK, found="for its owner or its group")


def _rights_of_others(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:  # it is not there, or in a folder that even this user cannot enter
        return False
    is_shared = bool(mode & stat.S_ISGID) and path.is_dir()
    return bool(mode & (stat.S_IRWXO if is_shared else stat.S_IRWXG | stat.S_IRWXO))
