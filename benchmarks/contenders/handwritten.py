"""psycopg by hand, on xclaim's own table: the statements xclaim sends, and the shortest ones.

``SameStatements`` shows what the library costs on top of its SQL. ``Shortest`` is what somebody
would write who wants only this: it knows no priorities behind delayed messages, no position, no
resumption, and returns three columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import psycopg
from sqlalchemy import make_url

from benchmarks.contenders.contender import QUEUE, Payload
from xclaim.operations.migrate import upgrade
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table
from xclaim.sql.statements import Start

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
LOOK_BACK_EVERY = 200  # claims: about a quarter of a second, as xclaim does

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
        self._dialect = make_url("postgresql+psycopg://").get_dialect()()
        self._push = self._text("push")
        self._ack, self._ack_many = self._text("ack"), self._text("ack_many")
        self._since_look_back = 0
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
        claim, claim_after = self._claims(batch)
        consumed: list[int] = []
        while len(consumed) < limit and (rows := self._claim(claim, claim_after)):
            if batch == 1:
                receipt = {"message_id": rows[0][0], "token": rows[0][-1]}
                self._connection.execute(self._ack, receipt).fetchall()
            else:
                receipts = POSTGRESQL.row_parameters(
                    id=[row[0] for row in rows], token=[row[-1] for row in rows]
                )
                self._connection.execute(self._ack_many, receipts).fetchall()
            consumed += [row[3]["n"] for row in rows]
        return consumed

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _claims(self, batch: int) -> tuple[str, str]:
        return (
            self._text("claim", limit=batch, start=Start.TOP),
            self._text("claim", limit=batch, start=Start.POSITION),
        )

    def _claim(self, claim: str, claim_after: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        if self._position is not None and self._since_look_back < LOOK_BACK_EVERY:
            rows = self._run(claim_after, CLAIM_PARAMETERS | self._position)
        if not rows:
            self._since_look_back = 0
            rows = self._run(claim, CLAIM_PARAMETERS)
        self._since_look_back += 1
        if rows:
            last = max(rows, key=lambda row: (-row[2], row[9], row[0]))
            self._position = {
                "after_priority": last[2],
                "after_available_at": last[9],
                "after_id": last[0],
            }
        return rows

    def _run(self, statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()

    def _text(self, name: str, **options: Any) -> str:
        statement = getattr(statements, name)(message_table(), POSTGRESQL, **options)
        return str(statement.compile(dialect=self._dialect))


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
    note = (
        "psycopg's Connection.execute with the text xclaim sends, on the same table: what the "
        "library costs on top. It builds no objects, checks no arguments and gives nothing back."
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
