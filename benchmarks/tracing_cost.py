"""What traces cost the work on a message: `python -m benchmarks.tracing_cost`.

`consume`, one message after another, and `stream`: without traces; with `instrument()` and no
provider, as where nobody reads; and, to see what is paid for, with the SDK, sampled out and
exported to a list. They take turns in one process, in a SQLite file and on a durable embedded
PostgreSQL. The limit: with traces on and nobody who reads at least 0.98 of the rate without.
"again" is once more without traces: what the machine makes of the same. The spans are counted.
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

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from benchmarks import turns
from benchmarks.measuring import WrongResultError
from benchmarks.server import Server, run_server, settle
from xclaim import Queue
from xclaim.operations import migrate
from xclaim.telemetry import instrument, uninstrument

OUTPUT = Path(__file__).parent / "output" / "tracing.json"
WITHOUT, AGAIN, UNREAD, OFF, ON = (
    "without traces",
    "without traces, again",
    "traces, no provider",
    "traces, sampled out",
    "traces, exported",
)
LIMITS = {UNREAD: 0.98}
_OF_BLOCKS, _OF_A_STREAM = 20, 100  # messages in one turn
_WARM_UP = 2  # rounds


def main() -> None:
    """Measure, print and keep."""
    rounds = _options().rounds
    with run_server(autovacuum="off") as server:
        rows = [
            row
            for database in ("postgresql", "sqlite")
            for loop, count in (("consume", _OF_BLOCKS), ("stream", _OF_A_STREAM))
            for row in _compare(database, server, rounds, loop, count)
        ]
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": turns.machine(), "rows": rows}, indent=1) + "\n")
    print("\n".join(_table(rows)))


def _compare(
    database: str, server: Server, rounds: int, loop: str, count: int
) -> Iterator[dict[str, Any]]:
    with _migrated(database, server) as queue:
        exporter = _Counting()

        def measured(begin: Callable[[], None]) -> Callable[[], float]:
            return lambda: _rate(queue, loop, count, begin)

        contenders = {
            WITHOUT: measured(uninstrument),
            AGAIN: measured(uninstrument),
            UNREAD: measured(instrument),
            OFF: measured(_with_sdk(ALWAYS_OFF, exporter)),
            ON: measured(_with_sdk(ALWAYS_ON, exporter)),
        }
        turns.by_turns(contenders, _WARM_UP)
        rates = turns.by_turns(contenders, rounds)
    if exporter.works != (rounds + _WARM_UP) * count:
        raise WrongResultError(f"{exporter.works} spans of {(rounds + _WARM_UP) * count} messages")
    for name in (AGAIN, UNREAD, OFF, ON):
        yield {
            "database": database,
            "loop": loop,
            "traces": name,
            "us": round(1e6 / max(rates[name]), 1),
            "ratio": turns.ratio(rates[name], rates[WITHOUT]),
            "limit": LIMITS.get(name),
        }


def _rate(queue: Queue, loop: str, count: int, begin: Callable[[], None]) -> float:
    queue.push_many(list(range(count)))
    begin()
    try:
        began = time.perf_counter()
        done = _blocks(queue, count) if loop == "consume" else sum(1 for _ in queue.stream())
        seconds = time.perf_counter() - began
    finally:
        uninstrument()
    if done != count:
        raise WrongResultError(f"{done} of {count} messages were worked on")
    return count / seconds


def _blocks(queue: Queue, count: int) -> int:
    done = 0
    for _ in range(count):
        with queue.consume() as claim:
            done += claim is not None
    return done


class _Counting(SpanExporter):
    """Takes spans, and counts those of work."""

    def __init__(self) -> None:
        self.works = 0

    def export(self, spans: Any) -> SpanExportResult:
        """Count them."""
        found: list[ReadableSpan] = list(spans)
        self.works += sum(span.name == "process orders" for span in found)
        return SpanExportResult.SUCCESS


def _with_sdk(sampler: Sampler, exporter: _Counting) -> Callable[[], None]:
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return lambda: instrument(tracer_provider=provider)


@contextmanager
def _migrated(database: str, server: Server) -> Iterator[Queue]:
    with tempfile.TemporaryDirectory(prefix="xclaim-tracing-") as folder, server.copy_of() as of:
        url = of if database == "postgresql" else f"sqlite:///{folder}/xclaim.db"
        migrate.upgrade(url)
        with Queue("orders", url) as queue:
            if database == "postgresql":
                settle(url)
            yield queue


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "| database | loop | traces | us a message, at best | of the rate without | limit |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        ratio, limit = row["ratio"], row["limit"]
        said = "" if limit is None else f">= {limit}"
        missed = " MISSED" if limit is not None and ratio["median"] < limit else ""
        spread = f"{ratio['median']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})"
        of = f"{row['database']} | {row['loop']} | {row['traces']}"
        yield f"| {of} | {row['us']} | {spread} | {said}{missed} |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing_cost")
    parser.add_argument("--rounds", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
