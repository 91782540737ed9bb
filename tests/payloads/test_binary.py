"""The codec of bytes and files."""

from __future__ import annotations

import array
import io
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from xclaim.errors import PayloadError
from xclaim.payloads.codecs.binary import CHUNK, Binary

CONTENT = bytes(range(256)) * 10_000  # some chunks, and a part of one


def there_and_back(value: Any) -> Any:
    file = io.BytesIO()
    Binary().encode(value, file)
    file.seek(0)
    return Binary().decode(file)


@pytest.mark.parametrize(
    "value",
    [
        CONTENT, bytearray(CONTENT), memoryview(CONTENT), b"", memoryview(CONTENT)[5:],
        io.BytesIO(CONTENT), memoryview(CONTENT)[::2], memoryview(array.array("d", [1.5, 2.5])),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_content_comes_back_as_bytes(value: Any) -> None:
    expected = value.getvalue() if isinstance(value, io.BytesIO) else bytes(value)

    read = there_and_back(value)

    assert type(read) is bytes
    assert read == expected


def test_a_file_is_read_from_where_it_stands_and_left_open(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT)

    with path.open("rb") as model:
        model.seek(7)
        read = there_and_back(model)

        assert not model.closed
    assert read == CONTENT[7:]


class Dribble(io.RawIOBase):
    """Gives less than it is asked for, as sockets do."""

    left = 10

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        return b"ab" if self.left >= 0 else b""


def test_a_file_that_gives_less_than_asked_is_read_to_its_end() -> None:
    assert there_and_back(Dribble()) == b"ab" * 10


class Sink:
    """Only what a codec may use; keeps nothing but how much came at once."""

    largest = total = 0

    def write(self, content: Any) -> int:
        self.largest = max(self.largest, len(content))
        self.total += len(content)
        return len(content)

    def flush(self) -> None:
        pass


def test_a_large_file_is_never_held_in_memory() -> None:
    size, sink = 64 * CHUNK, Sink()
    with tempfile.TemporaryFile() as large:
        large.truncate(size)
        tracemalloc.start()
        Binary().encode(large, sink)  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert (sink.total, sink.largest) == (size, CHUNK)
    assert peak < 8 * CHUNK


class Texts:
    def read(self, size: int) -> str:
        return "text"


class Blocking:
    def read(self, size: int) -> None:
        return None


@pytest.mark.parametrize("value", [Texts(), Blocking()])
def test_what_gives_no_bytes_is_refused(value: Any) -> None:
    with pytest.raises(PayloadError, match="not bytes: open it with"):
        there_and_back(value)


def test_a_file_that_is_closed_or_write_only_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "new").open("wb") as new, pytest.raises(PayloadError, match="cannot be read"):
        there_and_back(new)

    closed = io.BytesIO(b"a")
    closed.close()
    with pytest.raises(PayloadError, match="closed file"):
        there_and_back(closed)


def test_an_error_of_the_disk_passes() -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError("input/output error")

    with pytest.raises(OSError, match="input/output"):
        there_and_back(Broken())


def test_it_accepts_bytes_and_files_only() -> None:
    accepts = Binary().accepts

    assert all(map(accepts, [b"", bytearray(), memoryview(b""), io.BytesIO(), Dribble(), Texts()]))
    assert not any(map(accepts, ["", 1, {}, io.StringIO(), io.BytesIO, Texts, None]))
