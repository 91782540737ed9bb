"""The instruments: their names, units and buckets, as OpenTelemetry's conventions have them.

Those that begin with ``messaging.`` are of the semantic conventions for messaging, version 1.44:
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider

from xclaim import __version__
from xclaim.telemetry.attributes import SCHEMA_URL

# Of the conventions: from a statement that goes well to one that waits for a lock.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
# A message may wait, and be worked on, for a day.
_LONG_SECONDS = (*_SECONDS, 30, 60, 300, 900, 3_600, 14_400, 86_400)
_SHAPE = "shape"
_ATTEMPTS = (1, 2, 3, 5, 10, 15, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an instrument is: a counter, or a histogram with these buckets."""

    name: str
    unit: str
    description: str
    buckets: tuple[float, ...] | None = None

    def of(self, meter: Meter) -> Counter | Histogram:
        """Return the instrument."""
        if self.buckets is None:
            return meter.create_counter(self.name, self.unit, self.description)
        return meter.create_histogram(
            self.name,
            self.unit,
            self.description,
            explicit_bucket_boundaries_advisory=self.buckets,
        )


def _of(**shape: Any) -> dict[str, Shape]:
    return {_SHAPE: Shape(**shape)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """The instruments of one provider, each beside its shape."""

    operation_duration: Any = field(
        metadata=_of(
            name="messaging.client.operation.duration",
            unit="s",
            description="How long a verb took, from the encoding of payloads to the database's "
            "answer.",
            buckets=_SECONDS,
        )
    )
    sent: Any = field(
        metadata=_of(
            name="messaging.client.sent.messages",
            unit="{message}",
            description="Messages that were pushed; not those that were there under their unique "
            "key.",
        )
    )
    consumed: Any = field(
        metadata=_of(
            name="messaging.client.consumed.messages",
            unit="{message}",
            description="Messages that were handed out, each time they were.",
        )
    )
    process_duration: Any = field(
        metadata=_of(
            name="messaging.process.duration",
            unit="s",
            description="How long the block ran that worked on a message, or on a batch of them.",
            buckets=_LONG_SECONDS,
        )
    )
    wait: Any = field(
        metadata=_of(
            name="xclaim.message.wait.duration",
            unit="s",
            description="How long a message could have been claimed before it was.",
            buckets=_LONG_SECONDS,
        )
    )
    attempts: Any = field(
        metadata=_of(
            name="xclaim.message.attempts",
            unit="{attempt}",
            description="Which attempt of its message a claim is.",
            buckets=_ATTEMPTS,
        )
    )
    lost: Any = field(
        metadata=_of(
            name="xclaim.claim.lost",
            unit="{claim}",
            description="Claims that were no longer held when they were to be settled or extended.",
        )
    )
    empty: Any = field(
        metadata=_of(
            name="xclaim.claim.empty",
            unit="{claim}",
            description="Claims that found no message.",
        )
    )
    refused: Any = field(
        metadata=_of(
            name="xclaim.push.refused",
            unit="{message}",
            description="Messages that were not pushed because their queue was full; of those that "
            "wait for room, each time there was none.",
        )
    )
    dead_letters: Any = field(
        metadata=_of(
            name="xclaim.dead_letters",
            unit="{message}",
            description="Messages that became dead letters.",
        )
    )
    extensions: Any = field(
        metadata=_of(
            name="xclaim.lease.extensions",
            unit="{claim}",
            description="Claims whose lease was extended.",
        )
    )
    reconnects: Any = field(
        metadata=_of(
            name="xclaim.reconnects",
            unit="{reconnect}",
            description="How often a loop got its database back after it was away.",
        )
    )


SHAPES: dict[str, Shape] = {each.name: each.metadata[_SHAPE] for each in fields(Instruments)}


def instruments_of(provider: MeterProvider) -> Instruments:
    """Return the instruments of a provider; the same ones each time."""
    meter = provider.get_meter("xclaim", __version__, SCHEMA_URL)
    return Instruments(**{name: shape.of(meter) for name, shape in SHAPES.items()})
