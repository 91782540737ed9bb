"""What a claim costs when there is much: a backlog, a history, delayed messages, dead entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import psycopg

from benchmarks.contenders import SAME, SHORTEST, XCLAIM
from benchmarks.contenders.contender import QUEUE
from benchmarks.contenders.handwritten import SHORTEST_ACK_ONE, SHORTEST_CLAIM
from benchmarks.crew import open_session
from benchmarks.measuring import (
    Context,
    Figures,
    check_consumed,
    check_left,
    median,
    percentile,
    timed,
    timed_result,
)
from benchmarks.messages import in_chunks
from benchmarks.server import settle
from xclaim import Queue

_FILL = """
INSERT INTO xclaim_message
       (queue, origin_queue, status, payload, priority, attempts, created_at, available_at,
        claimed_at, consumed_at, consumed_by)
SELECT '{queue}', '{queue}', '{status}', jsonb_build_object('n', n, 'text', repeat('x', 175)),
       {priority}, {attempts}, now(), now() + {delay} * interval '1 day',
       {consumed_at}, {consumed_at}, {consumed_by}
  FROM generate_series(1, {count}) AS n
"""
_CLAIMS = 300
_PREPARED_AFTER = 20
_EMPTY = 1_000  # messages in a nearly empty table
_PEERS_OF_GROWTH = ("pgmq", "pgqueuer", "procrastinate")


def growth(context: Context) -> None:
    """Claim from a backlog with as many consumed messages, against a nearly empty table."""
    sizes = (_EMPTY, 100_000) if context.quick else (_EMPTY, 10_000, 100_000, 1_000_000, 10_000_000)
    with ExitStack() as stack:
        claims = {
            (contender, size): stack.enter_context(
                _filled(context, contender, available=size, consumed=0 if size == _EMPTY else size)
            )
            for contender in (XCLAIM, SHORTEST)
            for size in sizes
        }
        for (contender, size), figures in _alternately(claims).items():
            context.record(f"growth_{size}", contender, figures)
    if not context.quick:
        _growth_of_peers(context)


def delayed(context: Context) -> None:
    """Claim with delayed messages of a higher priority ahead, against none."""
    count = context.choose(quick=100_000, full=1_000_000)
    with ExitStack() as stack:
        claims = {
            (contender, size): stack.enter_context(
                _filled(context, contender, available=_EMPTY, delayed=size)
            )
            for contender in (XCLAIM, SHORTEST)
            for size in (0, count)
        }
        for (contender, size), figures in _alternately(claims).items():
            context.record(f"delayed_{size}", contender, figures)


def pinned(context: Context) -> None:
    """Pass messages while an old snapshot is open: 900 in batches of 100, then 100 one by one."""
    total = context.choose(quick=20_000, full=100_000)
    contenders = (
        (XCLAIM, SHORTEST, "pgmq")
        if context.quick
        else (
            XCLAIM,
            SAME,
            SHORTEST,
            "pgmq",
            "pgqueuer",
            "procrastinate",
        )
    )
    for is_pinned in (False, True):
        name = "pinned" if is_pinned else "unpinned"
        measure = partial(_pass, context, total=total, is_pinned=is_pinned)
        context.compare(name, contenders, measure, rounds=1)


def _pass(context: Context, contender: str, *, total: int, is_pinned: bool) -> Figures:
    slices, limit_seconds = 10, 60.0
    with context.server.database(contender) as url, open_session(contender, url) as session:
        for chunk in in_chunks(total + 1_000, 1_000):
            session.push_many(chunk)
        settle(url)
        figures: Figures = {}
        consumed: list[int] = []
        began = time.monotonic()
        with _snapshot(url) if is_pinned else ExitStack():
            for number in range(1, slices + 1):
                per_slice = total // slices
                ones = max(100, per_slice // 10)
                consumed += session.consume(per_slice - ones, 100)
                seconds, one_by_one = timed_result(partial(session.consume, ones, 1))
                check_consumed(one_by_one, ones)
                consumed += one_by_one
                figures[f"after {number * per_slice}"] = ones / seconds
                if time.monotonic() - began > limit_seconds:
                    figures["stopped after"] = number * per_slice
                    break
        check_consumed(consumed, total // slices)
        check_left(contender, url, total + 1_000 - len(consumed))
        figures["last"] = [v for k, v in figures.items() if k.startswith("after")][-1]
        return figures


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    with closing(psycopg.connect(url)) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM pg_class")
        yield


@contextmanager
def _filled(
    context: Context, contender: str, *, available: int, consumed: int = 0, delayed: int = 0
) -> Iterator[Callable[[], float]]:
    """Fill a database on the server's side; yield what claims once and returns the seconds."""
    with ExitStack() as stack:
        url = stack.enter_context(context.server.database(contender))
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            for statement in _fillings(available + 2 * _CLAIMS, consumed, delayed):
                connection.execute(statement.encode())
        settle(url)
        with _claiming(contender, url) as claim:
            yield claim
        check_left(contender, url, available + delayed + _CLAIMS)  # as many are consumed


