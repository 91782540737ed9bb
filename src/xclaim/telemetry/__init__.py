"""Metrics and traces of OpenTelemetry, and metrics for Prometheus.

``instrument()`` begins to measure what the queues of this process do. Nothing here is imported by
a queue: who does not ask for it pays nothing.
"""

from __future__ import annotations

import logging
import os
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from xclaim.telemetry.metrics import Metrics
    from xclaim.telemetry.traces import Traces

__all__ = ["Instrumentor", "instrument", "instrument_if_asked", "uninstrument"]

VARIABLE = "XCLAIM_OTEL"
PARENT_VARIABLE = "XCLAIM_OTEL_MESSAGE_IS_PARENT"
_NO = ("", "0", "false", "no", "off")
_lock = Lock()
_logger = logging.getLogger("xclaim")
_running: tuple[Metrics, Traces] | None = None


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    message_is_parent: bool | None = None,
) -> None:
    """Trace and measure what the queues of this process do; nothing if that is done already.

    With the global providers, also if they are set later, or with those that are given. While there
    is none, that is, without an SDK, nothing is made. It needs the extra ``otel``.

    The span of the work on a message links to its push. With ``message_is_parent`` it belongs to
    the trace of the push, at the first attempt and where it is one message; by default as
    ``XCLAIM_OTEL_MESSAGE_IS_PARENT`` says.
    """
    global _running  # noqa: PLW0603
    from xclaim.telemetry.metrics import Metrics
    from xclaim.telemetry.traces import Traces

    if message_is_parent is None:
        message_is_parent = is_said(PARENT_VARIABLE)
    with _lock:
        if _running is None:
            metrics = Metrics(meter_provider)
            traces = Traces(tracer_provider, message_is_parent=message_is_parent)
            metrics.start()
            traces.start()
            _running = metrics, traces


def uninstrument() -> None:
    """Trace and measure no more."""
    global _running
    with _lock:
        running, _running = _running, None
        if running is not None:
            for each in running:
                each.stop()


def instrument_if_asked() -> None:
    """Do what ``instrument`` does where ``XCLAIM_OTEL=1`` asks for it.

    Without the extra that is only said in the log: the work is what counts.
    """
    if not is_said(VARIABLE):
        return
    try:
        instrument()
    except ImportError as error:
        said = "%s is set, and nothing is measured: install xclaim[otel] (%s)"
        _logger.warning(said, VARIABLE, error)


def is_said(variable: str) -> bool:
    """Return whether a variable of the environment says yes: all but nothing, 0, false, no, off."""
    return os.environ.get(variable, "").strip().lower() not in _NO


class Instrumentor:
    """What ``opentelemetry-instrument`` finds, as it takes the classes of instrumentations."""

    def instrument(self, **options: Any) -> None:
        """Begin; of its options those that are known are taken."""
        known = ("tracer_provider", "meter_provider", "message_is_parent")
        instrument(**{name: options[name] for name in known if name in options})

    def uninstrument(self, **_: Any) -> None:
        """End."""
        uninstrument()
