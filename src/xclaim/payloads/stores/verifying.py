"""Reading an object so that no end is reached unless it is what was pushed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from xclaim.errors import PayloadCorruptedError
from xclaim.payloads.stores.references import Reference

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1024 * 1024


class ObjectReader(Protocol):
    """An opened object of a store."""

    size: int

    def read(self, count: int) -> bytes:
        """Return at most ``count`` bytes that come next, none at the end."""

    def close(self) -> None:
        """Let go of it."""


class VerifyingReader(io.RawIOBase):
    """Hand out an object's bytes, the last of them only when size and digest are right."""

    def __init__(
        self,
        reader: ObjectReader,
        reference: Reference,
        explained: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._reader = reader
        self._reference = reference
        self._explained = explained
        self._digest = hashlib.sha256()
        self._left = reference.size
        self._failure: PayloadCorruptedError | None = None
        if reader.size != reference.size:
            reader.close()
            raise self._corrupted(f"has {reader.size} bytes, not {reference.size}")
        if reference.size == 0:
            self._check_digest()

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as the object goes; return how far."""
        target = memoryview(buffer).cast("B")
        data = self._next(len(target))
        target[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Return all that is left."""
        return b"".join(iter(lambda: self._next(_CHUNK), b""))

    def close(self) -> None:
        """Close the object."""
        if not self.closed:
            self._reader.close()
        super().close()

    def _next(self, count: int) -> bytes:
        if self._failure is not None:  # a second read does not reach the end either
            raise self._failure
        count = min(count, self._left)
        if count == 0:
            return b""
        with self._explained():
            data = self._reader.read(count)
        if not data:
            raise self._corrupted(f"ends {self._left} bytes early")
        self._digest.update(data)
        self._left -= len(data)
        if self._left == 0:
            self._check_digest()
        return data

    def _check_digest(self) -> None:
        if self._digest.hexdigest() != self._reference.sha256:
            self._failure = self._corrupted("has another SHA-256")
            self._reader.close()
            raise self._failure

    def _corrupted(self, how: str) -> PayloadCorruptedError:
        return PayloadCorruptedError(
            f"{self._reference.uri} is not what was pushed: it {how}; it was cut off, changed or "
            "swapped; restore the object"
        )
