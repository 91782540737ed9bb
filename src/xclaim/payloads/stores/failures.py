"""What goes wrong in a storage, said in our words: gone, refused, unreachable, full."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xclaim.errors import PayloadGoneError, StorageError, XclaimError

_WAYS_OUT = {
    errno.ENOSPC: "no space is left: make room",
    errno.EDQUOT: "the quota is used up: make room",
    errno.EFBIG: "a file of this size is not allowed there: raise the limit (ulimit -f)",
    errno.EACCES: "permission denied: grant this user reading, writing, listing and deleting",
    errno.EPERM: "permission denied: grant this user reading, writing, listing and deleting",
    errno.EROFS: "the file system is read-only: mount it for writing",
    errno.ENOENT: "the folder or bucket is not there: create it, or mount it",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
}
# The other clients raise the errors that files have.
_AZURE = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT}


@contextmanager
def explained(url: str, verb: str) -> Iterator[None]:
    """Raise StorageError for whatever a storage's client raises.

    The client's own text may hold credentials, so only its type is shown; the error itself is
    the cause.
    """
    try:
        yield
    except XclaimError:
        raise
    except Exception as error:
        raise StorageError(f"cannot {verb} {url}: {_reason(error)}") from error


@contextmanager
def gone_or_explained(uri: str, url: str, is_there: Callable[[], bool]) -> Iterator[None]:
    """Raise PayloadGoneError where the storage answers that it has no such object.

    A missing bucket, or a folder that is not mounted, says nothing of the object: StorageError.
    """
    with explained(url, "read from"):
        try:
            yield
        except FileNotFoundError as error:
            if not is_there():
                raise
            raise PayloadGoneError(
                f"{uri} is not there any more: something other than xclaim deleted it; restore the "
                "object, or consume the message without its payload"
            ) from error


def _reason(error: Exception) -> str:
    number = _AZURE.get(getattr(error, "status_code", 0)) or getattr(error, "errno", None)
    if number in _WAYS_OUT:
        return _WAYS_OUT[number]
    if isinstance(error, FileNotFoundError):
        return _WAYS_OUT[errno.ENOENT]
    if isinstance(error, PermissionError):
        return _WAYS_OUT[errno.EACCES]
    return (
        f"{type(error).__name__}; check the address, the network, the credentials and their "
        "permissions, the cause says more"
    )
