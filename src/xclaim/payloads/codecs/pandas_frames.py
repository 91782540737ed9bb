"""pandas frames as Arrow tables, with what pyarrow itself forgets: objects, frequencies."""

from __future__ import annotations

import warnings
from typing import Any

from xclaim.errors import PayloadError

# Kinds of numpy's, which Arrow holds as they are: bool, int, unsigned, float, datetime, timedelta.
_SURE_KINDS = "biufMm"
_COMPARED_BY_NAME = ("category", "str", "string")


def to_table(arrow: Any, frame: Any) -> tuple[Any, dict[str, Any]]:
    """Return the table, and what is to be known beside it to make the same frame of it.

    Raise PayloadError for a frame that would not come back as it is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that attrs were left out is noticed below
        table = arrow.Table.from_pandas(frame)
    more = {
        "objects": [_described(column) for _, column in frame.items()],
        "frequency": _frequency(frame.index),
        "columns": _range(frame.columns),
        # Without a column Arrow does not know how many rows there are.
        "index": None if len(frame.columns) else _range(frame.index),
        "labels": [str(frame.columns.dtype), str(frame.index.dtype)],
    }
    _check(frame, table, more)
    return table, more


def from_table(table: Any, more: dict[str, Any]) -> Any:
    """Return the frame that ``to_table`` described."""
    frame = table.to_pandas()
    for position, null in enumerate(more["objects"]):
        if null is not None:
            frame.isetitem(position, _objects(table.column(position), null, frame.index))
    if more["labels"][0] == "object":
        frame.columns = frame.columns.astype(object)
    if more["columns"] is not None:
        frame.columns = _index_of(more["columns"])
    if more["index"] is not None:
        if len(frame.columns):  # it would make rows of its own
            raise ValueError("it has the index of a frame without columns")
        frame = frame.reindex(_index_of(more["index"]))
    if more["labels"][1] == "object":
        frame.index = frame.index.astype(object)
    if more["frequency"] is not None:
        frame.index.freq = more["frequency"]
    return frame


def labels_of(table: Any, more: dict[str, Any]) -> int:
    """Return how many labels the index of the frame has that ``to_table`` described."""
    start, stop, step, _ = more.get("index") or (0, 0, 1, None)
    return max(int(table.num_rows), len(range(start, stop, step)))


def _range(labels: Any) -> list[Any] | None:
    from pandas import RangeIndex

    if not isinstance(labels, RangeIndex) or not (labels.name is None or type(labels.name) is str):
        return None
    return [labels.start, labels.stop, labels.step, labels.name]


def _index_of(parts: list[Any]) -> Any:
    from pandas import RangeIndex

    start, stop, step, name = parts
    return RangeIndex(start, stop, step, name=name)


def _described(column: Any) -> str | None:
    """Return what stands for null in a column of objects, or None for any other column."""
    if column.dtype != object:
        return None
    nulls = {type(value) for value in column[column.isna()]}
    if not nulls <= {type(None)} and nulls != {float}:
        raise PayloadError(
            f"payload has the column {column.name!r} with several kinds of null, which would "
            "come back as one: use fillna()"
        )
    return "nan" if nulls == {float} else "none"


def _objects(column: Any, null: str, index: Any) -> Any:
    import numpy as np
    from pandas import Series

    if hasattr(column.type, "index_type") or hasattr(column.type, "run_end_type"):
        raise ValueError("its objects are one, repeated")  # each would become one of its own
    values = np.empty(len(column), dtype=object)
    # pyarrow's own conversion makes text of pandas 3 of it, and arrays of lists.
    values[:] = column.to_pylist()
    if null == "nan":
        values[column.is_null().to_numpy()] = float("nan")
    return Series(values, index=index, dtype=object)


def _frequency(index: Any) -> str | None:
    frequency = getattr(index, "freq", None)
    if frequency is None or not hasattr(index, "freqstr") or _is_period(index):
        return None
    from pandas.tseries.frequencies import to_offset

    if to_offset(index.freqstr) != frequency:
        raise PayloadError(
            f"payload has an index with the frequency {index.freqstr!r}, which has parameters of "
            "its own: use index.freq = None"
        )
    return str(index.freqstr)


def _is_period(index: Any) -> bool:
    from pandas import PeriodIndex

    return isinstance(index, PeriodIndex)


def _is_sure(dtype: Any) -> bool:
    """Return whether Arrow holds any values of the type as they are."""
    from pandas import ArrowDtype, DatetimeTZDtype, StringDtype

    if isinstance(dtype, ArrowDtype | DatetimeTZDtype | StringDtype):
        return True
    if hasattr(dtype, "numpy_dtype"):  # Int64, boolean and so on, which have a mask
        return bool(dtype.numpy_dtype.kind in _SURE_KINDS)
    return getattr(dtype, "kind", "O") in _SURE_KINDS and not hasattr(dtype, "subtype")


def _check(frame: Any, table: Any, more: dict[str, Any]) -> None:
    """Read back what is in doubt, which numbers, times and text are not, and compare it."""
    doubtful = [
        position for position, dtype in enumerate(frame.dtypes) if not _is_sure(dtype)
    ]  # fmt: skip
    index = range(len(frame.columns), table.num_columns)
    part = table.select([*doubtful, *index])
    objects = [more["objects"][position] for position in doubtful]
    read = from_table(part, {**more, "objects": objects, "columns": None})
    expected = frame.iloc[:, doubtful]
    empty = from_table(table.slice(0, 0), {**more, "frequency": None})
    _check_labels(frame, empty)
    read.columns = expected.columns  # compared above
    if not _is_same(expected, read) or read.attrs != frame.attrs:
        raise PayloadError(
            "payload is a pandas frame whose objects, categories, index or attrs Arrow would "
            "change: give each column one type, with astype() or convert_dtypes()"
        )


def _check_labels(frame: Any, empty: Any) -> None:
    from pandas.testing import assert_index_equal

    for name, one, other in zip(frame.columns, frame.dtypes, empty.dtypes, strict=True):
        # Categories are compared with the values. Text of Python's is text of Arrow's.
        if one != other and not (str(one) == str(other) and str(one) in _COMPARED_BY_NAME):
            raise PayloadError(
                f"payload has the column {name!r} of {one}, which would come back as {other}: "
                "use astype()"
            )
    try:
        assert_index_equal(frame.columns, empty.columns, exact=True, check_exact=True)
    except AssertionError as error:
        raise PayloadError(
            "payload is a pandas frame whose column labels Arrow would change: make them text, "
            "with frame.columns.map(str)"
        ) from error


def _is_same(one: Any, other: Any) -> bool:
    from pandas.testing import assert_frame_equal

    try:
        assert_frame_equal(
            one,
            other,
            check_exact=True,
            check_column_type=False,
            check_index_type="equiv" if len(one.index) else False,
        )
    except (AssertionError, TypeError, ValueError):
        return False
    return all(
        _are_same_objects(column, other.iloc[:, position])
        for position, (_, column) in enumerate(one.items())
        if column.dtype == object
    )


def _are_same_objects(one: Any, other: Any) -> bool:
    from pandas.api.types import infer_dtype

    if infer_dtype(one, skipna=True) == infer_dtype(other, skipna=True) == "string":
        return True
    return all(map(_is_same_object, one, other))


def _is_same_object(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_same_object, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _is_same_object(one[key], other[key]) for key in one
        )
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN
