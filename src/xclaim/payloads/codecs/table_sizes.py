"""How many bytes a table takes once it is read: more than it is stored in, where it was made so.

A column of nulls, or of one value that is repeated, is a billion rows in a few bytes; so is one
that lies within another. Whatever is counted here is counted in all arrays, at any depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xclaim.errors import PayloadRefusedError

# What is stored in no bytes is as large as what Python makes of it.
_OF_A_NULL = 8  # bytes: where pandas has None
_OF_AN_EMPTY_DICT = 64  # bytes
_OF_AN_OFFSET = 4  # bytes, where a text or a list ends
_OF_A_LABEL = 8  # bytes
_LONGEST_IN_A_VIEW = 12  # bytes of a text that stands in its view, and nowhere else


def check_rows(table: Any, limit: int) -> None:
    """Raise PayloadRefusedError if the rows take more than the limit, whatever is in them."""
    least = sum(len(each) * _width(each.type) for each in _arrays(table))
    check_least(table.num_rows, least, limit)


def check_least(rows: int, least: int, limit: int) -> None:
    """Raise PayloadRefusedError if rows take more than the limit."""
    if least > limit:
        raise _too_large(f"{rows} rows, which take {least} bytes at least", limit)


def check_labels(labels: int, limit: int) -> None:
    """Raise PayloadRefusedError for an index of so many labels, which may be of no bytes at all."""
    check_least(labels, labels * _OF_A_LABEL, limit)


def check_size(size: int, limit: int) -> None:
    """Raise PayloadRefusedError for more bytes than the limit."""
    if size > limit:
        raise _too_large(f"more than {limit} bytes when it is read", limit)


def check_growth(arrow: Any, table: Any, limit: int) -> None:
    """Refuse columns whose rows may share a part, and which grow when they stand by themselves.

    Only a pyarrow table keeps them as they are; pandas and Polars keep categories.
    """
    names = {str(each.type).partition("<")[0] for each in _arrays(table)}
    if foreign := [name for name in names if name.endswith(("list_view", "union", "end_encoded"))]:
        raise ValueError(f"neither pandas nor Polars writes {min(foreign)}")
    check_size(sum(grown(arrow, column) for column in table.columns), limit)


def check_views(arrow: Any, table: Any) -> None:
    """Raise ValueError for nulls that are views of a text: pyarrow's own cast follows them.

    It reads where there is no memory then, and the process is gone (seen in pyarrow 26).
    """
    for each in _arrays(table):
        if _is_view(each.type) and each.null_count:
            lengths = _lengths_of_views(arrow, each).filter(each.is_null())
            least, most = arrow.compute.min_max(lengths).as_py().values()
            if least < 0 or most > _LONGEST_IN_A_VIEW:
                raise ValueError("it has a null that is a text")


def grown(arrow: Any, column: Any) -> int:
    """Return the bytes of a column whose texts stand as often as they are used.

    Of categories those are not counted that are the column itself.
    """
    if arrow.types.is_dictionary(column.type):
        return int(column.nbytes)
    return int(column.nbytes) + expanded(arrow, column)


def expanded(arrow: Any, column: Any) -> int:
    """Return the bytes of all texts to which the arrays of a column only refer."""
    return sum(
        _referred(arrow, each)
        for chunk in column.chunks
        for each in _with_inner(chunk)
    )  # fmt: skip


def _referred(arrow: Any, array: Any) -> int:
    if arrow.types.is_dictionary(array.type):
        return _expanded(arrow, array)
    if _is_view(array.type):
        # The texts are counted as they are with the other bytes of the array.
        size = int(arrow.compute.sum(_lengths_of_views(arrow, array)).as_py() or 0)
        return max(0, size - sum(int(text.size) for text in array.buffers()[2:]))
    return 0


def _lengths_of_views(arrow: Any, array: Any) -> Any:
    # A view is 16 bytes: its length, and the text or where it stands.
    end = array.offset + len(array)
    numbers = arrow.Array.from_buffers(arrow.int32(), end * 4, [None, array.buffers()[1]])
    views = arrow.FixedSizeListArray.from_arrays(numbers, 4).slice(array.offset)
    return arrow.compute.cast(arrow.compute.list_element(views, 0), "int64")


def _is_view(kind: Any) -> bool:
    return str(kind) in ("string_view", "binary_view")


def _expanded(arrow: Any, array: Any) -> int:
    compute = arrow.compute
    values = array.dictionary
    if not _is_nested(values.type) and _has_width(values.type):
        return int(len(array) * _width(values.type))
    # Raises for a dictionary of lists and the like, which nobody writes.
    lengths = compute.cast(compute.binary_length(values), "int64")
    return int(compute.sum(lengths.take(array.indices)).as_py() or 0)


def _arrays(table: Any) -> Iterator[Any]:
    for column in table.columns:
        for chunk in column.chunks:
            yield from _with_inner(chunk)


def _with_inner(array: Any) -> Iterator[Any]:
    """Yield the array and all that lie within it."""
    yield array
    for inner in _inner(array):
        yield from _with_inner(inner)


def _inner(array: Any) -> list[Any]:
    for name in ("storage", "dictionary", "values"):  # of extensions, categories and lists
        if hasattr(array, name):
            return [getattr(array, name)]
    return [array.field(index) for index in range(array.type.num_fields)]


def _width(kind: Any) -> int:
    """Return the bytes that a value of the type takes at least, beside those that lie within it."""
    if hasattr(kind, "storage_type"):
        return 0
    if hasattr(kind, "run_end_type"):
        return max(1, _width(kind.value_type))
    if str(kind) == "null":
        return _OF_A_NULL
    if _is_nested(kind):
        return 0 if _is_stored(kind) else _OF_AN_EMPTY_DICT
    return max(1, int(kind.bit_width) // 8) if _has_width(kind) else _OF_AN_OFFSET


def _is_nested(kind: Any) -> bool:
    """Return whether all bytes of the type are those of its fields."""
    return str(kind).startswith("struct") or hasattr(kind, "list_size")


def _is_stored(kind: Any) -> bool:
    """Return whether a value of the type takes any byte where it is stored."""
    if _is_nested(kind):
        fields = [kind.field(index).type for index in range(kind.num_fields)]
        return getattr(kind, "list_size", 1) > 0 and any(map(_is_stored, fields))
    return str(kind) != "null" and not (_has_width(kind) and kind.bit_width == 0)


def _has_width(kind: Any) -> bool:
    try:
        return int(kind.bit_width) >= 0
    except ValueError:  # no fixed width
        return False


def _too_large(size: str, limit: int) -> PayloadRefusedError:
    return PayloadRefusedError(
        f"the payload is a table of {size}, more than the {limit} that are read into memory: raise "
        "Payloads(max_size=...)"
    )
