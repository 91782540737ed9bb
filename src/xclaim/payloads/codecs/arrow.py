"""Tables as an Arrow IPC stream, or as Parquet: of pandas, Polars and pyarrow.

Which kind it was stands in the schema's metadata, and so it comes back as the same. What Arrow
would change on the way is refused when it is pushed. There is no pickle in any of it.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from xclaim.errors import (
    PayloadCorruptedError,
    PayloadError,
    PayloadReadError,
    PayloadRefusedError,
    XclaimError,
)
from xclaim.payloads.codecs import pandas_frames, parquet_pages, table_sizes
from xclaim.payloads.codecs.arrow_messages import has_compressed_buffers

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA = b"xclaim"
_ROWS_AT_ONCE = 65_536  # of a Parquet file, between two looks at what they take
_ROWS = 131_072  # of one record batch, so that a large table is written in pieces
_KINDS = (
    ("pandas", "DataFrame"),
    ("pandas", "Series"),
    ("polars", "DataFrame"),
    ("polars", "LazyFrame"),
    ("polars", "Series"),
    ("pyarrow", "RecordBatch"),
    ("pyarrow", "Table"),
)
# Types that anybody's Arrow knows, and those that pandas registers. Once there was one with a
# pickle in it, which no pyarrow of today reads.
_EXTENSIONS = ("arrow.", "pandas.")
_PICKLED = "arrow.py_extension_type"


class Arrow:
    """The codec ``arrow``: an Arrow IPC stream."""

    name = "arrow"

    def __init__(self, max_size: int = sys.maxsize) -> None:
        self._max_size = max_size

    def within(self, max_size: int) -> Arrow:
        """Return the codec that refuses what takes more bytes than this."""
        return Arrow(max_size)

    def accepts(self, value: Any) -> bool:
        """Return whether the value is a table. It imports nothing: what is not loaded has none."""
        return _kind_of(value) is not None

    def encode(self, value: Any, file: BinaryIO) -> None:
        """Write the table. Raise PayloadError for what would not come back as it is."""
        table = _table_of(value)
        sink = _Sink(file)
        arrow = _arrow()
        with arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=_ROWS)
            if not table.num_rows:  # nothing was written, and categories would be lost
                columns = [column.combine_chunks() for column in table.columns]
                writer.write_batch(arrow.RecordBatch.from_arrays(columns, schema=table.schema))

    def decode(self, file: BinaryIO) -> Any:
        """Return the table, of the kind it was. Raise PayloadCorruptedError for other content.

        Raise PayloadRefusedError for one that takes more than the codec is allowed.
        """
        return _value_of(lambda arrow: _read_arrow(arrow, file), self._max_size)


class Parquet:
    """The codec ``parquet``, for those who choose it: smaller, and readable by many.

    It holds less than Arrow does, categories for one: what would not come back is refused.
    """

    name = "parquet"

    def __init__(self, max_size: int = sys.maxsize) -> None:
        self._max_size = max_size

    def within(self, max_size: int) -> Parquet:
        """Return the codec that refuses what takes more bytes than this."""
        return Parquet(max_size)

    def accepts(self, value: Any) -> bool:
        """Return whether the value is a table. It imports nothing: what is not loaded has none."""
        return _kind_of(value) is not None

    def encode(self, value: Any, file: BinaryIO) -> None:
        """Write the table. Raise PayloadError for what would not come back as it is."""
        table = _table_of(value)
        _check_parquet(table)
        _write_parquet(table, _Sink(file))

    def decode(self, file: BinaryIO) -> Any:
        """Return the table, of the kind it was. Raise PayloadCorruptedError for other content.

        Raise PayloadRefusedError for one that takes more than the codec is allowed.
        """
        return _value_of(lambda _: _read_parquet(file, self._max_size), self._max_size)


class _Sink(io.RawIOBase):
    """What pyarrow writes to: it asks for more than ``write``, and closes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._file.write(content)
        return len(content)


def _kind_of(value: Any) -> str | None:
    for package, name in _KINDS:
        module = sys.modules.get(package)  # loaded already if the value is one of its own
        kind = getattr(module, name, None)
        if isinstance(kind, type) and isinstance(value, kind):
            return f"{package}.{name}"
    return None


def _arrow(error: type[XclaimError] = PayloadError) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as missing:
        raise error('tables need pyarrow: run `pip install "xclaim[arrow]"`') from missing
    return pa


def _package(name: str, kind: str) -> Any:
    try:
        return __import__(name)  # one of two names that stand below
    except ImportError as missing:
        raise PayloadReadError(
            f"the payload is a {kind}, and {name} is not installed here: run `pip install {name}`"
        ) from missing


# ------------------------------------------------------------------------------------- to a table


