"""What Prometheus is told of queues: a bounded look at the database, and its text.

The look is ``Observer.measures``, which reads no more rows the larger the table is. The busiest
queues have labels of their own, and so have those of the rest that wait longest; all others share
the label ``other``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from xclaim.arguments import visible
from xclaim.errors import XclaimError
from xclaim.observing.values import Count, Measures, QueueMeasures
from xclaim.telemetry.encoding import encoded
from xclaim.telemetry.labels import OTHER

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from xclaim.observing.observer import Observer

SHARED_FOR = timedelta(seconds=1)  # scrapes that come within it are answered by one look
_logger = logging.getLogger("xclaim")


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number of each queue: its name, what it is, and where it stands; None is left out."""

    name: str
    text: str
    of: Callable[[QueueMeasures], Count | float | None]


GAUGES = (
    Gauge(
        "xclaim_oldest_available_seconds",
        "For how long the message has been available that waits longest.",
        lambda queue: queue.oldest_available_seconds,
    ),
    Gauge(
        "xclaim_oldest_claim_seconds",
        "For how long the claim is held that was made first.",
        lambda queue: queue.oldest_claim_seconds,
    ),
    Gauge(
        "xclaim_claimed",
        "Messages that somebody holds.",
        lambda queue: queue.claimed,
    ),
    Gauge(
        "xclaim_lapsed_claims",
        "Claims that are held beyond their lease: nobody has given them back yet.",
        lambda queue: queue.lapsed,
    ),
    Gauge(
        "xclaim_delayed",
        "Messages that can be claimed later.",
        lambda queue: queue.delayed,
    ),
    Gauge(
        "xclaim_retrying",
        "Messages that wait for another attempt after one that failed.",
        lambda queue: queue.retrying,
    ),
    Gauge(
        "xclaim_retrying_looked_at",
        "Messages that wait and were looked at for xclaim_retrying.",
        lambda queue: float(queue.retrying_of),
    ),
    Gauge(
        "xclaim_dead_letters",
        "Dead letters of the queue that nobody has settled.",
        lambda queue: queue.dead,
    ),
    Gauge(
        "xclaim_paused",
        "1 while the queue is paused and hands out nothing.",
        lambda queue: None if queue.is_paused is None else float(queue.is_paused),
    ),
)
BACKLOG = (
    "xclaim_backlog",
    "Messages that can be claimed now; bound says whether that is exact, or counted no further.",
)
CUT = (
    "xclaim_counted_no_further",
    "1 where counting ended at a bound: there may be more than the metric says.",
)
CONSUMED = (
    "xclaim_consumed",
    "Messages that were consumed since this exporter first looked.",
)
SNAPSHOT = (
    "xclaim_oldest_snapshot_seconds",
    "For how long the oldest transaction is open that keeps dead rows from being removed.",
)
NOT_MEASURED = (
    "xclaim_queues_not_measured",
    "Queues with messages that no other metric has, because there are too many; at least so many.",
)
TOOK = ("xclaim_scrape_seconds", "How long the look at the database took.")
UP = ("xclaim_up", "1 if the look at the database went well.")
# As they are exposed; that of a counter ends with _total.
NAMES = (
    *(gauge.name for gauge in GAUGES),
    BACKLOG[0],
    CUT[0],
    f"{CONSUMED[0]}_total",
    NOT_MEASURED[0],
    SNAPSHOT[0],
    TOOK[0],
    UP[0],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """An answer to a scrape. ``is_up``: the database has answered."""

    body: bytes
    content_type: str
    is_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a look at the database has found; no ``measures`` if it failed."""

    measures: Measures | None
    consumed: dict[str, int]
    took_seconds: float
    ended_at: float  # by the monotonic clock


class Exposition(Collector):
    """The metrics of one database, asked for when they are scraped.

    Scrapes at the same time share one look. ``counts``: it adds up what is consumed from scrape to
    scrape; a process that prints once cannot. A database that is down is no error but
    ``xclaim_up 0``.
    """

    def __init__(
        self, observer: Observer, *, counts: bool = True, shared_for: timedelta = SHARED_FOR
    ) -> None:
        self._observer = observer
        self._counts = counts
        self._shared_for = shared_for.total_seconds()
        self._lock = Lock()
        self._last: _Look | None = None
        self._looked_until: datetime | None = None
        self._named: frozenset[str] = frozenset()
        self._consumed: dict[str, int] = {}
        self._is_up = True

    def scrape(self, accept: str | None = None) -> Scrape:
        """Return the metrics as the header ``Accept`` asks for them, by default as plain text."""
        look = self._look()
        encode, content_type = _encoder(accept or "")
        body = encoded(_Found(look, counts=self._counts).collect(), encode)
        return Scrape(body=body, content_type=content_type, is_up=look.measures is not None)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without their values, for which the database is not asked."""
        for gauge in GAUGES:
            yield GaugeMetricFamily(gauge.name, gauge.text)
        for named in (BACKLOG, CUT, NOT_MEASURED, SNAPSHOT, TOOK, UP):
            yield GaugeMetricFamily(*named)
        if self._counts:
            yield CounterMetricFamily(*CONSUMED)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, for a registry of one's own."""
        return _Found(self._look(), counts=self._counts).collect()

    def _look(self) -> _Look:
        with self._lock:  # who comes meanwhile waits for the same look
            last = self._last
            if last is not None and time.monotonic() - last.ended_at < self._shared_for:
                return last
            self._last = look = self._look_now()
            return look

    def _look_now(self) -> _Look:
        began = time.monotonic()
        measures: Measures | None = None
        try:
            measures = self._observer.measures(consumed_after=self._looked_until, named=self._named)
        except (SQLAlchemyError, XclaimError) as error:
            self._note_down(error)
        else:
            self._note_up(measures)
        ended = time.monotonic()
        return _Look(
            measures=measures,
            consumed=dict(self._consumed),
            took_seconds=ended - began,
            ended_at=ended,
        )

    def _note_up(self, measures: Measures) -> None:
        if not self._is_up:
            _logger.warning("metrics: the database answers again")
        self._is_up = True
        if self._counts:
            until = self._looked_until or measures.looked_until
            self._looked_until = max(until, measures.looked_until)  # a clock may be set back
            names = (each.queue for each in measures.queues)
            self._named = frozenset(name for name in names if name is not None)
            # Only of the queues there are: those of a queue that comes back begin anew.
            self._consumed = {
                label: self._consumed.get(label, 0) + _counted(queue.consumed)
                for label, queue in zip(labels_of(measures.queues), measures.queues, strict=True)
            }

    def _note_down(self, error: Exception) -> None:
        if self._is_up:  # once, not with each scrape
            _logger.warning("metrics: the database does not answer (%s)", _shown(error))
        self._is_up = False


class _Found(Collector):
    """What was found, as families of metrics."""

    def __init__(self, look: _Look, *, counts: bool) -> None:
        self._look = look
        self._counts = counts

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        measures = self._look.measures
        if measures is not None:
            yield from self._of_queues(measures.queues)
            yield GaugeMetricFamily(*NOT_MEASURED, value=measures.queues_not_measured)
            if measures.oldest_snapshot_seconds is not None:
                yield GaugeMetricFamily(*SNAPSHOT, value=measures.oldest_snapshot_seconds)
        yield GaugeMetricFamily(*TOOK, value=self._look.took_seconds)
        yield GaugeMetricFamily(*UP, value=0 if measures is None else 1)

    def _of_queues(self, queues: tuple[QueueMeasures, ...]) -> Iterator[Metric]:
        labelled = list(zip(labels_of(queues), queues, strict=True))
        cut = GaugeMetricFamily(*CUT, labels=["queue", "metric"])
        for gauge in GAUGES:
            family = GaugeMetricFamily(gauge.name, gauge.text, labels=["queue"])
            for label, queue in labelled:
                value = gauge.of(queue)
                if isinstance(value, Count):
                    family.add_metric([label], value.at_least)
                    if not value.is_exact:
                        cut.add_metric([label, gauge.name], 1)
                elif value is not None:
                    family.add_metric([label], value)
            yield family
        yield cut
        backlog = GaugeMetricFamily(*BACKLOG, labels=["queue", "bound"])
        for label, queue in labelled:
            bound = "exact" if queue.backlog.is_exact else "at_least"
            backlog.add_metric([label, bound], queue.backlog.at_least)
        yield backlog
        if self._counts:
            consumed = CounterMetricFamily(*CONSUMED, labels=["queue"])
            for label, count in self._look.consumed.items():
                consumed.add_metric([label], count)
            yield consumed


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # of the library, where the version in the header is no number
        return choose_encoder("")


def labels_of(queues: Sequence[QueueMeasures]) -> list[str]:
    """Return the labels of the queues, each once: two of the same would spoil the whole scrape."""
    labels: list[str] = []
    taken = {OTHER}  # which no queue may take from the rest, whatever it is called
    for queue in queues:
        if queue.queue is None:
            labels.append(OTHER)
            continue
        name = label = queue.queue.encode("utf-8", "replace").decode()
        number = 1
        while label in taken:
            number += 1
            label = f"{name} ({number})"
        taken.add(label)
        labels.append(label)
    return labels


def _counted(count: Count | None) -> int:
    return 0 if count is None else max(count.at_least, count.estimate or 0)


def _shown(error: Exception) -> str:
    # Of the driver's error the first line: the rest would show the statement.
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return visible(lines[0]) if lines else type(error).__name__
