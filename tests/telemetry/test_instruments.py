"""What is measured of verbs, read by the SDK's in-memory reader."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy import make_url

from tests.contract.facades import queue_by
from xclaim import Claim, ClaimLostError, InvalidArgumentError, Queue, create_engine
from xclaim.connections import events
from xclaim.telemetry import Instrumentor, instrument, uninstrument
from xclaim.telemetry.attributes import OPERATIONS, of_server
from xclaim.telemetry.instruments import SHAPES
from xclaim.telemetry.metrics import MOST_QUEUES
from xclaim.verb import ReturnEvent

Points = dict[str, Any]


class Measured:
    """What an in-memory reader has read."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        if data is None:
            return []
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(self, name: str) -> float:
        return float(sum(point.value for point in self.points(name)))

    def names(self, name: str, attribute: str) -> set[Any]:
        return {point.attributes.get(attribute) for point in self.points(name)}


@pytest.fixture
def measured() -> Iterator[Measured]:
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    instrument(meter_provider=provider)
    yield Measured(reader)
    uninstrument()
    provider.shutdown()


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, database_url: str) -> Iterator[Queue]:
    with queue_by(request.param, database_url) as queue:
        yield queue


def test_each_verb_is_timed_under_its_name_and_its_kind(queue: Queue, measured: Measured) -> None:
    queue.push(1)
    claim = cast(Claim, queue.claim())
    queue.extend(claim)
    queue.ack(claim)
    queue.counts()

    points = measured.points("messaging.client.operation.duration")
    assert {
        (
            point.attributes["messaging.operation.name"],
            point.attributes.get("messaging.operation.type"),
            point.attributes["messaging.destination.name"],
            point.attributes["messaging.system"],
            point.count,
        )
        for point in points
    } == {
        ("push", "send", "orders", "xclaim", 1),
        ("claim", "receive", "orders", "xclaim", 1),
        ("extend", None, "orders", "xclaim", 1),
        ("ack", "settle", "orders", "xclaim", 1),
    }
    assert all(point.sum > 0 for point in points)


def test_the_buckets_are_those_of_the_conventions(queue: Queue, measured: Measured) -> None:
    queue.push(1)

    (point,) = measured.points("messaging.client.operation.duration")
    assert list(point.explicit_bounds) == [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
    ]  # fmt: skip


def test_what_failed_is_timed_with_the_class_of_its_error(queue: Queue, measured: Measured) -> None:
    with pytest.raises(InvalidArgumentError):
        queue.push(1, priority=1_000_000)

    (point,) = measured.points("messaging.client.operation.duration")
    assert point.attributes["error.type"] == "xclaim.errors.InvalidArgumentError"
    assert measured.points("messaging.client.sent.messages") == []


def test_messages_that_are_pushed_are_counted_but_not_those_that_were_there(
    queue: Queue, measured: Measured
) -> None:
    queue.push_many([1, 2], unique_keys=["a", "b"])
    queue.push_many([2, 3], unique_keys=["b", "c"])

    assert measured.total("messaging.client.sent.messages") == 3


def test_messages_that_are_handed_out_are_counted_with_their_attempts_and_their_wait(
    queue: Queue, measured: Measured
) -> None:
    queue.push_many([1, 2, 3])
    queue.release(queue.claim_many(3)[0])
    queue.claim()

    assert measured.total("messaging.client.consumed.messages") == 4
    (attempts,) = measured.points("xclaim.message.attempts")
    assert (attempts.count, attempts.sum) == (4, 5)
    (wait,) = measured.points("xclaim.message.wait.duration")
    assert wait.count == 4
    assert 0 <= wait.sum < 60


def test_a_message_that_waited_is_measured_from_when_it_could_be_claimed(
    database_url: str, measured: Measured
) -> None:
    with Queue("orders", database_url) as queue:
        queue.push(1)
        move_back(database_url, timedelta(hours=2))

        queue.claim()

    (wait,) = measured.points("xclaim.message.wait.duration")
    assert 7_200 <= wait.sum < 7_500


def test_what_a_retry_takes_back_was_held_and_has_not_waited(
    queue: Queue, measured: Measured
) -> None:
    queue.push(1)
    queue.claim(claim_key="task", claimed_by="try 1")
    queue.claim(claim_key="task", claimed_by="try 2")

    (wait,) = measured.points("xclaim.message.wait.duration")
    assert wait.count == 1
    assert measured.total("messaging.client.consumed.messages") == 2


