"""Tables that are few bytes and take many: refused before they take them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xclaim import (
    PayloadCorruptedError,
    PayloadError,
    PayloadReadError,
    PayloadRefusedError,
    Payloads,
)
from xclaim.payloads.codecs.arrow import Arrow, Parquet
from xclaim.payloads.codecs.arrow_messages import has_compressed_buffers

MIB = 1024 * 1024
ROWS = 50_000_000
FRAME = {"frequency": None, "columns": None, "index": None, "labels": ["object", "int64"]}
POOLS: list[pa.MemoryPool] = []  # what was read from one must not outlive it


@contextmanager
def arrow_memory() -> Iterator[pa.MemoryPool]:
    """Yield what counts the bytes that Arrow takes meanwhile, which Python does not see."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    POOLS.extend((pool, pa.default_memory_pool()))
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(POOLS[-1])


def described(table: pa.Table, kind: str = "pyarrow.Table", **more: Any) -> pa.Table:
    """Return a table that says of itself what one of ours says."""
    rows = table.num_rows if table.num_columns else 0
    says = json.dumps({"kind": kind, "rows": rows, **more}).encode()
    return table.replace_schema_metadata({b"xclaim": says})


def arrow(table: pa.Table, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    options = {"options": pa.ipc.IpcWriteOptions(**options)}
    with pa.ipc.new_stream(file, table.schema, **options) as writer:
        writer.write_table(table)
    return io.BytesIO(file.getvalue())


def parquet(table: pa.Table) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return io.BytesIO(file.getvalue())


def repeated(value: Any, rows: int) -> pa.Array:
    return pa.array([value]).take(pa.array(np.zeros(rows, dtype=np.int32)))


def repeated_view(rows: int, kind: str = "string_view", null: int | None = None) -> pa.Array:
    """Return views of one text of 10,000 characters; the last may be a null of some length."""
    text = b"x" * 10_000
    prefix = int.from_bytes(text[:4], "little")
    views = np.tile(np.array([len(text), prefix, 0, 0], np.int32), (rows, 1))
    nulls = 0
    if null is not None:
        nulls, views[-1] = 1, null
    valid = pa.array([True] * (rows - nulls) + [False] * nulls).buffers()[1]
    buffers = [valid, pa.py_buffer(views.tobytes()), pa.py_buffer(text)]
    return pa.Array.from_buffers(getattr(pa, kind)(), rows, buffers, null_count=nulls)


def test_a_column_of_nulls_is_as_large_as_its_rows() -> None:
    table = described(pa.table({"a": pa.nulls(ROWS)}))
    file = arrow(table)

    assert len(file.getvalue()) < 1_000
    with pytest.raises(PayloadRefusedError, match="50000000 rows"):
        Arrow().within(8 * ROWS - 1).decode(file)
    file.seek(0)
    assert Arrow().within(8 * ROWS).decode(file).num_rows == ROWS


@pytest.mark.parametrize("kind", ["pandas.DataFrame", "pyarrow.Table", "polars.DataFrame"])
def test_one_value_that_runs_on_is_as_large_as_its_rows(kind: str) -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([ROWS], pa.int32()), pa.array([7]))

    with pytest.raises(PayloadRefusedError, match="max_size"):
        Arrow().within(MIB).decode(arrow(described(pa.table({"a": runs}), kind)))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_stream_with_compressed_buffers_is_refused_before_they_are_looked_at(
    compression: str,
) -> None:
    table = described(pa.table({"a": np.zeros(ROWS // 10)}))
    file = arrow(table, compression=compression)

    with arrow_memory() as memory, pytest.raises(PayloadRefusedError, match="compressed buffers"):
        Arrow().within(MIB).decode(file)

    assert memory.max_memory() < MIB
    assert len(file.getvalue()) < 2 * MIB


def test_a_dictionary_that_is_compressed_is_seen_too() -> None:
    words = pa.array(["a" * 1_000, "b"]).dictionary_encode()

    assert has_compressed_buffers(arrow(pa.table({"a": words}), compression="zstd"))
    assert not has_compressed_buffers(arrow(pa.table({"a": words})))


@pytest.mark.parametrize(
    "content", [b"x", b"\xff" * 8, b"\xff" * 12, bytes(7), b"\xff" * 4 + b"A" * 40]
)
def test_what_is_no_stream_is_corrupted(content: bytes) -> None:
    with pytest.raises(PayloadCorruptedError):
        Arrow().within(MIB).decode(io.BytesIO(content))


def test_every_cut_of_a_stream_ends_in_our_error() -> None:
    content = arrow(described(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}))).getvalue()

    for end in range(len(content) - 8):
        with pytest.raises(PayloadReadError):
            Arrow().within(MIB).decode(io.BytesIO(content[:end]))


@pytest.mark.parametrize("kind", ["string_view", "binary_view"])
def test_views_of_one_text_do_not_grow_beyond_the_limit(kind: str) -> None:
    table = framed(pa.table({"a": repeated_view(1_000, kind), "b": [None] * 1_000}), [None, None])

    with pytest.raises(PayloadRefusedError, match="max_size"):
        Arrow().within(5 * MIB).decode(arrow(table))
    assert len(Arrow().within(11 * MIB).decode(arrow(table))) == 1_000


@pytest.mark.parametrize("kind", ["string_view", "binary_view"])
@pytest.mark.parametrize("length", [-(2**31), -1, 13, 2**31 - 1])
def test_a_null_that_is_a_view_of_some_text_is_not_read(kind: str, length: int) -> None:
    table = framed(pa.table({"a": repeated_view(3, kind, null=length)}), [None])

    with pytest.raises(PayloadCorruptedError, match="a null that is a text"):
        Arrow().within(MIB).decode(arrow(table))


@pytest.mark.parametrize("kind", ["string_view", "binary_view"])
def test_a_null_that_is_a_view_of_nothing_is_read(kind: str) -> None:
    table = framed(pa.table({"a": repeated_view(3, kind, null=0)}), [None])

    assert list(Arrow().within(MIB).decode(arrow(table))["a"].isna()) == [False, False, True]


OFFSETS = pa.array([0, ROWS], pa.int32())
NULLS = {
    "list<null>": lambda: pa.ListArray.from_arrays(OFFSETS, pa.nulls(ROWS)),
    "list<list<null>>": lambda: pa.ListArray.from_arrays(
        pa.array([0, 1], pa.int32()), pa.ListArray.from_arrays(OFFSETS, pa.nulls(ROWS))
    ),
    "struct<list<null>>": lambda: pa.StructArray.from_arrays(
        [pa.ListArray.from_arrays(OFFSETS, pa.nulls(ROWS))], ["a"]
    ),
    "struct<null>": lambda: pa.StructArray.from_arrays([pa.nulls(ROWS)], ["a"]),
    "list<struct<>>": lambda: pa.ListArray.from_arrays(OFFSETS, empty(pa.struct([]))),
    "fixed_size_list<null>": lambda: pa.FixedSizeListArray.from_arrays(pa.nulls(ROWS), ROWS),
    "list<fixed_size_list<>>": lambda: pa.ListArray.from_arrays(
        OFFSETS, empty(pa.list_(pa.field("a", pa.int64()), 0), pa.array([], pa.int64()))
    ),
    "list<binary[0]>": lambda: pa.ListArray.from_arrays(
        OFFSETS, pa.Array.from_buffers(pa.binary(0), ROWS, [None, pa.py_buffer(b"")])
    ),
    "list<dictionary<null>>": lambda: pa.ListArray.from_arrays(
        pa.array([0, MIB], pa.int32()),
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(MIB, np.int8)), pa.nulls(1)),
    ),
}  # fmt: skip


