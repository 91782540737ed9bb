"""persist-queue: put, get and ack of its SQLiteAckQueue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from persistqueue import Empty, SQLiteAckQueue

from benchmarks.contenders.contender import QUEUE, Payload


def _connect(url: str) -> SQLiteAckQueue:
    path = Path(url.removeprefix("sqlite:///"))
    # Resuming puts back what another session claimed: right for the only consumer at its start,
    # and wrong for one of several.
    return SQLiteAckQueue(
        str(path.parent), name=QUEUE, db_file_name=path.name, timeout=30, auto_resume=False
    )


class _Session:
    """A queue object, which is a connection."""

    def __init__(self, url: str) -> None:
        self._queue = _connect(url)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Put each: a commit each."""
        for payload in payloads:
            self._queue.put(payload)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Put one by one: there is no batch call, and an ack queue always commits."""
        self.push(payloads)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Get and ack one at a time, whatever ``batch`` is."""
        done: list[int] = []
        while len(done) < limit:
            try:
                message = self._queue.get(block=False, raw=True)
            except Empty:
                break
            self._queue.ack(id=message["pqid"])
            done.append(message["data"]["n"])
        return done

    def close(self) -> None:
        """Close the connection."""
        self._queue.close()


class Persistqueue:
    """persist-queue's ack queue, which sets WAL and leaves ``synchronous`` at FULL."""

    name = "persist-queue"
    package: str | None = "persist-queue"
    database = "sqlite"
    unconsumed = "SELECT count(*) FROM ack_queue_bench WHERE status <> 5"  # acked
    note = (
        "SQLiteAckQueue: put, get, ack, pickled, in WAL; synchronous stays at SQLite's FULL. No"
        " batch calls, and every call commits. For one process: get selects and then updates"
        " under a lock of threads, so two processes may get the same message. Keeps acked rows,"
        " without an index that skips them. No leases and no fencing."
    )

    def install(self, url: str) -> None:
        """Create the table, which the constructor does."""
        _connect(url).close()

    def open(self, url: str) -> _Session:
        """Connect."""
        return _Session(url)