def test_lost_claims_are_counted_for_the_verb_that_finds_them_lost(
    queue: Queue, measured: Measured
) -> None:
    queue.push_many([1, 2])
    claims = queue.claim_many(2)
    queue.ack(claims[0])
    with pytest.raises(ClaimLostError):
        queue.ack_many(claims)
    with pytest.raises(ClaimLostError):
        queue.extend(claims[1])

    lost = {
        point.attributes["messaging.operation.name"]: point.value
        for point in measured.points("xclaim.claim.lost")
    }
    assert lost == {"ack": 1, "extend": 1}


def test_a_claim_that_finds_nothing_is_counted(queue: Queue, measured: Measured) -> None:
    queue.claim()
    queue.claim_many(5)
    assert list(queue.stream()) == []

    assert measured.total("xclaim.claim.empty") == 3
    assert measured.points("messaging.client.consumed.messages") == []


def test_dead_letters_are_counted_with_why_they_died(queue: Queue, measured: Measured) -> None:
    queue.push_many([1, 2, 3], max_attempts=1)
    queue.release(cast(Claim, queue.claim()), error="broken")
    queue.claim_many(2, lease=timedelta(0))
    queue.claim()

    died = {
        point.attributes["xclaim.dead_letter.reason"]: point.value
        for point in measured.points("xclaim.dead_letters")
    }
    assert died == {"released": 1, "lapsed": 2}
    assert measured.names("xclaim.dead_letters", "messaging.destination.name") == {"orders"}


def test_extended_leases_are_counted(queue: Queue, measured: Measured) -> None:
    queue.push(1)
    queue.extend(cast(Claim, queue.claim()))

    assert measured.total("xclaim.lease.extensions") == 1


def test_the_work_on_a_message_is_timed(queue: Queue, measured: Measured) -> None:
    queue.push_many([1, 2])
    with queue.consume():
        pass
    with queue.consume_many(5):
        pass

    (point,) = measured.points("messaging.process.duration")
    assert point.count == 2
    assert 0 < point.sum < 60
    assert point.attributes["messaging.operation.type"] == "process"
    assert point.attributes["messaging.destination.name"] == "orders"


def test_work_that_fails_is_timed_with_the_class_of_its_error(
    queue: Queue, measured: Measured
) -> None:
    queue.push(1)
    with pytest.raises(ZeroDivisionError), queue.consume():
        raise ZeroDivisionError

    (point,) = measured.points("messaging.process.duration")
    assert point.attributes["error.type"] == "ZeroDivisionError"


def test_work_that_is_released_with_a_text_has_no_class_of_it(
    queue: Queue, measured: Measured
) -> None:
    queue.push(1)
    with queue.consume() as claim:
        queue.release(cast(Claim, claim), error="no such order 4711")

    (point,) = measured.points("messaging.process.duration")
    assert point.attributes["error.type"] == "released"


def test_each_message_of_a_stream_is_work(queue: Queue, measured: Measured) -> None:
    queue.push_many(range(5))

    assert len(list(queue.stream(batch=2))) == 5

    (point,) = measured.points("messaging.process.duration")
    assert point.count == 5


def test_a_database_that_is_back_is_counted(measured: Measured) -> None:
    events.RETURNS.emit(ReturnEvent(seconds=3.0))

    assert measured.total("xclaim.reconnects") == 1


def test_a_stream_counts_each_message_once(queue: Queue, measured: Measured) -> None:
    queue.push_many(range(5))

    assert len(list(queue.stream(batch=2))) == 5

    assert measured.total("messaging.client.consumed.messages") == 5


def test_in_a_transaction_of_the_caller_verbs_are_measured_too(
    database_url: str, measured: Measured
) -> None:
    engine = create_engine(database_url)
    with engine.begin() as connection:
        Queue("orders", connection).push_many([1, 2])
    engine.dispose()

    assert measured.total("messaging.client.sent.messages") == 2


