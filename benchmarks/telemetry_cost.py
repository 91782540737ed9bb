"""What metrics cost a claim and an ack: `python -m benchmarks.telemetry_cost`.

Claim, ack, claim, ack on one connection: without metrics; with `instrument()` and no provider, as
where nobody reads; and, to see what is paid for, with the SDK, without a reader and with one. They
take turns in one process, on a durable embedded PostgreSQL and in a SQLite file. The limit: with
metrics on and nobody who reads at least 0.98 of the rate without. "again" is once more without
metrics: what the machine makes of the same. "an event, unused" is how it would be if an event was
made for metrics that then find nobody. What was measured is compared with what was done.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks import turns
from benchmarks.measuring import WrongResultError
from benchmarks.server import Server, run_server, settle
from xclaim import Queue
from xclaim.connections.events import add_listener, remove_listener
from xclaim.operations import migrate
from xclaim.telemetry import instrument, uninstrument
from xclaim.verb import VerbEvent

OUTPUT = Path(__file__).parent / "output" / "telemetry.json"
WITHOUT, AGAIN, UNREAD, UNUSED, SDK, READ = (
    "without metrics",
    "without metrics, again",
    "metrics, no provider",
    "an event, unused",
    "metrics, the SDK, no reader",
    "metrics, the SDK, a reader",
)
LIMITS = {UNREAD: 0.98}
_PAIRS = 20  # of claim and ack in one turn
_WARM_UP = 3  # rounds


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    rounds = 40 if options.quick else options.rounds
    with run_server(autovacuum="off") as server:
        rows = [
            row
            for database in ("postgresql", "sqlite")
            for row in _compare(database, server, rounds)
        ]
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": turns.machine(), "rows": rows}, indent=1) + "\n")
    print("\n".join(_table(rows)))


def _compare(database: str, server: Server, rounds: int) -> Iterator[dict[str, Any]]:
    with _filled(database, server, rounds) as queue:
        plain, unread = _Plain(queue), _Unread(queue)
        no_reader = _WithSdk(queue, [])
        reader = InMemoryMetricReader()
        read = _WithSdk(queue, [reader])
        contenders: dict[str, Callable[[], float]] = {
            WITHOUT: plain.measure,
            AGAIN: plain.measure,
            UNREAD: unread.measure,
            UNUSED: _Unused(queue).measure,
            SDK: no_reader.measure,
            READ: read.measure,
        }
        turns.by_turns(contenders, _WARM_UP)
        rates = turns.by_turns(contenders, rounds)
        if queue.claim() is not None:
            raise WrongResultError("a message is left")
        _check(reader, (rounds + _WARM_UP) * _PAIRS)
    for name in (AGAIN, UNREAD, UNUSED, SDK, READ):
        yield {
            "database": database,
            "metrics": name,
            "us": round(1e6 / max(rates[name])),
            "ratio": turns.ratio(rates[name], rates[WITHOUT]),
            "limit": LIMITS.get(name),
        }


class _Plain:
    """Claims and acks, with whatever listens."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def measure(self) -> float:
        """Return how many messages a second were claimed and acked."""
        self.begin()
        try:
            began = time.perf_counter()
            for _ in range(_PAIRS):
                claim = self._queue.claim()
                if claim is None:
                    raise WrongResultError("no message is left")
                self._queue.ack(claim)
            return _PAIRS / (time.perf_counter() - began)
        finally:
            self.end()

    def begin(self) -> None:
        """Begin to measure."""

    def end(self) -> None:
        """Measure no more."""
        uninstrument()


class _Unread(_Plain):
    def begin(self) -> None:
        instrument()


class _Unused(_Plain):
    def begin(self) -> None:
        add_listener(_ignore)

    def end(self) -> None:
        remove_listener(_ignore)


class _WithSdk(_Plain):
    def __init__(self, queue: Queue, readers: list[InMemoryMetricReader]) -> None:
        super().__init__(queue)
        self._provider = MeterProvider(metric_readers=readers)

    def begin(self) -> None:
        instrument(meter_provider=self._provider)


def _ignore(_: VerbEvent) -> None:
    pass


@contextmanager
def _filled(database: str, server: Server, rounds: int) -> Iterator[Queue]:
    count = (rounds + _WARM_UP) * _PAIRS * 6
    with tempfile.TemporaryDirectory(prefix="xclaim-telemetry-") as folder, server.copy_of() as of:
        url = of if database == "postgresql" else f"sqlite:///{folder}/xclaim.db"
        migrate.upgrade(url)
        with Queue("orders", url) as queue:
            for begin in range(0, count, 1_000):
                queue.push_many([{"order": begin}] * min(1_000, count - begin))
            if database == "postgresql":
                settle(url)
            yield queue


def _check(reader: InMemoryMetricReader, expected: int) -> None:
    data = reader.get_metrics_data()
    counted = {
        metric.name: sum(point.value for point in metric.data.data_points)
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == "messaging.client.consumed.messages"
    }
    if counted != {"messaging.client.consumed.messages": expected}:
        raise WrongResultError(f"measured {counted}, but {expected} messages were handed out")


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| database | metrics | us a pair, at best | of the rate without (95 %) | limit |"
    yield "| --- | --- | --- | --- | --- |"
    for row in rows:
        ratio, limit = row["ratio"], row["limit"]
        met = (
            "" if limit is None else f">= {limit}" + ("" if ratio["median"] >= limit else " MISSED")
        )
        yield (
            f"| {row['database']} | {row['metrics']} | {row['us']} | {ratio['median']:.3f} "
            f"({ratio['low']:.3f} to {ratio['high']:.3f}) | {met} |"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry_cost")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--rounds", type=int, default=300)
    return parser.parse_args()


if __name__ == "__main__":
    main()