def _table_of(value: Any) -> pa.Table:
    kind = _kind_of(value)
    if kind is None:
        raise PayloadError(f"payload is of type {type(value).__name__}, which is no table")
    _check_class(value, kind)
    arrow = _arrow()
    try:
        table, more = _TO_TABLE[kind](arrow, value)
    except arrow.ArrowException as error:
        raise _not_held(kind, error) from error
    except (OverflowError, TypeError, UnicodeError, ValueError) as error:
        if isinstance(error, PayloadError):
            raise
        raise _not_held(kind, error) from error
    for field in table.schema:
        _check_type(field.type, field.name)
    # The number of rows, as a stream may be cut off between two batches.
    described = json.dumps({"kind": kind, "rows": _rows_of(table), **more}).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _METADATA: described})


def _rows_of(table: Any) -> int:
    # Of a table without columns neither format knows the number; pandas has it in its index.
    return table.num_rows if table.num_columns else 0


def _check_class(value: Any, kind: str) -> None:
    package, name = kind.split(".")
    if kind == "polars.LazyFrame":
        raise PayloadError("payload is a polars.LazyFrame, a plan without data: use .collect()")
    if kind == "polars.Series":
        raise PayloadError("payload is a polars.Series: use .to_frame()")
    if type(value) is not getattr(sys.modules[package], name):
        raise PayloadError(
            f"payload is of type {type(value).__name__}, which would come back as {kind}: "
            f"use {kind}(...) of it"
        )


def _not_held(kind: str, error: Exception) -> PayloadError:
    return PayloadError(
        f"payload is a {kind} that Arrow does not hold ({str(error)[:300]}): give each column one "
        "type, with astype() for example"
    )


def _check_type(kind: Any, column: str) -> None:
    """Refuse extension types that the reader may not know: they would come back as another type."""
    name = getattr(kind, "extension_name", "arrow.")
    if not name.startswith(_EXTENSIONS) or name == _PICKLED:
        raise PayloadError(
            f"payload has the column {column!r} of the extension type {name!r}, which a reader may "
            "not know: cast it to its storage type"
        )
    for index in range(kind.num_fields):
        _check_type(kind.field(index).type, column)


def _from_polars(_: Any, value: Any) -> tuple[Any, dict[str, Any]]:
    from polars import Object, from_arrow

    for name, kind in value.schema.items():
        if kind == Object:
            raise PayloadError(f"payload has the column {name!r} of Python objects: cast it")
    table = value.to_arrow()
    if getattr(from_arrow(table.slice(0, 0)), "schema", None) != value.schema:
        raise PayloadError("payload is a polars.DataFrame with a type that Arrow changes: cast it")
    return table, {}


def _from_pandas(arrow: Any, value: Any) -> tuple[Any, dict[str, Any]]:
    return pandas_frames.to_table(arrow, value)


def _from_series(arrow: Any, value: Any) -> tuple[Any, dict[str, Any]]:
    if value.name is not None and type(value.name) not in (str, int):
        raise PayloadError(f"payload is a pandas.Series named {value.name!r}: rename it to text")
    frame = value.to_frame("values")
    frame.attrs = value.attrs
    table, more = pandas_frames.to_table(arrow, frame)
    return table, {**more, "name": value.name}


_TO_TABLE: dict[str, Callable[[Any, Any], tuple[Any, dict[str, Any]]]] = {
    "pandas.DataFrame": _from_pandas,
    "pandas.Series": _from_series,
    "polars.DataFrame": _from_polars,
    "pyarrow.RecordBatch": lambda arrow, value: (arrow.Table.from_batches([value]), {}),
    "pyarrow.Table": lambda _, value: (value, {}),
}


# ----------------------------------------------------------------------------------- from a table


def _value_of(read: Callable[[Any], Any], limit: int) -> Any:
    arrow = _arrow(PayloadReadError)
    try:
        table = read(arrow)
        table_sizes.check_rows(table, limit)
        table.validate(full=True)  # offsets that point elsewhere would be read as they are
        table_sizes.check_views(arrow, table)
        described = dict(table.schema.metadata or {})
        more = json.loads(described.pop(_METADATA))
        for field in table.schema:
            _refuse_pickle(field)
        table = table.replace_schema_metadata(described or None)
        if more["rows"] != _rows_of(table):
            raise ValueError(f"{table.num_rows} rows of {more['rows']}")
        if not more["kind"].startswith("pyarrow."):
            table_sizes.check_growth(arrow, table, limit)
            table_sizes.check_labels(pandas_frames.labels_of(table, more), limit)
        return _FROM_TABLE[more["kind"]](arrow, table, more)
    except arrow.ArrowException as error:
        raise _corrupted(error) from error
    # The claims of a header: more memory than there is, names and lengths that do not fit.
    except (ArithmeticError, AttributeError, LookupError, MemoryError, OSError) as error:
        raise _corrupted(error) from error
    except (NotImplementedError, TypeError, ValueError) as error:
        raise _corrupted(error) from error


