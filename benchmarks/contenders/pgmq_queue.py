"""pgmq's Python client: messages hidden by a read for a while, then deleted or archived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgmq import PGMQueue, install_pgmq_from_sql
from psycopg_pool import ConnectionPool

from benchmarks.contenders.contender import QUEUE, Payload, key_of

_VISIBILITY_TIMEOUT = 300  # seconds: a batch must not come back while it is worked on


def _connect(url: str) -> Any:
    # A pool of ours in autocommit: each call is one statement, and the client's own pool would
    # send BEGIN and COMMIT around it, three round trips instead of one.
    pool = ConnectionPool(url, min_size=1, max_size=1, kwargs={"autocommit": True}, open=True)
    pool.wait()
    return PGMQueue(conn_string=url, pool=pool, init_extension=False), pool


class _Session:
    """A client on a pool of one connection."""

    def __init__(self, url: str, *, archive: bool) -> None:
        self._queue, self._pool = _connect(url)
        self._ack_one = self._queue.archive if archive else self._queue.delete
        self._ack_many = self._queue.archive_batch if archive else self._queue.delete_batch

    def push(self, payloads: Sequence[Payload]) -> None:
        """Send each by a call of its own."""
        for payload in payloads:
            self._queue.send(QUEUE, payload)

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Send all by one ``send_batch``."""
        self._queue.send_batch(QUEUE, list(payloads))

    def push_ordered(self, payloads: Sequence[Payload], keys: int) -> None:
        """Send each with the header of its group."""
        for payload in payloads:
            self._queue.send(QUEUE, payload, headers={"x-pgmq-group": key_of(payload, keys)})

    def consume_ordered(self, limit: int) -> list[int]:
        """Read the first of a group, then delete or archive it.

        Without the index that it makes for groups, on the headers as a whole: the statement, which
        asks for one of them, cannot use it, and each push would write it.
        """
        done: list[int] = []
        while len(done) < limit:
            messages = self._queue.read_grouped(QUEUE, vt=_VISIBILITY_TIMEOUT, qty=1)
            if not messages:
                break
            self._ack_one(QUEUE, messages[0].msg_id)
            done.append(messages[0].message["n"])
        return done

    def consume(self, limit: int, batch: int) -> list[int]:
        """Read, then delete or archive, ``batch`` at a time."""
        return self._one_by_one(limit) if batch == 1 else self._in_batches(limit, batch)

    def _one_by_one(self, limit: int) -> list[int]:
        done: list[int] = []
        while len(done) < limit:
            message = self._queue.read(QUEUE, vt=_VISIBILITY_TIMEOUT)
            if message is None:
                break
            self._ack_one(QUEUE, message.msg_id)
            done.append(message.message["n"])
        return done

    def _in_batches(self, limit: int, batch: int) -> list[int]:
        done: list[int] = []
        while len(done) < limit:
            size = min(batch, limit - len(done))
            messages = self._queue.read_batch(QUEUE, vt=_VISIBILITY_TIMEOUT, batch_size=size)
            if not messages:
                break
            self._ack_many(QUEUE, [message.msg_id for message in messages])
            done += [message.message["n"] for message in messages]
        return done

    def close(self) -> None:
        """Close the pool, which is ours and not the client's."""
        self._queue.close()
        self._pool.close()


class Pgmq:
    """Read and delete: its usual way."""

    name = "pgmq"
    package: str | None = "pgmq"
    database = "postgresql"
    unconsumed = "SELECT count(*) FROM pgmq.q_bench"
    note = (
        "read + delete, on a pool in autocommit, installed from the package's SQL. An ack deletes"
        " the row: no history. No fencing: a late consumer still deletes a message read again."
    )

    def install(self, url: str) -> None:
        """Install the SQL that the package carries, and create the queue."""
        install_pgmq_from_sql(dsn=url)
        queue, pool = _connect(url)
        with pool:
            queue.create_queue(QUEUE)

    def open(self, url: str) -> _Session:
        """Connect, to read and delete."""
        return _Session(url, archive=False)


class PgmqArchive(Pgmq):
    """Read and archive: keeps what was consumed, as xclaim does."""

    name = "pgmq (archive)"
    note = (
        "read + archive, on a pool in autocommit, installed from the package's SQL. An ack moves"
        " the row to the archive table, which keeps it. No fencing, as with pgmq."
    )

    def open(self, url: str) -> _Session:
        """Connect, to read and archive."""
        return _Session(url, archive=True)
