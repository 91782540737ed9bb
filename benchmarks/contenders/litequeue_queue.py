"""litequeue: put, pop and done on a SQLite file."""

from __future__ import annotations

import json
from collections.abc import Sequence

from litequeue import LiteQueue

from benchmarks.contenders.contender import QUEUE, Payload


def _connect(url: str) -> LiteQueue:
    queue = LiteQueue(url.removeprefix("sqlite:///"), queue_name=QUEUE, timeout=30)
    queue.conn.execute("PRAGMA synchronous = FULL")  # it sets NORMAL, which may lose commits
    return queue


class _Session:
    """A queue object, which is a connection."""

    def __init__(self, url: str) -> None:
        self._queue = _connect(url)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Put each in a transaction of its own."""
        for payload in payloads:
            self._queue.put(json.dumps(payload))

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Put all in one transaction: the library has no batch call, but offers that."""
        with self._queue.transaction(mode="IMMEDIATE"):
            self.push(payloads)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Pop ``batch`` messages one at a time, then mark them done in one transaction."""
        done: list[int] = []
        while len(done) < limit:
            messages = self._pop(min(batch, limit - len(done)))
            if not messages:
                break
            self._ack(list(messages))
            done += messages.values()
        return done

    def _pop(self, size: int) -> dict[str, int]:
        """Pop up to ``size``, and return ``n`` of each by message id."""
        popped: dict[str, int] = {}
        while len(popped) < size and (message := self._queue.pop()) is not None:
            popped[message.message_id] = json.loads(message.data)["n"]
        return popped

    def _ack(self, message_ids: list[str]) -> None:
        if len(message_ids) == 1:
            self._queue.done(message_ids[0])
            return
        with self._queue.transaction(mode="IMMEDIATE"):
            for message_id in message_ids:
                self._queue.done(message_id)

    def close(self) -> None:
        """Close the connection."""
        self._queue.close()


class Litequeue:
    """litequeue, made as durable as xclaim."""

    name = "litequeue"
    package: str | None = "litequeue"
    database = "sqlite"
    unconsumed = "SELECT count(*) FROM bench WHERE status <> 2"  # DONE
    note = (
        "put, pop, done in WAL with synchronous raised from its NORMAL to FULL. No batch calls:"
        " push_many and the acks of a batch share a transaction, pops are one at a time. Keeps"
        " done messages until prune(). No leases and no fencing."
    )

    def install(self, url: str) -> None:
        """Create the table, which the constructor does."""
        _connect(url).close()

    def open(self, url: str) -> _Session:
        """Connect."""
        return _Session(url)
