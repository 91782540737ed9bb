"""What it costs to look at 10 million messages: `python -m benchmarks.observing_cost`.

A PostgreSQL of its own gets 200 queues: one with a million delayed messages, one with a million
that are tried again, one with a million lapsed claims, one with 60,000 priorities, the others with
what is usual, half of them with dead letters, and most of it consumed. It takes two minutes to
make; ``--keep FOLDER`` keeps it for the next time. Each question is asked some times, and its time
(the best) and the pages that it reads (shared buffers, hit or read, of all its statements and their
planning) stand beside those of the view ``xclaim_queue_stats``, which counts every row. What a
question says must fit what the view says, or the run ends. The limits: the list of queues 300 ms
and 1,000 pages, a scrape 50 ms. For the first time the list reads more: when something of each
queue was consumed last, which is remembered for some seconds.

How often the visibility map was looked at again stands by itself, as far as statements read no
rows: an index that is read in its order asks it of each entry, and counts one of its 25 pages again
whenever the next entry's row is in another part of the table. How many of them there are depends on
where the rows lie and not on what is asked: the same list read 824 pages, and 2,929 when the rows
of a queue lay across two parts of the table. One costs 0.1 microseconds. The limit is on all pages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import Connection, Engine, text

from benchmarks.measuring import WrongResultError
from xclaim import create_engine
from xclaim.connections import direct
from xclaim.embedded import embedded_postgresql
from xclaim.observing import Observer, asking, counting, remembering
from xclaim.observing.values import Charted, Count, QueueSummary
from xclaim.operations import migrate

OUTPUT = Path(__file__).parent / "output" / "observing.json"
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "512MB",
    "autovacuum": "off",  # nothing else reads pages; it is vacuumed once
}
_PATIENT = timedelta(minutes=1)
_TIMES = 5
_LIMITS = {"queues": 0.3, "measures": 0.05}  # seconds
_MOST_PAGES = {"queues": 1_000}
# Pages of the table that this transaction has read, its visibility map among them, and of indexes.
_PAGES_OF_TABLE = "SELECT pg_stat_get_xact_blocks_fetched('xclaim_message'::regclass)"
_ROWS_OF = ("Seq Scan", "Index Scan", "Bitmap Heap Scan", "Tid Scan", "Tid Range Scan")
_DROPPED = {
    "ix_xclaim_message_claim": "(queue, priority DESC, available_at, id)"
    " WHERE status = 'available' AND available_at IS NOT NULL",
    "ix_xclaim_message_expiry": "(queue, claim_expires_at) WHERE claim_expires_at IS NOT NULL",
    "ix_xclaim_message_consumed": "(queue, consumed_at) WHERE consumed_at IS NOT NULL",
}
_INSERT = """
INSERT INTO xclaim_message (
       queue, origin_queue, status, priority, attempts, created_at, available_at, claimed_at,
       claim_expires_at, consumed_at, claim_token, claimed_by, consumed_by, last_error,
       last_error_class, unique_key, headers, payload)
SELECT queue, regexp_replace(queue, '[.]dead$', ''), status, priority, attempts, created_at,
       available_at, CASE WHEN status <> 'available' THEN claimed_at END,
       CASE WHEN status = 'claimed' THEN expires_at END,
       CASE WHEN status = 'consumed' THEN claimed_at + work END,
       CASE WHEN status = 'claimed' THEN gen_random_uuid() END,
       CASE WHEN status = 'claimed' THEN claimant END,
       CASE WHEN status = 'consumed' THEN claimant END,
       CASE WHEN is_failed THEN 'boom ' || n % 3 END, CASE WHEN is_failed THEN 'ValueError' END,
       CASE WHEN n % 10 = 0 THEN '{key}-' || n END,
       jsonb_build_object('dag_id', 'shop', 'run_id', 'run-' || n % {runs}, 'task_id', 'push',
                          'map_index', n % 50, 'try_number', 1),
       jsonb_build_object('id', n, 'customer', jsonb_build_object('id', n % {runs}),
                          'note', repeat('what the customer has ordered ', 3))
  FROM (SELECT made.*, {queue} AS queue, '{status}' AS status, {priority}::smallint AS priority,
               {attempts} AS attempts, {available_at} AS available_at,
               created_at + interval '3 seconds' AS claimed_at, {expires_at} AS expires_at,
               interval '1 millisecond' * (100 + n % 1000) AS work, {is_failed} AS is_failed,
               'shop/run-' || n % {runs} || '/work[' || n % 50 || ']#1@host-' || n % 7 AS claimant
          FROM (SELECT n, now() - interval '1 minute'
                          - ({number} - n) * interval '6 hours' / {number} AS created_at
                  FROM generate_series(1, {number}) AS n) AS made) AS message
 WHERE {condition}
