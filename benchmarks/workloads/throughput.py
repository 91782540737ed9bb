"""How many messages a second: pushed, claimed and acked, alone and by several."""

from __future__ import annotations

from functools import partial

from benchmarks.contenders import SQLITE, STREAM
from benchmarks.crew import open_session
from benchmarks.measuring import Context, Figures, check_left, rate, timed, timed_result
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
    count = context.choose(quick=10_000, full=50_000)

    def measure(contender: str) -> Figures:
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
        context.compare(f"batch_{batch}", (*context.contenders, STREAM), measure)


def _consume(context: Context, contender: str, *, workers: int, total: int, batch: int) -> Figures:
    # procrastinate and awa know no batch of their own: fewer messages tell as much, in time.
    if batch > 1 and contender in ("procrastinate", "awa"):
        total //= 5
    each, warm_up = total // workers, 20 if batch == 1 else 5
    backlog = max(20_000, 2 * (total + workers * warm_up * batch))
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
    return {"messages/s": rate(shifts)}


def sqlite(context: Context) -> None:
    """Push, claim and ack on SQLite, one process."""
    count = context.choose(quick=200, full=1_000)

    def measure(contender: str) -> Figures:
        with sqlite_database(contender) as url, open_session(contender, url) as session:
            for chunk in in_chunks(10_000, _CHUNK):
                session.push_many(chunk)
            consumed = session.consume(20, 1)
            figures = {"push one": count / timed(lambda: session.push(payloads(count, 50_000)))}
            many = payloads(_CHUNK, 60_000)
            figures["push many"] = _CHUNK / timed(lambda: session.push_many(many))
            for name, size, batch in (("claim+ack", count, 1), ("batches of 100", 2_000, 100)):
                seconds, numbers = timed_result(partial(session.consume, size, batch))
                figures[name] = len(numbers) / seconds
                consumed += numbers
            check_left(contender, url, 10_000 + count + _CHUNK - len(set(consumed)))
            return figures

    context.compare("sqlite", SQLITE, measure)
