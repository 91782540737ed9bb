"""The work on a message is current within its block, and whatever happens, not after it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytest
from opentelemetry import baggage
from opentelemetry.context import attach
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import get_current_span

from tests.telemetry.spans import Spans, id_of, parent_of, traced
from xclaim import AsyncQueue, Claim, PayloadError, Queue, telemetry

TELEMETRY = str(Path(telemetry.__file__).parent)
ENOUGH = 5  # steps that were struck: else the test has seen nothing


@pytest.fixture(autouse=True)
def spans(caplog: pytest.LogCaptureFixture) -> Iterator[Spans]:
    with caplog.at_level(logging.WARNING), traced() as spans:
        yield spans
    assert [record.getMessage() for record in caplog.records] == []  # as of a failed detach


@pytest.fixture
def queue(database_url: str) -> Iterator[Queue]:
    with Queue("orders", database_url) as queue:
        queue.push_many([1, 2, 3, 4])
        yield queue


@asynccontextmanager
async def async_queue(database_url: str) -> AsyncIterator[AsyncQueue]:
    async with AsyncQueue("orders", database_url) as queue:
        await queue.push_many([1, 2, 3, 4])
        yield queue


def is_clear() -> bool:
    """Return whether no span is current here."""
    return not get_current_span().get_span_context().is_valid


def in_a_context(run: Callable[[], object]) -> None:
    """Run it in another context of Python, in this thread."""
    contextvars.Context().run(run)


def test_a_stream_that_raises_puts_it_back(queue: Queue) -> None:
    with pytest.raises(ValueError, match="of the loop"):
        for _ in queue.stream():
            raise ValueError("of the loop")
    gc.collect()

    assert is_clear()


def test_a_stream_that_is_only_broken_off_puts_it_back(queue: Queue) -> None:
    for _ in queue.stream():
        break

    assert is_clear()


def test_a_stream_closed_in_another_context_is_over_in_this_one(queue: Queue) -> None:
    claims = cast(Any, queue.stream())
    next(claims)
    in_work = is_clear()

    in_a_context(claims.close)

    assert (in_work, is_clear()) == (False, True)


def test_a_stream_closed_in_another_thread_is_over_in_this_one(queue: Queue) -> None:
    claims = cast(Any, queue.stream())
    next(claims)
    closer = threading.Thread(target=claims.close)

    closer.start()
    closer.join()

    assert is_clear()


def test_a_block_that_is_left_elsewhere_is_over_here(queue: Queue, spans: Spans) -> None:
    block = queue.consume()
    in_a_context(block.__enter__)
    began_elsewhere = is_clear()
    other = queue.consume()
    other.__enter__()

    in_a_context(lambda: other.__exit__(None, None, None))
    block.__exit__(None, None, None)

    assert began_elsewhere
    assert is_clear()
    assert len(spans.all("process orders")) == 2


def test_a_generator_that_is_collected_in_another_context_logs_nothing(
    queue: Queue, spans: Spans
) -> None:
    def abandon() -> None:
        cycle: list[Any] = [queue.stream()]
        cycle.append(cycle)
        next(cycle[0])

    gc.disable()
    in_a_context(abandon)
    gc.enable()
    gc.collect()

    assert is_clear()
    assert len(spans.all("process orders")) == 1


def test_what_the_block_has_attached_itself_ends_with_it(queue: Queue) -> None:
    with queue.consume():
        attach(baggage.set_baggage("left", "behind"))

    assert is_clear()
    assert baggage.get_baggage("left") is None


def test_what_the_block_derives_from_a_context_that_is_over_is_not_of_it(queue: Queue) -> None:
    claims = cast(Any, queue.stream())
    next(claims)
    in_a_context(claims.close)

    derived = baggage.set_baggage("customer", "42")

    assert not get_current_span(derived).get_span_context().is_valid


class CtrlC:
    """Presses Ctrl-C where a function of the telemetry begins, at the n-th of a block."""

    def __init__(self, step: int) -> None:
        self._left = step

    @property
    def is_pressed(self) -> bool:
        return self._left < 0

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(TELEMETRY):
            self._left -= 1
            if self._left == -1:
                signal.raise_signal(signal.SIGINT)

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.setprofile(self)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        signal.signal(signal.SIGINT, self._before)


def pushes_one(queue: Queue) -> None:
    queue.push(1)


def is_refused(queue: Queue) -> None:
    with pytest.raises(PayloadError):
        queue.push(object())


def consumes_one(queue: Queue) -> None:
    with queue.consume():
        pass


def streams_some(queue: Queue) -> None:
    with closing(cast(Any, queue.stream(batch=2))) as claims:
        next(claims)
        next(claims)


@pytest.mark.parametrize("call", [pushes_one, is_refused, consumes_one, streams_some])
def test_an_interrupt_leaves_nothing_behind_and_is_raised_wherever_it_strikes(
    queue: Queue, call: Callable[[Queue], None]
) -> None:
    for step in itertools.count():
        ctrl_c = CtrlC(step)
        queue.push_many([step, step])
        is_raised = False

        try:
            with ctrl_c:
                call(queue)
        except KeyboardInterrupt:
            is_raised = True

        assert (step, is_clear(), is_raised) == (step, True, ctrl_c.is_pressed)
        if not ctrl_c.is_pressed:
            break
    assert step > ENOUGH


def test_threads_work_beside_each_other(queue: Queue, spans: Spans) -> None:
    barrier = threading.Barrier(4)

    def work() -> None:
        with queue.consume() as claim:
            barrier.wait()
            spans.tracer.start_span(f"of {cast(Claim, claim).message.id}").end()
            barrier.wait()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for process in spans.all("process orders"):
        of_it = spans.one(f"of {message_of(process)}")
        assert parent_of(of_it) == id_of(process)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_the_child_of_a_fork_ends_no_work_of_its_parent(queue: Queue, spans: Spans) -> None:
    with queue.consume():
        child = os.fork()
        if not child:
            os._exit(0 if not is_clear() else 1)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert len(spans.all("process orders")) == 1


def message_of(span: ReadableSpan) -> str:
    """Return the id of the message that a span is about."""
    assert span.attributes is not None
    return str(span.attributes["messaging.message.id"])


Scene = Callable[[AsyncQueue, Spans], Coroutine[Any, Any, None]]


async def blocks(queue: AsyncQueue, spans: Spans) -> None:
    with spans.tracer.start_as_current_span("worker") as worker:
        async with queue.consume():
            spans.tracer.start_span("in the block").end()
        async with queue.transact() as (_, connection):
            await connection.exec_driver_sql("SELECT 1")
            spans.tracer.start_span("in the block").end()
    works = spans.all("process orders")
    assert [parent_of(each) for each in spans.all("in the block")] == [
        id_of(each) for each in works
    ]
    assert {parent_of(each) for each in works} == {worker.get_span_context().span_id}


async def pushes(queue: AsyncQueue, spans: Spans) -> None:
    with spans.tracer.start_as_current_span("caller") as caller:
        await queue.push(5)
    assert parent_of(spans.all("send orders")[1]) == caller.get_span_context().span_id


async def streams(queue: AsyncQueue, spans: Spans) -> None:
    async for claim in queue.stream(batch=2):
        await asyncio.sleep(0)
        spans.tracer.start_span(f"of {claim.message.id}").end()
    for process in spans.all("process orders"):
        of_it = spans.one(f"of {message_of(process)}")
        assert parent_of(of_it) == id_of(process)


async def leaves_early(queue: AsyncQueue, spans: Spans) -> None:
    async with aclosing(cast(Any, queue.stream())) as claims:
        async for _ in claims:
            break
    assert is_clear()
    assert len(spans.all("process orders")) == 1


async def abandons(queue: AsyncQueue, spans: Spans) -> None:
    async for _ in queue.stream():
        break
    gc.collect()
    for _ in range(200):  # asyncio closes it in a task of its own
        if spans.all("process orders"):
            break
        await asyncio.sleep(0.01)
    assert len(spans.all("process orders")) == 1


async def is_broken_off(queue: AsyncQueue, spans: Spans) -> None:
    async for _ in queue.stream():
        break
    assert is_clear()
    await queue.push(5)
    assert parent_of(spans.all("send orders")[-1]) is None


async def raises_in_a_stream(queue: AsyncQueue, spans: Spans) -> None:
    with pytest.raises(ValueError, match="of the loop"):
        async for _ in queue.stream():
            raise ValueError("of the loop")
    gc.collect()
    assert is_clear()
    await queue.push(5)
    assert parent_of(spans.all("send orders")[-1]) is None


async def works_in_parallel(queue: AsyncQueue, spans: Spans) -> None:
    barrier = asyncio.Barrier(4)

    async def work() -> None:
        async with queue.consume() as claim:
            await barrier.wait()
            spans.tracer.start_span(f"of {cast(Claim, claim).message.id}").end()
            await barrier.wait()
        assert is_clear()

    await asyncio.gather(*(work() for _ in range(4)))
    for process in spans.all("process orders"):
        of_it = spans.one(f"of {message_of(process)}")
        assert parent_of(of_it) == id_of(process)


async def takes_turns(queue: AsyncQueue, spans: Spans) -> None:
    one, other = (cast(Any, queue.stream(batch=2)) for _ in range(2))
    for _ in range(2):
        await anext(one)
        await anext(other)
    await one.aclose()
    assert not is_clear()
    await other.aclose()
    assert len(spans.all("process orders")) == 4


async def is_cancelled(queue: AsyncQueue, spans: Spans) -> None:
    began = asyncio.Event()

    async def work() -> None:
        try:
            async with queue.consume():
                began.set()
                await asyncio.sleep(60)
        finally:
            assert is_clear()

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    (process,) = spans.all("process orders")
    assert process.attributes is not None
    assert process.attributes["error.type"] == "asyncio.exceptions.CancelledError"


@pytest.mark.parametrize(
    "scene",
    [
        blocks,
        pushes,
        streams,
        leaves_early,
        abandons,
        is_broken_off,
        raises_in_a_stream,
        works_in_parallel,
        takes_turns,
        is_cancelled,
    ],
)
def test_in_asyncio(database_url: str, spans: Spans, scene: Scene) -> None:
    async def run() -> None:
        async with async_queue(database_url) as queue:
            await scene(queue, spans)
            assert is_clear()

    asyncio.run(run())
