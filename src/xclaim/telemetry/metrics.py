"""What the events of verbs say, as measurements of OpenTelemetry.

Through its API only: who runs the process chooses the SDK, and while there is none nothing is
measured, and no event is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import MeterProvider, get_meter_provider

from xclaim.connections import events
from xclaim.connections.companions import WORKS, WorkCompanion
from xclaim.errors import QueueFullError
from xclaim.telemetry.attributes import (
    OPERATIONS,
    SYSTEM,
    Operation,
    error_type,
    of_operation,
    of_server,
)
from xclaim.telemetry.instruments import Instruments, instruments_of
from xclaim.telemetry.labels import QueueLabels
from xclaim.telemetry.providers import Awake

if TYPE_CHECKING:
    from sqlalchemy import URL

    from xclaim.connections.companions import Work, WorkEvent
    from xclaim.verb import LapseEvent, ReturnEvent, VerbEvent

MOST_QUEUES = 100  # that are labels
_EXTENSIONS = ("extend", "extend_many")
_PROCESS = Operation("process", "process")
_LAPSED, _RELEASED = "lapsed", "released"  # why a message became a dead letter
_Attributes = dict[str, str | int]


class Metrics:
    """Listens to verbs and measures them, with the instruments of one provider.

    Without a ``provider`` it is the global one, from when somebody has set it.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._queues = QueueLabels(MOST_QUEUES)
        self._attributes: dict[tuple[object, ...], _Attributes] = {}
        self._awake = Awake(provider, get_meter_provider, instruments_of)
        self.is_awake = self._awake.is_awake

    def start(self) -> None:
        """Listen. Raise what the API raises for a provider that the environment names wrongly."""
        self.is_awake()
        events.VERBS.add(self.measure, is_awake=self.is_awake)
        events.LAPSES.add(self.measure_lapse, is_awake=self.is_awake)
        events.RETURNS.add(self.measure_return, is_awake=self.is_awake)
        WORKS.add(self.come_along, is_awake=self.is_awake)

    def stop(self) -> None:
        """Listen no more."""
        events.VERBS.remove(self.measure)
        events.LAPSES.remove(self.measure_lapse)
        events.RETURNS.remove(self.measure_return)
        WORKS.remove(self.come_along)

    def measure(self, event: VerbEvent) -> None:
        """Measure a verb."""
        operation = OPERATIONS.get(event.verb)
        instruments = self._awake.made()
        if operation is None or instruments is None:
            return
        attributes = self._of(operation, event)
        failed = attributes
        if event.error is not None:
            failed = {**attributes, "error.type": error_type(event.error)}
        instruments.operation_duration.record(event.seconds, failed)
        if operation.type == "send":
            _measure_push(instruments, event, attributes)
        elif operation.type == "receive":
            _measure_claims(instruments, event, attributes)
        elif event.verb in _EXTENSIONS and event.settled:
            instruments.extensions.add(len(event.settled), attributes)
        if event.lost:
            instruments.lost.add(len(event.lost), attributes)
        if event.died:
            self._measure_dead(instruments, event.queue, event.died, _RELEASED)

    def measure_lapse(self, event: LapseEvent) -> None:
        """Measure leases that ran out: those that made dead letters."""
        instruments = self._awake.made()
        if instruments is not None and event.died:
            self._measure_dead(instruments, event.queue, event.died, _LAPSED)

    def measure_return(self, event: ReturnEvent) -> None:
        """Count a database that is back."""
        instruments = self._awake.made()
        if instruments is not None:
            instruments.reconnects.add(1, {"messaging.system": SYSTEM})

    def come_along(self, work: Work) -> WorkCompanion:
        """Return what measures the work when it has ended."""
        return _Worker(self)

    def measure_work(self, event: WorkEvent) -> None:
        """Measure work on a message, or on a batch."""
        instruments, work = self._awake.made(), event.work
        if instruments is None:
            return
        attributes = self._kept(_PROCESS, self._queues.label(work.queue), work.url)
        if event.error is not None:
            attributes = {**attributes, "error.type": _kind_of(event.error)}
        instruments.process_duration.record(event.seconds, attributes)

    def _measure_dead(
        self, instruments: Instruments, queue: str | None, died: int, reason: str
    ) -> None:
        attributes = {
            "messaging.system": SYSTEM,
            "messaging.destination.name": self._queues.label(queue or ""),
            "xclaim.dead_letter.reason": reason,
        }
        instruments.dead_letters.add(died, attributes)

    def _of(self, operation: Operation, event: VerbEvent) -> _Attributes:
        queue = None if event.queue is None else self._queues.label(event.queue)
        return self._kept(operation, queue, event.url)

    def _kept(self, operation: Operation, queue: str | None, url: URL | None) -> _Attributes:
        server = of_server(url)
        key = (operation.name, queue, *server.values())
        attributes = self._attributes.get(key)
        if attributes is None:
            destination = {} if queue is None else {"messaging.destination.name": queue}
            attributes = {**of_operation(operation), **destination, **server}
            self._attributes[key] = attributes
        return attributes


class _Worker(WorkCompanion):
    """Waits for the end of work, and has it measured."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def ended(self, event: WorkEvent) -> None:
        self._metrics.measure_work(event)


def _kind_of(error: object) -> str:
    # What was released with a text has no class.
    return "released" if isinstance(error, str) else error_type(error)


def _measure_push(instruments: Instruments, event: VerbEvent, attributes: _Attributes) -> None:
    if event.pushed:
        instruments.sent.add(event.pushed, attributes)
    if isinstance(event.error, QueueFullError):
        on_full = {"xclaim.on_full": event.error.on_full}
        instruments.refused.add(event.error.count, {**attributes, **on_full})


def _measure_claims(instruments: Instruments, event: VerbEvent, attributes: _Attributes) -> None:
    if not event.claims:
        if event.error is None:
            instruments.empty.add(1, attributes)
        return
    instruments.consumed.add(len(event.claims), attributes)
    for claim in event.claims:
        instruments.attempts.record(claim.message.attempts, attributes)
    for seconds in event.waits:
        instruments.wait.record(seconds, attributes)
