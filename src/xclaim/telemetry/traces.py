"""Spans of pushes, claims, work and settling, by OpenTelemetry's conventions for messaging.

A push is the context in which its messages were made: it travels in their headers, and all that
happens to them later links to it. Only its API is used: without an SDK nothing of this is made.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    get_tracer_provider,
    set_span_in_context,
)

from xclaim.connections import events
from xclaim.connections.companions import (
    PUSHES,
    WORKS,
    Outcome,
    Push,
    PushCompanion,
    Work,
    WorkCompanion,
    WorkEvent,
)
from xclaim.message import readable_headers
from xclaim.telemetry.attributes import (
    OPERATIONS,
    SCHEMA_URL,
    SYSTEM,
    error_type,
    of_server,
)
from xclaim.telemetry.creation import (
    MOST_LINKS,
    context_in,
    creation_in,
    has_own,
    links_to,
    written,
)
from xclaim.telemetry.current import enter, here, leave
from xclaim.telemetry.providers import Awake

if TYPE_CHECKING:
    from uuid import UUID

    from opentelemetry.context.context import Context
    from opentelemetry.trace import SpanContext, Tracer
    from sqlalchemy import URL

    from xclaim.claims import Claim
    from xclaim.message import Message
    from xclaim.verb import VerbEvent

_MOST_FRAMES = 50  # of a traceback
_MOST_EVENTS = 128  # as many as the SDK keeps of a span by default
_OTHER = "_OTHER"  # the conventions' word for an error without a class


def _tracer_of(provider: TracerProvider) -> Tracer:
    from xclaim import __version__

    return provider.get_tracer("xclaim", __version__, schema_url=SCHEMA_URL)


class Traces:
    """Makes spans of what the queues of this process do.

    Without a ``provider`` with the global one, from when somebody has set it.
    ``message_is_parent``: the work on one message belongs to the trace of its push, at its first
    attempt.
    """

    def __init__(
        self, provider: TracerProvider | None = None, *, message_is_parent: bool = False
    ) -> None:
        self._awake = Awake(provider, get_tracer_provider, _tracer_of)
        self.is_awake = self._awake.is_awake
        self._message_is_parent = message_is_parent
        self._in_work: dict[UUID, SpanContext] = {}  # by the tokens of claims

    def start(self) -> None:
        """Begin with it. Raise what the API raises for a provider that is named wrongly."""
        self.is_awake()
        PUSHES.add(self.of_push, is_awake=self.is_awake)
        WORKS.add(self.of_work, is_awake=self.is_awake)
        events.VERBS.add(self.of_verb, is_awake=self.is_awake)

    def stop(self) -> None:
        """End with it; what has begun is ended as it would be."""
        PUSHES.remove(self.of_push)
        WORKS.remove(self.of_work)
        events.VERBS.remove(self.of_verb)

    def of_push(self, push: Push) -> PushCompanion | None:
        """Begin the span of a push."""
        tracer = self._awake.made()
        return None if tracer is None else _Sending(tracer, push)

    def of_work(self, work: Work) -> WorkCompanion | None:
        """Begin the span of the work on a message or a batch."""
        tracer = self._awake.made()
        if tracer is None:
            return None
        return _Processing(tracer, work, self._in_work, message_is_parent=self._message_is_parent)

    def of_verb(self, event: VerbEvent) -> None:
        """Make the spans of a claim and of what was settled; of a claim without a message none."""
        operation = OPERATIONS.get(event.verb)
        kind = None if operation is None else operation.type
        tracer = self._awake.made()
        if tracer is None or kind not in ("receive", "settle"):
            return
        given = [*event.settled, *event.lost]
        has_failed = event.error is not None and not given
        if kind == "receive" and (event.claims or has_failed):
            self._make(tracer, event, "receive", event.claims, here())
        if given or (kind == "settle" and has_failed):
            self._make(tracer, event, "settle", given, self._context_of(given))

    def _make(
        self,
        tracer: Tracer,
        event: VerbEvent,
        kind: str,
        claims: Sequence[Claim],
        context: Context,
    ) -> None:
        now = time.time_ns()
        span = tracer.start_span(
            f"{kind} {event.queue}",
            context,
            SpanKind.CLIENT,
            {
                **_attributes(kind, event.verb, event.queue, event.url),
                **_of_messages([claim.message for claim in claims]),
            },
            links_to(claim.message for claim in claims),
            now - int(event.seconds * 1e9),
        )
        if event.error is not None:
            _fail(span, event.error)
        span.end(now)

    def _context_of(self, claims: Sequence[Claim]) -> Context:
        """Return the context for settling claims: that of the work on them, if it is one."""
        works = [self._in_work.get(claim.token) for claim in claims]
        work = works[0] if works else None
        if work is None or any(each is not work for each in works):
            return here()
        return set_span_in_context(NonRecordingSpan(work), here())


class _Sending(PushCompanion):
    """The span of one push: the context in which all its messages were made."""

    def __init__(self, tracer: Tracer, push: Push) -> None:
        self._has_own = has_own(push.headers)
        own = creation_in(push.headers) if self._has_own else None
        self._count = push.count
        before = here()
        self._span = tracer.start_span(
            f"send {push.queue}",
            before,
            SpanKind.CLIENT if self._has_own else SpanKind.PRODUCER,
            _attributes("send", "push_many", push.queue, push.url),
            [] if own is None else [Link(own)],
        )
        self._context = enter(set_span_in_context(self._span, before), self)

    def headers(self) -> Mapping[str, Any]:
        return {} if self._has_own else written(self._context)

    def ended(self, messages: Sequence[Message], error: BaseException | None) -> None:
        leave(self._context)
        if self._span.is_recording():
            self._span.set_attributes(_of_messages(messages, self._count))
        if error is not None:
            _fail(self._span, error)
        self._span.end()


class _Processing(WorkCompanion):
    """The span of the work on a message or a batch, which is current until its block is left."""

    def __init__(
        self,
        tracer: Tracer,
        work: Work,
        in_work: dict[UUID, SpanContext],
        *,
        message_is_parent: bool,
    ) -> None:
        messages = [claim.message for claim in work.claims]
        context, links = here(), links_to(messages)
        if message_is_parent and links and len(messages) == 1 and messages[0].attempts <= 1:
            ambient = get_current_span(context).get_span_context()
            context = context_in(readable_headers(messages[0]), context)
            links += [Link(ambient)] if ambient.is_valid else []
        self._span = tracer.start_span(
            f"process {work.queue}",
            context,
            SpanKind.CONSUMER,
            {**_attributes("process", None, work.queue, work.url), **_of_messages(messages)},
            links[:MOST_LINKS],
        )
        self._tokens = [claim.token for claim in work.claims]
        self._in_work = in_work
        in_work.update(dict.fromkeys(self._tokens, self._span.get_span_context()))
        self._left_at = 0
        self._context = enter(set_span_in_context(self._span, context), self)

    def left(self) -> None:
        leave(self._context)  # first: an interrupt may strike at once
        self._left_at = time.time_ns()

    def ended(self, event: WorkEvent) -> None:
        leave(self._context)  # again, if an interrupt has struck before it was
        for token in self._tokens:
            self._in_work.pop(token, None)
        if self._span.is_recording():
            self._span.set_attribute("xclaim.outcome", str(event.outcome))
            if event.outcome in (Outcome.FAILED, Outcome.LOST) or event.error is not None:
                self._note(event)
        self._span.end(self._left_at or None)

    def _note(self, event: WorkEvent) -> None:
        errors = list(event.failed.items())[:_MOST_EVENTS]
        if event.error is not None or len(errors) == 1:
            _fail(self._span, errors[0][1] if event.error is None else event.error)
        else:
            self._span.set_status(Status(StatusCode.ERROR))
        if len(self._tokens) > 1:
            for id_, error in errors:
                _record(self._span, error, {"messaging.message.id": str(id_)})


def _attributes(
    kind: str, verb: str | None, queue: str | None, url: URL | None
) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": OPERATIONS[verb].name if verb in OPERATIONS else kind,
        "messaging.operation.type": kind,
        **of_server(url),
    }
    if queue is not None:
        attributes["messaging.destination.name"] = queue
    return attributes


def _of_messages(messages: Sequence[Message], count: int | None = None) -> dict[str, str | int]:
    """Return what there is to say of one message, or how many there are."""
    if len(messages) != 1:
        return {"messaging.batch.message_count": len(messages) if count is None else count}
    (message,) = messages
    said: dict[str, str | int] = {"messaging.message.id": str(message.id)}
    if message.attempts:
        said["xclaim.attempt"] = message.attempts
    return said


def _fail(span: Span, error: object) -> None:
    kind = _type_of(error)
    span.set_attribute("error.type", kind)
    _record(span, error, {})
    span.set_status(Status(StatusCode.ERROR, kind))


def _record(span: Span, error: object, attributes: Mapping[str, str]) -> None:
    """Record an error without its text, which may quote a payload: the row has it."""
    said = {"exception.type": _type_of(error), **attributes}
    if isinstance(error, BaseException) and error.__traceback__ is not None:
        frames = traceback.format_tb(error.__traceback__, -_MOST_FRAMES)
        said["exception.stacktrace"] = "Traceback (most recent call last):\n" + "".join(frames)
    span.add_event("exception", said)


def _type_of(error: object) -> str:
    return error_type(error) if isinstance(error, BaseException) else _OTHER
