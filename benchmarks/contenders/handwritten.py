"""psycopg by hand, on xclaim's own table: the statements xclaim sends, and the shortest ones.

``SameStatements`` shows what the library costs on top of its SQL. ``Shortest`` is what somebody
would write who wants only this: it knows no priorities behind delayed messages, no position, no
resumption, and returns three columns.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import psycopg

from benchmarks.contenders.contender import QUEUE, Payload
from benchmarks.contenders.xclaim_queue import UNCONSUMED
from xclaim.operations.migrate import upgrade
from xclaim.sql import full_names, statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table
from xclaim.sql.statements import Start
from xclaim.verbs.hints import LOOK_BACK_EVERY

CLAIM_PARAMETERS = {
    "queue_name": QUEUE,
    "claimant": "by hand",
    "key": None,
    "lease_seconds": 300.0,
}
PUSH_PARAMETERS = {
    "queue_name": QUEUE,
    "message_priority": 0,
    "delay_seconds": 0.0,
    "attempts_limit": None,
    "message_headers": "{}",
}

SHORTEST_CLAIM = """
UPDATE xclaim_message
   SET status = 'claimed', attempts = attempts + 1, claimed_at = now(), claimed_by = 'by hand',
       claim_expires_at = now() + interval '5 minutes', claim_token = gen_random_uuid()
 WHERE id = ANY (ARRAY(
         SELECT id FROM xclaim_message
          WHERE queue = %(queue)s AND status = 'available'
            AND available_at >= '-infinity' AND available_at <= now()
          ORDER BY priority DESC, available_at, id
          LIMIT {limit} FOR UPDATE SKIP LOCKED))
RETURNING id, claim_token, payload
"""
SHORTEST_ACK = """
UPDATE xclaim_message
   SET status = 'consumed', consumed_at = now(), consumed_by = claimed_by,
       claimed_by = NULL, claim_expires_at = NULL, claim_token = NULL
  FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) AS item (id, token)
 WHERE xclaim_message.id = item.id AND claim_token = item.token
RETURNING xclaim_message.id
"""
SHORTEST_ACK_ONE = """
UPDATE xclaim_message
   SET status = 'consumed', consumed_at = now(), consumed_by = claimed_by,
       claimed_by = NULL, claim_expires_at = NULL, claim_token = NULL
 WHERE id = %(id)s AND claim_token = %(token)s
RETURNING id
"""
SHORTEST_PUSH = """
INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)
SELECT %(queue)s, %(queue)s, payload, now(), now()
  FROM jsonb_array_elements(%(payloads)s::jsonb) AS payload
