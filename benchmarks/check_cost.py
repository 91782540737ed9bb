"""What the constraints of the table cost the server: `python -m benchmarks.check_cost`.

Tables that differ in their constraints alone, in one PostgreSQL, take turns: rows are inserted,
claimed and acked in it one by one, by statements that are planned once. They run in the server, so
that its processor time has neither network nor parsing in it. Each row of the table says the least
time of a statement, and how all three compare with the five CHECKs that there were at first. Rows
that are not consumed in the end fail the run. It needs Linux.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from benchmarks import turns
from benchmarks.measuring import WrongResultError
from benchmarks.server import run_server
from xclaim.operations import migrate
from xclaim.sql.schema import CHECKS, VIEW_NAME
from xclaim.sql.statements.auditing import PROMISES

OUTPUT = Path(__file__).parent / "output" / "checks.json"
VERBS = ("push", "claim", "ack")
_ROWS = 200
_WARM_UP = 2
_FIVE = "the five that were"
_STATUSES = "('available', 'claimed', 'consumed')"
_TOKEN = "(status = 'claimed') = (claim_token IS NOT NULL)"  # noqa: S105  (a condition)
_ATTEMPTS = PROMISES["attempts"]
_STATUS = CHECKS["ck_xclaim_message_status"]

_PUSH = """
DO $$ BEGIN FOR number IN 1..{rows} LOOP
    INSERT INTO xclaim_message (queue, origin_queue, priority, payload, headers, max_attempts,
                                created_at, available_at)
    VALUES ('orders', 'orders', 0, jsonb_build_object('text', repeat('x', 100)), '{{}}',
            20, now(), now());
END LOOP; END $$
"""
_CLAIM = """
DO $$ DECLARE next bigint; BEGIN
FOR next IN SELECT id FROM xclaim_message WHERE status = 'available' ORDER BY id LOOP
    UPDATE xclaim_message
       SET attempts = attempts + 1, claimed_at = now(), claim_expires_at = now() + interval '5 min',
           claim_token = CAST(encode(substr(sha256(int8send(id)), 1, 16), 'hex') AS uuid),
           status = 'claimed', claimed_by = 'me', claim_key = NULL
     WHERE id = next AND status = 'available';
END LOOP; END $$
"""
_ACK = """
DO $$ DECLARE held record; BEGIN
FOR held IN SELECT id, claim_token FROM xclaim_message WHERE status = 'claimed' ORDER BY id LOOP
    UPDATE xclaim_message
       SET status = 'consumed', consumed_at = now(), consumed_by = claimed_by, claimed_by = NULL,
           claim_expires_at = NULL, claim_token = NULL, claim_key = NULL
     WHERE id = held.id AND claim_token = held.claim_token;
