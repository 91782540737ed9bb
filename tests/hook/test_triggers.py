"""The triggers: they wake, promptly and not too often, and claim nothing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent
from sqlalchemy import make_url, text

from tests.airflow_versions import since
from tests.eventually import PATIENCE, until
from tests.hook.conftest import within_task
from tests.proxy import Proxy
from xclaim import AsyncQueue, Claim, InvalidArgumentError, Queue, SchemaVersionError, create_engine
from xclaim.airflow import triggers
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.triggers import AvailableTrigger, WakeUpTrigger

pytestmark = pytest.mark.airflow

QUIET = 0.7  # seconds in which an unwanted event would have come


@pytest.fixture
def queue(connected: str) -> Iterator[Queue]:
    with Queue("orders", connected, notify=True) as queue:
        yield queue
    triggers._fired.clear()


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scene, and close the engines its triggers have made."""

    async def run() -> None:
        try:
            await scene()
        finally:
            for engine in triggers._engines.pop(asyncio.get_running_loop(), {}).values():
                await engine.dispose()

    asyncio.run(run())


async def push(queue: Queue, count: int = 1) -> None:
    await asyncio.to_thread(queue.push_many, list(range(count)))


class Watch:
    """The events of a trigger, as they come."""

    def __init__(self, events: AsyncIterator[TriggerEvent]) -> None:
        self._queue: asyncio.Queue[TriggerEvent] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(events))

    async def _run(self, events: AsyncIterator[TriggerEvent]) -> None:
        async for event in events:
            await self._queue.put(event)

    async def next(self, patience: float = PATIENCE) -> TriggerEvent:
        return await asyncio.wait_for(self._queue.get(), patience)

    async def is_quiet(self) -> bool:
        with suppress(TimeoutError):
            await self.next(QUIET)
            return False
        return True

    @property
    def has_news(self) -> bool:
        return not self._queue.empty()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def wake_up(**options: Any) -> WakeUpTrigger:
    return WakeUpTrigger(queue_name="orders", **{"debounce": 0.2, **options})


