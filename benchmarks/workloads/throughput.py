"""How many messages a second: pushed, claimed and acked, alone and by several."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders import (
    ACKED_ONE_BY_ONE,
    ASYNC,
    PUSHED_ONE_BY_ONE,
    SQLITE,
    STREAM,
)
from benchmarks.crew import open_session
from benchmarks.measuring import (
    Context,
    Figures,
    check_consumed,
    check_left,
    rate,
    timed,
    timed_result,
)
from benchmarks.messages import in_chunks, payloads
from benchmarks.server import settle, sqlite_database

_CHUNK = 1_000


def push_one(context: Context) -> None:
    """Push one message a call, one connection."""
    count = context.choose(quick=300, full=1_500)

    def measure(contender: str) -> Figures:
        with context.server.database(contender) as url, open_session(contender, url) as session:
            session.push(payloads(20, first=count))
            seconds = timed(partial(session.push, payloads(count)))
            check_left(contender, url, count + 20)
            return {"messages/s": count / seconds}

    context.compare("push_one", context.contenders, measure)


def push_many(context: Context) -> None:
    """Push 1,000 messages a call, one connection."""
    most = context.choose(quick=10_000, full=50_000)

    def measure(contender: str) -> Figures:
        count = most // 10 if contender in PUSHED_ONE_BY_ONE else most
        chunks = list(in_chunks(count, _CHUNK))
        with context.server.database(contender) as url, open_session(contender, url) as session:
            session.push_many(payloads(_CHUNK, first=count))

            def push_all() -> None:
                for chunk in chunks:
                    session.push_many(chunk)

            seconds = timed(push_all)
            check_left(contender, url, count + _CHUNK)
            return {"messages/s": count / seconds}

    context.compare("push_many", context.contenders, measure)


def claim_ack(context: Context) -> None:
    """Claim and ack one at a time, from a backlog of 20,000."""
    for workers in (1, 2) if context.quick else (1, 2, 8):
        total = context.choose(quick=600, full=2_000)
        contenders = (*context.contenders, STREAM) if workers == 1 else context.contenders
        measure = partial(_consume, context, workers=workers, total=total, batch=1)
        context.compare(f"claim_ack_{workers}", contenders, measure)


def batches(context: Context) -> None:
    """Claim and ack in batches, two workers."""
    for batch in (100,) if context.quick else (10, 100, 1_000):
        total = context.choose(quick=6_000, full=20_000)
        measure = partial(_consume, context, workers=2, total=total, batch=batch)
        context.compare(f"batch_{batch}", (*context.contenders, STREAM, ASYNC), measure)


def _consume(context: Context, contender: str, *, workers: int, total: int, batch: int) -> Figures:
    if batch > 1 and contender in ACKED_ONE_BY_ONE:
        total //= 5
    each, warm_up = total // workers, 20 if batch == 1 else 5
    least = 2_000 if contender in PUSHED_ONE_BY_ONE else 20_000
    backlog = max(least, 2 * (total + workers * warm_up * batch))
    if context.quick:
        backlog //= 2
    with context.server.database(contender) as url:
        with open_session(contender, url) as session:
            for chunk in in_chunks(backlog, _CHUNK):
                session.push_many(chunk)
        settle(url)
        shifts = context.crew.consume(
            contender, url, workers=workers, limit=each, batch=batch, warm_up=warm_up
        )
        consumed = sum(len(shift.consumed) + shift.warmed_up for shift in shifts)
        check_left(contender, url, backlog - consumed)
    return {"messages/s": rate(shifts, each)}


def sqlite(context: Context) -> None:
    """Push, claim and ack on SQLite, one process."""
    count = context.choose(quick=200, full=1_000)
    # Two of the peers commit each message, whatever is pushed or claimed together.
    filled = context.choose(quick=3_000, full=10_000)
    in_batches = context.choose(quick=1_000, full=2_000)

    def measure(contender: str) -> Figures:
        with sqlite_database(contender) as url, open_session(contender, url) as session:
            for chunk in in_chunks(filled, _CHUNK):
                session.push_many(chunk)
            consumed = session.consume(20, 1)
            figures = {"push one": count / timed(lambda: session.push(payloads(count, 50_000)))}
            many = payloads(_CHUNK, 60_000)
            figures["push many"] = _CHUNK / timed(lambda: session.push_many(many))
            for name, size, batch in (("claim+ack", count, 1), ("batches of 100", in_batches, 100)):
                seconds, numbers = timed_result(partial(session.consume, size, batch))
                check_consumed(numbers, size)
                figures[name] = len(numbers) / seconds
                consumed += numbers
            check_left(contender, url, filled + count + _CHUNK - len(set(consumed)))
            return figures

    context.compare("sqlite", SQLITE, measure)
