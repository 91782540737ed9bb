"""zstd, bounded in memory on both sides."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
from typing import Any, BinaryIO

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as some

from xclaim.errors import PayloadCorruptedError
from xclaim.payloads.layers.compression import CHUNK, compressing, decompressing

SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7]


def compressed(*pieces: Any) -> bytes:
    target = io.BytesIO()
    with compressing(target) as file:
        for piece in pieces:
            file.write(piece)
    return target.getvalue()


def decompressed(content: bytes) -> bytes:
    return decompressing(io.BytesIO(content)).read()


def framed(frame: bytes) -> bytes:
    return struct.pack("<III", 0x184D2A50, 4, len(frame)) + frame


END = framed(zstandard.ZstdCompressor().compress(b""))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [bytes, os.urandom], ids=["zeros", "random"])
def test_content_comes_back(size: int, make: Any) -> None:
    content = make(size)

    assert decompressed(compressed(content)) == content


def test_it_is_smaller() -> None:
    assert len(compressed(b'{"id": 1}' * 100_000)) < 10_000


@settings(max_examples=50)
@given(pieces=some.lists(some.binary(max_size=5_000)), size=some.integers(1, 7_000))
def test_pieces_of_any_size_come_back(pieces: list[bytes], size: int) -> None:
    file = decompressing(io.BytesIO(compressed(*pieces)))

    assert b"".join(iter(lambda: file.read(size), b"")) == b"".join(pieces)


def test_equal_content_is_equal_however_it_was_written() -> None:
    content = os.urandom(2 * CHUNK + 5)

    assert compressed(content) == compressed(content[:10], memoryview(content)[10:])


def test_the_zstd_of_others_reads_it() -> None:
    content = os.urandom(CHUNK) + bytes(CHUNK)
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(compressed(content)), read_across_frames=True
    )

    assert reader.read() == content


def test_closing_leaves_the_file_below_open() -> None:
    target = io.BytesIO()
    file = compressing(target)
    file.close()
    file.close()
    target.seek(0)

    with decompressing(target) as reader:
        assert reader.read() == b""
    assert not target.closed
    with pytest.raises(ValueError, match="closed"):
        file.write(b"a")


def test_what_was_given_up_has_no_end() -> None:
    target = io.BytesIO()
    with pytest.raises(RuntimeError), compressing(target) as file:
        file.write(b"the half")
        raise RuntimeError
    del file

    with pytest.raises(PayloadCorruptedError, match="cut off"):
        decompressed(target.getvalue())


def test_every_cut_is_noticed() -> None:
    content = compressed(os.urandom(300))

    for size in range(len(content)):
        with pytest.raises(PayloadCorruptedError):
            decompressed(content[:size])


def test_a_cut_between_two_frames_is_noticed() -> None:
    content = compressed(bytes(3 * CHUNK))
    whole = len(compressed(bytes(CHUNK))) - len(END)

    with pytest.raises(PayloadCorruptedError, match="cut off"):
        decompressed(content[: 2 * whole])


def test_every_changed_byte_is_noticed() -> None:
    content = compressed(b"some content, and some content again " * 5)

    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x55
        try:
            read = decompressed(bytes(changed))
        except PayloadCorruptedError:
            continue
        assert read == b"some content, and some content again " * 5  # a reserved bit of the header


@pytest.mark.parametrize(
    "content",
    [
        b"", b"nonsense" * 10, zstandard.ZstdCompressor().compress(b"a"), END + b"a", END + END,
        framed(b""), framed(b"nonsense" * 4), struct.pack("<III", 0x184D2A50, 4, 2**32 - 1),
        struct.pack("<III", 0x184D2A50, 5, 9),
        framed(zstandard.ZstdCompressor().compress(b"a") * 2),
    ],
    ids=lambda content: repr(content[:12]),
)  # fmt: skip
def test_what_is_no_content_of_ours_is_corrupt(content: bytes) -> None:
    with pytest.raises(PayloadCorruptedError, match="cannot be decompressed"):
        decompressed(content)


@settings(max_examples=300)
@given(content=some.binary(max_size=200) | some.binary(max_size=60).map(framed))
def test_any_bytes_are_content_or_corrupt(content: bytes) -> None:
    try:
        decompressed(content + END)
    except PayloadCorruptedError:
        return


def peak_of(read: Any) -> int:
    tracemalloc.start()
    read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


class Zeros:
    """A bomb: a gigabyte of zeros is 40 KB of frames."""

    def __init__(self, frames: int) -> None:
        frame = framed(zstandard.ZstdCompressor(level=3).compress(bytes(CHUNK)))
        self.file = io.BytesIO(frame * frames + END)


def test_a_bomb_is_read_no_further_than_asked() -> None:
    file = decompressing(Zeros(10_000).file)

    assert peak_of(lambda: file.read(100)) < 6 * CHUNK
    assert peak_of(lambda: file.read(100)) < 6 * CHUNK


def drain(file: BinaryIO) -> None:
    while file.read(64 * 1024):
        pass


def test_a_bomb_is_read_to_its_end_in_little_memory() -> None:
    assert peak_of(lambda: drain(decompressing(Zeros(300).file))) < 6 * CHUNK


def test_one_frame_that_claims_to_be_huge_is_refused_before_it_is_made() -> None:
    bomb = framed(zstandard.ZstdCompressor().compress(bytes(64 * CHUNK)))
    unknown = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 * CHUNK))
    liar = bytearray(bomb)  # 100 TB: the content size is the last of the header of the frame
    liar[12:22] = b"\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x5b"

    def read() -> None:
        for content in (bomb, framed(unknown), bytes(liar)):
            with pytest.raises(PayloadCorruptedError, match="claims to be larger"):
                decompressed(content)

    assert peak_of(read) < 6 * CHUNK


def test_a_frame_that_holds_more_than_it_claims_is_refused() -> None:
    frame = bytearray(zstandard.ZstdCompressor(write_checksum=False).compress(bytes(1000)))
    assert zstandard.frame_content_size(bytes(frame)) == 1000
    frame[5:7] = struct.pack("<H", 300 - 256)

    with pytest.raises(PayloadCorruptedError):
        decompressed(framed(bytes(frame)) + END)


def test_writing_holds_one_chunk_and_no_more() -> None:
    class Sink:
        def write(self, content: bytes) -> int:
            return len(content)

    def write() -> None:
        with compressing(Sink()) as file:  # type: ignore[arg-type]
            for _ in range(50):
                file.write(bytes(CHUNK))

    assert peak_of(write) < 8 * CHUNK


def test_without_zstandard_the_extra_is_named() -> None:
    code = (
        "import sys, io; sys.modules['zstandard'] = None\n"
        "from xclaim.payloads.layers.compression import compressing, decompressing\n"
        "from xclaim import PayloadError, PayloadReadError\n"
        "for wrap, kind in ((compressing, PayloadError), (decompressing, PayloadReadError)):\n"
        "    try:\n        wrap(io.BytesIO())\n"
        "    except kind as error:\n        print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.count('pip install "xclaim[storage]"') == 2
