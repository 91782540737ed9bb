"""What Prometheus is told: of real queues, by whatever name, and of a database that is down."""

from __future__ import annotations

import logging
import math
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as open_metrics_in,
)
from prometheus_client.parser import text_string_to_metric_families as metrics_in
from prometheus_client.registry import Collector
from sqlalchemy import Engine, event, text

from tests.looks import patient_observer
from tests.promtool import needs_promtool, promtool
from xclaim import Queue, create_engine
from xclaim.observing.values import Count, Measures, QueueMeasures
from xclaim.telemetry.encoding import encoded
from xclaim.telemetry.prometheus import NAMES, Exposition, labels_of
from xclaim.telemetry.serving import serving

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
NO_WAIT = timedelta(0)
UNREACHABLE = "postgresql+psycopg://somebody:hunter2@127.0.0.1:1/shop"
HOSTILE = [
    'a"b',
    "back\\slash",
    "two\nlines",
    "\r\t",
    "{}",
    "other",
    "other (2)",
    "ärger 🐘",
    "x" * 200,
    "'; DROP TABLE xclaim_message; --",
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def exposition(engine: Engine, **options: Any) -> Exposition:
    return Exposition(patient_observer(engine), **{"shared_for": NO_WAIT, **options})


def values(body: bytes) -> dict[str, dict[str, float]]:
    """Return the value of each metric by the label of its queue."""
    found: dict[str, dict[str, float]] = {}
    for family in metrics_in(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[sample.labels.get("queue", "")] = sample.value
    return found


def test_each_queue_has_its_numbers(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2, 3, 4], max_attempts=1)
    queue.push(5, delay=timedelta(hours=1))
    queue.release(queue.claim_many(1)[0], error="broken")
    queue.claim()
    Queue("mails", engine).push(1)

    found = values(exposition(engine).scrape().body)

    assert found["xclaim_up"] == {"": 1}
    assert found["xclaim_backlog"] == {"orders": 2, "mails": 1}
    assert found["xclaim_delayed"] == {"orders": 1, "mails": 0}
    assert found["xclaim_claimed"] == {"orders": 1, "mails": 0}
    assert found["xclaim_dead_letters"] == {"orders": 1, "mails": 0}
    assert found["xclaim_lapsed_claims"] == {"orders": 0, "mails": 0}
    assert found["xclaim_paused"] == {"orders": 0, "mails": 0}
    assert 0 < found["xclaim_oldest_available_seconds"]["orders"] < 600
    assert 0 < found["xclaim_oldest_claim_seconds"]["orders"] < 600


def test_a_database_without_a_queue_is_up(engine: Engine) -> None:
    found = values(exposition(engine).scrape().body)

    assert found["xclaim_up"] == {"": 1}
    assert "xclaim_backlog" not in found


def test_what_failed_and_what_lapsed_is_seen(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2])
    first, _ = queue.claim_many(2, lease=NO_WAIT)
    queue.release(first, error="broken")

    found = values(exposition(engine).scrape().body)

    assert found["xclaim_retrying"] == {"orders": 1}
    assert found["xclaim_lapsed_claims"] == {"orders": 1}


def test_what_is_consumed_is_added_up_from_scrape_to_scrape() -> None:
    looks = Looks([measures(consumed=None), measures(consumed=3), measures(consumed=4)])
    metrics = Exposition(looks, shared_for=NO_WAIT)  # type: ignore[arg-type]

    counted = [values(metrics.scrape().body)["xclaim_consumed_total"]["orders"] for _ in range(3)]

    assert counted == [0, 3, 7]
    assert looks.asked == [None, LOOKED_UNTIL, LOOKED_UNTIL]


def test_what_is_consumed_is_counted_from_the_table(engine: Engine) -> None:
    queue = Queue("orders", engine)
    queue.push_many([1, 2, 3])
    metrics = exposition(engine)
    metrics.scrape()
    metrics._looked_until = datetime.now(UTC) - timedelta(hours=1)
    for claim in queue.claim_many(3):
        queue.ack(claim)
    age(engine, timedelta(minutes=1))

    assert values(metrics.scrape().body)["xclaim_consumed_total"] == {"orders": 3}


@pytest.mark.parametrize(("counts", "named"), [(True, {"orders"}), (False, set[str]())])
def test_of_the_only_process_the_next_scrape_names_the_same_queues(
    counts: bool,
    named: set[str],
) -> None:
    looks = Looks([measures(), measures()])
    metrics = Exposition(looks, counts=counts, shared_for=NO_WAIT)  # type: ignore[arg-type]

    for _ in range(2):
        metrics.scrape()

    assert looks.named == [set(), named]


def test_how_many_queues_are_in_no_metric_is_one(engine: Engine) -> None:
    looks = Looks([replace(measures(), queues_not_measured=7)])

    found = values(Exposition(looks).scrape().body)  # type: ignore[arg-type]

    assert found["xclaim_queues_not_measured"] == {"": 7}
    assert values(exposition(engine).scrape().body)["xclaim_queues_not_measured"] == {"": 0}


