"""What a message leaves behind: write-ahead log, dead rows, commits."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders import ACKED_ONE_BY_ONE, SHORTEST, STREAM, XCLAIM
from benchmarks.crew import open_session
from benchmarks.measuring import Context, Figures, check_consumed, check_left
from benchmarks.messages import in_chunks
from benchmarks.server import query, settle

_COUNTERS = """
SELECT pg_current_wal_insert_lsn() - '0/0',
       (SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables),
       (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())
"""


def wal(context: Context) -> None:
    """Push 1,000 a call, claim and ack 100 at a time, and count."""
    contenders = (XCLAIM, STREAM, SHORTEST, *context.peers)
    context.compare("wal", contenders, partial(_count, context), rounds=1)


def _count(context: Context, contender: str) -> Figures:
    count = context.choose(quick=5_000, full=20_000)
    if contender in ACKED_ONE_BY_ONE:
        count //= 5
    with context.server.database(contender) as url:
        settle(url)
        before = _counters(url)
        with open_session(contender, url) as session:
            for chunk in in_chunks(count, 1_000):
                session.push_many(chunk)
            consumed = session.consume(count, 100)
        check_left(contender, url, count - len(set(consumed)))
        log, dead, commits = (
            after - first for after, first in zip(_counters(url), before, strict=True)
        )
    check_consumed(consumed, count)
    # Counted are updates and deletes: each leaves one dead row.
    return {
        "WAL bytes": log / count,
        "dead rows": dead / count,
        "commits": commits / count,
    }


def _counters(url: str) -> list[float]:
    query(url, "SELECT pg_stat_force_next_flush()")
    return [float(str(value or 0)) for value in query(url, _COUNTERS)]
