"""What mypy knows of a typed queue: checked by mypy, and true when it runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, assert_type

from xclaim import AsyncQueue, Claim, Queue


@dataclass
class Order:
    id: int


def test_a_claim_of_a_typed_queue_has_its_type(sqlite_url: str) -> None:
    with Queue("orders", sqlite_url, type=Order) as queue:
        queue.push_many([Order(1), Order(2), Order(3)])

        claimed = queue.claim()
        assert_type(claimed, Claim[Order] | None)
        assert claimed is not None
        assert_type(claimed.payload, Order)
        assert claimed.payload.id == 1
        for claim in queue.stream():
            assert_type(claim, Claim[Order])
            assert isinstance(claim.payload, Order)


def test_a_claim_of_an_asynchronous_typed_queue_has_it_too(sqlite_url: str) -> None:
    async def use() -> None:
        async with AsyncQueue("orders", sqlite_url, type=Order) as queue:
            await queue.push(Order(1))
            claimed = await queue.claim()
            assert_type(claimed, Claim[Order] | None)
            assert claimed is not None
            assert claimed.payload == Order(1)

    asyncio.run(use())


def test_a_claim_of_any_other_queue_may_hold_anything(sqlite_url: str) -> None:
    with Queue("orders", sqlite_url) as queue:
        claimed = queue.claim()

        assert_type(claimed, Claim[Any] | None)
        assert claimed is None
