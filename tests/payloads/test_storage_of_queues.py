"""Queues whose large payloads lie in S3, GCS and Azure: through both facades."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.payloads.emulators import Emulator
from tests.retrying import AT_ONCE
from xclaim import AsyncQueue, PayloadGoneError, Payloads, Queue, Storage, StorageError
from xclaim.payloads.stores.storage import StoredObject

pytestmark = pytest.mark.emulator

LARGE = {"rows": [[number, f"name {number}"] for number in range(8_000)]}
OTHER = bytes(range(256)) * 500


@pytest.fixture(params=["s3", "gcs", "azure"])
def store(request: pytest.FixtureRequest) -> Emulator:
    found: Emulator = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def payloads(store: Emulator) -> Payloads:
    location = f"{store.scheme}://{store.new_bucket()}/payloads"
    return Payloads(storage=Storage(location, options=store.options), compression="zstd")


def objects(payloads: Payloads) -> list[StoredObject]:
    return list(payloads.require_storage().objects(timedelta(0)))


def test_a_payload_goes_there_and_back_and_leaves_nothing(
    sqlite_url: str, payloads: Payloads
) -> None:
    with Queue("reports", sqlite_url, payloads=payloads) as queue:
        queue.push_many([LARGE, OTHER, {"id": 1}])
        assert len(objects(payloads)) == 2

        assert [claim.payload for claim in queue.stream()] == [LARGE, OTHER, {"id": 1}]
        assert queue.prune(older_than=timedelta(0)) == 3

    assert objects(payloads) == []


def test_a_payload_goes_there_and_back_from_an_event_loop(
    sqlite_url: str, payloads: Payloads
) -> None:
    async def work() -> Any:
        async with AsyncQueue("reports", sqlite_url, payloads=payloads) as queue:
            await asyncio.gather(*(queue.push(LARGE) for _ in range(4)))
            claims = await queue.claim_many(4)
            read = await asyncio.gather(*(queue.read(claim) for claim in claims))
            await queue.ack_many(claims)
            await queue.prune(older_than=timedelta(0))
            return read

    assert asyncio.run(work()) == [LARGE] * 4
    assert objects(payloads) == []


def test_an_object_that_is_gone_is_told_from_a_store_that_is(
    sqlite_url: str, payloads: Payloads, store: Emulator
) -> None:
    elsewhere = Storage(f"{store.scheme}://no-such-bucket/payloads", options=store.options)
    with Queue("reports", sqlite_url, retry=AT_ONCE, payloads=payloads) as queue:
        queue.push(LARGE)
        payloads.require_storage().delete(found.uri for found in objects(payloads))

        with pytest.raises(PayloadGoneError), queue.consume() as claimed:
            assert claimed is not None
            _ = claimed.payload

        assert queue.counts().available == 1
    with Queue("reports", sqlite_url, payloads=Payloads(storage=elsewhere)) as queue:
        with pytest.raises(StorageError, match="no-such-bucket"):
            queue.push(OTHER)

        assert queue.counts().available == 1
