"""An interrupted call of Queue has done all or nothing, wherever the signal struck."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast

import pytest

from tests.cancelling.calls import (
    CLAIMING_HERE,
    FAILING_HERE,
    LONGEST,
    attempts_counted,
    check_failing,
    filled,
    moment,
)
from tests.cancelling.striking import LIBRARY, ctrl_c_beside, is_in_the_library
from tests.eventually import PATIENCE, until
from xclaim import Claim, Message, Queue, Status
from xclaim.connections.runner import Runner
from xclaim.consuming.claims_ahead import ClaimsAhead
from xclaim.consuming.holding import Holding
from xclaim.consuming.waiting import Patience
from xclaim.verb import Verb
from xclaim.verbs import CLAIM_MANY, HAND_BACK, RELEASE

pytestmark = pytest.mark.slow

TIMES, MOST = 30, 60  # calls
ENOUGH = 5  # of them that were struck: else the test has seen nothing
STEPS = 50  # functions that each of the calls enters, and more
# Not SIGALRM, by which the suite watches its tests. They are all handled alike.
NUMBER = signal.SIGUSR1


T = TypeVar("T")


class Interrupted(BaseException):
    """What a handler raises: KeyboardInterrupt, AirflowTaskTimeout, SystemExit."""


Call = Callable[[], Any]


class Strikes:
    """What interrupts calls, and how often a signal struck inside the library."""

    def __init__(self) -> None:
        self.count = 0

    def raise_in_the_library(self, _: int, frame: FrameType | None) -> None:
        # What strikes in the test itself proves nothing, and would lose its count.
        if is_in_the_library(frame):
            self.count += 1
            raise Interrupted

    def drawn(self, seed: str, longest: float = LONGEST) -> Iterator[Callable[[Call], Any]]:
        """Yield what runs a call and interrupts it, until ENOUGH of MOST calls were struck.

        First after a time; then, in case the machine is too quick or too slow for that, at a step.
        """
        drawn, calls = random.Random(seed), 0
        while calls < TIMES or self.count < ENOUGH:
            assert calls < MOST, f"only {self.count} of {calls} calls were struck"
            if calls < TIMES:
                yield partial(interrupted, after=moment(drawn, longest))
            else:
                yield partial(interrupted_at_a_step, step=drawn.randrange(STEPS))
            calls += 1


@pytest.fixture(autouse=True)
def strikes() -> Iterator[Strikes]:
    strikes = Strikes()
    before = signal.signal(NUMBER, strikes.raise_in_the_library)
    yield strikes
    signal.signal(NUMBER, before)


def interrupted(call: Callable[[], T], after: float) -> T | None:
    """Return what the call returns; None if a signal so many seconds after its begin ended it."""
    is_over = threading.Event()

    def interrupt() -> None:
        if not is_over.wait(after):
            os.kill(os.getpid(), NUMBER)

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = None
    with suppress(Interrupted):
        result = call()
    while thread.is_alive():
        with suppress(Interrupted):
            is_over.set()
            thread.join()
    return result


def interrupted_at_a_step(call: Callable[[], T], step: int) -> T | None:
    """Return what the call returns; None if a signal in the step-th function ended it."""
    steps = itertools.count()

    def strike_at_the_step(frame: FrameType, event: str, _: object) -> None:
        # Where a function begins: the interpreter itself looks for signals there. Of the library
        # alone: a Condition of threading that is struck releases a lock that it does not have.
        is_ours = frame.f_code.co_filename.startswith(LIBRARY)
        if event == "call" and is_ours and next(steps) == step:
            signal.raise_signal(NUMBER)

    sys.setprofile(strike_at_the_step)
    try:
        return call()
    except Interrupted:
        return None
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("name", CLAIMING_HERE)
def test_what_an_interrupted_call_claimed_is_handed_back(
    database_url: str, strikes: Strikes, name: str
) -> None:
    got = 0
    with filled(database_url, 20 * MOST + 1) as (queue, _):  # or an empty queue is waited for
        for interrupt in strikes.drawn(name):
            got += interrupt(partial(CLAIMING_HERE[name], queue)) or 0

        assert queue.counts().claimed == got + 1
        if name != "transact":  # whose block may have begun
            assert not attempts_counted(queue)


@pytest.mark.parametrize("name", FAILING_HERE)
def test_who_is_interrupted_while_one_message_is_failed_holds_none_and_counts_no_attempt_twice(
    database_url: str, strikes: Strikes, name: str
) -> None:
    with filled(database_url, 20 * MOST) as (queue, _):
        for interrupt in strikes.drawn(f"fails {name}", 2 * LONGEST):
            interrupt(partial(FAILING_HERE[name], queue))
        FAILING_HERE[name](queue)  # those before may have been interrupted before anything failed

        assert queue.counts().claimed == 1
        check_failing(database_url)


@pytest.mark.parametrize("name", ["stream", "consume_many", "consume", "transact"])
def test_who_is_interrupted_while_one_message_is_failed_may_go_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run_once = Runner.run_once

    def run_and_strike(runner: Runner, verb: Verb[Any], *given: Any, **options: Any) -> Any:
        result = run_once(runner, verb, *given, **options)
        if verb is RELEASE:
            strike()  # after its statement
        return result

    def fail(queue: Queue, claim: Claim | None) -> None:
        assert claim is not None
        with pytest.raises(Interrupted):
            queue.release(claim, error="bad", delay=timedelta(hours=1))

    with filled(database_url, 2) as (queue, held):
        queue.release(held, count=False)
        monkeypatch.setattr(Runner, "run_once", run_and_strike)

        GOING_ON[name](queue, partial(fail, queue))

        counts = queue.counts()
        assert (counts.delayed, counts.claimed) == (1, 0)
        assert counts.consumed == (0 if name in {"consume", "transact"} else 3)


Fail = Callable[[Claim | None], None]


def _stream_and_fail_the_first(queue: Queue, fail: Fail) -> None:
    for number, claim in enumerate(queue.stream()):
        if number == 0:
            fail(claim)


def _fail_the_first_of_a_batch(queue: Queue, fail: Fail) -> None:
    with queue.consume_many(10) as claims:
        fail(claims[0])


def _fail_in_a_block(queue: Queue, fail: Fail) -> None:
    with queue.consume() as claim:
        fail(claim)


def _fail_in_a_transaction(queue: Queue, fail: Fail) -> None:
    with queue.transact() as (claim, _):
        fail(claim)


GOING_ON = {
    "stream": _stream_and_fail_the_first,
    "consume_many": _fail_the_first_of_a_batch,
    "consume": _fail_in_a_block,
    "transact": _fail_in_a_transaction,
}


def test_what_an_interrupted_stream_has_finished_is_acked(
    database_url: str, strikes: Strikes
) -> None:
    finished, seen = list[int](), set[int]()
    with filled(database_url, 1_500) as (queue, _):

        def work() -> None:
            previous: int | None = None
            for claim in queue.stream(batch=20):
                seen.add(claim.message.id)
                if previous is not None:
                    finished.append(previous)  # it asked for the next one
                previous = claim.message.id

        for interrupt in strikes.drawn("stream", 3 * LONGEST):
            interrupt(work)

        assert queue.counts().claimed == 1
        consumed = {id_ for id_ in seen if is_consumed(queue.get(id_))}
        assert len(consumed) == queue.counts().consumed  # nothing that nobody saw
        assert set(finished) <= consumed
        assert len(set(finished)) == len(finished)


def is_consumed(message: Message | None) -> bool:
    return message is not None and message.status is Status.CONSUMED


def test_what_an_interrupted_stream_has_not_handed_out_is_not_acked(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, started = ClaimsAhead.advance, list[Any]()

    def advance_and_strike(claims: ClaimsAhead, is_ready: Any) -> Claim | None:
        started.append(advance(claims, is_ready))
        if len(started) == 2:
            raise Interrupted
        return cast("Claim | None", started[-1])

    monkeypatch.setattr(ClaimsAhead, "advance", advance_and_strike)
    with filled(database_url, 1) as (queue, _):
        with pytest.raises(Interrupted):
            list(queue.stream())

        counts = queue.counts()
        assert (counts.consumed, counts.available, counts.claimed) == (1, 1, 1)
        assert not attempts_counted(queue)


def test_a_handler_that_does_not_raise_changes_nothing(database_url: str, strikes: Strikes) -> None:
    def count(_: int, frame: FrameType | None) -> None:
        strikes.count += is_in_the_library(frame)

    signal.signal(NUMBER, count)

    with filled(database_url, 10 * MOST) as (queue, _):
        claimed = [
            len(interrupt(lambda: queue.claim_many(10)) or [])
            for interrupt in strikes.drawn("counted")
        ]

        assert set(claimed) == {10}
        assert queue.counts().claimed == sum(claimed) + 1


def test_the_handlers_are_the_programs_own_between_two_verbs(
    database_url: str, strikes: Strikes
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(NUMBER)

    with filled(database_url, MOST) as (queue, _):
        for interrupt in strikes.drawn("handlers"):
            interrupt(queue.claim)

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(NUMBER)) == before


def test_each_of_several_signals_is_handled(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        seen.append(number)
        raise Interrupted

    run_once = Runner.run_once

    def run_and_strike(runner: Runner, verb: Verb[Any], *given: Any, **options: Any) -> Any:
        result = run_once(runner, verb, *given, **options)
        for number in (NUMBER, signal.SIGUSR2):
            os.kill(os.getpid(), number)
        return result

    with Queue("orders", sqlite_url) as queue:
        handlers = [signal.signal(each, handle) for each in (NUMBER, signal.SIGUSR2)]
        monkeypatch.setattr(Runner, "run_once", run_and_strike)
        with pytest.raises(Interrupted):
            queue.push(1)
        for each, handler in zip((NUMBER, signal.SIGUSR2), handlers, strict=True):
            signal.signal(each, handler)

    assert sorted(seen) == sorted([NUMBER, signal.SIGUSR2])


def test_ctrl_c_ends_a_wait_at_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pause, has_begun = Patience.pause, threading.Event()

    def pause_and_tell(patience: Patience, due_in: float | None) -> float | None:
        has_begun.set()
        return pause(patience, due_in)

    def strike_in_the_wait(ctrl_c: Callable[[], None]) -> None:
        assert has_begun.wait(PATIENCE)
        ctrl_c()

    monkeypatch.setattr(Patience, "pause", pause_and_tell)
    with Queue("empty", database_url) as queue:
        began = time.monotonic()

        with ctrl_c_beside(strike_in_the_wait), pytest.raises(KeyboardInterrupt):
            queue.claim(wait=timedelta(seconds=2 * PATIENCE))

        assert time.monotonic() - began < PATIENCE


def test_other_threads_are_not_interrupted(database_url: str) -> None:
    results: list[int] = []

    def work(queue: Queue) -> None:
        results.append(sum(len(queue.claim_many(5)) for _ in range(TIMES)))

    with filled(database_url, 5 * TIMES) as (queue, _):
        thread = threading.Thread(target=work, args=(queue,))
        thread.start()
        while thread.is_alive():
            interrupted(lambda: thread.join(0.02), 0.005)

    assert results == [5 * TIMES]


Block = Callable[[Queue], None]


def consume(queue: Queue) -> None:
    with queue.consume():
        raise_signal()


def transact(queue: Queue) -> None:
    with queue.transact():
        raise_signal()


def stream(queue: Queue) -> None:
    for _ in queue.stream():
        raise_signal()


def raise_signal() -> None:
    raise Interrupted  # as a handler does


def strike() -> None:
    os.kill(os.getpid(), NUMBER)


def stream_and_close(queue: Queue) -> None:
    with closing(queue.stream()) as claims:  # type: ignore[type-var]
        for _ in claims:
            raise_signal()


@pytest.mark.parametrize("block", [consume, transact, stream_and_close])
def test_a_second_interrupt_leaves_no_block_half_wound_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch, block: Block
) -> None:
    wind_up = Holding._wind_up

    def strike_and_wind_up(holding: Holding, error: BaseException) -> bool:
        strike()  # before the first statement
        return wind_up(holding, error)

    monkeypatch.setattr(Holding, "_wind_up", strike_and_wind_up)
    with filled(database_url, 1) as (queue, held):
        queue.release(held, count=False)

        with pytest.raises(Interrupted):
            block(queue)

        assert (queue.counts().available, queue.counts().claimed) == (3, 0)


def consume_many(queue: Queue) -> None:
    with queue.consume_many(5):
        pytest.fail("the block has begun")


@pytest.mark.parametrize("block", [consume_many, stream_and_close])
def test_an_interrupt_while_the_keep_alive_starts_leaves_none_behind(
    database_url: str, monkeypatch: pytest.MonkeyPatch, block: Block
) -> None:
    start, started = threading.Thread.start, list[threading.Thread]()

    def start_and_strike(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "xclaim-keep-alive":
            started.append(thread)
            raise_signal()

    with filled(database_url, 5) as (queue, _):
        monkeypatch.setattr(threading.Thread, "start", start_and_strike)

        with pytest.raises(Interrupted):
            block(queue)

        assert queue.counts().claimed == 1
        assert not attempts_counted(queue)
    assert started
    until(lambda: not any(each.is_alive() for each in started))


def test_a_second_interrupt_does_not_keep_what_the_first_gave_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_once = Runner.run_once

    def run_and_strike(runner: Runner, verb: Verb[Any], *given: Any, **options: Any) -> Any:
        if verb is HAND_BACK:
            strike()  # before its statement
        result = run_once(runner, verb, *given, **options)
        if verb is CLAIM_MANY:
            strike()  # after its statement
        return result

    with filled(database_url, 5) as (queue, _):
        monkeypatch.setattr(Runner, "run_once", run_and_strike)

        with pytest.raises(Interrupted):
            queue.claim_many(5)

        assert queue.counts().claimed == 1


@pytest.mark.parametrize("block", [consume, transact, stream])
def test_a_block_that_is_interrupted_releases_its_message(database_url: str, block: Block) -> None:
    with filled(database_url, 1) as (queue, held):
        queue.release(held, count=False)

        with pytest.raises(Interrupted):
            block(queue)

        assert (queue.counts().available, queue.counts().claimed) == (3, 0)
        assert len(attempts_counted(queue)) == 1
