"""A stored payload is read off the event loop: by `await queue.read(claim)`, and not before."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, BinaryIO

from xclaim import AsyncQueue, Payloads


class Parcel:
    """What only its own codec encodes."""


class RecordingCodec:
    """Says in which threads payloads were decoded."""

    name = "parcel"

    def __init__(self) -> None:
        self.threads: list[int] = []

    def accepts(self, value: Any) -> bool:
        return isinstance(value, Parcel)

    def encode(self, value: Any, file: BinaryIO) -> None:
        file.write(b"parcel")

    def decode(self, file: BinaryIO) -> Any:
        self.threads.append(threading.get_ident())
        assert file.read() == b"parcel"
        return Parcel()


def test_a_payload_is_read_in_a_thread_and_the_claim_has_it_then(sqlite_url: str) -> None:
    codec = RecordingCodec()

    async def work() -> tuple[Any, Any]:
        async with AsyncQueue("orders", sqlite_url, payloads=Payloads(codecs=[codec])) as queue:
            await queue.push(Parcel())
            claimed = await queue.claim()
            assert claimed is not None
            assert codec.threads == []
            return await queue.read(claimed), claimed.payload

    read, kept = asyncio.run(work())

    assert read is kept
    (thread,) = codec.threads
    assert thread != threading.get_ident()


def test_a_stream_reads_ahead_in_a_thread_one_at_a_time(sqlite_url: str) -> None:
    codec = RecordingCodec()

    async def work() -> list[int]:
        read = []
        async with AsyncQueue("orders", sqlite_url, payloads=Payloads(codecs=[codec])) as queue:
            await queue.push_many([Parcel(), Parcel(), Parcel()])
            async for claimed in queue.stream():
                read.append(len(codec.threads))
                assert claimed.payload is claimed.payload
            assert (await queue.counts()).consumed == 3
        return read

    read = asyncio.run(work())

    assert read == [1, 2, 3]
    assert threading.get_ident() not in codec.threads


def test_a_block_reads_nothing_before_it_asks(sqlite_url: str) -> None:
    codec = RecordingCodec()

    async def work() -> None:
        async with AsyncQueue("orders", sqlite_url, payloads=Payloads(codecs=[codec])) as queue:
            await queue.push_many([Parcel(), Parcel()])
            async with queue.consume_many(2) as claims:
                assert codec.threads == []
                await queue.read(claims[0])
                assert len(codec.threads) == 1

    asyncio.run(work())
