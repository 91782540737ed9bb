"""Airflow's own metrics: what a task sends of its queues, and where it goes."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread, Timer
from typing import Any, ClassVar

import pytest

from tests.hook.conftest import connection_uri, within_task
from xclaim import Claim, ClaimLostError, Queue, create_engine
from xclaim.airflow.hooks import XclaimHook
from xclaim.observing.observer import TIMEOUT

pytestmark = pytest.mark.airflow


class Sent:
    """Takes what Airflow would send."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.times: dict[str, list[timedelta]] = {}
        self.gauges: dict[str, float] = {}
        self.tags: dict[str, dict[str, str]] = {}

    def incr(self, name: str, count: int, *, tags: dict[str, str]) -> None:
        self.counts[name] = self.counts.get(name, 0) + count
        self.tags[name] = tags

    def timing(self, name: str, value: timedelta, *, tags: dict[str, str]) -> None:
        self.times.setdefault(name, []).append(value)
        self.tags[name] = tags

    def gauge(self, name: str, value: float, *, tags: dict[str, str]) -> None:
        self.gauges[name] = value
        self.tags[name] = tags


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    """Let this process ask anew whether metrics are on, and listen no more at the end."""
    from xclaim.airflow import stats

    stats.of_tasks.cache_clear()
    yield
    began = stats.of_tasks()
    if began is not None:
        began.stop()
    stats.of_tasks.cache_clear()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Metrics are on, with tags; what is sent is here."""
    from xclaim.airflow import versions

    sent = Sent()
    monkeypatch.setenv("AIRFLOW__METRICS__OTEL_ON", "True")
    monkeypatch.setattr(versions, "Stats", sent, raising=False)
    return sent


def claimed(queue: Queue[Any]) -> Claim[Any]:
    (claim,) = queue.claim_many(1)
    return claim


@pytest.mark.usefixtures("connected")
def test_a_task_sends_what_it_pushes_claims_and_settles(sent: Sent) -> None:
    with within_task():
        queue = XclaimHook().queue("orders")
        queue.push_many(range(4))
        with queue.consume() as claims:
            assert claims
        queue.release(claimed(queue), error="no stock")

    assert sent.counts["xclaim.pushed"] == 4
    assert sent.counts["xclaim.claimed"] == 2
    assert sent.counts["xclaim.acked"] == 1
    assert sent.counts["xclaim.released"] == 1
    assert len(sent.times["xclaim.wait"]) == 2
    assert len(sent.times["xclaim.work"]) == 1
    assert "xclaim.lost" not in sent.counts
    assert sent.tags["xclaim.acked"] == {
        "queue": "orders",
        "dag_id": "shop",
        "task_id": "group.work",
    }


@pytest.mark.usefixtures("connected")
def test_a_retried_push_is_not_counted_twice(sent: Sent) -> None:
    with within_task(id="1"):
        XclaimHook().queue("orders").push("once")
    with within_task(2, id="2"):
        XclaimHook().queue("orders").push("once")

    assert sent.counts["xclaim.pushed"] == 1


def test_what_is_lost_and_what_dies_is_counted(connected: str, sent: Sent) -> None:
    with within_task():
        queue = XclaimHook().queue("orders", on_dead="ignore")
        queue.push_many(["lost", "dies"], max_attempts=1)
        first = claimed(queue)
        with Queue("orders", connected) as other:
            other.release(first, count=False)
        with pytest.raises(ClaimLostError):
            queue.ack(first)
        queue.release(claimed(queue), error="broken")

    assert sent.counts["xclaim.lost"] == 1
    assert sent.counts["xclaim.dead"] == 1


@pytest.mark.usefixtures("connected")
def test_what_a_ticket_hands_on_is_counted_as_all_claims_are(sent: Sent) -> None:
    with within_task():
        XclaimHook().queue("orders").push_many(range(2))
        ticket = XclaimHook().claim_ticket("orders", 2)
    claimed_first = sent.counts["xclaim.claimed"]

    assert ticket is not None
    with within_task(id="2"):
        resumed = XclaimHook().resume(ticket)

    assert (claimed_first, len(resumed)) == (2, 2)
    assert sent.counts["xclaim.claimed"] == 4


def test_the_gauge_of_a_queue_is_not_that_of_one_with_a_like_name(
    connected: str, sent: Sent
) -> None:
    for name in ("orders2", "order-orders", "orders", "reorders"):
        with Queue(name, connected) as queue:
            queue.push(1)
    with Queue("orders", connected) as queue:
        queue.claim()

    hook, waiting = XclaimHook(), []
    for name in ("orders", "orders2", "none"):
        hook.measure(name, {})
        waiting.append(sent.gauges["xclaim.queue.oldest_waiting"] > 0)

    assert waiting == [False, True, False]


def test_the_gauge_of_a_queue_is_its_own_however_many_have_a_like_name(
    connected: str, sent: Sent
) -> None:
    engine = create_engine(connected)
    for name in (*(f"a{number}z" for number in range(25)), "z"):
        Queue(name, engine).push(1)
    engine.dispose()

    XclaimHook().measure("z", {})

    assert sent.gauges["xclaim.queue.oldest_waiting"] > 0


@pytest.mark.usefixtures("connected")
def test_no_gauge_says_how_long_dead_letters_wait(sent: Sent) -> None:
    XclaimHook().measure("orders.dead", {"available": 1})

    assert sent.gauges == {"xclaim.queue.available": 1}


@pytest.mark.usefixtures("connected")
def test_upkeep_sends_how_the_queue_is(sent: Sent) -> None:
    from xclaim.airflow.operators import MaintenanceOperator

    with within_task():
        XclaimHook().queue("orders").push_many(range(3))
        operator = MaintenanceOperator(task_id="tidy", queue_names=["orders"])
        operator.execute({})

    assert sent.gauges["xclaim.queue.available"] == 3
    assert sent.gauges["xclaim.queue.dead_letters"] == 0
    assert sent.gauges["xclaim.queue.oldest_waiting"] >= 0


def test_a_measure_waits_longer_than_a_person_does(
    postgresql_url: str, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_XCLAIM_DEFAULT", connection_uri(postgresql_url))
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE xclaim_message")
        freed = Timer(1.5 * TIMEOUT.total_seconds(), connection.rollback)
        freed.start()

        XclaimHook().measure("orders", {})
        freed.join()

    engine.dispose()
    assert sent.gauges["xclaim.queue.oldest_waiting"] == 0


@pytest.mark.usefixtures("connected")
def test_where_tags_are_dropped_the_queue_is_in_the_name(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")

    with within_task():
        XclaimHook().queue("orders.north/2 ü").push("one")

    assert sent.counts == {"xclaim.pushed.orders__north_2__": 1}


@pytest.mark.usefixtures("connected")
def test_without_metrics_nobody_listens() -> None:
    from xclaim.connections import events

    before = events.VERBS.is_listened_to()
    with within_task():
        XclaimHook().queue("orders").push("one")

    assert not before
    assert not events.VERBS.is_listened_to()


SENDING = """
import xclaim.airflow.versions
from tests.hook.conftest import within_task
from xclaim.airflow.hooks import XclaimHook
from airflow.sdk.execution_time import task_runner  # which has Airflow's own
{initialize}
with within_task():
    XclaimHook().queue("orders").push("one")
