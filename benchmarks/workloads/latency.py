"""How long until: a crowd of connections, late high priorities, wake-ups; what waiting costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from functools import partial

import psutil

from benchmarks.contenders import XCLAIM
from benchmarks.contenders.contender import QUEUE, MissingError
from benchmarks.crew import open_session
from benchmarks.measuring import (
    Context,
    Figures,
    WrongResultError,
    check_left,
    median,
    percentile,
    timed,
)
from benchmarks.messages import in_chunks
from benchmarks.server import settle
from xclaim import Claim, Queue, create_engine

_WAIT = timedelta(seconds=30)
_HEAVY = ("awa", "pg-boss", "graphile-worker")  # contenders


def connections(context: Context) -> None:
    """Let 200 connections claim and ack one message each, all at once."""

    def measure(contender: str) -> Figures:
        if contender in _HEAVY:
            raise MissingError("each session is a process or a runtime: 200 are too many")
        with context.server.database(contender) as url:
            with open_session(contender, url) as session:
                for chunk in in_chunks(2_000, 1_000):
                    session.push_many(chunk)
            settle(url)
            shifts = context.crew.herd(contender, url, workers=2, threads=100)
            consumed = [number for shift in shifts for number in shift.consumed]
            check_left(contender, url, 2_000 - len(set(consumed)))
        times = [shift.ended - shift.began for shift in shifts]
        return {
            "median ms": median(times) * 1e3,
            "p99 ms": percentile(times, 0.99) * 1e3,
            "all ms": (max(s.ended for s in shifts) - min(s.began for s in shifts)) * 1e3,
            "duplicates": len(consumed) - len(set(consumed)),
            "missing": 200 - len(consumed),
        }

    rounds = 1 if context.quick else None
    context.compare("connections_200", context.contenders, measure, rounds=rounds)


def priorities(context: Context) -> None:
    """Push messages of a higher priority into a backlog of four, from another process's view."""
    modes: dict[str, Callable[[Queue], Generator[Claim]]] = {
        "one at a time": _one_at_a_time,
        "batches of 10": partial(_in_batches, size=10),
        "stream of 1": partial(_streamed, size=1),
        "stream of 100": partial(_streamed, size=100),
    }
    for mode, claims in modes.items():
        context.measure("priorities", mode, 0, partial(_late_arrivals, context, claims))


def _late_arrivals(
    context: Context, claims: Callable[[Queue], Generator[Claim]], _mode: str
) -> Figures:
    delays: list[float] = []
    finished = 0
    with context.server.database(XCLAIM) as url, ExitStack() as stack:
        producer, consumer = (stack.enter_context(Queue(QUEUE, url)) for _ in range(2))
        for priority in range(4):
            producer.push_many([{"priority": priority}] * 10_000, priority=priority)
        settle(url)
        stop, late = threading.Event(), list[float]()
        pushing = threading.Thread(target=_push_now_and_then, args=(producer, stop, late))
        pushing.start()
        with closing(claims(consumer)) as handed_out:
            for claim in handed_out:
                if len(delays) == context.choose(quick=8, full=30):
                    break  # without this one, which is not finished
                if "at" in claim.payload:
                    delays.append(time.time() - claim.payload["at"])
                finished += 1
        stop.set()
        pushing.join()
        check_left(XCLAIM, url, 40_000 + len(late) - finished)
    return {"median s": median(delays), "longest s": max(delays)}


def _push_now_and_then(producer: Queue, stop: threading.Event, pushed: list[float]) -> None:
    while not stop.wait(0.15):
        producer.push({"at": time.time()}, priority=9)
        pushed.append(time.time())


def _one_at_a_time(queue: Queue) -> Generator[Claim]:
    while (claim := queue.claim()) is not None:
        yield claim
        queue.ack(claim)


def _in_batches(queue: Queue, *, size: int) -> Generator[Claim]:
    while claims := queue.claim_many(size):
        finished: list[Claim] = []
        try:
            for claim in claims:
                yield claim
                finished.append(claim)
        finally:
            queue.ack_many(finished)


def _streamed(queue: Queue, *, size: int) -> Generator[Claim]:
    yield from queue.stream(batch=size)


def wake_ups(context: Context) -> None:
    """Push to one who waits: the time from the push to the claim; and what wake-ups cost a push."""
    count = context.choose(quick=60, full=300)
    for mode, notify, gap in (
        ("wake-ups", True, 0.05),
        ("wake-ups, 100 pushes a second", True, 0.01),
        ("polling only", False, 0.25),
    ):
        sent = count if notify else min(count, 40)
        measure = partial(_push_to_claim, context, notify=notify, gap=gap, count=sent)
        context.measure("wake_up", mode, 0, measure)
    context.compare("notify_push", ("with wake-ups", "without"), partial(_bulk_push, context))


def _push_to_claim(
    context: Context, _mode: str, *, notify: bool, gap: float, count: int
) -> Figures:
    delays: list[float] = []
    with context.server.database(XCLAIM) as url, ExitStack() as stack:
        producer = stack.enter_context(Queue(QUEUE, url, notify=notify))
        consumer = stack.enter_context(Queue(QUEUE, url))

        def consume() -> None:
            while len(delays) < count and (claim := consumer.claim(wait=_WAIT)) is not None:
                delays.append(time.time() - claim.payload)
                consumer.ack(claim)

        worker = threading.Thread(target=consume)
        worker.start()
        time.sleep(0.5)  # it listens by then
        for _ in range(count):
            producer.push(time.time())
            time.sleep(gap)
        worker.join()
        check_left(XCLAIM, url, 0)
    return {"median ms": median(delays) * 1e3, "p99 ms": percentile(delays, 0.99) * 1e3}


def _bulk_push(context: Context, mode: str) -> Figures:
    count = context.choose(quick=10_000, full=50_000)
    with (
        context.server.database(XCLAIM) as url,
        Queue(QUEUE, url, notify=mode == "with wake-ups") as queue,
    ):
        queue.push_many([{"n": 0}] * 1_000)
        chunks = list(in_chunks(count, 1_000))
        seconds = timed(lambda: [queue.push_many(chunk) for chunk in chunks])
        check_left(XCLAIM, url, count + 1_000)
        return {"messages/s": count / seconds}


def idle_waiters(context: Context) -> None:
    """Let 100 threads wait in vain: the share of one core that they and the server use."""
    context.measure("idle_waiters", "100 threads", 0, lambda _name: _idle(context))


def _idle(context: Context) -> Figures:
    seconds = context.choose(quick=4, full=20)
    with context.server.database(XCLAIM) as url, _waiting(url, timedelta(seconds=seconds + 6)):
        time.sleep(4)  # the pauses have grown to their length by then
        before, began = _processor_seconds(), time.monotonic()
        time.sleep(seconds)
        used = _processor_seconds() - before
        return {"% of a core": 100 * used / (time.monotonic() - began)}


@contextmanager
def _waiting(url: str, wait: timedelta) -> Iterator[None]:
    engine = create_engine(url, pool_size=10, max_overflow=90)
    found: list[Claim | None] = []

    def claim() -> None:
        found.append(Queue(QUEUE, engine).claim(wait=wait))

    threads = [threading.Thread(target=claim) for _ in range(100)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    engine.dispose()
    if found != [None] * 100:
        raise WrongResultError(f"{len(found)} of 100 waited, {100 - found.count(None)} not in vain")


def _processor_seconds() -> float:
    total = sum(psutil.Process().cpu_times()[:2])
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres":
            try:
                total += sum(process.cpu_times()[:2])
            except psutil.Error:  # it has ended meanwhile
                continue
    return float(total)