"""
_MANY = "'queue-' || lpad((4 + n % 196)::text, 3, '0')"
_DEFAULTS = {
    "queue": _MANY,
    "status": "available",
    "priority": "0",
    "attempts": "0",
    "available_at": "created_at",
    "expires_at": "now()",
    "is_failed": "false",
    "condition": "true",
}
RUNS = 100_003  # DAG runs, and customers
_NOT_THE_LAST = "(4 + n % 196) < 198"
_PARTS: tuple[dict[str, Any], ...] = (
    {
        "number": 1_000_000,
        "queue": "'queue-000'",
        "available_at": "created_at + interval '10 days'",
    },
    {
        "number": 1_000_000,
        "queue": "'queue-001'",
        "attempts": "1 + n % 5",
        "is_failed": "true",
        "available_at": "created_at + (n % 2) * interval '1 day'",
    },
    {
        "number": 1_000_000,
        "queue": "'queue-002'",
        "status": "claimed",
        "attempts": "1",
        "expires_at": "created_at + interval '10 seconds'",
    },
    {"number": 200_000, "queue": "'queue-003'", "priority": "(n % 60000 - 30000)"},
    {"number": 5_900_000, "status": "consumed", "attempts": "1"},
    {"number": 600_000, "condition": _NOT_THE_LAST},
    {
        "number": 200_000,
        "condition": _NOT_THE_LAST,
        "available_at": "created_at + interval '1 day'",
    },
    {
        "number": 80_000,
        "condition": _NOT_THE_LAST,
        "attempts": "1 + n % 3",
        "is_failed": "true",
        "available_at": "created_at + (n % 2) * interval '1 day'",
    },
    {
        "number": 4_000,
        "condition": "(4 + n % 196) <> 199",
        "status": "claimed",
        "attempts": "1",
        "expires_at": "now() + (n % 10 - 1) * interval '1 minute'",
    },
    {
        "number": 20_000,
        "queue": f"{_MANY} || '.dead'",
        "condition": "(4 + n % 196) > 100",
        "attempts": "20",
        "is_failed": "true",
    },
)


def fill(engine: Engine) -> None:
    """Make the messages, unless they are there."""
    migrate.upgrade(engine)
    with engine.begin() as connection:
        if connection.execute(text("SELECT EXISTS (SELECT FROM xclaim_message)")).scalar():
            return
        for name in _DROPPED:
            connection.exec_driver_sql(f"DROP INDEX {name}")
        for number, part in enumerate(_PARTS):
            sql = _INSERT.format(**{**_DEFAULTS, "key": f"key-{number}", "runs": RUNS, **part})
            connection.exec_driver_sql(sql.replace("%", "%%"))
        for name, on in _DROPPED.items():
            connection.exec_driver_sql(f"CREATE INDEX {name} ON xclaim_message {on}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")


class Pages:
    """Counts the pages that the statements of a look read, and the time that the server needs."""

    def __init__(self) -> None:
        self.count = 0
        self.of_map = 0  # of the visibility map, by statements that read no rows
        self.statements = 0
        self.seconds = 0.0

    def run(self, connection: Connection, statement: Any, parameters: Any, **options: Any) -> Any:
        """Run a statement twice: explained, and for its rows."""
        sent = direct._sent(statement)  # noqa: SLF001  (what is really sent)
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sent.text}"
        bound = {**sent.constants, **parameters}
        before = connection.exec_driver_sql(_PAGES_OF_TABLE).scalar_one()
        (found,) = connection.exec_driver_sql(explain, bound).scalar_one()
        if not _reads_rows(found["Plan"]):
            self.of_map += connection.exec_driver_sql(_PAGES_OF_TABLE).scalar_one() - before
        for part in (found["Plan"], found.get("Planning", {})):
            self.count += part.get("Shared Hit Blocks", 0) + part.get("Shared Read Blocks", 0)
        self.statements += 1
        self.seconds += (found["Planning Time"] + found["Execution Time"]) / 1000
        return direct.run(connection, statement, parameters, **options)


def _reads_rows(plan: dict[str, Any]) -> bool:
    is_of_table = plan.get("Relation Name") == "xclaim_message" and plan["Node Type"] in _ROWS_OF
    return (
        is_of_table
        or plan.get("Heap Fetches", 0) > 0
        or any(map(_reads_rows, plan.get("Plans", ())))
    )


@contextmanager
def counted() -> Iterator[Pages]:
    """Count the pages of the looks in the block."""
    pages = Pages()
    with mock.patch.object(asking, "direct", pages):
        yield pages


def measured(look: Callable[[], Any]) -> dict[str, float]:
    """Return the best time of some looks, and the pages of one."""
    with counted() as pages:
        look()
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        look()
        times.append(time.perf_counter() - began)
    return {"seconds": min(times), "pages": pages.count, "of map": pages.of_map}


def naive(engine: Engine) -> tuple[dict[str, Any], dict[str, float]]:
    """Return what the view says of each queue, and what that costs."""
    began = time.perf_counter()
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM xclaim_queue_stats")).all()
    seconds = time.perf_counter() - began
    with engine.connect() as connection:
        explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM xclaim_queue_stats"
        plan = connection.exec_driver_sql(explain).scalar_one()[0]["Plan"]
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return {row.queue: row for row in rows}, {"seconds": seconds, "pages": pages, "of map": 0}


def check(found: list[QueueSummary], view: dict[str, Any]) -> None:
    """Raise WrongResultError unless the list says what the view says, as far as it counted."""
    if [summary.name for summary in found] != sorted(view):
        raise WrongResultError("the list has other queues than the view")
    for summary in found:
        row = view[summary.name]
        counts = {
            "available": (summary.available, row.available),
            "delayed": (summary.delayed, row.delayed),
            "retrying": (summary.retrying, row.retrying),
            "claimed": (summary.claimed, row.claimed),
            "dead": (summary.dead, row.dead_letters),
        }
        for name, (count, real) in counts.items():
            if not _fits(count, real):
                raise WrongResultError(f"{summary.name}: {name} is {real}, and not {count}")
        if (summary.oldest_waiting is None) != (row.oldest_available_age is None):
            raise WrongResultError(f"{summary.name}: the oldest is {row.oldest_available_age}")


def check_measures(observer: Observer, view: dict[str, Any]) -> None:
    """Raise WrongResultError unless a scrape has all dead letters and lapsed claims of the view."""
    for measured in observer.measures().queues:
        if measured.queue is None:
            continue
        row = view[measured.queue]
        if measured.dead != Count(at_least=row.dead_letters):
            raise WrongResultError(f"{measured.queue}: not {row.dead_letters}, {measured.dead}")
        if measured.claimed.at_least != min(row.claimed, counting.MOST_ENTRIES):
            raise WrongResultError(f"{measured.queue}: not {row.claimed}, {measured.claimed}")
        if not _fits(measured.backlog, row.available):
            raise WrongResultError(f"{measured.queue}: not {row.available}, {measured.backlog}")


def _fits(count: Count, real: int) -> bool:
    return count.at_least == real if count.is_exact else count.at_least <= real


def run(engine: Engine) -> dict[str, dict[str, float]]:
    """Measure each question, and check what it says."""
    observer = Observer(engine, timeout=_PATIENT)
    view, figures = naive(engine)
    found = observer.queues()
    check(found, view)
    for summary in found[:12]:
        one = observer.queue(summary.name)
        if one is None:
            raise WrongResultError(f"{summary.name} is not found alone")
        check([one], {summary.name: view[summary.name]})
    names = [summary.name for summary in found]
    check_measures(observer, view)
    for summary in observer.closely(names[:50]).values():
        check([summary], {summary.name: view[summary.name]})
    before = observer.measures().looked_until - timedelta(minutes=1)
    looks: dict[str, Callable[[], Any]] = {
        "queues, for the first time": lambda: _forgetful(observer.queues),
        "queues": observer.queues,
        "queues, 50 of them": lambda: observer.queues(limit=50),
        "closely, 25 of them": lambda: observer.closely(names[50:75]),
        "flows of 25": lambda: observer.flows(names[50:75]),
        "measures, for the first time": lambda: _forgetful(observer.measures),
        "measures": observer.measures,
        "measures, with a minute's": lambda: observer.measures(consumed_after=before),
        "queue": lambda: observer.queue("queue-110"),
        "queue of a million delayed": lambda: observer.queue("queue-000"),
        "queue of a million that failed": lambda: observer.queue("queue-001"),
        "queue of a million lapsed": lambda: observer.queue("queue-002"),
        "queue of 60,000 priorities": lambda: observer.queue("queue-003"),
        "rights": lambda: observer.rights("queue-110"),
    }
    for what in Charted:
        day = partial(observer.chart, "queue-110", what, timedelta(days=1))
        looks[f"chart of {what}"] = day
    return {"xclaim_queue_stats": figures, **{name: measured(look) for name, look in looks.items()}}


def _forgetful(look: Callable[[], Any]) -> Any:
    """Look as a process does that has not looked before, or not for some seconds."""
    remembering._remembered.clear()  # noqa: SLF001
    return look()


def report(figures: dict[str, dict[str, float]]) -> bool:
    """Print the table; return whether all stay within their limits."""
    whole = figures["xclaim_queue_stats"]
    print(
        f"{'':<32}{'ms':>10}{'pages':>12}{'of the map':>12}{'of the time':>14}{'of the pages':>14}"
    )
    for name, each in figures.items():
        ratios = [each[unit] / whole[unit] for unit in ("seconds", "pages")]
        print(
            f"{name:<32}{each['seconds'] * 1000:>10.1f}{each['pages']:>12,.0f}"
            f"{each['of map']:>12,.0f}{ratios[0]:>14.5f}{ratios[1]:>14.5f}"
        )
    late = [name for name, limit in _LIMITS.items() if figures[name]["seconds"] > limit]
    for name in late:
        print(f"{name} takes longer than {_LIMITS[name] * 1000:.0f} ms")
    large = [name for name, most in _MOST_PAGES.items() if figures[name]["pages"] > most]
    for name in large:
        print(f"{name} reads more than {_MOST_PAGES[name]:,} pages")
    return not late and not large


def main() -> int:
    """Make the messages, measure, print and keep the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.observing_cost", description=__doc__
    )
    parser.add_argument("--keep", type=Path, help="a folder for the database, kept for next time")
    parser.add_argument("--url", help="a database that has nothing else, instead of one of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xclaim-observing-") as scratch:
        folder = options.keep or Path(scratch)
        with _database(options.url, folder) as url:
            engine = create_engine(url)
            fill(engine)
            figures = run(engine)
            engine.dispose()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if report(figures) else 1


@contextmanager
def _database(url: str | None, folder: Path) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with embedded_postgresql(folder / "postgresql", durable=False, settings=SETTINGS) as own:
        yield own


if __name__ == "__main__":
    raise SystemExit(main())
