"""What a user does with xclaim and nothing else: both facades, on a SQLite file."""

import asyncio
from pathlib import Path

import xclaim
from xclaim import AsyncQueue, Queue
from xclaim.operations import migrate


async def use_asyncio(url: str) -> None:
    """Push, claim and ack with the asyncio facade."""
    async with AsyncQueue("orders", url) as queue:
        await queue.push({"id": 2})
        async with queue.consume() as claimed:
            assert claimed is not None
            assert claimed.payload == {"id": 2}


def main() -> None:
    """Do it in the current folder."""
    assert "site-packages" in Path(xclaim.__file__).parts, xclaim.__file__
    url = "sqlite:///trial.db"
    migrate.upgrade(xclaim.create_engine(url))
    with Queue("orders", url) as queue:
        queue.push({"id": 1})
        with queue.consume() as claimed:
            assert claimed is not None
            assert claimed.payload == {"id": 1}
        asyncio.run(use_asyncio(url))
        assert queue.counts().consumed == 2


main()
