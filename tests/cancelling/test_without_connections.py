"""What a block or a cancelled call leaves behind when it cannot have a connection any more."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy.util import await_only

from tests.eventually import until
from xclaim import AsyncQueue, Queue, create_async_engine, create_engine
from xclaim.connections import calls, runner, tasks
from xclaim.connections.payload_work import read_by

pytestmark = pytest.mark.slow

ONE_PLACE: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}


class WorkFailedError(Exception):
    pass


def test_a_block_raises_its_own_error(database_url: str) -> None:
    engine = create_engine(database_url, pool_timeout=0.2, **ONE_PLACE)
    queue = Queue("orders", engine)
    queue.push(1)

    with pytest.raises(WorkFailedError) as raised, queue.consume():
        held = engine.connect()  # the only one
        raise WorkFailedError

    held.close()
    engine.dispose()
    (note,) = raised.value.__notes__
    assert "could not release message 1" in note


def test_an_asyncio_block_raises_its_own_error(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BOUND", 0.5)

    async def work() -> None:
        engine = create_async_engine(database_url, **ONE_PLACE)
        queue = AsyncQueue("orders", engine)
        await queue.push(1)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(engine.dispose)
            async with queue.consume():
                await stack.enter_async_context(engine.connect())  # the only one
                raise WorkFailedError

    with pytest.raises(WorkFailedError) as raised:
        asyncio.run(work())

    (note,) = raised.value.__notes__
    assert "could not release message 1" in note


def test_a_claim_that_ends_after_its_caller_has_gone_is_handed_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BOUND", 0.3)
    monkeypatch.setattr(tasks, "_GRACE", 0.1)
    ended = list[str]()

    async def cancel() -> None:
        has_claimed = asyncio.Event()

        def read_late(payloads: Any, result: Any) -> Any:  # as from a slow storage
            if isinstance(result, list):  # of claims
                has_claimed.set()
                await_only(asyncio.sleep(2.0))
                ended.append("the reading")
            return read_by(payloads, result)

        monkeypatch.setattr(runner, "read_by", read_late)
        async with AsyncQueue("orders", database_url) as queue:
            claiming = asyncio.create_task(queue.claim())
            await has_claimed.wait()
            claiming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claiming
            ended.append("the claim")
            await asyncio.sleep(3.0)

    with Queue("orders", database_url) as queue:
        queue.push(1)
        asyncio.run(cancel())
        monkeypatch.setattr(runner, "read_by", read_by)

        assert ended == ["the claim", "the reading"]
        until(lambda: queue.counts().available == 1)
        assert [message.attempts for message in queue.peek()] == [0]
