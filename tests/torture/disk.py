"""A small disk for a tablespace, which can be full.

It is a tmpfs of its own, which only root may mount. Filling it means to shrink it to what is used:
to PostgreSQL that is the same as a disk that somebody else has filled, and it needs no memory.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Disk:
    """A folder with a size."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._size = megabytes * 1024 * 1024

    def fill(self) -> None:
        """Leave no room: what needs another page fails."""
        while True:
            status = os.statvfs(self.folder)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            with suppress(subprocess.CalledProcessError):  # more is used by now
                self._resize(used + _PAGE)
                return

    def make_room(self) -> None:
        """Give the room back."""
        self._resize(self._size)

    def _resize(self, size: int) -> None:
        _run("mount", "-o", f"remount,size={size}", str(self.folder))


@contextmanager
def small_disk(megabytes: int) -> Iterator[Disk | None]:
    """Mount a disk; None where that is not permitted."""
    folder = Path(tempfile.mkdtemp(prefix="xclaim-disk-"))
    try:
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        try:
            yield Disk(folder, megabytes)
        finally:
            _run("umount", "--lazy", str(folder))
    finally:
        folder.rmdir()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
