"""Tables of pandas, Polars and pyarrow come back as they were, or are refused when pushed."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pandas.testing import assert_frame_equal, assert_series_equal

from xclaim.errors import (
    PayloadCorruptedError,
    PayloadError,
    PayloadReadError,
    PayloadRefusedError,
    StorageError,
)
from xclaim.payloads.codecs.arrow import Arrow, Parquet

CODECS = [Arrow(), Parquet()]
Codec = Arrow | Parquet


@pytest.fixture(params=CODECS, ids=lambda codec: codec.name)
def codec(request: pytest.FixtureRequest) -> Codec:
    chosen: Codec = request.param
    return chosen


class Sink:
    """Only what a codec may use."""

    def __init__(self) -> None:
        self.file, self.largest = io.BytesIO(), 0

    def write(self, content: Any) -> int:
        self.largest = max(self.largest, len(content))
        return self.file.write(content)

    def flush(self) -> None:
        pass


def encoded(codec: Codec, value: Any) -> bytes:
    sink = Sink()
    codec.encode(value, sink)  # type: ignore[arg-type]
    return sink.file.getvalue()


def there_and_back(codec: Codec, value: Any) -> Any:
    return codec.decode(io.BytesIO(encoded(codec, value)))


def dates(count: int, **more: Any) -> pd.DatetimeIndex:
    return pd.date_range("2026-01-01", periods=count, **more)


FRAMES: dict[str, Callable[[], pd.DataFrame]] = {
    "numbers": lambda: pd.DataFrame(
        {kind: np.array([1, 0, 7], kind) for kind in ["i1", "u8", "f2", "f4", "f8", "?"]}
    ),
    "floats": lambda: pd.DataFrame({"a": [1.5, np.nan, np.inf, -0.0, 5e-324]}),
    "text": lambda: pd.DataFrame({"a": ["a", None, "\u00e9"], "b": ["", "x", "y"]}),
    "text_of_pandas_2": lambda: pd.DataFrame({"a": pd.Series(["a", None], dtype=object)}),
    "text_with_nan": lambda: pd.DataFrame({"a": pd.Series(["a", np.nan], dtype=object)}),
    "text_of_arrow": lambda: pd.DataFrame({"a": pd.Series(["a", None], dtype="string[pyarrow]")}),
    "masked": lambda: pd.DataFrame(
        {
            kind: pd.array([1, None, 0], dtype=kind)
            for kind in ["Int8", "UInt64", "Float32", "boolean"]
        }
    ),
    "arrow_types": lambda: pd.DataFrame(
        {
            "a": pd.array([1, None], dtype="int64[pyarrow]"),
            "b": pd.array(["a", None], dtype="string[pyarrow]"),
        }
    ),
    "times": lambda: pd.DataFrame(
        {unit: dates(3).as_unit(unit) for unit in ["ms", "us", "ns"]}
    ),
    "times_with_nat": lambda: pd.DataFrame({"a": [pd.Timestamp("2026-01-01"), pd.NaT]}),
    "zones": lambda: pd.DataFrame(
        {name: dates(3, tz=name) for name in ["Europe/Berlin", "UTC", "+02:00"]}
    ),
    "durations": lambda: pd.DataFrame({"a": pd.to_timedelta([1, 2], unit="s")}),
    "decimals": lambda: pd.DataFrame({"a": [Decimal("1.10"), Decimal("2.25")]}),
    "dates": lambda: pd.DataFrame({"a": [date(2026, 1, 1), None]}),
    "bytes": lambda: pd.DataFrame({"a": [b"\x00\xff", b""]}),
    "objects_of_one_type": lambda: pd.DataFrame({"a": pd.Series([1, None, 2], dtype=object)}),
    "lists": lambda: pd.DataFrame({"a": [[1, 2], [], [3]]}),
    "dicts": lambda: pd.DataFrame({"a": [{"x": 1, "y": "a"}, {"x": 2, "y": "b"}]}),
    "no_rows": lambda: pd.DataFrame({"a": np.array([], "i4"), "b": np.array([], "M8[us]")}),
    "no_columns": lambda: pd.DataFrame(index=range(3)),
    "nothing": pd.DataFrame,
    "range_index": lambda: pd.DataFrame({"a": [1, 2]}, index=range(10, 14, 2)),
    "text_index": lambda: pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "object_index": lambda: pd.DataFrame({"a": [1]}, index=pd.Index(["x"], dtype=object)),
    "time_index": lambda: pd.DataFrame(
        {"a": range(3)}, index=dates(3, freq="D", tz="Europe/Berlin")
    ),
    "time_index_without_frequency": lambda: pd.DataFrame({"a": [1]}, index=dates(3)[[1]]),
    "odd_frequency": lambda: pd.DataFrame({"a": range(3)}, index=dates(3, freq="2W-TUE")),
    "several_levels": lambda: pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", None])
    ),
    "named_like_its_index": lambda: pd.DataFrame({"a": [1]}, index=pd.Index([7], name="b")),
    "numbered_columns": lambda: pd.DataFrame([[1, 2]]),
    "dated_columns": lambda: pd.DataFrame([[1, 2]], columns=dates(2)[[0, 1]]),
    "named_columns": lambda: pd.DataFrame({"a": [1]}).rename_axis(columns="what"),
    "object_columns": lambda: pd.DataFrame([[1]], columns=pd.Index(["a"], dtype=object)),
    "levels_of_columns": lambda: pd.DataFrame(
        [[1, 2]], columns=pd.MultiIndex.from_tuples([("x", "a"), ("x", "b")])
    ),
    "periods": lambda: pd.DataFrame({"a": pd.period_range("2026-01", periods=2, freq="M")}),
    "period_index": lambda: pd.DataFrame(
        {"a": [1, 2]}, index=pd.period_range("2026-01", periods=2, freq="M")
    ),
    "intervals": lambda: pd.DataFrame({"a": pd.interval_range(0, 2)}),
}  # fmt: skip
CATEGORIES: dict[str, Callable[[], pd.DataFrame]] = {
    "categories": lambda: pd.DataFrame(
        {"a": pd.Categorical(["b", None, "a"], ["z", "b", "a"], ordered=True)}
    ),
    "numbered_categories": lambda: pd.DataFrame({"a": pd.Categorical([1, 2], [2, 1, 0])}),
    "category_index": lambda: pd.DataFrame({"a": [1]}, index=pd.CategoricalIndex(["x"])),
    "no_categories_in_use": lambda: pd.DataFrame({"a": pd.Categorical([], ["a"])}),
}


@pytest.mark.parametrize("make", FRAMES.values(), ids=FRAMES)
def test_a_pandas_frame_comes_back_as_it_was(codec: Codec, make: Callable[[], Any]) -> None:
    frame = make()

    read = there_and_back(codec, frame)

    assert type(read) is pd.DataFrame
    assert_frame_equal(read, frame, check_exact=True, check_freq=True, check_index_type=True)
    assert [str(dtype) for dtype in read.dtypes] == [str(dtype) for dtype in frame.dtypes]
    assert type(read.index) is type(frame.index)


@pytest.mark.parametrize("make", CATEGORIES.values(), ids=CATEGORIES)
def test_categories_come_back_as_they_were(make: Callable[[], Any]) -> None:
    frame = make()

    assert_frame_equal(there_and_back(Arrow(), frame), frame, check_exact=True)


@pytest.mark.parametrize("name", ["categories", "numbered_categories"])
def test_parquet_refuses_categories_that_it_would_change(name: str) -> None:
    with pytest.raises(PayloadError, match="Parquet changes: use the codec of Arrow"):
        encoded(Parquet(), CATEGORIES[name]())


def test_parquet_refuses_times_of_whole_seconds() -> None:
    frame = pd.DataFrame({"a": dates(3).as_unit("s")})

    assert_frame_equal(there_and_back(Arrow(), frame), frame)
    with pytest.raises(PayloadError, match="Parquet changes"):
        encoded(Parquet(), frame)


def test_text_that_python_holds_is_held_by_arrow_afterwards(codec: Codec) -> None:
    frame = pd.DataFrame({"a": pd.Series(["a", None], dtype="string[python]")})

    read = there_and_back(codec, frame)

    assert_frame_equal(read, frame.astype("string[pyarrow]"))


def test_null_of_an_object_column_is_what_it_was(codec: Codec) -> None:
    frame = pd.DataFrame({"a": ["x", None], "b": ["x", np.nan]}, dtype=object)

    read = there_and_back(codec, frame)

    assert read["a"][1] is None
    assert np.isnan(read["b"][1])


def test_attrs_come_back(codec: Codec) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"source": "shop", "list": [1]}

    assert there_and_back(codec, frame).attrs == frame.attrs


@pytest.mark.parametrize("name", ["price", None, 3, ""])
def test_a_pandas_series_comes_back_as_it_was(codec: Codec, name: Any) -> None:
    series = pd.Series([1.5, None], index=dates(2, freq="h"), name=name)
    series.attrs = {"source": "shop"}

    read = there_and_back(codec, series)

    assert type(read) is pd.Series
    assert_series_equal(read, series, check_exact=True, check_freq=True)
    assert read.attrs == series.attrs


class Frame(pd.DataFrame):  # type: ignore[misc]
    pass


def with_attrs(attrs: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = attrs
    return frame


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [object()]}), pd.DataFrame({"a": [1, "a"]}), pd.DataFrame({"a": [{1}]}),
        pd.DataFrame({"a": pd.Series([1, 2.5], dtype=object)}), pd.DataFrame({"a": [1j]}),
        pd.DataFrame({"a": pd.Series([True, 1], dtype=object)}), pd.DataFrame({"a": [(1, 2)]}),
        pd.DataFrame({"a": ["x", None, np.nan]}, dtype=object),
        pd.DataFrame({"a": ["\ud800"]}, dtype=object),
        pd.DataFrame({"a": [{"x": 1}, {"y": 1}]}), pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=[1, "a"]), pd.DataFrame({"a": pd.cut([1, 2, 3], 3)}),
        pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), with_attrs({"a": (1,)}),
        Frame({"a": [1]}),
        with_attrs({"a": object()}), pd.Series([1], name=("a", "b")), pd.Series([object()]),
        pd.DataFrame({"a": [1, 2]}, index=pd.Index([1, "a"])),
        pl.DataFrame({"a": [1]}).lazy(), pl.Series([1]), pl.DataFrame({"a": [object()]}),
        pl.DataFrame({"a": pl.Series([1]).cast(pl.Int128)}),
    ],
    ids=lambda value: f"{type(value).__module__}.{type(value).__name__}",
)  # fmt: skip
def test_what_would_not_come_back_is_refused(codec: Codec, value: Any) -> None:
    with pytest.raises(PayloadError, match="payload "):
        encoded(codec, value)


def test_a_lazy_frame_is_refused_with_a_hint() -> None:
    assert Arrow().accepts(pl.LazyFrame())
    with pytest.raises(PayloadError, match=r"use \.collect\(\)"):
        encoded(Arrow(), pl.LazyFrame({"a": [1]}))


POLARS = pl.DataFrame(
    {
        "e": pl.Series(["a", None], dtype=pl.Enum(["b", "a"])),
        "decimal": pl.Series(["1.10", "2"]).cast(pl.Decimal(10, 2)),
        "list": [[1], []],
        "struct": [{"a": 1, "b": "x"}, {"a": 2, "b": None}],
        "null": [None, None],
        "time": [time(1), None],
        "duration": pl.Series([1, 2]).cast(pl.Duration("ms")),
        "binary": [b"\x00", b""],
        "zone": pl.Series([1, 2]).cast(pl.Datetime("us", "Europe/Berlin")),
        "array": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        "text": ["\u00e9", None],
    }
)


def test_a_polars_frame_comes_back_as_it_was() -> None:
    frame = POLARS.with_columns(pl.Series("c", ["a", "b"], dtype=pl.Categorical))

    read = there_and_back(Arrow(), frame)

    assert read.schema == frame.schema
    assert read.equals(frame)


def test_a_polars_frame_comes_back_from_parquet() -> None:
    frame = POLARS.select("decimal", "list", "binary", "zone", "text", "struct", "duration")

    read = there_and_back(Parquet(), frame)

    assert read.schema == frame.schema
    assert read.equals(frame)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": [1, None], "b": [["x"], []]}),
        pa.table({"a": pa.chunked_array([[1], [2, 3]])}),
        pa.table({"a": [1]}).replace_schema_metadata({"mine": "kept"}),
        pa.table({}), pa.schema([("a", pa.int8())]).empty_table(),
        pa.table({"a": pa.array([b"1" * 16], pa.uuid())}),
        pa.table([[1], [2]], names=["a", "a"]),
    ],
    ids=lambda table: str(table.schema)[:20],
)  # fmt: skip
def test_an_arrow_table_comes_back_as_it_was(table: pa.Table) -> None:
    read = there_and_back(Arrow(), table)

    assert read.equals(table, check_metadata=True)
    read.validate(full=True)


@pytest.mark.parametrize("rows", [0, 1, 300_000])
def test_a_record_batch_comes_back_as_one(codec: Codec, rows: int) -> None:
    batch = pa.RecordBatch.from_pydict({"a": pa.array(range(rows), pa.int32())})

    read = there_and_back(codec, batch)

    assert type(read) is pa.RecordBatch
    assert read.equals(batch)


class Mine(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.int64(), "mine.own")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Mine:
        return cls()


def test_an_extension_type_of_ones_own_is_refused(codec: Codec) -> None:
    column = pa.ExtensionArray.from_storage(Mine(), pa.array([1]))

    with pytest.raises(PayloadError, match=r"extension type 'mine\.own'"):
        encoded(codec, pa.table({"a": column}))
    with pytest.raises(PayloadError, match=r"extension type 'mine\.own'"):
        encoded(codec, pa.table({"a": pa.StructArray.from_arrays([column], ["inner"])}))


# -------------------------------------------------------------------------------- hostile content


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def described(text: str) -> bytes:
    return stream(pa.table({"a": [1]}).replace_schema_metadata({"xclaim": text}))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"nonsense", b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"junk" * 4,
        b"\xff\xff\xff\xff\xff\xff\xff\x7f", stream(pa.table({"a": [1]})), described("{"),
        described("[]"), described("{}"), described('{"kind": "os.system"}'), described("1"),
        described('{"kind": ["a"]}'),
        described('{"kind": "pandas.DataFrame"}'),
        described('{"kind": "pandas.DataFrame", "rows": 1, "objects": ["none"]}'),
        described('{"kind": "pandas.Series", "rows": 1}'),
        described('{"kind": "pyarrow.Table"}'), b"PAR1" + b"\x00" * 20 + b"PAR1",
    ],
    ids=lambda content: repr(content[-40:]),
)  # fmt: skip
def test_what_is_no_table_of_the_codec_is_corrupt(codec: Codec, content: bytes) -> None:
    with pytest.raises(PayloadCorruptedError, match="no table of this codec"):
        codec.decode(io.BytesIO(content))


def test_every_cut_is_noticed(codec: Codec) -> None:
    content = encoded(codec, pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))

    for size in range(0, len(content) - 8, 7):  # the last eight bytes of a stream say "end"
        with pytest.raises(PayloadCorruptedError):
            codec.decode(io.BytesIO(content[:size]))


@settings(max_examples=400)
@given(position=some.integers(0, 10_000), value=some.integers(1, 255))
def test_a_changed_byte_is_a_table_or_corrupt(position: int, value: int) -> None:
    content = bytearray(encoded(Arrow(), pa.table({"a": ["x", "yz"], "b": [[1], []]})))
    content[position % len(content)] ^= value

    try:
        Arrow().decode(io.BytesIO(bytes(content)))
    except PayloadReadError:
        return


def test_offsets_that_point_elsewhere_are_not_followed() -> None:
    table = pa.table({"a": ["a", "bc"]})
    content = stream(
        table.replace_schema_metadata({"xclaim": '{"kind": "pyarrow.Table", "rows": 2}'})
    )
    offsets = np.array([0, 1, 3], "i4").tobytes()
    elsewhere = np.array([0, 1_000_000_000, 3], "i4").tobytes()
    assert content.count(offsets) == 1

    with pytest.raises(PayloadCorruptedError):
        Arrow().decode(io.BytesIO(content.replace(offsets, elsewhere)))


def test_a_column_with_a_pickle_is_never_read() -> None:
    metadata = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": "x"}
    field = pa.field("a", pa.struct([pa.field("b", pa.int64(), metadata=metadata)]))
    table = pa.table([pa.array([{"b": 1}], field.type)], schema=pa.schema([field]))
    content = stream(
        table.replace_schema_metadata({"xclaim": '{"kind": "pyarrow.Table", "rows": 2}'})
    )

    with pytest.raises(PayloadRefusedError, match="pickle in it"):
        Arrow().decode(io.BytesIO(content))


def test_what_polars_panics_about_is_corrupt() -> None:
    metadata = {"_PL_CATEGORICAL2": "nonsense"}
    kind = pa.dictionary(pa.uint32(), pa.large_string())
    schema = pa.schema([pa.field("a", kind, metadata=metadata)])
    table = pa.table([pa.array(["x"], kind)], schema=schema)
    text = '{"kind": "polars.DataFrame", "rows": 1}'
    content = stream(table.replace_schema_metadata({"xclaim": text}))

    with pytest.raises(PayloadCorruptedError, match="panicked"):
        Arrow().decode(io.BytesIO(content))


def test_an_error_of_the_storage_passes(codec: Codec) -> None:
    class Gone(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise StorageError("unreachable")

    with pytest.raises(StorageError, match="unreachable"):
        codec.decode(Gone(b"PAR1 content PAR1"))


# --------------------------------------------------------------------------- what is installed


def run(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout


def test_accepting_imports_nothing() -> None:
    code = (
        "import sys; from xclaim.payloads.codecs.arrow import Arrow, Parquet\n"
        "print(Arrow().accepts({'a': 1}), Parquet().accepts(1))\n"
        "print({'pyarrow', 'pandas', 'polars', 'numpy'} & set(sys.modules))"
    )

    assert run(code) == "False False\nset()\n"


def test_without_pyarrow_the_extra_is_named() -> None:
    code = (
        "import sys, io; sys.modules['pyarrow'] = None\n"
        "import pandas as pd\n"
        "from xclaim.payloads.codecs.arrow import Arrow\n"
        "from xclaim import PayloadError, PayloadReadError\n"
        "for call, kind in ((lambda: Arrow().encode(pd.DataFrame(), io.BytesIO()), PayloadError),"
        " (lambda: Arrow().decode(io.BytesIO()), PayloadReadError)):\n"
        "    try:\n        call()\n    except kind as error:\n        print(error)\n"
    )

    assert run(code).count('pip install "xclaim[arrow]"') == 2


@pytest.mark.parametrize("value", [pd.DataFrame({"a": [1]}), pl.DataFrame({"a": [1]})])
def test_without_the_readers_package_it_is_named(value: Any) -> None:
    package = type(value).__module__.partition(".")[0]
    content = encoded(Arrow(), value)
    code = (
        f"import sys, io; sys.modules[{package!r}] = None\n"
        "from xclaim.payloads.codecs.arrow import Arrow\nfrom xclaim import PayloadReadError\n"
        f"try:\n    Arrow().decode(io.BytesIO({content!r}))\n"
        "except PayloadReadError as error:\n    print(type(error).__name__, error)\n"
    )

    assert run(code).startswith(f"PayloadReadError the payload is a {package}.DataFrame")


def test_a_large_table_is_written_in_pieces() -> None:
    frame, sink = pd.DataFrame({"a": np.arange(4_000_000)}), Sink()

    Arrow().encode(frame, sink)  # type: ignore[arg-type]

    assert sink.largest <= 2 * 1024 * 1024


def test_repeated_labels_of_an_index_come_back(codec: Codec) -> None:
    frame = pd.DataFrame({"a": pd.Series(["x", None], dtype=object)}, dtype=object)
    frame.index = pd.Index(["k", "k"])

    assert_frame_equal(there_and_back(codec, frame), frame)