def empty(kind: pa.DataType, *children: pa.Array) -> pa.Array:
    return pa.Array.from_buffers(kind, ROWS, [None], children=list(children))


def framed(table: pa.Table, objects: list[str | None]) -> pa.Table:
    return described(table, "pandas.DataFrame", **FRAME, objects=objects)


@pytest.mark.parametrize("name", NULLS)
@pytest.mark.parametrize("kind", ["pandas.DataFrame", "pyarrow.Table", "polars.DataFrame"])
def test_what_takes_no_bytes_is_as_large_as_its_rows_however_deep(name: str, kind: str) -> None:
    table = described(pa.table({"a": NULLS[name]()}), kind, **FRAME, objects=["none"])
    file = arrow(table)

    with arrow_memory() as memory, pytest.raises(PayloadRefusedError, match="max_size"):
        Arrow().within(MIB).decode(file)
    assert memory.max_memory() < MIB + len(file.getvalue())


WORD = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000, np.int8)), ["x" * 10_000])
DIGESTS = pa.DictionaryArray.from_arrays(
    pa.array(np.zeros(1_000, np.int8)), pa.array([b"x" * 10_000], pa.binary(10_000))
)
WORDS = {
    "list": pa.ListArray.from_arrays(pa.array([0, 1_000], pa.int32()), WORD),
    "digests": pa.ListArray.from_arrays(pa.array([0, 1_000], pa.int32()), DIGESTS),
    "struct": pa.StructArray.from_arrays([WORD], ["a"]),
    "map": pa.MapArray.from_arrays(pa.array([0, 1_000], pa.int32()), WORD, WORD),
    "array": pa.FixedSizeListArray.from_arrays(WORD, 10),
    "views": pa.ListArray.from_arrays(pa.array([0, 1_000], pa.int32()), repeated_view(1_000)),
}