def test_a_burst_is_one_event_and_a_late_message_one_more(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        is_waiting, is_over = asyncio.Event(), asyncio.Event()

        async def sleep(seconds: float) -> None:
            if seconds:
                is_waiting.set()
                await is_over.wait()  # as long as the burst, however slow the machine is

        module = SimpleNamespace(sleep=sleep, get_running_loop=asyncio.get_running_loop)
        monkeypatch.setattr(triggers, "asyncio", module)
        watch = Watch(wake_up(poll_every=0.1).run())
        assert await watch.is_quiet()

        await push(queue, 5)
        await asyncio.wait_for(is_waiting.wait(), PATIENCE)
        for _ in range(3):
            await push(queue, 5)
        assert await watch.is_quiet()
        is_over.set()
        event = await watch.next()
        assert await watch.is_quiet()
        await push(queue)
        later = await watch.next()
        assert await watch.is_quiet()
        await watch.close()

        assert event.payload["queue_name"] == "orders"
        assert later.payload["newest_available_at"] > event.payload["newest_available_at"]

    play(scene)
    assert queue.counts().available == 21


def test_wake_ups_that_came_during_a_look_are_answered_by_one_more(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = AsyncQueue.newest_available_at

    async def counted(queue: AsyncQueue) -> datetime | None:
        looks.append(queue.name)
        return await look(queue)

    monkeypatch.setattr(AsyncQueue, "newest_available_at", counted)

    async def scene() -> None:
        async def stream() -> AsyncIterator[tuple[None, float]]:
            woken_at = time.monotonic()
            for _ in range(50):  # while the database was away, say
                yield None, woken_at

        events = [event async for event in wake_up().filter_shared_stream(stream())]
        assert events == []

    play(scene)
    assert looks == [queue.name]


def test_a_backlog_is_an_event_when_the_triggerer_restarts(queue: Queue) -> None:
    queue.push("before")

    async def scene() -> None:
        watch = Watch(wake_up().run())
        await watch.next()
        await watch.close()

    play(scene)
    play(scene)


def test_it_nags_while_a_backlog_stays(queue: Queue) -> None:
    queue.push("left")

    async def scene() -> None:
        watch = Watch(wake_up(poll_every=0.1, nag_every=0.5).run())
        await watch.next()
        await watch.next()
        claimed = await asyncio.to_thread(queue.claim)
        assert claimed is not None
        while not await watch.is_quiet():
            pass
        await watch.close()

    play(scene)


def test_a_message_becomes_an_event_when_its_delay_ends(queue: Queue) -> None:
    queue.push("later", delay=timedelta(seconds=0.6))

    async def scene() -> None:
        watch = Watch(wake_up(poll_every=0.1).run())
        await watch.next()
        await watch.close()

    play(scene)


def test_another_queue_is_no_event(connected: str) -> None:
    with Queue("other", connected, notify=True) as other:

        async def scene() -> None:
            watch = Watch(wake_up(poll_every=0.1).run())
            await push(other)
            assert await watch.is_quiet()
            await watch.close()

        play(scene)


@since("3.3", "shared streams of triggers")
def test_watchers_of_one_connection_share_a_stream(queue: Queue) -> None:
    from airflow.triggers.shared_stream import SharedStreamManager

    first, second = wake_up(), WakeUpTrigger(queue_name="other")
    assert first.shared_stream_key() == second.shared_stream_key()
    opened = []

    async def scene() -> None:
        manager: Any = SharedStreamManager()
        watches = []
        for number, trigger in enumerate((first, second)):
            stream = manager.subscribe(
                trigger_id=number, trigger=trigger, key=trigger.shared_stream_key()
            )
            watches.append(Watch(trigger.filter_shared_stream(stream)))
        opened.append(len(manager._groups))
        await push(queue)
        await watches[0].next()
        assert await watches[1].is_quiet()
        for watch in watches:
            await watch.close()
        await manager.stop_all()

    play(scene)
    assert opened == [1]


def test_sensors_are_woken_one_for_each_message(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_FIRED_LATELY", 2 * PATIENCE)

    async def scene() -> None:
        watches = [Watch(AvailableTrigger(queue_name="orders").run()) for _ in range(4)]
        await asyncio.sleep(0.3)

        await push(queue, 2)
        await asyncio.to_thread(until, lambda: sum(watch.has_news for watch in watches) >= 2)
        await asyncio.sleep(QUIET)
        woken = [watch.has_news for watch in watches]
        assert sum(woken) == 2
        await push(queue, 2)
        for watch, was_woken in zip(watches, woken, strict=True):
            if not was_woken:
                await watch.next()
        for watch in watches:
            await watch.close()

    play(scene)
    assert queue.counts().available == 4


def test_a_sensor_does_not_wait_for_one_that_has_its_message(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_FIRED_LATELY", 2 * PATIENCE)

    async def scene() -> None:
        await push(queue)
        first = Watch(AvailableTrigger(queue_name="orders").run())
        await first.next()
        assert await asyncio.to_thread(queue.claim) is not None
        await push(queue)
        second = Watch(AvailableTrigger(queue_name="orders").run())
        await second.next()
        await first.close()
        await second.close()

    play(scene)


def test_a_sensor_whose_message_another_took_is_woken_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_FIRED_LATELY", 0.5)

    async def scene() -> None:
        await push(queue)
        first = Watch(AvailableTrigger(queue_name="orders").run())
        await first.next()
        second = Watch(AvailableTrigger(queue_name="orders").run())
        await second.next()
        await first.close()
        await second.close()

    play(scene)


@pytest.fixture
def proxy(fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The connection goes through a proxy, which can be away."""
    url = make_url(fresh_postgresql_url)
    with Proxy(str(url.host), int(url.port or 5432)) as proxy:
        through = url.set(drivername="postgresql", host="127.0.0.1", port=proxy.port)
        rendered = through.render_as_string(hide_password=False)
        monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", rendered)
        yield proxy
    triggers._fired.clear()


@pytest.mark.parametrize("kind", [AvailableTrigger, WakeUpTrigger])
@pytest.mark.parametrize("is_away_at_first", [False, True])
def test_a_trigger_outlives_a_restart_of_the_database(
    kind: type[Any], proxy: Proxy, fresh_postgresql_url: str, *, is_away_at_first: bool
) -> None:
    async def scene() -> None:
        if is_away_at_first:
            proxy.go_away()
        watch = Watch(kind(queue_name="orders").run())
        assert await watch.is_quiet()
        if not is_away_at_first:
            proxy.go_away()
        with Queue("orders", fresh_postgresql_url) as queue:
            await push(queue)
        assert await watch.is_quiet()
        proxy.come_back()
        await watch.next()
        await watch.close()

    play(scene)


@pytest.mark.parametrize("kind", [AvailableTrigger, WakeUpTrigger])
def test_what_does_not_pass_by_itself_ends_a_trigger(
    kind: type[Any], proxy: Proxy, fresh_postgresql_url: str
) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE xclaim_message CASCADE"))
    engine.dispose()

    async def scene() -> None:
        with pytest.raises(SchemaVersionError):
            await anext(kind(queue_name="orders").run())

    assert proxy.port
    play(scene)


@pytest.mark.parametrize(
    "trigger", [AvailableTrigger(queue_name="q"), WakeUpTrigger(queue_name="q")]
)
def test_a_trigger_can_be_made_again_from_what_it_says(trigger: Any) -> None:
    path, values = trigger.serialize()

    again = getattr(triggers, path.rpartition(".")[2])(**values)

    assert again.serialize() == (path, values)


def test_the_scheme_leads_to_the_trigger() -> None:
    from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger

    trigger = MessageQueueTrigger(scheme="xclaim", queue_name="orders", nag_every=5.0)

    path, values = trigger.serialize()
    assert path == "xclaim.airflow.triggers.WakeUpTrigger"
    assert (values["queue_name"], values["nag_every"]) == ("orders", 5.0)


@pytest.mark.usefixtures("connected")
def test_lineage_is_reported_once_for_each_queue(collector: Any) -> None:
    hook = XclaimHook()

    with within_task():
        for number in range(3):
            hook.queue("orders").push(number)
            hook.queue("orders").claim()

    collected = collector.collected_assets
    (output,), (source,) = collected.outputs, collected.inputs
    assert output.asset.uri == source.asset.uri
    assert output.asset.uri.startswith("xclaim://")
    assert output.asset.uri.endswith("/orders")
    assert (output.count, source.count) == (1, 1)


def test_a_trigger_takes_durations_as_airflow_does_in_seconds_or_with_their_unit() -> None:
    trigger = WakeUpTrigger(queue_name="q", debounce=1, nag_every=timedelta(minutes=2))

    _, values = trigger.serialize()

    assert (values["debounce"], values["nag_every"], values["poll_every"]) == (1, 120.0, 2.0)


@pytest.mark.parametrize("duration", [-1, "1", True, float("nan"), timedelta(seconds=-1), None])
def test_a_trigger_refuses_what_is_no_duration_before_it_is_stored(duration: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="debounce must"):
        WakeUpTrigger(queue_name="q", debounce=duration)


@pytest.mark.parametrize("name", ["poll_every", "nag_every"])
@pytest.mark.parametrize("value", [0, 0.0, 0.01, timedelta(0), -1])
def test_a_trigger_does_not_look_without_a_rest(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        WakeUpTrigger(queue_name="orders", **{name: value})


def test_equal_durations_are_serialized_alike() -> None:
    every: list[Any] = [60, 60.0, timedelta(minutes=1)]

    written = {
        json.dumps(
            WakeUpTrigger(
                queue_name="orders", nag_every=value, poll_every=value, debounce=value
            ).serialize()
        )
        for value in every
    }

    assert len(written) == 1


def test_a_trigger_waits_while_its_queue_is_paused(queue: Queue) -> None:
    async def scene() -> None:
        await asyncio.to_thread(queue.pause)
        await push(queue)
        watch = Watch(AvailableTrigger(queue_name="orders").run())
        assert await watch.is_quiet()

        await asyncio.to_thread(queue.unpause)
        await watch.next()
        await watch.close()

    play(scene)


def test_a_watcher_fires_again_for_what_it_fired_for_before_a_pause(queue: Queue) -> None:
    async def scene() -> None:
        watch = Watch(wake_up(poll_every=0.1, nag_every=3600.0).run())
        await push(queue)
        await watch.next()
        await asyncio.to_thread(queue.pause)
        assert await watch.is_quiet()

        await asyncio.to_thread(queue.unpause)
        await watch.next()
        await watch.close()

    play(scene)


def claimed(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def test_a_trigger_waits_while_the_queue_has_no_room(queue: Queue) -> None:
    async def scene() -> None:
        await push(queue, 2)
        await asyncio.to_thread(queue.limit, concurrency=1)
        held = await asyncio.to_thread(claimed, queue)
        watch = Watch(AvailableTrigger(queue_name="orders").run())
        assert await watch.is_quiet()

        await asyncio.to_thread(queue.ack, held)
        await watch.next()
        await watch.close()

    play(scene)


def test_a_trigger_waits_until_a_rate_lets_a_claim_begin(queue: Queue) -> None:
    async def scene() -> None:
        await push(queue, 2)
        await asyncio.to_thread(queue.limit, rate=1, per=timedelta(hours=1))
        await asyncio.to_thread(claimed, queue)
        watch = Watch(AvailableTrigger(queue_name="orders").run())
        assert await watch.is_quiet()

        await asyncio.to_thread(queue.limit, rate=1_000, per=timedelta(hours=1))
        await watch.next()
        await watch.close()

    play(scene)


def test_a_trigger_fires_for_a_lapsed_claim_that_fills_the_queue(queue: Queue) -> None:
    async def scene() -> None:
        await push(queue, 2)
        await asyncio.to_thread(queue.limit, concurrency=1)
        assert await asyncio.to_thread(queue.claim, lease=timedelta(0)) is not None

        watch = Watch(AvailableTrigger(queue_name="orders").run())
        await watch.next()  # the claim of its worker gives back what has lapsed
        await watch.close()

    play(scene)


def test_no_more_sensors_are_woken_than_there_is_room_for(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_FIRED_LATELY", 2 * PATIENCE)

    async def scene() -> None:
        await push(queue, 9)
        await asyncio.to_thread(queue.limit, concurrency=2)
        watches = [Watch(AvailableTrigger(queue_name="orders").run()) for _ in range(4)]

        await asyncio.to_thread(until, lambda: sum(watch.has_news for watch in watches) >= 2)
        await asyncio.sleep(QUIET)

        assert sum(watch.has_news for watch in watches) == 2
        for watch in watches:
            await watch.close()

    play(scene)


def test_a_watcher_fires_again_when_a_full_queue_has_room(queue: Queue) -> None:
    async def scene() -> None:
        await asyncio.to_thread(queue.limit, concurrency=1)
        watch = Watch(wake_up(poll_every=0.1, nag_every=3600.0).run())
        await push(queue, 2)
        await watch.next()
        held = await asyncio.to_thread(claimed, queue)
        assert await watch.is_quiet()

        await asyncio.to_thread(queue.ack, held)
        await watch.next()
        assert await watch.is_quiet()
        await watch.close()

    play(scene)


def test_a_watcher_starts_no_run_after_run_for_a_backlog_that_waits_for_its_rate(
    queue: Queue,
) -> None:
    def drain(count: int) -> None:
        while count:
            claim = queue.claim()
            if claim is None:
                time.sleep(0.3)  # long enough for the watcher to see that there is room
                continue
            queue.ack(claim)
            count -= 1

    async def scene() -> None:
        await asyncio.to_thread(queue.limit, rate=2, burst=1)
        await push(queue, 20)
        watch = Watch(wake_up(poll_every=0.1, nag_every=3600.0).run())
        await watch.next()

        await asyncio.to_thread(drain, 6)

        assert await watch.is_quiet()
        await watch.close()

    play(scene)