def test_a_single_look_has_no_counter(engine: Engine) -> None:
    Queue("orders", engine).push(1)

    found = values(exposition(engine, counts=False).scrape().body)

    assert "xclaim_consumed_total" not in found
    assert set(found) <= set(NAMES)


def test_what_is_counted_no_further_says_so() -> None:
    looked = Exposition(Looks([measures(backlog=Count(at_least=10_000, is_exact=False))]))  # type: ignore[arg-type]

    body = looked.scrape().body.decode()

    assert 'xclaim_backlog{bound="at_least",queue="orders"} 10000.0' in body


def test_dead_letters_and_claims_that_are_counted_no_further_say_so() -> None:
    cut = Count(at_least=10_000, is_exact=False)
    looked = Exposition(Looks([measures(dead=cut, claimed=cut)]))  # type: ignore[arg-type]

    body = looked.scrape().body.decode()

    said = [line for line in body.splitlines() if line.startswith("xclaim_counted_no_further")]
    assert said == [
        'xclaim_counted_no_further{metric="xclaim_claimed",queue="orders"} 1.0',
        'xclaim_counted_no_further{metric="xclaim_dead_letters",queue="orders"} 1.0',
    ]
    assert 'xclaim_dead_letters{queue="orders"} 10000.0' in body


@pytest.mark.parametrize("accept", [None, OPEN_METRICS])
def test_hostile_names_are_labels_like_others(engine: Engine, accept: str | None) -> None:
    for name in HOSTILE:
        push_to(engine, name)

    scrape = exposition(engine).scrape(accept)

    parse = metrics_in if accept is None else open_metrics_in
    labels = {
        sample.labels["queue"]
        for family in parse(scrape.body.decode())
        if family.name == "xclaim_backlog"
        for sample in family.samples
    }
    assert {*HOSTILE} - labels == {"other"}  # which stands for the rest
    assert len(labels) == len(HOSTILE)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        OPEN_METRICS,
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
        "application/openmetrics-text;version=2.0.0;escaping=values",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "text/plain;version=1.0.0;escaping=dots",
    ],
)
def test_the_text_is_that_of_the_library(engine: Engine, accept: str) -> None:
    for name in HOSTILE:
        push_to(engine, name)
    metrics = exposition(engine, shared_for=timedelta(hours=1))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    encode, content_type = choose_encoder(accept)

    scrape = metrics.scrape(accept)

    assert (scrape.body, scrape.content_type) == (encode(registry), content_type)


@pytest.mark.parametrize("value", [0.0, -1, 0.1, 1e-9, 999_999, 1e6, 123_456_789, 1e300, math.inf])
def test_numbers_are_written_as_the_library_writes_them(value: float) -> None:
    def made() -> GaugeMetricFamily:
        return GaugeMetricFamily("xclaim_up", "It is up.", value=value)

    registry = CollectorRegistry()
    registry.register(_Of(made()))

    assert encoded([made()], generate_latest) == generate_latest(registry)


class _Of(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        return [self._metric]


def test_no_two_queues_have_the_same_label() -> None:
    names = ["other", None, "other (2)", "\ud800", "\ud801", "?", "a"]

    labels = labels_of([of_queue(name) for name in names])

    assert labels[1] == "other"
    assert len(set(labels)) == len(names)
    "".join(labels).encode()


def test_the_format_is_the_one_that_is_asked_for(engine: Engine) -> None:
    metrics = exposition(engine)

    plain, openly = metrics.scrape(), metrics.scrape(OPEN_METRICS)

    assert plain.content_type.startswith("text/plain")
    assert openly.content_type.startswith("application/openmetrics-text")
    assert openly.body.endswith(b"# EOF\n")
    assert b"# EOF" not in plain.body


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/html",
        ";;,=",
        "application/json;q=1",
        "text/plain;version=latest",
        "application/openmetrics-text;version=1.x",
    ],
)
def test_who_asks_for_something_else_gets_text(engine: Engine, accept: str) -> None:
    assert exposition(engine).scrape(accept).content_type.startswith("text/plain")


def test_a_database_that_is_down_is_a_metric_and_one_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = exposition(create_engine(UNREACHABLE))

    with caplog.at_level(logging.WARNING, "xclaim"):
        scrapes = [metrics.scrape() for _ in range(3)]

    assert values(scrapes[0].body)["xclaim_up"] == {"": 0}
    assert set(values(scrapes[0].body)) == {"xclaim_up", "xclaim_scrape_seconds"}
    assert not scrapes[0].is_up
    (line,) = caplog.messages
    assert "does not answer" in line
    assert "hunter2" not in caplog.text
    assert "Traceback" not in caplog.text