@pytest.mark.parametrize("column", WORDS.values(), ids=list(WORDS))
@pytest.mark.parametrize("kind", ["pandas.DataFrame", "polars.DataFrame"])
def test_one_text_in_many_places_within_a_column_is_as_large_as_all_of_them(
    column: pa.Array, kind: str
) -> None:
    file = arrow(described(pa.table({"a": column}), kind, **FRAME, objects=["none"]))

    with pytest.raises(PayloadRefusedError, match="max_size"):
        Arrow().within(5 * MIB).decode(file)


SHARED = [
    pa.ListViewArray.from_arrays([0] * 9, [1] * 9, pa.array(["x" * 100])),
    pa.LargeListViewArray.from_arrays([0] * 9, [1] * 9, pa.array(["x" * 100])),
    pa.RunEndEncodedArray.from_arrays(pa.array([9], pa.int32()), pa.array(["x" * 100])),
    pa.UnionArray.from_dense(
        pa.array([0] * 9, pa.int8()), pa.array([0] * 9, pa.int32()), [pa.array(["x" * 100])]
    ),
]


@pytest.mark.parametrize("shared", SHARED, ids=lambda each: str(each.type).partition("<")[0])
@pytest.mark.parametrize("kind", ["pandas.DataFrame", "polars.DataFrame"])
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_frame_has_no_columns_that_neither_pandas_nor_polars_writes(
    shared: pa.Array, kind: str, is_nested: bool
) -> None:
    column = pa.StructArray.from_arrays([shared], ["b"]) if is_nested else shared
    file = arrow(described(pa.table({"a": column}), kind, **FRAME, objects=["none"]))

    with pytest.raises(PayloadCorruptedError, match="neither pandas nor Polars writes"):
        Arrow().within(MIB).decode(file)


def test_columns_that_are_one_buffer_are_as_large_as_each_by_itself() -> None:
    column = pa.array(["x" * MIB])
    table = framed(pa.table([column] * 9, [str(number) for number in range(9)]), [None] * 9)

    with pytest.raises(PayloadRefusedError, match="max_size"):
        Arrow().within(8 * MIB).decode(arrow(table))


