"""Metrics and traces of OpenTelemetry, and metrics for Prometheus.

``instrument()`` begins to measure what the queues of this process do. Nothing here is imported by
a queue: who does not ask for it pays nothing.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from xclaim.telemetry.metrics import Metrics

__all__ = ["Instrumentor", "instrument", "instrument_if_asked", "uninstrument"]

VARIABLE = "XCLAIM_OTEL"
_NO = ("", "0", "false", "no", "off")
_lock = Lock()
_metrics: Metrics | None = None


def instrument(*, meter_provider: MeterProvider | None = None) -> None:
    """Measure what the queues of this process do from now on; nothing if that is done already.

    With the global providers, also if they are set later, or with the one that is given. It needs
    the extra ``otel``.
    """
    global _metrics  # noqa: PLW0603
    from xclaim.telemetry.metrics import Metrics

    with _lock:
        if _metrics is None:
            metrics = Metrics(meter_provider)
            metrics.start()
            _metrics = metrics


def uninstrument() -> None:
    """Measure no more."""
    global _metrics
    with _lock:
        metrics, _metrics = _metrics, None
        if metrics is not None:
            metrics.stop()


def instrument_if_asked() -> None:
    """Do what ``instrument`` does where ``XCLAIM_OTEL=1`` asks for it."""
    if os.environ.get(VARIABLE, "").strip().lower() not in _NO:
        instrument()


class Instrumentor:
    """What ``opentelemetry-instrument`` finds, as it takes the classes of instrumentations."""

    def instrument(self, **options: Any) -> None:
        """Begin; of its options those that are known are taken."""
        instrument(meter_provider=options.get("meter_provider"))

    def uninstrument(self, **_: Any) -> None:
        """End."""
        uninstrument()
