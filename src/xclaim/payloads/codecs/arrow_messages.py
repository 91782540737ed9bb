"""What an Arrow stream says of its messages, read before anything is made of them.

The framing is https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, the metadata
a flatbuffer (https://flatbuffers.dev/internals/) of which two numbers are wanted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

_CONTINUES = 0xFFFFFFFF
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3  # fields of a Message
_DICTIONARY, _BATCH = 2, 3  # types of its header
_DATA = 1  # field of a DictionaryBatch: a RecordBatch
_COMPRESSION = 3  # field of a RecordBatch


def has_compressed_buffers(file: BinaryIO) -> bool:
    """Return whether a buffer of the stream is compressed, which claims any size it likes.

    Raise ValueError for what is no stream of messages; the file stands at its begin again.
    """
    try:
        return any(map(_is_compressed, _metadata(file)))
    except (struct.error, IndexError) as error:
        raise ValueError(f"its messages cannot be told apart ({error})") from error
    finally:
        file.seek(0)


def _metadata(file: BinaryIO) -> Iterator[bytes]:
    while head := file.read(8):
        continues, length = struct.unpack("<Ii", head)
        if continues != _CONTINUES:
            raise ValueError("it is no Arrow stream of this format")
        if not length:
            return
        metadata = file.read(length) if length > 0 else b""
        yield metadata
        message = _root(metadata)
        body = _number(metadata, message, _BODY_LENGTH, "<q")
        if body < 0:
            raise ValueError("it has a message of less than no length")
        file.seek(body, 1)


def _is_compressed(metadata: bytes) -> bool:
    message = _root(metadata)
    kind = _number(metadata, message, _HEADER_TYPE, "<B")
    batch = _table(metadata, message, _HEADER)
    if kind == _DICTIONARY:
        batch = _table(metadata, batch, _DATA)
    elif kind != _BATCH:
        return False
    return _field(metadata, batch, _COMPRESSION) is not None


def _root(data: bytes) -> int:
    (offset,) = struct.unpack_from("<I", data)
    return int(offset)


def _field(data: bytes, table: int, number: int) -> int | None:
    """Return where a field of a table stands, None if the table has none of this number."""
    (back,) = struct.unpack_from("<i", data, table)
    fields = table - back
    (size,) = struct.unpack_from("<H", data, fields)
    place = 4 + 2 * number
    if place + 2 > size:
        return None
    (offset,) = struct.unpack_from("<H", data, fields + place)
    return table + offset if offset else None


def _number(data: bytes, table: int, number: int, format_: str) -> int:
    place = _field(data, table, number)
    return 0 if place is None else int(struct.unpack_from(format_, data, place)[0])


def _table(data: bytes, table: int, number: int) -> int:
    place = _field(data, table, number)
    if place is None:
        raise ValueError("it has a message without a header")
    (offset,) = struct.unpack_from("<I", data, place)
    return place + int(offset)
