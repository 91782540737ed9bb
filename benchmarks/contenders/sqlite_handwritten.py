"""sqlite3 by hand: the shortest statements that claim a message for one consumer and ack it."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Sequence

from benchmarks.contenders.contender import Payload

_LEASE = 300.0  # seconds

_CREATE = """
CREATE TABLE message (
  id INTEGER PRIMARY KEY,
  payload TEXT NOT NULL,
  token TEXT,
  leased_until REAL NOT NULL DEFAULT 0,
  acked_at REAL
);
CREATE INDEX message_open ON message (id) WHERE acked_at IS NULL;
"""
_PUSH = "INSERT INTO message (payload) VALUES (?)"
_CLAIM = """
UPDATE message SET token = ?1, leased_until = ?2
 WHERE id = (SELECT id FROM message
              WHERE acked_at IS NULL AND leased_until <= ?3 ORDER BY id LIMIT 1)
RETURNING id, payload
"""
_CLAIM_MANY = """
UPDATE message SET token = ?1, leased_until = ?2
 WHERE id IN (SELECT id FROM message
               WHERE acked_at IS NULL AND leased_until <= ?3 ORDER BY id LIMIT ?4)
RETURNING id, payload
"""
_ACK = "UPDATE message SET acked_at = ? WHERE id = ? AND token = ? AND acked_at IS NULL"
_ACK_MANY = """
UPDATE message SET acked_at = ?1
 WHERE id IN (SELECT value FROM json_each(?2)) AND token = ?3 AND acked_at IS NULL
RETURNING id
"""


def _connect(url: str) -> sqlite3.Connection:
    path = url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)  # autocommit
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


class _Session:
    """A connection in autocommit: a statement is a transaction."""

    def __init__(self, url: str) -> None:
        self._connection = _connect(url)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Insert each by a statement of its own."""
        for payload in payloads:
            self._connection.execute(_PUSH, (json.dumps(payload),))

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Insert all in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            self._connection.executemany(_PUSH, ((json.dumps(p),) for p in payloads))

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim and ack by one statement each."""
        return self._one_by_one(limit) if batch == 1 else self._in_batches(limit, batch)

    def _one_by_one(self, limit: int) -> list[int]:
        done: list[int] = []
        while len(done) < limit:
            token, now = uuid.uuid4().hex, time.time()
            # The statement is only finished, and committed, once all its rows were fetched.
            rows = self._connection.execute(_CLAIM, (token, now + _LEASE, now)).fetchall()
            if not rows:
                break
            [(message_id, payload)] = rows
            ack = self._connection.execute(_ACK, (time.time(), message_id, token))
            if ack.rowcount:
                done.append(json.loads(payload)["n"])
        return done

    def _in_batches(self, limit: int, batch: int) -> list[int]:
        done: list[int] = []
        while len(done) < limit:
            token, now = uuid.uuid4().hex, time.time()
            size = min(batch, limit - len(done))
            claim = self._connection.execute(_CLAIM_MANY, (token, now + _LEASE, now, size))
            rows = claim.fetchall()
            if not rows:
                break
            message_ids = json.dumps([message_id for message_id, _ in rows])
            ack = self._connection.execute(_ACK_MANY, (time.time(), message_ids, token))
            acked = {message_id for (message_id,) in ack.fetchall()}
            done += [
                json.loads(payload)["n"] for message_id, payload in rows if message_id in acked
            ]
        return done

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class SqliteHandwritten:
    """The limit: one table, a lease, a token, and a statement per step."""

    name = "sqlite3 by hand"
    package: str | None = None
    database = "sqlite"
    unconsumed = "SELECT count(*) FROM message WHERE acked_at IS NULL"
    note = (
        "One table, a partial index, UPDATE .. RETURNING to claim and a fenced UPDATE to ack, in"
        " WAL with synchronous=FULL. Keeps acked rows. One queue, no retries, no dead letters."
    )

    def install(self, url: str) -> None:
        """Create the table and its index."""
        connection = _connect(url)
        connection.executescript(_CREATE)
        connection.close()

    def open(self, url: str) -> _Session:
        """Connect."""
        return _Session(url)
