"""Airflow's own metrics of queues: what tasks do with messages, and how queues are.

They go wherever ``[metrics]`` sends those of Airflow, and nothing is made while that is off.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from xclaim.airflow import versions
from xclaim.airflow.tasks.identity import running_instance
from xclaim.connections import events
from xclaim.connections.companions import WORKS, Work, WorkCompanion, WorkEvent
from xclaim.errors import XclaimError
from xclaim.telemetry.labels import QueueLabels

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from xclaim.verb import LapseEvent, VerbEvent

Tags = dict[str, str]

_logger = logging.getLogger(__name__)
_MOST_QUEUES = 100  # that are told apart by one process
_LONGEST_LOOK = timedelta(seconds=30)  # a person would not wait so long; a task has done its work
_LONGEST_NAME = 120  # characters of a queue in the name of a metric: StatsD takes 250 in all


class QueueStats:
    """Sends what queues do to one of Airflow's two singletons.

    :param backend: Airflow's class ``Stats``: a task has another one than the API server.
    :param tags: returns what to tag beside the queue.
    """

    def __init__(self, backend: Any, tags: Callable[[], Tags]) -> None:
        self._backend = backend
        self._tags = tags
        self._has_tags = tags_travel()
        self._queues = QueueLabels(_MOST_QUEUES)

    def start(self) -> None:
        """Listen to the verbs of this process."""
        events.VERBS.add(self.count)
        events.LAPSES.add(self.count_lapsed)
        WORKS.add(self.come_along)

    def stop(self) -> None:
        """Listen no more."""
        events.VERBS.remove(self.count)
        events.LAPSES.remove(self.count_lapsed)
        WORKS.remove(self.come_along)

    def count(self, event: VerbEvent) -> None:
        """Count what a verb has done.

        :param event: of the verb.
        """
        if event.queue is None:
            return
        if event.error is None and event.verb == "release":
            self._count("released", event.queue, event.count)
        if event.verb == "push_many":
            self._count("pushed", event.queue, event.pushed)
        self._count("claimed", event.queue, len(event.claims))
        for seconds in event.waits:
            self.time("wait", event.queue, seconds)
        self._count("acked", event.queue, event.acked)
        self._count("lost", event.queue, len(event.lost))
        self._count("dead", event.queue, event.died)

    def count_lapsed(self, event: LapseEvent) -> None:
        """Count the dead letters that leases have made which ran out.

        :param event: of the leases.
        """
        self._count("dead", event.queue, event.died)

    def come_along(self, work: Work) -> WorkCompanion:
        """Return what times the work when it has ended.

        :param work: on a message, or on a batch.
        """
        return _Timed(self, work.queue)

    def time(self, what: str, queue: str, seconds: float) -> None:
        """Send a duration.

        :param what: the last part of its name.
        :param queue: whose it is.
        :param seconds: how long it took.
        """
        name, tags = self._named(what, queue)
        self._backend.timing(name, timedelta(seconds=seconds), tags=tags)

    def gauge(self, what: str, queue: str, value: float) -> None:
        """Send how something is now.

        :param what: the last part of its name.
        :param queue: whose it is.
        :param value: how much.
        """
        name, tags = self._named(what, queue)
        self._backend.gauge(name, value, tags=tags)

    def _count(self, what: str, queue: str, count: int) -> None:
        if count:
            name, tags = self._named(what, queue)
            self._backend.incr(name, count, tags=tags)

    def _named(self, what: str, queue: str) -> tuple[str, Tags]:
        label = self._queues.label(queue)
        if self._has_tags:
            return f"xclaim.{what}", {"queue": label, **self._tags()}
        # Without tags two queues would overwrite each other.
        return f"xclaim.{what}.{_as_name(label)}", {}


class _Timed(WorkCompanion):
    """Sends how long work took."""

    def __init__(self, stats: QueueStats, queue: str) -> None:
        self._stats = stats
        self._queue = queue

    def ended(self, event: WorkEvent) -> None:
        """Send it."""
        self._stats.time("work", self._queue, event.seconds)


@cache
def of_tasks() -> QueueStats | None:
    """Return what measures the tasks of this process from now on; None if metrics are off."""
    if not is_on():
        return None
    stats = QueueStats(versions.Stats, _tags_of_task)
    stats.start()
    return stats


def measure_queue(
    queue: str, counts: Mapping[str, int], tables: Mapping[str, tuple[Engine, str | None]]
) -> None:
    """Send how many messages a queue has, and for how long the oldest has waited.

    :param queue: its name.
    :param counts: how many there are of each kind.
    :param tables: the engine and the schema of each of its parts, or of the queue, by the name.
    """
    stats = of_tasks()
    if stats is None:
        return
    for name, count in counts.items():
        stats.gauge(f"queue.{name}", queue, count)
    waits = [_oldest_waiting(part, *table) for part, table in tables.items()]
    known = [seconds for seconds in waits if seconds is not None]
    if known and len(known) == len(waits):
        stats.gauge("queue.oldest_waiting", queue, max(known))


def is_on() -> bool:
    """Return whether Airflow sends metrics anywhere."""
    return any(_is_set(name) for name in ("statsd_on", "statsd_datadog_enabled", "otel_on"))


def tags_travel() -> bool:
    """Return whether tags arrive: plain StatsD drops them."""
    if _is_set("statsd_datadog_enabled"):
        return True
    return _is_set("statsd_influxdb_enabled") if _is_set("statsd_on") else True


def _is_set(option: str) -> bool:
    return bool(versions.conf.getboolean("metrics", option, fallback=False))


def _tags_of_task() -> Tags:
    instance = running_instance()
    if instance is None:
        return {}
    return {"dag_id": instance.dag_id, "task_id": instance.task_id}


def _as_name(queue: str) -> str:
    # Dots part the levels of a name, and Airflow writes its own names so as well.
    return re.sub("[^a-zA-Z0-9_-]", "_", queue.replace(".", "__"))[:_LONGEST_NAME]


def _oldest_waiting(queue: str, engine: Engine, schema: str | None) -> float | None:
    from sqlalchemy.exc import SQLAlchemyError

    from xclaim.observing import Observer

    observer = Observer(engine, schema=schema, timeout=_LONGEST_LOOK)
    try:  # not ``queue``, which looks for its flow as well
        found = observer.closely([queue]).get(queue)
    except (SQLAlchemyError, XclaimError) as error:  # a task does its work without its metrics
        _logger.warning("how long messages wait in %s cannot be measured: %s", queue, error)
        return None
    if found is None:  # of dead letters nobody says it
        return None
    return 0.0 if found.oldest_waiting is None else found.oldest_waiting.total_seconds()
