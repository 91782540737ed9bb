"""Absurd: durable execution in stored procedures; a message is a task without steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from absurd_sdk import Absurd as App
from absurdctl import BUNDLED_SCHEMA_SQL

from benchmarks.contenders.contender import QUEUE, Payload

_TASK = "work"
_LEASE = 300  # seconds: a batch must not come back while it is worked on


class _Session:
    """An app on one connection, which is in autocommit."""

    def __init__(self, url: str) -> None:
        self._app = App(url, queue_name=QUEUE)
        self._done: list[int] = []
        self._app.register_task(_TASK)(self._work)

    def _work(self, payload: Payload, _context: Any) -> None:
        self._done.append(payload["n"])

    def push(self, payloads: Sequence[Payload]) -> None:
        """Spawn a task for each."""
        for payload in payloads:
            self._app.spawn(_TASK, payload)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Spawn them one by one: there is no batch call."""
        self.push(payloads)

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim ``batch`` tasks, then run and complete one after the other."""
        self._done = []
        while (before := len(self._done)) < limit:
            size = min(batch, limit - before)
            self._app.work_batch("bench", claim_timeout=_LEASE, batch_size=size)
            if len(self._done) == before:
                break
        return self._done

    def close(self) -> None:
        """Close the connection."""
        self._app.close()


class Absurd:
    """Absurd, of which a queue is a part only."""

    name = "absurd"
    package: str | None = "absurd-sdk"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM absurd.t_bench WHERE state <> 'completed'"
    note = (
        "spawn and work_batch. It does more: each task may have steps, whose checkpoints are read"
        " when it starts. No batch push, and a batch is completed one by one. Fenced: each attempt"
        " is a run of its own. Keeps finished tasks for a time."
    )

    def install(self, url: str) -> None:
        """Run the schema that its command carries, and create the queue."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(BUNDLED_SCHEMA_SQL.encode())
        app = App(url, queue_name=QUEUE)
        app.create_queue()
        app.close()

    def open(self, url: str) -> _Session:
        """Connect."""
        return _Session(url)