RETURNING id
"""


class SameStatementsSession:
    """One psycopg connection and the text of xclaim's statements."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._push, self._ack, self._ack_many = _text("push"), _text("ack"), _text("ack_many")
        _claims(1)  # so that who consumes one at once does not compile it then
        # By name: a column that is added at the end must not be taken for the token.
        names = _statement("claim").exported_columns.keys()
        self._id, self._token = names.index("id"), names.index("claim_token")
        self._payload, self._priority = names.index("payload"), names.index("priority")
        self._available_at = names.index("available_at")
        self._looked_back_at = float("-inf")
        self._position: dict[str, Any] | None = None

    def push(self, payloads: Sequence[Payload]) -> None:
        """Push one at a time."""
        for payload in payloads:
            self.push_many([payload])

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Push in one statement."""
        text = {"payloads": json.dumps(payloads)}
        self._connection.execute(self._push, PUSH_PARAMETERS | text).fetchall()

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim, then ack."""
        claims = _claims(batch)
        consumed: list[int] = []
        while len(consumed) < limit and (rows := self._claim(claims)):
            if batch == 1:
                receipt = {"message_id": rows[0][self._id], "token": rows[0][self._token]}
                self._connection.execute(self._ack, receipt).fetchall()
            else:
                receipts = POSTGRESQL.row_parameters(
                    id=[row[self._id] for row in rows], token=[row[self._token] for row in rows]
                )
                self._connection.execute(self._ack_many, receipts).fetchall()
            consumed += [json.loads(row[self._payload])["n"] for row in rows]
        return consumed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _claim(self, claims: Mapping[Start, str]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        since_look_back = time.monotonic() - self._looked_back_at
        if self._position is not None and since_look_back < LOOK_BACK_EVERY:
            rows = self._run(claims[Start.POSITION], _claiming() | self._position)
        if not rows:
            self._looked_back_at = time.monotonic()
            rows = self._run(claims[Start.TOP], _claiming())
        if not rows:  # the others claim as many as asked for, or none
            rows = self._run(claims[Start.HEAD], _claiming())
        if rows:
            last = max(rows, key=self._place)
            self._position = {
                "after_priority": last[self._priority],
                "after_available_at": last[self._available_at],
                "after_id": last[self._id],
            }
        return rows

    def _place(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return where the row stands in the order of claims."""
        return -row[self._priority], row[self._available_at], row[self._id]

    def _run(self, statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()


@cache
def _claims(batch: int) -> Mapping[Start, str]:
    """Return the claims that are sent. Compiled once a process: by the warm-up, or when opened."""
    starts = (Start.POSITION, Start.TOP, Start.HEAD)
    return {start: _text("claim", limit=batch, start=start) for start in starts}


@cache
def _text(name: str, **options: Any) -> str:
    return str(_statement(name, **options).compile(dialect=full_names.dialect()))


def _statement(name: str, **options: Any) -> statements.Statement:
    built: statements.Statement = getattr(statements, name)(message_table(), POSTGRESQL, **options)
    return built


def _claiming() -> dict[str, Any]:
    return CLAIM_PARAMETERS | POSTGRESQL.token_parameters()


class ShortestSession:
    """One psycopg connection and the shortest statements that would do."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def push(self, payloads: Sequence[Payload]) -> None:
        """Push one at a time."""
        for payload in payloads:
            self.push_many([payload])

    def push_many(self, payloads: Sequence[Payload]) -> None:
        """Push in one statement."""
        text = {"payloads": json.dumps(payloads)}
        self._connection.execute(SHORTEST_PUSH, {"queue": QUEUE} | text).fetchall()

    def consume(self, limit: int, batch: int) -> list[int]:
        """Claim, then ack."""
        claim = SHORTEST_CLAIM.format(limit=batch)
        consumed: list[int] = []
        while len(consumed) < limit:
            rows = self._connection.execute(claim, {"queue": QUEUE}).fetchall()
            if not rows:
                break
            self._ack(rows)
            consumed += [row[2]["n"] for row in rows]
        return consumed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ack(self, rows: list[tuple[Any, ...]]) -> None:
        if len(rows) == 1:
            receipt = {"id": rows[0][0], "token": rows[0][1]}
            self._connection.execute(SHORTEST_ACK_ONE, receipt).fetchall()
            return
        receipts = POSTGRESQL.row_parameters(
            id=[row[0] for row in rows], token=[row[1] for row in rows]
        )
        self._connection.execute(SHORTEST_ACK, receipts).fetchall()


class SameStatements:
    """psycopg by hand with xclaim's statements."""

    name = "same statements by hand"
    package = "psycopg"
    database = "postgresql"
    unconsumed = UNCONSUMED
    note = (
        "psycopg's Connection.execute with the text xclaim sends, on the same table: what the "
        "library costs on top. It builds no objects, checks no arguments and gives nothing back, "
        "and looks back each quarter of a second, also where that is dear."
    )

    def install(self, url: str) -> None:
        """Run xclaim's migrations."""
        upgrade(url)

    def open(self, url: str) -> SameStatementsSession:
        """Connect."""
        return SameStatementsSession(url)


class Shortest:
    """psycopg by hand with the shortest statements."""

    name = "shortest by hand"
    package = "psycopg"
    database = "postgresql"
    unconsumed = UNCONSUMED
    note = (
        "The shortest fenced claim on the same table: one index scan, three columns back. It walks "
        "over delayed messages and dead entries, and gives no lapsed claim back."
    )

    def install(self, url: str) -> None:
        """Run xclaim's migrations."""
        upgrade(url)

    def open(self, url: str) -> ShortestSession:
        """Connect."""
        return ShortestSession(url)
