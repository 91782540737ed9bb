"""zstd in pieces of 1 MiB: neither side ever holds more, whatever the other side claims.

The format is that of pzstd: before each frame a skippable one, which says how long it is. So the
``zstd`` command reads it. The last frame is empty, and so a cut is noticed.
"""

from __future__ import annotations

import io
import struct
from types import TracebackType
from typing import Any, BinaryIO, NoReturn, cast

from xclaim.errors import PayloadCorruptedError, PayloadError, PayloadReadError

CHUNK = 1024 * 1024
LEVEL = 3
# The magic number of a skippable frame, the length of its content, and this content.
_HEADER = struct.Struct("<III")
_SKIPPABLE = 0x184D2A50
_MISSING = 'compression needs zstandard: run `pip install "xclaim[storage]"`'


def compressing(file: BinaryIO) -> BinaryIO:
    """Return a file to write to, whose content goes to ``file`` compressed.

    Closing it writes the end, and leaves ``file`` open. Left by an exception it has no end.
    """
    return cast("BinaryIO", _Compressing(file))


def decompressing(file: BinaryIO) -> BinaryIO:
    """Return a file to read from, with the content of the compressed ``file``.

    Reading raises PayloadCorruptedError for what is no such content, or is cut off.
    """
    return cast("BinaryIO", io.BufferedReader(_Decompressing(file), CHUNK))


class _Compressing:
    """The writing side. No io.IOBase: that one closes itself, and so ends what was given up."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            from zstandard import ZstdCompressor
        except ImportError as error:
            raise PayloadError(_MISSING) from error
        self._compressor = ZstdCompressor(level=LEVEL, write_checksum=True)
        self._file = file
        self._waiting = bytearray()
        self.closed = False

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("write to a closed file")
        view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            self._waiting += view[start : start + CHUNK]
            while len(self._waiting) >= CHUNK:
                self._write_frame(self._waiting[:CHUNK])
                del self._waiting[:CHUNK]
        return len(view)

    def flush(self) -> None:
        """Do nothing: a frame is written when it is full."""

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._waiting:
            self._write_frame(self._waiting)
        self._write_frame(b"")

    def __enter__(self) -> _Compressing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        self.closed = True

    def _write_frame(self, content: bytes | bytearray) -> None:
        frame = self._compressor.compress(content)
        self._file.write(_HEADER.pack(_SKIPPABLE, 4, len(frame)) + frame)


class _Decompressing(io.RawIOBase):
    """The reading side: one frame at a time."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise PayloadReadError(_MISSING) from error
        self._zstandard = zstandard
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=CHUNK)
        self._file = file
        self._content = memoryview(b"")
        self._is_at_end = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._content and not self._is_at_end:
            self._content = memoryview(self._next_content())
            self._is_at_end = not self._content
        size = min(len(buffer), len(self._content))
        buffer[:size] = self._content[:size]
        self._content = self._content[size:]
        return size

    def _next_content(self) -> bytes:
        magic, length, size = _HEADER.unpack(self._read(_HEADER.size))
        # zstd adds less than 1% to what cannot be compressed.
        if magic != _SKIPPABLE or length != 4 or size > CHUNK + CHUNK // 64:  # noqa: PLR2004
            _refuse("it does not look like zstd of xclaim")
        content = self._decompressed(self._read(size))
        if not content and self._file.read(1):  # this also lets the file check its digest
            _refuse("something follows its end")
        return content

    def _decompressed(self, frame: bytes) -> bytes:
        try:
            if not 0 <= self._zstandard.frame_content_size(frame) <= CHUNK:
                _refuse("a frame claims to be larger than any is written")
            return self._decompressor.decompress(frame, allow_extra_data=False)
        except self._zstandard.ZstdError as error:
            _refuse(str(error))

    def _read(self, size: int) -> bytes:
        """Return so many bytes; a raw file may give them piece by piece."""
        read = b""
        while len(read) < size:
            piece = self._file.read(size - len(read))
            if not piece:
                _refuse("it is cut off")
            read += piece
        return read


def _refuse(problem: str) -> NoReturn:
    raise PayloadCorruptedError(
        f"the payload cannot be decompressed: {problem[:200]}; it was changed after it was pushed"
    )