def test_queues_beyond_the_limit_share_a_label(database_url: str, measured: Measured) -> None:
    engine = create_engine(database_url)
    for number in range(MOST_QUEUES + 20):
        Queue(f"queue {number}", engine).claim()
    Queue("queue 3.dead", engine).claim()
    Queue("queue 119.dead", engine).claim()
    engine.dispose()

    labels = measured.names("xclaim.claim.empty", "messaging.destination.name")
    assert len(labels) == MOST_QUEUES + 2
    assert {"other", "queue 0", "queue 99", "queue 3.dead"} <= labels
    assert measured.total("xclaim.claim.empty") == MOST_QUEUES + 22


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("postgresql+psycopg://u:p@db.internal:5433/x", ("db.internal", 5433)),
        ("postgresql+psycopg://u:p@db.internal/x", ("db.internal", 5432)),
        ("postgresql+psycopg://u@/x?host=db&port=6000", ("db", 6000)),
        ("postgresql+psycopg://u@/x?host=/var/run/postgresql", ("/var/run/postgresql", None)),
        ("postgresql+psycopg://u@/x?host=one&host=two", (None, None)),
        ("postgresql+psycopg://u@/x?host=one,two", (None, None)),
        ("sqlite:////tmp/x.db", (None, None)),
    ],
)
def test_the_server_is_named_and_nothing_else_of_the_url(
    url: str, server: tuple[str | None, int | None]
) -> None:
    attributes = of_server(make_url(url))

    assert (attributes.get("server.address"), attributes.get("server.port")) == server
    assert set(attributes) <= {"server.address", "server.port"}


def test_on_postgresql_the_server_is_an_attribute(postgresql_url: str, measured: Measured) -> None:
    with Queue("orders", postgresql_url) as queue:
        queue.push(1)

    (point,) = measured.points("messaging.client.sent.messages")
    assert point.attributes["server.port"] == make_url(postgresql_url).port
    assert point.attributes["server.address"] == make_url(postgresql_url).host


def test_each_database_has_its_own_server_however_its_url_names_it(
    postgresql_url: str, sqlite_url: str, measured: Measured
) -> None:
    plain = make_url(postgresql_url)
    host, port = str(plain.host), str(plain.port)
    in_the_query = plain.set(host=None, port=None).update_query_dict({"host": host, "port": port})
    for url in (sqlite_url, in_the_query, sqlite_url):
        with Queue("orders", url) as queue:
            queue.push(1)

    points = measured.points("messaging.client.sent.messages")
    sent = {point.attributes.get("server.address"): point.value for point in points}
    assert sent == {None: 2, host: 1}


def test_instrumenting_twice_measures_once(sqlite_url: str, measured: Measured) -> None:
    instrument()
    Instrumentor().instrument()
    with Queue("orders", sqlite_url) as queue:
        queue.push(1)

    assert measured.total("messaging.client.sent.messages") == 1


def test_nothing_is_measured_any_more_after_uninstrument(
    sqlite_url: str, measured: Measured
) -> None:
    uninstrument()
    with Queue("orders", sqlite_url) as queue:
        queue.push(1)

    assert measured.points("messaging.client.sent.messages") == []
    assert not events.VERBS.is_listened_to()


def test_without_a_provider_nobody_listens() -> None:
    instrument()
    try:
        assert not events.VERBS.is_listened_to()
    finally:
        uninstrument()


def test_a_provider_that_is_set_later_or_replaced_is_found(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    providers: list[Any] = [NoOpMeterProvider(), *(MeterProvider([each]) for each in readers)]
    now = 0
    monkeypatch.setattr("xclaim.telemetry.metrics.get_meter_provider", lambda: providers[now])
    monkeypatch.setattr("xclaim.telemetry.providers._ASK_AGAIN", 0.0)
    instrument()
    try:
        with Queue("orders", sqlite_url) as queue:
            for pushed in (1, 2, 3):
                queue.push_many(range(pushed))
                now = min(now + 1, 2)
    finally:
        uninstrument()

    sent = [Measured(each).total("messaging.client.sent.messages") for each in readers]
    assert sent == [2, 3]


def test_every_verb_that_changes_something_is_measured() -> None:
    from xclaim import verbs
    from xclaim.verb import Verb

    changing = {
        verb.name for verb in vars(verbs).values() if isinstance(verb, Verb) and not verb.reads
    }

    assert changing <= set(OPERATIONS)


def test_each_name_is_of_the_conventions_or_ours() -> None:
    assert all(shape.name.startswith(("messaging.", "xclaim.")) for shape in SHAPES.values())


def move_back(url: str, by: timedelta) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "UPDATE xclaim_message SET available_at = "
                f"strftime('%Y-%m-%d %H:%M:%f', available_at, '-{by.total_seconds():.0f} seconds')"
            )
        else:
            connection.exec_driver_sql(
                "UPDATE xclaim_message SET available_at = "
                f"available_at - interval '{by.total_seconds():.0f} s'"
            )
    engine.dispose()
