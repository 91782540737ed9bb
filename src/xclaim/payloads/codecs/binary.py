"""Bytes and binary files as they are, in pieces: a large file is never held in memory."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from xclaim.errors import PayloadError

CHUNK = 1024 * 1024


class Binary:
    """The codec ``bytes``: bytes, a bytearray, a memoryview, or a file open for reading.

    A file is read from where it stands to its end, and not closed. All of them decode to bytes.
    """

    name = "bytes"

    def accepts(self, value: Any) -> bool:
        """Return whether the value is bytes or may be read; a file of text is left to others."""
        if isinstance(value, bytes | bytearray | memoryview):
            return True
        if isinstance(value, type | io.TextIOBase):
            return False
        return callable(getattr(value, "read", None))

    def encode(self, value: Any, file: BinaryIO) -> None:
        """Copy the content. Raise PayloadError for a file that does not give bytes."""
        if not isinstance(value, bytes | bytearray | memoryview):
            _copy(value, file)
            return
        view = memoryview(value)
        flat = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        for start in range(0, len(flat), CHUNK):
            piece = flat[start : start + CHUNK]
            file.write(piece)

    def decode(self, file: BinaryIO) -> bytes:
        """Return the whole content."""
        return file.read()


def _copy(source: Any, file: BinaryIO) -> None:
    while content := _next_chunk(source):
        file.write(content)


def _next_chunk(source: Any) -> bytes:
    try:
        content = source.read(CHUNK)
    except ValueError as error:  # closed, or io.UnsupportedOperation: open for writing alone
        raise PayloadError(
            f"the file cannot be read ({error}): open it with open(path, 'rb')"
        ) from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise PayloadError(
            f"the file's read() gave {type(content).__name__} and not bytes: "
            "open it with open(path, 'rb')"
        )
    return bytes(content)
