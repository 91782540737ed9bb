"""Objects as files: complete under their name, or not there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from xclaim.errors import PayloadRefusedError
from xclaim.payloads.stores.references import Location, StoredObject, unfinished

_FOLDER, _FILE = 0o700, 0o600  # whatever the umask
# In a folder with this bit, which the owner has to set, all belongs to the folder's group, and is
# shared with it: of claimants that run as another user than those who push.
_SHARED = stat.S_ISGID
_SHARED_FOLDER, _SHARED_FILE = 0o2770, 0o660


class LocalStore:
    """The files below a folder. The folder itself is made by the first push, its parent is not.

    So a share that is not mounted is an error more often than a folder full of lost payloads. What
    is made is for its owner only, or for the group of a folder that has the setgid bit. What is
    there already keeps its rights.
    """

    def __init__(self, location: Location) -> None:
        self._location = location

    def create(self, path: str) -> LocalWriter:
        """Begin a file at the path, under another name."""
        folder = Path(path).parent
        if not folder.is_dir():
            _make_folder(Path(self._location.root), _FOLDER)
            mode = _SHARED_FOLDER if self._is_shared() else _FOLDER
            for each in reversed(self._folders_of(path)):
                _make_folder(each, mode)
                _synchronise(each.parent)
        self._check_no_link(path)
        return LocalWriter(path, _SHARED_FILE if self._is_shared() else _FILE)

    def open(self, path: str) -> LocalReader:
        """Open the file at the path."""
        self._check_no_link(path)
        return LocalReader(path)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete the files; those that are gone already are fine."""
        if not self.is_there():  # not mounted: what seems gone would come back without its row
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        for path in paths:
            self._check_no_link(path)
            Path(path).unlink(missing_ok=True)

    def objects(self) -> Iterator[StoredObject]:
        """Yield the files that are named as ours are, also unfinished ones."""
        for folder, _, names in os.walk(self._location.root, onerror=_raise_unless_gone):
            for name in names:
                path = f"{folder}/{name}"
                if self._location.has(os.path.relpath(path, self._location.root)):
                    yield from self._object_at(path)

    def is_there(self) -> bool:
        """Return whether the folder is there."""
        return Path(self._location.root).is_dir()

    def _is_shared(self) -> bool:
        return bool(Path(self._location.root).stat().st_mode & _SHARED)

    def _object_at(self, path: str) -> Iterator[StoredObject]:
        with suppress(FileNotFoundError):  # deleted meanwhile
            found = os.stat(path, follow_symlinks=False)  # noqa: PTH116  (a name, not a Path)
            yield StoredObject(
                uri=self._location.uri_of(path),
                size=found.st_size,
                modified_at=datetime.fromtimestamp(found.st_mtime, UTC),
            )

    def _folders_of(self, path: str) -> list[Path]:
        return list(Path(path).parents[: self._location.folders])

    def _check_no_link(self, path: str) -> None:
        """Refuse a folder of a queue that leads elsewhere; the storage's own may be a link."""
        if any(each.is_symlink() for each in [Path(path), *self._folders_of(path)]):
            raise PayloadRefusedError(
                f"{self._location.uri_of(path)} is a symbolic link or in one, which may lead out "
                f"of {self._location.url}: remove the link"
            )


class LocalReader:
    """A file opened for reading; it stays readable when it is deleted meanwhile."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self.size = os.fstat(descriptor).st_size

    def read(self, count: int) -> bytes:
        """Return at most ``count`` bytes that come next, none at the end."""
        return self._file.read(count) or b""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class LocalWriter:
    """A file that takes its name when it is complete and on the disk."""

    def __init__(self, path: str, mode: int) -> None:
        self._path = Path(path)
        self._unfinished = Path(unfinished(path))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._unfinished, flags, _FILE)
        self._file = os.fdopen(descriptor, "wb")
        os.fchmod(descriptor, mode)

    def write(self, data: bytes | memoryview) -> None:
        """Append to the file."""
        self._file.write(data)

    def commit(self) -> None:
        """Put the file on the disk and give it its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._unfinished.rename(self._path)
        _synchronise(self._path.parent)

    def discard(self) -> None:
        """Remove the file."""
        self._unfinished.unlink(missing_ok=True)
        with suppress(OSError):  # it flushes, onto a disk that may be full
            self._file.close()


def _make_folder(folder: Path, mode: int) -> None:
    with suppress(FileExistsError):
        folder.mkdir(_FOLDER)
        folder.chmod(mode)


def _raise_unless_gone(error: OSError) -> None:
    # Nothing was pushed yet, or a folder was removed meanwhile.
    if not isinstance(error, FileNotFoundError):
        raise error


def _synchronise(folder: Path) -> None:
    """Put a folder's names on the disk: no row may survive a crash that its object does not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
