"""Wake-ups by a stranger cost a trigger a look per second, and what is pushed is an event still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.eventually import PATIENCE, until
from tests.hook.test_triggers import Watch, play
from xclaim import Queue
from xclaim.airflow.triggers import WakeUpTrigger
from xclaim.connections.events import add_listener, remove_listener
from xclaim.verb import VerbEvent

pytestmark = pytest.mark.airflow


@pytest.fixture
def looks() -> Iterator[list[float]]:
    """Return when the trigger has looked."""
    seen: list[float] = []

    def note(event: VerbEvent) -> None:
        if event.verb == "newest_available_at":
            seen.append(time.monotonic())

    add_listener(note)
    yield seen
    remove_listener(note)


async def flood(seconds: float) -> AsyncIterator[Any]:
    """Yield wake-ups, as the shared stream does, as many as there may be."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        yield "orders", time.monotonic()
        await asyncio.sleep(0)


@pytest.mark.parametrize("debounce", [0.0, 0.01])
def test_a_flood_costs_a_look_per_second(
    connected: str,  # noqa: ARG001  (set up)
    looks: list[float],
    debounce: float,
) -> None:
    trigger = WakeUpTrigger(queue_name="orders", debounce=debounce)

    async def scene() -> None:
        assert [event async for event in trigger.filter_shared_stream(flood(4))] == []

    began = time.monotonic()
    play(scene)

    assert 1 <= len(looks) <= time.monotonic() - began + 14


def test_what_is_pushed_in_a_flood_is_an_event(connected: str, looks: list[float]) -> None:
    trigger = WakeUpTrigger(queue_name="orders", debounce=0.0)

    async def scene() -> None:
        watch = Watch(trigger.filter_shared_stream(flood(PATIENCE)))
        await asyncio.to_thread(until, lambda: len(looks) >= 10)
        with Queue("orders", connected) as queue:
            await asyncio.to_thread(queue.push, 1)
        event: Any = await watch.next()
        assert event.payload["queue_name"] == "orders"
        await watch.close()

    play(scene)
