"""A trigger of the tests, which a triggerer must be able to import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class ReadLargeTrigger(BaseTrigger):
    """Reads an XCom of `large` in the triggerer, and writes one of `wait`."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dag_id = dag_id
        self.run_id = run_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        values = {"dag_id": self.dag_id, "run_id": self.run_id}
        return f"{__name__}.{type(self).__name__}", values

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow.sdk.execution_time.xcom import XCom

        run = {"dag_id": self.dag_id, "run_id": self.run_id}
        ticking = asyncio.create_task(_tick())
        text = await XCom.aget_one(key="return_value", task_id="large", **run)
        await XCom.aset("from_trigger", text.upper(), task_id="wait", **run)
        again = await XCom.aget_one(key="from_trigger", task_id="wait", **run)
        loop_went_on = not ticking.done() and _ticks > 1
        ticking.cancel()
        event = {"length": len(again), "loop_went_on": loop_went_on}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]


_ticks = 0


async def _tick() -> None:
    global _ticks  # noqa: PLW0603
    while True:
        _ticks += 1
        await asyncio.sleep(0)
