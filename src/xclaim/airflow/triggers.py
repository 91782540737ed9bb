"""Triggers: they wait and wake, and never claim.

A claim made in the triggerer would be at-least-once: it can die between the claim and the event. So
these only look, and tasks claim.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Hashable, Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import xclaim.airflow.versions  # noqa: F401  (refuses an Airflow that is too old)

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from xclaim.airflow.hooks import XclaimHook
from xclaim.arguments import MAX_DURATION, number, seconds

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncEngine

    from xclaim import AsyncQueue
    from xclaim.airflow.connections import ConnectionLike, Database
    from xclaim.consuming.reconnecting import Reconnecting

_FIRED_LATELY = 10.0  # seconds in which a worker claims what its trigger saw
_MOST_LOOKED_AT = 1_000
_SHORTEST = 0.1  # seconds between two looks: a triggerer has other triggers, and a database others
_RECONNECT = timedelta(minutes=10)  # what waits for messages can wait for a database, too

_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Database, AsyncEngine]]
_engines = WeakKeyDictionary()
_fired: dict[tuple[Database, str], dict[int, float]] = defaultdict(dict)  # by message id


class AvailableTrigger(BaseTrigger):
    """Fire once when there is a message to claim, for a deferred ClaimSensor.

    Sensors that wait for one queue are woken one for each message, in the order they came. Of a
    queue that is split it waits in all parts, and goes on while one of their places is there.

    :param queue_name: the queue's name.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite.
    """

    def __init__(
        self, *, queue_name: str, xclaim_conn_id: str = XclaimHook.default_conn_name
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queue_name = queue_name
        self.xclaim_conn_id = xclaim_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how to make this trigger again."""
        values = {"queue_name": self.queue_name, "xclaim_conn_id": self.xclaim_conn_id}
        return f"{__name__}.{type(self).__name__}", values

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for a message and say so."""
        await _message_waits(await _databases(self.xclaim_conn_id, self.queue_name))
        yield _event(queue_name=self.queue_name)


class WakeUpTrigger(BaseEventTrigger):
    """Fire when messages became available in a queue, for an AssetWatcher.

    A burst is one event: it fires ``debounce`` seconds after the first of it was seen. Then it
    fires when there is something newer, when a pause or a full concurrency no longer keeps messages
    from being claimed, and every ``nag_every`` seconds while anything is left, so that no message
    is forgotten if a run was lost, or ended before a rate let it claim all. While nothing can be
    claimed it does not fire. Watchers of one connection share one stream.

    :param queue_name: the queue's name.
    :param xclaim_conn_id: a connection of type xclaim, postgres or sqlite.
    :param debounce: seconds, or a timedelta, to wait for more before it fires, woken or at a look
        of its own.
    :param nag_every: how long until it fires again for what is still there.
    :param poll_every: how long between two looks without a wake-up: of producers that send none, of
        delays that ended, and while the listening connection is down.
    :raises InvalidArgumentError: one of these is no duration, or ``nag_every`` or ``poll_every``
        is below a tenth of a second.
    """

    def __init__(
        self,
        *,
        queue_name: str,
        xclaim_conn_id: str = XclaimHook.default_conn_name,
        debounce: timedelta | float = 0.5,
        nag_every: timedelta | float = 60.0,
        poll_every: timedelta | float = 2.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.queue_name = queue_name
        self.xclaim_conn_id = xclaim_conn_id
        self.debounce = _in_seconds("debounce", debounce, 0)
        self.nag_every = _in_seconds("nag_every", nag_every, _SHORTEST)
        self.poll_every = _in_seconds("poll_every", poll_every, _SHORTEST)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how to make this trigger again."""
        return f"{__name__}.{type(self).__name__}", {
            "queue_name": self.queue_name,
            "xclaim_conn_id": self.xclaim_conn_id,
            "debounce": self.debounce,
            "nag_every": self.nag_every,
            "poll_every": self.poll_every,
        }

    def shared_stream_key(self) -> Hashable:
        """Return what those share that can listen on one connection."""
        return "xclaim", self.xclaim_conn_id, self.poll_every

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        """Yield the queue of each wake-up, None for all queues, and when that was."""
        from xclaim.connections.tasks import TASKS, iterated
        from xclaim.consuming.listening import pushed_queues

        trigger = cls(**kwargs)
        database = await _database(trigger.xclaim_conn_id, trigger.queue_name)
        every = timedelta(seconds=trigger.poll_every)
        engine = _engine(database).sync_engine
        async for queue in iterated(pushed_queues(TASKS, engine, every)):
            yield queue, time.monotonic()

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Any]
    ) -> AsyncIterator[TriggerEvent]:
        """Look when the queue was pushed to, and fire if that is news.

        Wake-ups for nothing cost no more than a look per second.
        """
        from xclaim.airflow.tasks.room import vacancy_of
        from xclaim.connections.tasks import awaited, bridged
        from xclaim.consuming.waiting import VainLooks

        database = await _database(self.xclaim_conn_id, self.queue_name)
        queue = _queue(database, self.queue_name)
        mark: datetime | None = None
        again, looked_at, fired_at = _reconnecting(), 0.0, 0.0
        vain_looks = VainLooks()

        async def is_held_up() -> bool:
            vacancy = await bridged(vacancy_of, queue)
            # A rate has room and none all the time, and whoever drains the queue waits for it.
            return vacancy is not None and (vacancy.pause is not None or vacancy.is_full)

        async def look() -> datetime | None:
            nonlocal looked_at, mark
            looked_at = time.monotonic()  # whatever woke before is answered by this
            newest = await queue.newest_available_at()
            if newest is None and mark is not None and await is_held_up():
                mark = None  # when it goes on, what was there before is news
            return newest

        async def news() -> datetime | None:
            newest: datetime | None = await bridged(again.run, awaited(look))
            if newest is None or mark is None or newest > mark:
                return newest
            return newest if looked_at - fired_at >= self.nag_every else None

        async for name, woken_at in shared_stream:
            if name not in (None, self.queue_name) or woken_at < looked_at:
                continue
            if name is None and await news() is None:  # it only looked; nobody has pushed
                continue
            await asyncio.sleep(max(self.debounce, vain_looks.gap()))
            newest = await news()
            vain_looks.note(woken=name is not None, found=newest is not None)
            if newest:
                mark, fired_at = newest, looked_at
                yield _event(queue_name=self.queue_name, newest_available_at=newest.isoformat())

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do the same with a stream of its own."""
        stream = self.open_shared_stream(self.serialize()[1])
        async for event in self.filter_shared_stream(stream):
            yield event


def _in_seconds(name: str, value: timedelta | float, lowest: float) -> float:
    if isinstance(value, timedelta):
        value = seconds(name, value)
    return float(number(name, value, lowest, MAX_DURATION.total_seconds()))


def _event(**payload: str) -> TriggerEvent:
    return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def _reconnecting() -> Reconnecting:
    from xclaim.connections.tasks import TASKS
    from xclaim.consuming.reconnecting import Reconnecting

    # Also when the triggerer starts while the database is away: a deferred task waits for it.
    return Reconnecting(_RECONNECT, lambda: True, TASKS)


async def _message_waits(databases: Mapping[str, Database]) -> None:
    """Wait for a message in a queue, or in one of its parts, that no trigger has fired for.

    Raise the first error if there is none that can be looked at.
    """
    waits = [_message_in(part, database) for part, database in databases.items()]
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    failed: list[Exception] = []
    woken = 0
    try:
        for ended in asyncio.as_completed(tasks):
            try:
                await ended
            except Exception as error:  # noqa: BLE001  (of a place that is away, say)
                failed.append(error)
            else:
                woken = 1
                return
        raise failed[0]
    finally:
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        seen = [each for each in found if not isinstance(each, BaseException)]
        for fired, id_ in seen[woken:]:  # nobody is woken for these
            fired.pop(id_, None)


async def _message_in(queue_name: str, database: Database) -> tuple[dict[int, float], int]:
    """Wait for a message; return its id, and what is fired for in its queue, where it now is."""
    from xclaim import verbs
    from xclaim.connections.tasks import TASKS, awaited, bridged
    from xclaim.consuming.listening import messages_waiting

    fired = _fired[database, queue_name]
    queue, again = _queue(database, queue_name), _reconnecting()

    async def look() -> list[int]:
        # For what another has fired for a moment ago a worker is on its way. Ids only: while a
        # large payload is read, all triggers of the triggerer stand still.
        most = min(len(fired) + 1, _MOST_LOOKED_AT)
        ids = await bridged(queue._queue.run, verbs.UPCOMING, most)  # noqa: SLF001
        now = time.monotonic()
        for id_ in [id_ for id_, fired_at in fired.items() if fired_at < now - _FIRED_LATELY]:
            del fired[id_]
        free = [id_ for id_ in ids if id_ not in fired][:1]
        fired.update((id_, now) for id_ in free)
        return free

    look_again = partial(again.run, awaited(look))
    engine = _engine(database).sync_engine
    (id_,) = await bridged(messages_waiting, TASKS, engine, queue_name, look_again)
    return fired, id_


async def _database(xclaim_conn_id: str, queue_name: str) -> Database:
    """Return where a queue is. Raise DatabaseUrlError if it is split, and so in several places."""
    return await _place_of(await _connection(xclaim_conn_id), queue_name, xclaim_conn_id)


async def _databases(xclaim_conn_id: str, queue_name: str) -> dict[str, Database]:
    """Return where the parts of a queue are, or the queue itself, by their names."""
    from xclaim.airflow.connections import parts_of

    connection = await _connection(xclaim_conn_id)
    parts = parts_of(connection, queue_name, xclaim_conn_id) or [queue_name]
    return {part: await _place_of(connection, part, xclaim_conn_id) for part in parts}


async def _place_of(connection: ConnectionLike, queue_name: str, xclaim_conn_id: str) -> Database:
    from xclaim.airflow.connections import database_of, place_of

    conn_id = place_of(connection, queue_name, xclaim_conn_id)
    if conn_id != xclaim_conn_id:
        connection = await _connection(conn_id)
    return database_of(connection, conn_id)


async def _connection(conn_id: str) -> ConnectionLike:
    from xclaim.airflow.connections import asking_for

    with asking_for(conn_id):
        connection: ConnectionLike = await XclaimHook.aget_connection(conn_id)
    return connection


def _queue(database: Database, name: str) -> AsyncQueue:
    from xclaim import AsyncQueue

    bind: Any = database.placed(_engine(database), name)
    return AsyncQueue(name, bind)


def _engine(database: Database) -> AsyncEngine:
    from xclaim import create_async_engine

    engines = _engines.setdefault(asyncio.get_running_loop(), {})
    if database not in engines:
        engines[database] = create_async_engine(database.url, **database.engine_options)
    return engines[database]
