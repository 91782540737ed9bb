"""A side's process of ``benchmarks.ordering``: what plain messages cost the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from benchmarks.messages import in_chunks, payloads
from benchmarks.sides.migrating import upgrade
from benchmarks.sides.process import NotConsumedError, serve
from xclaim import Queue, create_engine

BATCH = 100


class Work:
    """A queue on one connection, whose process of the server is watched."""

    def __init__(self) -> None:
        self._queue: Queue[Any]
        self._schedstat: Path
        self._engine: Engine

    def open(self, url: str, *, is_enabled: bool) -> None:
        """Make the schema, with what ordering keys need or without it."""
        upgrade(url)
        if is_enabled:
            from xclaim.operations import ordering

            ordering.enable(url)
        address = re.sub("^postgresql:", "postgresql+psycopg:", url)
        self._engine = create_engine(address, pool_size=1, max_overflow=0)
        with self._engine.connect() as connection:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        self._schedstat = Path(f"/proc/{pid}/schedstat")
        self._queue = Queue("plain", self._engine)

    def run(self, count: int) -> dict[str, float]:
        """Push and consume so many, and return the microseconds for each message by verb."""
        given = payloads(count)
        return {
            "push": self._cost(count, lambda: [self._queue.push(each) for each in given]),
            "push_many": self._cost(
                count, lambda: [self._queue.push_many(each) for each in in_chunks(count, BATCH)]
            ),
            "claim, ack": self._cost(count * 2, lambda: self._consume(count * 2)),
        }

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _consume(self, count: int) -> None:
        ids = set()
        while (claim := self._queue.claim()) is not None:
            self._queue.ack(claim)
            ids.add(claim.message.id)
        if len(ids) != count:
            raise NotConsumedError(f"{len(ids)} of {count} messages were consumed")

    def _cost(self, count: int, work: Callable[[], object]) -> float:
        before = self._nanoseconds()
        work()
        return (self._nanoseconds() - before) / 1_000 / count

    def _nanoseconds(self) -> int:
        return int(self._schedstat.read_text().split()[0])


if __name__ == "__main__":
    work = Work()
    serve({"open": work.open, "run": work.run, "close": work.close})
