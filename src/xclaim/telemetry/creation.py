"""Where a message was pushed, as its headers say it, and as a push writes it there.

Headers may be of anybody: a producer in SQL, or somebody who means harm. What is no context there
is no link, and breaks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry import propagate
from opentelemetry.context.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Link, SpanContext, get_current_span

from xclaim.message import Message, readable_headers

MOST_LINKS = 128  # as many as the SDK keeps of a span by default
_MOST_CHARACTERS = 8192  # of one header, as W3C's baggage has it


class _Texts(Getter[Mapping[str, Any]]):
    """Reads headers that are text, and not too long."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(key)
        return [value] if isinstance(value, str) and len(value) <= _MOST_CHARACTERS else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return list(carrier)


_texts = _Texts()


def has_own(headers: object) -> bool:
    """Return whether a caller has said himself where his message was made."""
    if not isinstance(headers, Mapping):
        return False
    return any(name in headers for name in _trace_fields())


def written(context: Context) -> dict[str, str]:
    """Return the headers for a context."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier


def context_in(headers: object, within: Context | None = None) -> Context:
    """Return the context that headers describe, baggage included, on top of another one."""
    within = Context() if within is None else within
    if not isinstance(headers, Mapping):
        return within
    try:
        return propagate.extract(headers, within, _texts)
    except Exception:  # noqa: BLE001  (of a propagator that did not expect this)
        return within


def creation_in(headers: object) -> SpanContext | None:
    """Return where headers say that the message was made, or None."""
    found = get_current_span(context_in(headers)).get_span_context()
    return found if found.is_valid else None


def links_to(messages: Iterable[Message]) -> list[Link]:
    """Return a link to each context in which messages were pushed, of which there may be few.

    Those of one batch have one in common. Beyond ``MOST_LINKS`` there are none.
    """
    found: dict[tuple[int, int], Link] = {}
    seen: set[tuple[object, ...]] = set()
    fields = _fields()
    for message in messages:
        headers = readable_headers(message)
        said = tuple(str(headers.get(name))[:_MOST_CHARACTERS] for name in fields)
        if said in seen:
            continue
        seen.add(said)
        creation = creation_in(headers)
        if creation is not None:
            found[creation.trace_id, creation.span_id] = Link(creation)
            if len(found) >= MOST_LINKS:
                break
    return list(found.values())


def _fields() -> list[str]:
    return sorted(propagate.get_global_textmap().fields)


def _trace_fields() -> list[str]:
    return [name for name in _fields() if name not in ("baggage", "tracestate")]