"""
INITIALIZE = """
try:
    from airflow.sdk.observability.metrics import stats_utils
except ImportError:
    pass  # 3.1 needs none
else:
    from airflow.sdk.observability.stats import Stats
    import inspect
    more = {"export_legacy_names": True}
    if "export_legacy_names" not in inspect.signature(Stats.initialize).parameters:
        more = {}
    of_class = inspect.signature(stats_utils.get_stats_factory).parameters  # in 3.2
    factory = stats_utils.get_stats_factory(*([Stats] if of_class else []))
    Stats.initialize(factory=factory, **more)
"""


class Collector(BaseHTTPRequestHandler):
    """Takes metrics as an OpenTelemetry collector does; Airflow's own exporter sends them."""

    received: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_a_collector_receives_it_of_airflows_own_exporter(connected: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        settings: dict[str, str] = {
            "AIRFLOW__METRICS__OTEL_ON": "True",
            "AIRFLOW__METRICS__OTEL_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__OTEL_PORT": str(server.server_address[1]),
        }
        subprocess.run(
            [sys.executable, "-c", SENDING.format(initialize=INITIALIZE)],
            env=os.environ | settings,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        server.shutdown()

    assert connected
    received = gzip_free(b"".join(Collector.received))
    assert b"airflow.xclaim.pushed" in received
    assert b"orders" in received
    assert b"group.work" in received


def gzip_free(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
