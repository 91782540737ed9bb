"""Which codec is for a value, and which one a row names."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC
from typing import Any, BinaryIO

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from xclaim.errors import InvalidArgumentError, UnknownCodecError
from xclaim.payloads.codecs import registry
from xclaim.payloads.codecs.arrow import Arrow, Parquet
from xclaim.payloads.codecs.registry import check_codec, codec_for, codec_named, register_codec
from xclaim.payloads.codecs.typed_json import TypedJson


class Reversed:
    """A codec for text."""

    name = "shop-reversed"

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str)

    def encode(self, value: Any, file: BinaryIO) -> None:
        file.write(value[::-1].encode())

    def decode(self, file: BinaryIO) -> Any:
        return file.read().decode()[::-1]


@dataclass
class Order:
    id: int


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def name_for(value: Any, *own: Any) -> str | None:
    codec = codec_for(value, own)
    return codec.name if codec else None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (pd.DataFrame(), "arrow"), (pd.Series(), "arrow"), (pl.DataFrame(), "arrow"),
        (pl.LazyFrame(), "arrow"), (pa.table({}), "arrow"), (b"", "bytes"), (bytearray(), "bytes"),
        (memoryview(b""), "bytes"), (io.BytesIO(), "bytes"), ({1: 2}, "json-types"),
        ("a", "json-types"), (None, "json-types"), ([b""], "json-types"), (UTC, "json-types"),
        (Order(1), "json-types"), (object(), None), (Order, None), (io.StringIO(), None),
        (lambda: 1, None), (iter([]), None),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_each_value_has_its_codec(value: Any, name: str | None) -> None:
    assert name_for(value) == name


def test_ones_own_is_asked_first() -> None:
    assert name_for("a", Reversed()) == "shop-reversed"
    assert name_for(1, Reversed()) == "json-types"


def test_ones_own_json_leaves_tables_and_bytes_to_others() -> None:
    own = TypedJson([Order])

    assert name_for(pd.DataFrame(), own) == "arrow"
    assert name_for(b"", own) == "bytes"
    assert codec_for(Order(1), [own]) is own
    assert codec_named("json-types", [own]) is own


def test_parquet_is_read_by_all_and_written_by_those_who_choose_it() -> None:
    file = io.BytesIO()
    frame = pd.DataFrame({"a": [1]})
    chosen = codec_for(frame, [Parquet()])
    assert chosen is not None
    chosen.encode(frame, file)
    file.seek(0)

    assert chosen.name == "parquet"
    assert codec_named("parquet").decode(file).equals(frame)
    assert name_for(frame) == "arrow"


def test_a_registered_codec_is_used_by_all() -> None:
    register_codec(Reversed())

    assert name_for("a") == "shop-reversed"
    assert codec_named("shop-reversed").decode(io.BytesIO(b"ba")) == "ab"


@pytest.mark.parametrize("name", ["arrow", "bytes", "json-types", "parquet", "shop-reversed"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    register_codec(Reversed())
    codec = Reversed()
    codec.name = name

    with pytest.raises(InvalidArgumentError, match="is taken"):
        register_codec(codec)


@pytest.mark.parametrize(
    "name", ["", "A", "a+b", "a b", "-a", "a-", "\u00e9", "a\n", "a" * 41, None, 5, "a_b", "a--b"]
)
def test_a_malformed_name_is_refused(name: Any) -> None:
    codec = Reversed()
    codec.name = name

    with pytest.raises(InvalidArgumentError, match="malformed"):
        register_codec(codec)


@pytest.mark.parametrize("name", ["json", "zstd", "fernet"])
def test_a_reserved_name_is_refused(name: str) -> None:
    codec = Reversed()
    codec.name = name

    with pytest.raises(InvalidArgumentError, match="reserved"):
        check_codec(codec)


@pytest.mark.parametrize("codec", [Reversed, None, "arrow", object()])
def test_what_is_no_codec_is_refused(codec: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is no codec"):
        register_codec(codec)


@pytest.mark.parametrize("name", ["lost", "", "json", "os.system", "x" * 10_000])
def test_an_unknown_codec_is_named_with_the_way_out(name: str) -> None:
    with pytest.raises(UnknownCodecError, match=r"Payloads\(codecs=") as raised:
        codec_named(name)

    assert repr(name[:60]) in str(raised.value)
    assert len(str(raised.value)) < 300


def test_the_built_in_codecs_keep_the_rules_for_all() -> None:
    for codec in (*registry._BUILT_IN, *registry._CHOSEN, TypedJson([Order]), Arrow()):
        check_codec(codec)


def test_the_import_brings_nothing_heavy() -> None:
    modules = "xclaim.payloads.codecs.registry, xclaim.payloads.codecs.models"
    code = f"import sys, {modules}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    heavy = {"pyarrow", "pandas", "polars", "numpy", "pydantic", "zstandard", "sqlalchemy"}
    assert not heavy & set(result.stdout.split())
