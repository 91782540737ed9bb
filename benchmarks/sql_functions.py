"""What claim and ack cost as functions and as text: `python -m benchmarks.sql_functions`.

Contenders take turns in one PostgreSQL, each with a queue of its own in the one table, and each
claims and acks its messages one by one, unprepared, as psql, a pooler of transactions or a language
without prepared statements sends them: the text that xclaim sends, the functions that were made of
it, these as a consumer of the queue, whom row-level security limits, and a capability, which is
limited in the same way and called by somebody else. Measured is the processor time of the server's
process for a message, with parsing and planning. A message that is not consumed exactly once fails
the run. It needs Linux.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from benchmarks import turns
from benchmarks.measuring import WrongResultError
from benchmarks.server import run_server, settle
from xclaim import create_engine
from xclaim.operations import capabilities, grants, migrate
from xclaim.sql import full_names, statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table

OUTPUT = Path(__file__).parent / "output" / "sql_functions.json"
TARGET = 0.75  # of the text's processor time
_ROWS = 200
_BACKLOG = 20_000
_WARM_UP = 2
_TEXT = "text, the quickest to plan"
_FUNCTIONS = "functions"
_AS_CONSUMER = "functions, as a consumer"
_CAPABILITY = "capability"
_AT_ONCE: Any = {"autocommit": True, "prepare_threshold": None}
_COMPILER = full_names.dialect()
_TOKEN = [
    each.key for each in statements.claim(message_table(), POSTGRESQL).exported_columns
].index("claim_token")
_CLAIM, _CLAIM_ON_TOP, _ACK = (
    str(build(message_table(), POSTGRESQL).compile(dialect=_COMPILER))
    for build in (
        statements.claim,
        partial(statements.claim, start=statements.Start.TOP),
        statements.ack,
    )
)
Connection = psycopg.Connection[Any]


def main() -> None:
    """Measure, print and keep."""
    options = _options()
    with run_server(autovacuum="off", fsync="off") as server, server.copy_of() as url:
        migrate.upgrade(url)
        plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg.connect(plain, **_AT_ONCE)) as connection:
            for queue in CONTENDERS:
                _push(connection, queue, _BACKLOG)
            settle(plain)
            _grant(url)
            workers = {queue: psycopg.connect(plain, **_AT_ONCE) for queue in CONTENDERS}
            workers[_AS_CONSUMER].execute("SET ROLE bench_consumer")
            workers[_CAPABILITY].execute("SET ROLE bench_caller")
            work = {
                queue: partial(_work, connection, workers[queue], queue, consume)
                for queue, consume in CONTENDERS.items()
            }
            turns.by_turns(work, _WARM_UP)
            taken = turns.by_turns(work, 10 if options.quick else options.rounds)
            for worker in workers.values():
                worker.close()
    measured = [
        {
            "contender": name,
            "us": turns.spread(rounds, 1),
            "ratio": turns.ratio(rounds, taken[_TEXT]),
            "to_functions": turns.ratio(rounds, taken[_FUNCTIONS]),
            "to_consumer": turns.ratio(rounds, taken[_AS_CONSUMER]),
        }
        for name, rounds in taken.items()
    ]
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": turns.machine(), "rows": measured}, indent=1) + "\n")
    print("\n".join(_table(measured)))


def _grant(url: str) -> None:
    """Make a consumer of one queue, and a capability for another."""
    engine = create_engine(url)
    with engine.begin() as connection:
        grants.plan(connection, "consumer", "bench_consumer", queues=[_AS_CONSUMER]).apply(
            connection
        )
        capabilities.plan(
            connection, "packing", _CAPABILITY, ["claim", "ack"], to=["bench_caller"]
        ).apply(connection)
    engine.dispose()


def _push(connection: Connection, queue: str, count: int) -> None:
    connection.execute(
        "SELECT count(*) FROM xclaim_push_many(%s, (SELECT array_agg(to_jsonb(n))"
        " FROM generate_series(1, %s::integer) AS n))",
        [queue, count],
    )


def _by_text(claim: str, connection: Connection, queue: str) -> int:
    given = {"queue_name": queue, "lease_seconds": 300.0, "claimant": "me", "key": None}
    given |= POSTGRESQL.token_parameters()
    row = connection.execute(claim.encode(), given).fetchone()
    if row is None:
        raise WrongResultError(f"nothing to claim in {queue}")
    connection.execute(_ACK.encode(), {"message_id": row[0], "token": row[_TOKEN]})
    return int(row[0])


def _by_function(connection: Connection, queue: str) -> int:
    claim = "SELECT * FROM xclaim_claim(%s, 'me')"
    row = connection.execute(claim, [queue]).fetchone()
    if row is None:
        raise WrongResultError(f"nothing to claim in {queue}")
    connection.execute("SELECT xclaim_ack(%s, %s)", row[:2])
    return int(row[0])


def _by_capability(connection: Connection, queue: str) -> int:
    row = connection.execute("SELECT * FROM packing.claim('me')").fetchone()
    if row is None:
        raise WrongResultError(f"nothing to claim in {queue}")
    connection.execute("SELECT packing.ack(%s, %s)", row[:2])
    return int(row[0])


CONTENDERS: Mapping[str, Callable[[Connection, str], int]] = {
    "text, from the head": partial(_by_text, _CLAIM),
    _TEXT: partial(_by_text, _CLAIM_ON_TOP),
    _FUNCTIONS: _by_function,
    _AS_CONSUMER: _by_function,
    _CAPABILITY: _by_capability,
}


def _work(
    connection: Connection,
    worker: Connection,
    queue: str,
    consume: Callable[[Connection, str], int],
) -> float:
    """Return the microseconds of the server's processor for a message."""
    _push(connection, queue, _ROWS)
    before = _nanoseconds(worker)
    consumed = [consume(worker, queue) for _ in range(_ROWS)]
    taken = (_nanoseconds(worker) - before) / 1_000 / _ROWS
    sql = (
        "SELECT count(*) FROM xclaim_message"
        " WHERE id = ANY (%s) AND queue = %s AND status = 'consumed' AND attempts = 1"
    )
    if (found := connection.execute(sql, [consumed, queue]).fetchone()) != (_ROWS,):
        raise WrongResultError(f"{found} of {_ROWS} consumed by {queue}")
    return taken


def _nanoseconds(connection: Connection) -> int:
    """Return how long the server's process has run: the scheduler's first figure."""
    of_process = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    return int(of_process.read_text().split()[0])


def _table(measured: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| claim and ack, one by one | us of the server's processor | to the text | 95 % "
        "| to the functions | to them as a consumer |"
    )
    yield "| --- | ---: | ---: | --- | ---: | ---: |"
    for row in measured:
        ratio = row["ratio"]
        yield (
            f"| {row['contender']} | {row['us']['median']:.0f} | {ratio['median']:.2f} "
            f"| {ratio['low']:.2f}-{ratio['high']:.2f} "
            f"| {row['to_functions']['median']:.2f} | {row['to_consumer']['median']:.2f} |"
        )
    (functions,) = (row for row in measured if row["contender"] == _FUNCTIONS)
    if functions["ratio"]["median"] > TARGET:
        yield f"missed: at most {TARGET} of the text"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sql_functions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=30, help="of 200 messages each (30)")
    parser.add_argument("--quick", action="store_true", help="10 rounds")
    return parser.parse_args()


if __name__ == "__main__":
    main()
