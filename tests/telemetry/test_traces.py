"""Spans from push to ack: what belongs to which trace, and what is only linked."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, cast

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach, detach
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from sqlalchemy import create_engine, text

from tests.contract.facades import queue_by
from tests.telemetry.spans import Spans, id_of, linked, parent_of, trace_of, traced
from xclaim import (
    Claim,
    ClaimLostError,
    DuplicateMessageError,
    MessagesFailedError,
    Queue,
    Retry,
    push,
)

OWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
AT_ONCE = Retry(first=timedelta(0))


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as spans:
        yield spans


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, database_url: str) -> Iterator[Queue]:
    with queue_by(request.param, database_url, retry=AT_ONCE) as queue:
        yield queue


@pytest.fixture
def in_threads(database_url: str) -> Iterator[Queue]:
    with Queue("orders", database_url, retry=AT_ONCE) as queue:
        yield queue


def test_a_push_is_the_context_of_its_message(in_threads: Queue, spans: Spans) -> None:
    with spans.tracer.start_as_current_span("caller") as caller:
        message = in_threads.push(1)

    send = spans.one("send orders")
    assert message.headers["traceparent"][:52] == f"00-{trace_of(send):032x}-{id_of(send):016x}"
    assert parent_of(send) == caller.get_span_context().span_id
    assert send.kind is SpanKind.PRODUCER
    assert said(send) == {
        "messaging.system": "xclaim",
        "messaging.operation.name": "push",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.message.id": str(message.id),
    }


def test_a_batch_is_one_context_for_its_messages(queue: Queue, spans: Spans) -> None:
    messages = queue.push_many([1, 2, 3])

    send = spans.one("send orders")
    assert len({message.headers["traceparent"] for message in messages}) == 1
    assert send.attributes is not None
    assert send.attributes["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in send.attributes


def test_claim_work_and_ack_link_to_the_push(queue: Queue, spans: Spans) -> None:
    message = queue.push(1)

    with queue.consume():
        pass

    send = spans.one("send orders")
    receive, process, settle = (
        spans.one(f"{kind} orders") for kind in ("receive", "process", "settle")
    )
    assert [linked(each) for each in (receive, process, settle)] == [[id_of(send)]] * 3
    assert [each.kind for each in (receive, process, settle)] == [
        SpanKind.CLIENT,
        SpanKind.CONSUMER,
        SpanKind.CLIENT,
    ]
    assert [trace_of(each) == trace_of(send) for each in (receive, process, settle)] == [False] * 3
    assert parent_of(process) is None
    assert parent_of(settle) == id_of(process)
    assert said(process) == {
        "messaging.system": "xclaim",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.message.id": str(message.id),
        "xclaim.attempt": 1,
        "xclaim.outcome": "acked",
    }
    assert said(receive)["messaging.operation.name"] == "claim"
    assert said(settle)["messaging.operation.name"] == "ack"


def test_spans_of_the_block_are_children_of_the_work(in_threads: Queue, spans: Spans) -> None:
    in_threads.push(1)

    with spans.tracer.start_as_current_span("worker"), in_threads.consume():
        spans.tracer.start_span("in the block").end()
    spans.tracer.start_span("after").end()

    process, worker = spans.one("process orders"), spans.one("worker")
    assert parent_of(spans.one("in the block")) == id_of(process)
    assert parent_of(process) == id_of(worker)
    assert parent_of(spans.one("receive orders")) == id_of(worker)
    assert parent_of(spans.one("after")) is None


def test_a_server_is_named_and_a_file_is_not(database_url: str, spans: Spans) -> None:
    with Queue("orders", database_url) as queue:
        queue.push(1)
        with queue.consume():
            pass

    names = [spans.one(f"{kind} orders") for kind in ("send", "receive", "process", "settle")]
    named = {"server.address" in (span.attributes or {}) for span in names}
    assert named == {database_url.startswith("postgresql")}


def test_an_empty_claim_makes_no_span(queue: Queue, spans: Spans) -> None:
    with queue.consume() as nothing:
        pass
    queue.claim(wait=timedelta(seconds=0.2))
    for _ in queue.stream():
        pass
    queue.counts()

    assert nothing is None
    assert spans.names() == []


def test_with_the_message_as_parent_the_work_is_in_its_trace(database_url: str) -> None:
    with traced(message_is_parent=True) as spans, Queue("orders", database_url) as queue:
        token = attach(baggage.set_baggage("customer", "42"))
        queue.push(1)
        detach(token)
        with spans.tracer.start_as_current_span("worker") as worker, queue.consume():
            in_work = baggage.get_baggage("customer")

    send, process = spans.one("send orders"), spans.one("process orders")
    assert parent_of(process) == id_of(send)
    assert linked(process) == [id_of(send), worker.get_span_context().span_id]
    assert in_work == "42"


def test_of_a_batch_no_message_is_the_parent(database_url: str) -> None:
    with traced(message_is_parent=True) as spans, Queue("orders", database_url) as queue:
        queue.push_many([1, 2])
        with queue.consume_many(2):
            pass

    assert parent_of(spans.one("process orders")) is None
    assert len(linked(spans.one("process orders"))) == 1


@pytest.mark.parametrize("message_is_parent", [False, True])
def test_a_retry_is_a_trace_of_its_own_with_a_link(
    database_url: str, message_is_parent: bool
) -> None:
    with (
        traced(message_is_parent=message_is_parent) as spans,
        Queue("orders", database_url, retry=AT_ONCE) as queue,
    ):
        queue.push("secret")
        with pytest.raises(ValueError, match="quotes"), queue.consume() as claim:
            raise ValueError(f"it quotes {cast(Claim, claim).payload}")
        with queue.consume():
            pass

    send = spans.one("send orders")
    first, second = spans.all("process orders")
    assert (first.status.status_code, second.status.status_code) == (
        StatusCode.ERROR,
        StatusCode.UNSET,
    )
    assert [linked(each)[:1] for each in (first, second)] == [[id_of(send)]] * 2
    assert [said(each)["xclaim.attempt"] for each in (first, second)] == [1, 2]
    assert trace_of(second) not in (trace_of(first), trace_of(send))
    assert said(first)["error.type"] == "ValueError"
    (recorded,) = first.events
    assert recorded.attributes is not None
    assert recorded.attributes["exception.type"] == "ValueError"
    assert "test_traces.py" in str(recorded.attributes["exception.stacktrace"])
    assert "secret" not in first.to_json()


def test_a_retry_within_a_span_of_the_worker_is_in_that_and_not_in_the_trace_of_its_push(
    database_url: str,
) -> None:
    with (
        traced(message_is_parent=True) as spans,
        Queue("orders", database_url, retry=AT_ONCE) as queue,
    ):
        queue.push(1)
        with spans.tracer.start_as_current_span("worker"):
            with pytest.raises(ValueError, match="no"), queue.consume():
                raise ValueError("no")
            with queue.consume():
                pass

    first, second = spans.all("process orders")
    send, worker = spans.one("send orders"), spans.one("worker")
    assert [parent_of(each) for each in (first, second)] == [id_of(send), id_of(worker)]
    assert linked(second)[:1] == [id_of(send)]


def test_no_span_shows_a_token_or_payload(queue: Queue, spans: Spans) -> None:
    queue.push("secret")
    claim = cast(Claim, queue.claim())
    queue.ack(claim)
    with pytest.raises(ClaimLostError):
        queue.ack(claim)

    shown = "".join(span.to_json() for name in set(spans.names()) for span in spans.all(name))
    assert str(claim.token) not in shown
    assert "secret" not in shown
    assert spans.all("settle orders")[1].status.status_code is StatusCode.ERROR


def test_of_a_batch_each_failed_message_is_named(queue: Queue, spans: Spans) -> None:
    messages = queue.push_many([1, 2, 3])

    with pytest.raises(MessagesFailedError), queue.consume_many(3):
        raise MessagesFailedError({messages[1].id: KeyError("two")})

    process = spans.one("process orders")
    failed = [event.attributes or {} for event in process.events]
    assert [each.get("messaging.message.id") for each in failed] == [None, str(messages[1].id)]
    assert failed[1]["exception.type"] == "KeyError"
    assert process.status.status_code is StatusCode.ERROR


def test_each_message_of_a_stream_has_a_span(in_threads: Queue, spans: Spans) -> None:
    for number in range(3):
        in_threads.push(number)

    for _ in in_threads.stream():
        spans.tracer.start_span("in the loop").end()
    spans.tracer.start_span("after").end()

    works = spans.all("process orders")
    assert [parent_of(each) for each in spans.all("in the loop")] == [id_of(each) for each in works]
    assert [linked(each) for each in works] == [[id_of(each)] for each in spans.all("send orders")]
    assert parent_of(spans.one("after")) is None
    assert sorted(linked(spans.one("settle orders"))) == sorted(
        id_of(each) for each in spans.all("send orders")
    )


def test_a_stream_that_is_left_puts_the_context_back(in_threads: Queue, spans: Spans) -> None:
    in_threads.push_many([1, 2, 3])

    with closing(cast(Any, in_threads.stream())) as claims:
        next(claims)
        next(claims)
    current = get_current_span().get_span_context()

    first, second = spans.all("process orders")
    assert not current.is_valid
    assert [said(each)["xclaim.outcome"] for each in (first, second)] == ["acked", "failed"]


def test_of_nested_work_the_inner_is_the_child_of_the_outer(
    in_threads: Queue, spans: Spans
) -> None:
    in_threads.push_many([1, 2])

    with in_threads.consume(), in_threads.consume():
        spans.tracer.start_span("inner").end()

    inner, outer = spans.all("process orders")[::-1]
    assert parent_of(spans.one("inner")) == id_of(inner)
    assert parent_of(inner) == id_of(outer)
    assert not get_current_span().get_span_context().is_valid


def test_two_streams_in_turns_leave_nothing_behind(in_threads: Queue, spans: Spans) -> None:
    in_threads.push_many([1, 2, 3, 4])

    with (
        closing(cast(Any, in_threads.stream(batch=2))) as one,
        closing(cast(Any, in_threads.stream(batch=2))) as other,
    ):
        for _ in range(2):
            next(one)
            next(other)
            spans.tracer.start_span("of the other").end()

    works = {id_of(span): span for span in spans.all("process orders")}
    inner = [works[cast(int, parent_of(span))] for span in spans.all("of the other")]
    assert [said(span)["messaging.message.id"] for span in inner] == ["3", "4"]
    assert not get_current_span().get_span_context().is_valid


def test_a_transaction_is_one_piece_of_work(in_threads: Queue, spans: Spans) -> None:
    in_threads.push(1)

    with in_threads.transact():
        spans.tracer.start_span("in the block").end()

    process = spans.one("process orders")
    assert parent_of(spans.one("in the block")) == id_of(process)
    assert parent_of(spans.one("settle orders")) == id_of(process)


def test_settling_by_hand_is_part_of_the_work(queue: Queue, spans: Spans) -> None:
    queue.push(1)

    with queue.consume() as claim:
        queue.release(cast(Claim, claim), error="in vain")

    process = spans.one("process orders")
    assert parent_of(spans.one("settle orders")) == id_of(process)
    assert said(process)["error.type"] == "_OTHER"
    assert said(process)["xclaim.outcome"] == "failed"
    assert "in vain" not in process.to_json()


def test_a_traceparent_of_the_caller_wins(queue: Queue, spans: Spans) -> None:
    message = queue.push(1, headers={"traceparent": OWN})
    with queue.consume():
        pass

    send, process = spans.one("send orders"), spans.one("process orders")
    assert message.headers == {"traceparent": OWN}
    assert send.kind is SpanKind.CLIENT
    assert linked(send) == linked(process) == [int(OWN[36:52], 16)]


def test_a_push_on_a_connection_is_traced(database_url: str, spans: Spans) -> None:
    engine = create_engine(database_url)

    with engine.begin() as connection:
        message = push(connection, "orders", 1)

    assert f"{id_of(spans.one('send orders')):016x}" in message.headers["traceparent"]
    engine.dispose()


def test_a_message_that_was_there_keeps_the_context_of_the_first_push(
    queue: Queue, spans: Spans
) -> None:
    first = queue.push(1, unique_key="one")

    again = queue.push(1, unique_key="one")
    with pytest.raises(DuplicateMessageError):
        queue.push(2, unique_key="one")

    assert again.headers == first.headers
    assert [span.status.status_code for span in spans.all("send orders")] == [
        StatusCode.UNSET,
        StatusCode.UNSET,
        StatusCode.ERROR,
    ]


HOSTILE: list[Any] = [
    1,
    None,
    [],
    {"a": 1},
    True,
    "",
    "hello",
    "00-00000000000000000000000000000000-0000000000000000-00",
    "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "00-" + "é" * 32 + "-" + "x" * 16 + "-01",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("traceparent", HOSTILE, ids=lambda value: repr(value)[:20])
def test_what_is_no_context_is_no_link(database_url: str, spans: Spans, traceparent: Any) -> None:
    write_headers(database_url, {"traceparent": traceparent})

    with Queue("orders", database_url) as queue, queue.consume() as claim:
        payload = cast(Claim, claim).payload

    assert payload == 1
    assert linked(spans.one("process orders")) == []
    assert said(spans.one("process orders"))["xclaim.outcome"] == "acked"


@pytest.mark.parametrize("tracestate", [7, "x=" + "y" * 1_000_000, "a=b,a=b,,=;"])
def test_a_bad_tracestate_is_left_out(database_url: str, spans: Spans, tracestate: Any) -> None:
    write_headers(database_url, {"traceparent": OWN, "tracestate": tracestate})

    with Queue("orders", database_url) as queue, queue.consume():
        pass

    (link,) = spans.one("process orders").links
    assert f"{link.context.span_id:x}" == OWN[36:52]
    assert len(link.context.trace_state) <= 1


@pytest.mark.parametrize("headers", [[1], "text", 5, None, {"baggage": "x" * 100_000}])
def test_headers_of_any_kind_break_no_claim(database_url: str, spans: Spans, headers: Any) -> None:
    write_headers(database_url, headers)

    with Queue("orders", database_url) as queue, queue.consume() as claim:
        pass

    assert cast(Claim, claim).message.read_error is None
    assert linked(spans.one("process orders")) == []


def test_links_are_bounded(queue: Queue, spans: Spans) -> None:
    for number in range(150):
        queue.push(number)

    with queue.consume_many(150):
        pass

    assert len(linked(spans.one("process orders"))) == 128
    assert len(linked(spans.one("receive orders"))) == 128
    assert spans.one("process orders").dropped_links == 0


def test_what_is_not_sampled_is_said_to_be_so(queue: Queue, spans: Spans) -> None:
    queue.push(
        1, headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
    )

    with queue.consume():
        pass

    (link,) = spans.one("process orders").links
    assert not link.context.trace_flags.sampled


def test_nothing_is_logged_and_no_headers_are_added_without_an_sdk(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    from xclaim.telemetry import instrument, uninstrument

    instrument()
    instrument()
    try:
        with caplog.at_level(logging.WARNING):
            message = queue.push(1)
            with queue.consume():
                pass
    finally:
        uninstrument()
        uninstrument()

    assert message.headers == {}
    assert caplog.records == []


def said(span: Any) -> dict[str, Any]:
    """Return what a span says, but for the server that not each database has."""
    attributes = dict(span.attributes)
    return {name: value for name, value in attributes.items() if not name.startswith("server.")}


def write_headers(database_url: str, headers: Any) -> None:
    """Write a message as a producer in SQL may."""
    with Queue("orders", database_url) as queue:
        message = queue.push(1)
    engine = create_engine(database_url)
    with engine.begin() as connection:
        cast_ = "CAST(:headers AS jsonb)" if engine.dialect.name == "postgresql" else ":headers"
        connection.execute(
            text(f"UPDATE xclaim_message SET headers = {cast_} WHERE id = :id"),
            {"headers": json.dumps(headers), "id": message.id},
        )
    engine.dispose()