def _read_arrow(arrow: Any, file: BinaryIO) -> Any:
    if has_compressed_buffers(file):
        raise PayloadRefusedError(
            "the payload is an Arrow stream with compressed buffers, which xclaim never writes: "
            "what they take is not known before; push the table itself"
        )
    return arrow.ipc.open_stream(file).read_all()


def _corrupted(error: BaseException) -> PayloadCorruptedError:
    return PayloadCorruptedError(
        f"the payload is no table of this codec ({type(error).__name__}: {str(error)[:300]}): "
        "it was changed after it was pushed"
    )


def _refuse_pickle(field: Any) -> None:
    metadata = field.metadata or {}
    names = (getattr(field.type, "extension_name", ""), metadata.get(b"ARROW:extension:name", b""))
    if _PICKLED in names or _PICKLED.encode() in names:
        raise PayloadRefusedError(
            f"the payload has the column {field.name!r} with a pickle in it, which is never read"
        )
    for index in range(field.type.num_fields):
        _refuse_pickle(field.type.field(index))


def _to_pandas(_: Any, table: Any, more: dict[str, Any]) -> Any:
    _package("pandas", more["kind"])
    return pandas_frames.from_table(table, more)


def _to_series(arrow: Any, table: Any, more: dict[str, Any]) -> Any:
    frame = _to_pandas(arrow, table, more)
    series = frame["values"].rename(more["name"])
    series.attrs = frame.attrs
    return series


def _to_polars(_: Any, table: Any, more: dict[str, Any]) -> Any:
    polars = _package("polars", more["kind"])
    try:
        return polars.from_arrow(table)
    except polars.exceptions.PanicException as error:  # no Exception: nobody would catch it
        raise ValueError(f"Polars panicked: {error}") from error


def _to_batch(arrow: Any, table: Any, _: Any) -> Any:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else arrow.RecordBatch.from_pylist([], table.schema)


_FROM_TABLE: dict[str, Callable[[Any, Any, dict[str, Any]], Any]] = {
    "pandas.DataFrame": _to_pandas,
    "pandas.Series": _to_series,
    "polars.DataFrame": _to_polars,
    "pyarrow.RecordBatch": _to_batch,
    "pyarrow.Table": lambda _, table, __: table,
}


# ---------------------------------------------------------------------------------------- parquet


def _write_parquet(table: Any, sink: Any) -> None:
    # The "compliant" names of nested fields are not those of the table.
    _arrow().parquet.write_table(table, sink, compression="zstd", use_compliant_nested_type=False)


def _read_parquet(file: BinaryIO, limit: int = sys.maxsize) -> Any:
    """Return the table, read in parts and no further than the limit.

    Texts are read as those of a dictionary, in which a page may have one a million times.
    """
    arrow = _arrow(PayloadReadError)
    whole = arrow.parquet.ParquetFile(file)
    if limit == sys.maxsize:
        return whole.read()
    least = parquet_pages.least_size(file, whole, limit)
    table_sizes.check_least(whole.metadata.num_rows, least, limit)
    leaves = [whole.schema.column(index) for index in range(whole.metadata.num_columns)]
    texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    schema, parts, size = whole.schema_arrow, [], 0
    reader = arrow.parquet.ParquetFile(file, read_dictionary=texts)
    for batch in reader.iter_batches(_ROWS_AT_ONCE):
        part = arrow.Table.from_batches([batch])
        size += part.nbytes + sum(
            table_sizes.expanded(arrow, part.column(index))
            for index, kind in enumerate(schema.types)
            if not arrow.types.is_dictionary(kind)
        )
        table_sizes.check_size(size, limit)
        parts.append(part.cast(schema))
    return arrow.concat_tables(parts) if parts else schema.empty_table()


def _check_parquet(table: Any) -> None:
    """Refuse what Parquet would change; of dictionaries it keeps only what is in use."""
    arrow = _arrow()
    held = [
        index for index, kind in enumerate(table.schema.types) if arrow.types.is_dictionary(kind)
    ]
    for part in (table.slice(0, 0), *([table.select(held)] if held else [])):
        copy = io.BytesIO()
        try:
            _write_parquet(part, copy)
            read = _read_parquet(copy)
            is_same = read.schema.equals(part.schema, check_metadata=True) and read.equals(part)
        except arrow.ArrowException as error:
            raise PayloadError(
                f"payload has what Parquet does not hold ({str(error)[:300]}): use the codec "
                "of Arrow, which is the default"
            ) from error
        if not is_same:
            raise PayloadError(
                "payload has a type or categories that Parquet changes: use the codec of Arrow, "
                "which is the default"
            )