@pytest.mark.parametrize("label", ["object", "int64"])
@pytest.mark.parametrize("kind", ["pandas.DataFrame", "pandas.Series"])
def test_an_index_without_columns_is_as_large_as_its_labels(label: str, kind: str) -> None:
    frame = {**FRAME, "objects": [], "index": [0, 10**8, 1, None], "labels": ["object", label]}
    table = described(pa.table({}), kind, **frame)

    with pytest.raises(PayloadRefusedError, match="100000000 rows, which take 800000000 bytes"):
        Arrow().within(MIB).decode(arrow(table))


def test_a_frame_with_columns_makes_no_rows_of_its_own() -> None:
    frame = {**FRAME, "objects": [None], "index": [0, 10, 1, None]}
    table = described(pa.table({"a": [1]}), "pandas.DataFrame", **frame)

    with pytest.raises(PayloadCorruptedError, match="without columns"):
        Arrow().within(MIB).decode(arrow(table))


def test_a_parquet_file_of_many_rows_is_refused_by_their_number() -> None:
    file = parquet(described(pa.table({"a": repeated(7, ROWS // 5)})))

    assert len(file.getvalue()) < 100_000
    with pytest.raises(PayloadRefusedError, match="10000000 rows, which take"):
        Parquet().within(MIB).decode(file)


def test_a_parquet_file_with_one_long_text_in_many_rows_is_read_no_further_than_the_limit() -> None:
    file = parquet(described(pa.table({"a": repeated("x" * 100_000, 2_000)})))

    assert len(file.getvalue()) < MIB
    with arrow_memory() as memory, pytest.raises(PayloadRefusedError, match="max_size"):
        Parquet().within(10 * MIB).decode(file)
    assert memory.max_memory() < 10 * MIB


def test_a_parquet_list_of_many_values_is_refused_before_it_is_read() -> None:
    values = repeated(7, ROWS // 5)
    lists = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    file = parquet(described(pa.table({"a": lists})))

    assert len(file.getvalue()) < 10_000
    with arrow_memory() as memory, pytest.raises(PayloadRefusedError, match="1 rows, which take"):
        Parquet().within(8 * MIB).decode(file)
    assert memory.max_memory() < MIB


def test_what_the_footer_of_a_parquet_file_says_of_its_pages_does_not_count() -> None:
    values = repeated(7, ROWS // 5)
    lists = pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
    content = parquet(described(pa.table({"a": lists}))).getvalue()
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer = content[end:].replace(b"\x80\xda\xc4\x09", b"\x82\x80\x80\x00")  # 10 million, and 1
    file = io.BytesIO(content[:end] + footer)

    assert pq.ParquetFile(file).metadata.row_group(0).column(0).num_values == 1
    file.seek(0)
    with arrow_memory() as memory, pytest.raises(PayloadRefusedError, match="max_size"):
        Parquet().within(8 * MIB).decode(file)
    assert memory.max_memory() < MIB


@pytest.mark.parametrize(
    "column",
    [
        pa.ListArray.from_arrays(pa.array([0, 2_000]), repeated("x" * 100_000, 2_000)),
        pa.StructArray.from_arrays([repeated(b"x" * 100_000, 2_000)], ["b"]),
    ],
    ids=["list", "struct"],
)
def test_one_long_text_in_many_places_of_a_parquet_column_is_as_large_as_all_of_them(
    column: pa.Array,
) -> None:
    file = parquet(described(pa.table({"a": column})))

    assert len(file.getvalue()) < MIB
    with arrow_memory() as memory, pytest.raises(PayloadRefusedError, match="max_size"):
        Parquet().within(10 * MIB).decode(file)
    assert memory.max_memory() < 10 * MIB


@pytest.mark.parametrize(
    "options",
    [
        {"use_dictionary": False, "column_encoding": {"a": "DELTA_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"a": "DELTA_LENGTH_BYTE_ARRAY"}},
    ],
)
def test_a_parquet_file_of_an_encoding_that_may_grow_is_not_read(options: dict[str, Any]) -> None:
    file = io.BytesIO()
    pq.write_table(described(pa.table({"a": repeated("x" * 1_000, 1_000)})), file, **options)

    with pytest.raises(PayloadCorruptedError, match="encoding that xclaim never writes"):
        Parquet().within(MIB).decode(io.BytesIO(file.getvalue()))


def test_a_parquet_file_of_another_writer_is_not_read() -> None:
    content = parquet(described(pa.table({"a": [1]}))).getvalue()
    other = content.replace(b"parquet-cpp-arrow ", b"parquet-cpp       ")

    with pytest.raises(PayloadCorruptedError, match="written by"):
        Parquet().within(MIB).decode(io.BytesIO(other))


def test_every_cut_of_the_pages_of_a_parquet_file_ends_in_our_error() -> None:
    content = bytearray(parquet(described(pa.table({"a": [1, 2, 3]}))).getvalue())
    read = Parquet().within(MIB).decode(io.BytesIO(content))

    assert read.num_rows == len(read)
    for place in range(4, 60):
        changed = bytes(content[:place]) + b"\xff" + bytes(content[place + 1 :])
        try:
            Parquet().within(MIB).decode(io.BytesIO(changed))
        except PayloadReadError:
            continue


@pytest.mark.parametrize("options", [{}, {"data_page_version": "2.0"}, {"use_dictionary": False}])
def test_pages_of_each_kind_are_read_within_the_limit(options: dict[str, Any]) -> None:
    table = described(
        pa.table(
            {
                "a": range(100_000),
                "b": ["x", None] * 50_000,
                "c": [[1, 2], []] * 50_000,
                "d": [{"e": True}, None] * 50_000,
                "f": pa.array([b"12", b"34"] * 50_000, pa.binary(2)),
                "g": pa.array([["x", "y"], None] * 50_000),
            }
        )
    )
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", use_compliant_nested_type=False, **options)

    read = Parquet().within(16 * MIB).decode(io.BytesIO(file.getvalue()))

    assert read.equals(table.replace_schema_metadata(None))


CATEGORIES = pd.DataFrame({"a": pd.Series(["x", "y"], dtype="category")})


@pytest.mark.parametrize("codec", [Arrow(), Parquet()])
@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": range(1_000), "b": ["text"] * 1_000, "c": [None, "x"] * 500}),
        CATEGORIES,
        pa.table({"s": ["a", None], "l": [["x"], []], "b": [b"raw", None]}),
        pa.table({"a": pa.array([], pa.string())}),
        pa.table({"a": [{"b": ["x", "y"]}, None], "c": [[["z"]], [[], None]]}),
        pd.DataFrame(index=pd.RangeIndex(1_000)),
        pd.DataFrame({"a": pd.Series([], dtype=pd.ArrowDtype(pa.string_view()))}),
    ],
)
def test_what_is_within_the_limit_comes_back(codec: Any, value: Any) -> None:
    file = io.BytesIO()
    if isinstance(codec, Parquet) and value is CATEGORIES:
        with pytest.raises(PayloadError, match="categories that Parquet changes"):
            codec.encode(value, file)
        return
    codec.encode(value, file)
    file.seek(0)

    read = codec.within(MIB).decode(file)

    assert read.equals(value)


@pytest.mark.parametrize("codec", ["arrow", "parquet"])
def test_the_limit_of_a_queue_is_the_limit_of_its_tables(codec: str) -> None:
    import base64

    table = described(
        pa.table({"a": pa.nulls(ROWS) if codec == "arrow" else repeated(7, ROWS // 50)})
    )
    file = arrow(table) if codec == "arrow" else parquet(table)
    stored = {"data": base64.b64encode(file.getvalue()).decode()}

    with pytest.raises(PayloadRefusedError, match="max_size"):
        Payloads(max_size=MIB).read(stored, codec, queue="orders")
