"""What `xclaim audit` costs on a large table: `python -m benchmarks.audit_cost [rows]`.

A million rows by default, nine tenths of them consumed; beside it, as a measure of the machine, the
time of a plain count of all rows by status. The limit is 10 s. A claim every few milliseconds goes
on meanwhile, with and without the audit.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine, text

from xclaim import Queue, create_engine
from xclaim.embedded import embedded_postgresql
from xclaim.operations import migrate
from xclaim.operations.audit import audit

ROWS, ROUNDS = 1_000_000, 3
FILL = """
INSERT INTO xclaim_message (queue, origin_queue, status, payload, unique_key, attempts, created_at,
                            available_at, claimed_at, consumed_at, consumed_by)
SELECT 'orders', 'orders', CASE WHEN is_done THEN 'consumed' ELSE 'available' END,
       jsonb_build_object('order', number, 'note', repeat('x', 180)), 'order-' || number,
       CASE WHEN is_done THEN 1 ELSE 0 END, at, at,
       CASE WHEN is_done THEN at END, CASE WHEN is_done THEN at END,
       CASE WHEN is_done THEN 'me' END
  FROM (SELECT number, number % 10 <> 0 AS is_done, now() - interval '1 hour' AS at
          FROM generate_series(1, :rows) AS number) AS message
"""
COUNT = "SELECT status, count(*) FROM xclaim_message GROUP BY status"


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with embedded_postgresql() as url:
        migrate.upgrade(url)
        engine = create_engine(url, pool_size=5)
        _fill(engine, rows)
        audits, counts = [], []
        for _ in range(ROUNDS):
            counts.append(_seconds(lambda: _count(engine)))
            audits.append(_seconds(lambda: _sound(engine)))
        took, count = statistics.median(audits), statistics.median(counts)
        print(f"{rows:,} rows: audit {took:.2f} s ({min(audits):.2f} to {max(audits):.2f})")
        print(f"a plain count by status: {count:.2f} s; ratio {took / count:.1f}")
        alone = _claims_beside(url, lambda: time.sleep(took))
        beside = _claims_beside(url, lambda: _sound(engine))
        print(f"median claim: {alone:.2f} ms alone, {beside:.2f} ms beside an audit")
        engine.dispose()


def _fill(engine: Engine, rows: int) -> None:
    with engine.begin() as connection:
        connection.execute(text(FILL), {"rows": rows})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE xclaim_message")


def _count(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text(COUNT)).all()


def _sound(engine: Engine) -> None:
    audited = audit(engine)
    if not audited.is_sound:
        raise ValueError(f"{[check for check in audited.checks if check.broken]}")


def _claims_beside(url: str, work: Callable[[], None]) -> float:
    """Return the median milliseconds of a claim while the work goes on."""
    took: list[float] = []
    is_over = threading.Event()

    def claim() -> None:
        with Queue("orders", url) as queue:
            while not is_over.wait(0.005):
                took.append(_seconds(queue.claim))

    thread = threading.Thread(target=claim)
    thread.start()
    work()
    is_over.set()
    thread.join()
    return statistics.median(took) * 1000


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
