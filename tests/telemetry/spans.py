"""Spans that a test has made, by their names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from xclaim.telemetry import instrument, uninstrument


class Spans:
    """What has been exported, and a tracer for spans of the application itself."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = self.provider.get_tracer("application")

    def names(self) -> list[str]:
        """Return the names of all, in the order in which they ended."""
        return [span.name for span in self._exporter.get_finished_spans()]

    def all(self, name: str) -> list[ReadableSpan]:
        """Return those of a name, in the order in which they began."""
        found = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time or 0)

    def one(self, name: str) -> ReadableSpan:
        """Return the only one of a name."""
        (span,) = self.all(name)
        return span

    def clear(self) -> None:
        """Forget what there was."""
        self._exporter.clear()


@contextmanager
def traced(*, message_is_parent: bool = False) -> Iterator[Spans]:
    """Let xclaim make spans for a block."""
    spans = Spans()
    uninstrument()
    instrument(tracer_provider=spans.provider, message_is_parent=message_is_parent)
    try:
        yield spans
    finally:
        uninstrument()


def linked(span: ReadableSpan) -> list[int]:
    """Return the ids of the spans that a span links to."""
    return [link.context.span_id for link in span.links]


def id_of(span: ReadableSpan) -> int:
    """Return the id of a span."""
    assert span.context is not None
    return int(span.context.span_id)


def trace_of(span: ReadableSpan) -> int:
    """Return the id of a span's trace."""
    assert span.context is not None
    return int(span.context.trace_id)


def parent_of(span: ReadableSpan) -> int | None:
    """Return the id of a span's parent."""
    return None if span.parent is None else span.parent.span_id