def _fillings(available: int, consumed: int, delayed: int) -> Iterator[str]:
    plain = {
        "queue": QUEUE, "status": "available", "priority": 0, "attempts": 0, "delay": 0,
        "consumed_at": "NULL::timestamptz", "consumed_by": "NULL",
    }  # fmt: skip
    history = {"status": "consumed", "attempts": 1, "consumed_at": "now()", "consumed_by": "'me'"}
    for count, different in (
        (consumed, history),
        (available, {}),
        (delayed, {"priority": 5, "delay": 1}),
    ):
        if count:
            yield _FILL.format(**plain | different, count=count)


@contextmanager
def _claiming(contender: str, url: str) -> Iterator[Callable[[], float]]:
    if contender == XCLAIM:
        with Queue(QUEUE, url) as queue:

            def claim() -> float:
                seconds = timed(lambda: taken.append(queue.claim()))
                queue.ack(taken.pop())  # type: ignore[arg-type]  # there are more than enough
                return seconds

            taken: list[object] = []
            yield claim
        return
    statement = SHORTEST_CLAIM.format(limit=1).encode()
    with closing(psycopg.connect(url, autocommit=True)) as connection:

        def claim_by_hand() -> float:
            seconds, rows = timed_result(
                lambda: connection.execute(statement, {"queue": QUEUE}).fetchall()
            )
            ((message_id, token, _payload),) = rows
            connection.execute(SHORTEST_ACK_ONE.encode(), {"id": message_id, "token": token})
            return seconds

        yield claim_by_hand


def _alternately(
    claims: dict[tuple[str, int], Callable[[], float]],
) -> dict[tuple[str, int], Figures]:
    """Claim from each in turn, so that all see the same noise."""
    taken: dict[tuple[str, int], list[float]] = {key: [] for key in claims}
    for number in range(_CLAIMS):
        for key, claim in claims.items():
            seconds = claim()
            if number >= _PREPARED_AFTER:
                taken[key].append(seconds)
    return {
        key: {"median ms": median(values) * 1e3, "p99 ms": percentile(values, 0.99) * 1e3}
        for key, values in taken.items()
    }


def _growth_of_peers(context: Context) -> None:
    for size in (1_000, 100_000, 1_000_000):
        context.compare(
            f"growth_{size}",
            _PEERS_OF_GROWTH,
            partial(_claim_and_ack_times, context, size=size),
            rounds=1,
        )


def _claim_and_ack_times(context: Context, contender: str, *, size: int) -> Figures:
    with context.server.database(contender) as url, open_session(contender, url) as session:
        for chunk in in_chunks(size, 1_000):
            session.push_many(chunk)
        settle(url)
        consumed = session.consume(_PREPARED_AFTER, 1)
        times = []
        for _ in range(_CLAIMS):
            seconds, one = timed_result(partial(session.consume, 1, 1))
            times.append(seconds)
            consumed += one
        check_consumed(consumed, _PREPARED_AFTER + _CLAIMS)
        check_left(contender, url, size - len(consumed))
    return {
        "claim+ack median ms": median(times) * 1e3,
        "claim+ack p99 ms": percentile(times, 0.99) * 1e3,
    }
