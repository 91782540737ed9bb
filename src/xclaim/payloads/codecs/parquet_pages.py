"""What a Parquet file says of its pages, read before anything is made of them.

The footer may say of them what it likes: what a reader makes is what the header of each page says.
A header is a struct of Thrift's compact protocol (https://github.com/apache/thrift, its
thrift-compact-protocol.md), with the fields of https://github.com/apache/parquet-format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

# Of files of others some are read further than they say they go: 100 bytes, for an old fault.
_WRITER = "parquet-cpp-arrow "
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a PageHeader
_VALUES, _ENCODING = 1, 2  # fields of the header of a kind of page
_KINDS = {5: _ENCODING, 7: _ENCODING, 8: 4}  # data, dictionary and data in the second version
# Of what pyarrow writes unless told otherwise: plain, dictionaries and runs. Of others one has
# texts that begin as the one before does, which are larger than their page.
_ENCODINGS = (0, 2, 3, 8)
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}  # bytes
_OF_AN_OFFSET = 4  # bytes, where a text or a list ends
_OF_A_PAGE = 1024  # bytes at least, for the time that one of few bytes takes
_BOOLEANS, _BYTE, _INT32, _INTEGERS, _DOUBLE = (1, 2), 3, 5, (4, 5, 6), 7
_BINARY, _LISTS, _MAP, _STRUCT = 8, (9, 10), 11, 12
_DEEPEST = 8  # structs of a header within each other: there are three


def least_size(file: BinaryIO, whole: Any, limit: int) -> int:
    """Return how many bytes the pages of a file take at least; counted until they are too many.

    Raise ValueError for a file that no pyarrow wrote as ``Parquet`` has it written.

    :param whole: the file as pyarrow.parquet opened it.
    """
    if not str(whole.metadata.created_by).startswith(_WRITER):
        raise ValueError(f"it was written by {whole.metadata.created_by!r:.60}")
    size: int = 0
    for chunk, column in _chunks(whole):
        width = _WIDTHS.get(column.physical_type) or column.length or _OF_AN_OFFSET
        width += _OF_AN_OFFSET * column.max_repetition_level
        for values, uncompressed in _pages(file, chunk):
            size += max(values * width, uncompressed, _OF_A_PAGE)
            if size > limit:
                return size
    file.seek(0)
    return size


def _chunks(whole: Any) -> Iterator[tuple[Any, Any]]:
    for group in range(whole.metadata.num_row_groups):
        for index in range(whole.metadata.num_columns):
            chunk = whole.metadata.row_group(group).column(index)
            if chunk.num_values > 0:  # else it is not read, and need not have a place
                yield chunk, whole.schema.column(index)


def _pages(file: BinaryIO, chunk: Any) -> Iterator[tuple[int, int]]:
    """Yield of each page how many values it has, and how many bytes it is once decompressed."""
    begin = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < begin:
        begin = chunk.dictionary_page_offset
    file.seek(begin)
    while file.tell() < begin + chunk.total_compressed_size:
        header = _struct(file)
        values = [_values(header[kind], place) for kind, place in _KINDS.items() if kind in header]
        if not values:
            raise ValueError("it has a page of another kind")
        yield max(values), _count(header, _UNCOMPRESSED)
        file.seek(_count(header, _COMPRESSED), 1)


def _values(header: Any, encoding: int) -> int:
    if not isinstance(header, dict) or header.get(encoding) not in _ENCODINGS:
        raise ValueError("it has a page of an encoding that xclaim never writes")
    return _count(header, _VALUES)


def _count(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError("it has a page of no known size")
    return value


def _struct(file: BinaryIO, depth: int = 0) -> dict[int, Any]:
    """Return the 32-bit numbers and the structs among the fields; what else there is is skipped."""
    fields: dict[int, Any] = {}
    number = 0
    while head := _bytes(file, 1)[0]:
        number = number + (head >> 4) if head >> 4 else _integer(file)
        kind = head & 15
        if number in fields or depth > _DEEPEST:
            raise ValueError("it has a page with a field that stands twice")
        value = None if kind in _BOOLEANS else _value(file, kind, depth)
        if kind in (_INT32, _STRUCT):
            fields[number] = value
    return fields


def _value(file: BinaryIO, kind: int, depth: int) -> Any:
    if kind in _INTEGERS:
        return _integer(file)
    if kind == _STRUCT:
        return _struct(file, depth + 1)
    if kind == _BINARY:
        return file.seek(_varint(file), 1)
    if kind in (_BYTE, _DOUBLE):
        return file.seek(1 if kind == _BYTE else 8, 1)
    raise ValueError("it has a page with a field that no header has")


def _integer(file: BinaryIO) -> int:
    number = _varint(file)
    return (number >> 1) ^ -(number & 1)


def _varint(file: BinaryIO) -> int:
    number = 0
    for place in range(0, 64, 7):
        (byte,) = _bytes(file, 1)
        number |= (byte & 127) << place
        if byte < 128:  # noqa: PLR2004  (the highest bit says that another one follows)
            return number
    raise ValueError("it has a page with a number that does not end")


def _bytes(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise ValueError("it ends within a page")
    return content