def test_a_database_without_our_schema_is_down(
    empty_database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_engine(empty_database_url)

    scrape = exposition(engine).scrape()

    engine.dispose()
    assert values(scrape.body)["xclaim_up"] == {"": 0}
    assert "xclaim upgrade" in caplog.text


def test_a_database_that_is_back_is_up_and_said(caplog: pytest.LogCaptureFixture) -> None:
    from xclaim.errors import ObservationTimeoutError

    late = ObservationTimeoutError("what is measured", 2.0)
    metrics = Exposition(Looks([late, measures()]), shared_for=NO_WAIT)  # type: ignore[arg-type]

    ups = [values(metrics.scrape().body)["xclaim_up"][""] for _ in range(2)]

    assert ups == [0, 1]
    assert "answers again" in caplog.messages[-1]


def test_scrapes_at_the_same_time_share_one_look(engine: Engine) -> None:
    Queue("orders", engine).push(1)
    metrics = exposition(engine, shared_for=timedelta(minutes=10))
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *of: statements.append(of[2]))
    metrics.scrape()
    of_one_look = len(statements)

    threads = [threading.Thread(target=metrics.scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(statements) == of_one_look


def test_a_served_exposition_answers_at_its_address_until_it_is_ended(engine: Engine) -> None:
    Queue("orders", engine).push(1)
    with serving(exposition(engine), "127.0.0.1", 0) as (address, thread):
        with urllib.request.urlopen(address) as answer:  # noqa: S310  (ours)
            everything = answer.read()
        with urllib.request.urlopen(f"{address}?name[]=xclaim_up") as answer:  # noqa: S310
            one = answer.read()

    assert values(everything)["xclaim_backlog"] == {"orders": 1}
    assert set(values(one)) == {"xclaim_up"}
    assert not thread.is_alive()


def test_what_is_described_is_what_is_exposed(engine: Engine) -> None:
    Queue("orders", engine).push(1)
    metrics = exposition(engine)

    described = {family.name for family in metrics.describe()}

    collected = {family.name for family in metrics.collect()}
    assert collected <= described
    assert {f"{name}_total" if name == "xclaim_consumed" else name for name in described} == {
        *NAMES
    }


def test_it_can_be_a_collector_of_a_registry_of_ones_own(engine: Engine) -> None:
    Queue("orders", engine).push(1)
    registry = CollectorRegistry()
    registry.register(exposition(engine))

    assert registry.get_sample_value("xclaim_claimed", {"queue": "orders"}) == 0


@needs_promtool
@pytest.mark.parametrize("name", ["orders", *HOSTILE])
def test_promtool_takes_what_is_exposed(engine: Engine, name: str) -> None:
    push_to(engine, name)

    checked = promtool("check", "metrics", stdin=exposition(engine).scrape().body)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


LOOKED_UNTIL = datetime(2026, 11, 27, tzinfo=UTC)
NONE = Count(at_least=0)


class Looks:
    """Stands for an observer whose answers are known."""

    def __init__(self, answers: list[Measures | Exception]) -> None:
        self._answers = iter(answers)
        self.asked: list[datetime | None] = []
        self.named: list[set[str]] = []

    def measures(
        self, *, consumed_after: datetime | None = None, named: Iterable[str] = ()
    ) -> Measures:
        self.asked.append(consumed_after)
        self.named.append({*named})
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def measures(*, consumed: int | None = None, **counts: Count) -> Measures:
    count = None if consumed is None else Count(at_least=consumed)
    return Measures(
        queues=(of_queue("orders", consumed=count, **counts),),
        queues_not_measured=0,
        looked_until=LOOKED_UNTIL,
        oldest_snapshot_seconds=None,
        took_seconds=0.0,
    )


def of_queue(name: str | None, *, consumed: Count | None = None, **counts: Count) -> QueueMeasures:
    names = ("backlog", "delayed", "retrying", "claimed", "lapsed", "dead")
    return QueueMeasures(
        **{name: counts.get(name, NONE) for name in names},
        queue=name,
        consumed=consumed,
        oldest_available_seconds=0.0,
        oldest_claim_seconds=0.0,
        is_paused=False,
        retrying_of=0,
    )


def push_to(engine: Engine, name: str) -> None:
    """Push to a queue of any name, as a row that another program wrote may have it."""
    Queue("queue", engine).push(1)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET queue = :name WHERE queue = 'queue'"), {"name": name}
        )


def age(engine: Engine, by: timedelta) -> None:
    """Let what was consumed have been consumed so much earlier."""
    seconds = f"{by.total_seconds():.0f}"
    earlier = (
        f"strftime('%Y-%m-%d %H:%M:%f', consumed_at, '-{seconds} seconds')"
        if engine.dialect.name == "sqlite"
        else f"consumed_at - interval '{seconds} s'"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE xclaim_message SET consumed_at = {earlier} WHERE status = 'consumed'"
        )