END LOOP; END $$
"""
_CLAIM_INDEX = (
    "CREATE INDEX ON xclaim_message (queue, priority DESC, available_at, id)"
    " WHERE status = 'available' AND available_at IS NOT NULL"
)


def _checks(*conditions: str) -> list[str]:
    return [f"ALTER TABLE xclaim_message ADD CHECK ({condition})" for condition in conditions]


def _of_type(made: str) -> list[str]:
    """Return statements that give the status a type of its own."""
    column = "ALTER TABLE xclaim_message ALTER status"
    return [
        made,
        "DROP INDEX ix_xclaim_message_claim",
        f"{column} DROP DEFAULT",
        f"{column} TYPE state USING status::state",
        f"{column} SET DEFAULT 'available'",
        _CLAIM_INDEX,
    ]


CONTENDERS: Mapping[str, list[str]] = {
    _FIVE: _checks(
        f"status IN {_STATUSES}",
        *[PROMISES[name] for name in ("claimed", "consumed", "attempts", "queue")],
    ),
    "none": [],
    "status, token and attempts": _checks(f"status IN {_STATUSES}", _TOKEN, _ATTEMPTS),
    "ours": _checks(_STATUS),
    "ours, and attempts": _checks(_STATUS, _ATTEMPTS),
    "an enum, and the token": _of_type(f"CREATE TYPE state AS ENUM {_STATUSES}") + _checks(_TOKEN),
    "a domain, and the token": _of_type(f"CREATE DOMAIN state AS text CHECK (VALUE IN {_STATUSES})")
    + _checks(_TOKEN),
}


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    with run_server(autovacuum="off", fsync="off") as server, server.copy_of() as url:
        for number, constraints in enumerate(CONTENDERS.values()):
            _create(url, f"table_{number}", constraints)
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg.connect(plain, autocommit=True)) as connection:
            work = {
                name: partial(_work, connection, f"table_{number}")
                for number, name in enumerate(CONTENDERS)
            }
            turns.by_turns(work, _WARM_UP)
            taken = turns.by_turns(work, 10 if options.quick else options.rounds)
    measured = list(_compared(taken))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": turns.machine(), "rows": measured}, indent=1) + "\n")
    print("\n".join(_table(measured)))


def _create(url: str, schema: str, constraints: list[str]) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(plain, autocommit=True)) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
        migrate.upgrade(url, schema=schema)
        connection.execute(f"SET search_path = {schema}".encode())
        # With the views, which keep the type of the status as it is.
        views = connection.execute(
            "SELECT viewname FROM pg_views WHERE schemaname = %s", [schema]
        ).fetchall()
        if (VIEW_NAME,) not in views:
            raise WrongResultError(f"no views in {schema}")
        for (view,) in views:
            connection.execute(f"DROP VIEW IF EXISTS {view} CASCADE".encode())
        for name in CHECKS:
            connection.execute(f"ALTER TABLE xclaim_message DROP CONSTRAINT {name}".encode())
        for statement in constraints:
            connection.execute(statement.encode())


def _work(connection: psycopg.Connection[Any], schema: str) -> list[float]:
    """Return the microseconds of the server's processor for a statement of each kind."""
    connection.execute(f"SET search_path = {schema}".encode())
    connection.execute("TRUNCATE xclaim_message")
    taken = []
    with connection.transaction():
        for statement in (_PUSH.format(rows=_ROWS), _CLAIM, _ACK):
            before = _nanoseconds(connection)
            connection.execute(statement.encode())
            taken.append((_nanoseconds(connection) - before) / 1_000 / _ROWS)
    consumed = "SELECT count(*) FROM xclaim_message WHERE status = 'consumed' AND attempts = 1"
    if (found := connection.execute(consumed).fetchone()) != (_ROWS,):
        raise WrongResultError(f"{found} of {_ROWS} consumed in {schema}")
    return taken


def _nanoseconds(connection: psycopg.Connection[Any]) -> int:
    """Return how long the server's process has run: the scheduler's first figure."""
    of_process = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    return int(of_process.read_text().split()[0])


def _compared(taken: Mapping[str, list[list[float]]]) -> Iterator[dict[str, Any]]:
    five = [sum(each) for each in taken[_FIVE]]
    for name, rounds in taken.items():
        least = {
            verb: round(min(of_verb), 1)
            for verb, of_verb in zip(VERBS, zip(*rounds, strict=True), strict=True)
        }
        yield {
            "constraints": name,
            "us": least,
            "ratio": turns.ratio([sum(each) for each in rounds], five),
        }


def _table(measured: list[dict[str, Any]]) -> Iterator[str]:
    yield "| constraints | push, us | claim | ack | all three, to the five | 95 % |"
    yield "| --- | ---: | ---: | ---: | ---: | --- |"
    for row in measured:
        least = " | ".join(f"{row['us'][verb]:.0f}" for verb in VERBS)
        ratio = row["ratio"]
        yield (
            f"| {row['constraints']} | {least} | {ratio['median']:.2f} "
            f"| {ratio['low']:.2f}-{ratio['high']:.2f} |"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.check_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=40, help="of 200 rows each (40)")
    parser.add_argument("--quick", action="store_true", help="10 rounds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
