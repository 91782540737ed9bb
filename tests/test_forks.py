"""A child of a fork has connections of its own, whatever its parent was doing."""

from __future__ import annotations

import gc
import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from tests.eventually import PATIENCE, until
from tests.held_files import file_held
from tests.listeners import listens
from xclaim import AsyncQueue, DatabaseUrlError, Queue, create_engine
from xclaim.connections import forks, per_thread

pytestmark = pytest.mark.slow

CHILDREN, TURNS = 3, 15


def in_a_child(work: Callable[[], Any]) -> Callable[[], Any]:
    """Run the work in a fork; return what waits for its result, or raises what it raised."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = json.dumps({"result": work()})
        except BaseException as error:  # noqa: BLE001  (the parent raises it)
            answer = json.dumps({"error": f"{type(error).__name__}: {error}"})
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)

    def wait() -> Any:
        with os.fdopen(reading) as pipe:
            answer = json.loads(pipe.read() or '{"error": "the child died"}')
        os.waitpid(child, 0)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    return wait


@contextmanager
def in_a_stream(queue: Queue) -> Iterator[None]:
    claims = queue.stream(batch=5)
    next(claims)
    yield
    claims.close()  # type: ignore[attr-defined]


@contextmanager
def beside_a_wait(queue: Queue) -> Iterator[None]:
    with Queue("empty", queue._queue.bind) as empty:
        waiter = threading.Thread(target=empty.claim, kwargs={"wait": timedelta(seconds=2)})
        waiter.start()
        time.sleep(0.3)
        yield
        waiter.join()


@contextmanager
def beside_busy_threads(queue: Queue) -> Iterator[None]:
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            queue.peek()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    yield
    is_over.set()
    for thread in threads:
        thread.join()


def after_a_block(queue: Queue) -> AbstractContextManager[None]:
    with queue.transact():
        pass
    with queue.consume():
        pass
    return nullcontext()


# What the parent is doing, or has done, when it forks.
STATES: Mapping[str, Callable[[Queue], AbstractContextManager[Any]]] = {
    "nothing yet": lambda _: nullcontext(),
    "claimed": lambda queue: nullcontext(queue.claim()),
    "left a block": after_a_block,
    "in consume": lambda queue: queue.consume(),
    "in transact": lambda queue: queue.transact(),
    "in a stream": in_a_stream,
    "beside a wait": beside_a_wait,
}


@pytest.mark.parametrize("state", STATES)
def test_children_and_parent_get_their_own_answers(database_url: str, state: str) -> None:
    check_answers(database_url, state, STATES[state])


def test_threads_that_are_in_a_verb_do_not_matter(database_url: str) -> None:
    check_answers(database_url, "beside busy threads", beside_busy_threads)


@pytest.mark.parametrize("on", ["a URL", "an engine"])
def test_a_verb_that_waits_for_the_file_does_not_matter(sqlite_url: str, on: str) -> None:
    with Queue("orders", sqlite_url) as owner:
        queue = owner if on == "a URL" else Queue("orders", owner._queue.bind)
        queue.push(1)
        with file_held(sqlite_url) as let_go:
            pushing = threading.Thread(target=queue.push, args=[2])
            pushing.start()
            time.sleep(0.5)  # until it waits: nothing shows that
            threading.Timer(1.5, let_go).start()

            seen = in_a_child(lambda: queue.counts().available)()

        pushing.join()
        assert seen == queue.counts().available == 2


def test_a_thread_that_is_just_ending_does_not_matter(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_thread, "_MOMENT", PATIENCE)
    is_giving_back, may_go_on = threading.Event(), threading.Event()

    def give_back_slowly(*_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            is_giving_back.set()
            may_go_on.wait(2)

    with Queue("orders", sqlite_url) as queue:
        queue.push(1)
        sqlalchemy.event.listen(queue._queue.bind, "checkin", give_back_slowly)
        pushing = threading.Thread(target=queue.push, args=[2])
        pushing.start()
        assert is_giving_back.wait(PATIENCE)

        seen = in_a_child(lambda: queue.counts().available)()

        may_go_on.set()
        pushing.join()
        assert seen == queue.counts().available == 2


def test_a_file_that_could_not_be_opened_does_not_matter(sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    with Queue("orders", f"{sqlite_url}?timeout=0.1") as queue:
        with file_held(sqlite_url, "EXCLUSIVE"), pytest.raises(OperationalError):
            queue.push(1)

        assert in_a_child(lambda: queue.push(2).payload)() == 2


def test_ctrl_c_ends_the_wait_of_a_fork_and_arrives_after_it(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_patience", 4 * PATIENCE)
    ended: list[int] = []

    def strike() -> None:
        until(lambda: forks._forking is not None)
        os.kill(os.getpid(), signal.SIGINT)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with Queue("orders", sqlite_url) as queue, file_held(sqlite_url) as let_go:
        queue.counts()
        pushing = threading.Thread(target=queue.push, args=[1])
        pushing.start()
        until(lambda: forks._in_verbs)
        before = signal.signal(signal.SIGINT, interrupt)
        began = time.monotonic()
        try:
            threading.Thread(target=strike).start()
            with pytest.raises(KeyboardInterrupt):
                child = os.fork()
                if child == 0:
                    os._exit(0)
                ended.append(child)
                time.sleep(PATIENCE)  # it is interrupted
        finally:
            signal.signal(signal.SIGINT, before)

        assert time.monotonic() - began < PATIENCE
        os.waitpid(ended[0], 0)
        let_go()
        pushing.join(PATIENCE)
        queue.push(2)  # nobody believes that the fork goes on
        assert queue.counts().available == 2


def test_ctrl_c_in_a_child_does_not_leave_it_with_what_its_parent_has(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave, interrupted, parent = forks._leave_the_parent, [True], os.getpid()

    def interrupted_once() -> None:
        leave()
        if interrupted:
            interrupted.pop()
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Queue("orders", sqlite_url) as queue:
            queue.counts()
            monkeypatch.setattr(forks, "_leave_the_parent", interrupted_once)
            child = None
            try:
                child = os.fork()
                if child == 0:
                    time.sleep(PATIENCE)  # it is interrupted, if not before
            except KeyboardInterrupt:
                pass
            if os.getpid() != parent:
                push_and_exit(sqlite_url, was_interrupted=not interrupted and child in (0, None))
            assert child
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert queue.counts().available == 1
    finally:
        signal.signal(signal.SIGINT, before)


def push_and_exit(url: str, *, was_interrupted: bool) -> None:
    try:
        with Queue("orders", url) as mine:
            mine.push(1)
        os._exit(0 if was_interrupted else 1)
    finally:
        os._exit(2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it is printed
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_a_signal_at_the_end_of_a_fork_stops_nobody_else(
    raised: type[BaseException], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = forks._turn
    struck: list[type[BaseException]] = []

    class Struck:
        acquire = staticmethod(turn.acquire)

        def release(self) -> None:
            if not struck:
                struck.append(raised)
                raise raised
            turn.release()

    monkeypatch.setattr(forks, "_turn", Struck())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Queue("orders", sqlite_url) as queue:
            if raised is KeyboardInterrupt:
                with pytest.raises(KeyboardInterrupt):
                    fork_and_sleep()
            else:
                fork_and_sleep(0)
            with ThreadPoolExecutor(1) as others:
                forked = others.submit(in_a_child, lambda: queue.counts().available)
                assert forked.result(PATIENCE)() == 0
                others.submit(queue.push, 1).result(PATIENCE)
    finally:
        signal.signal(signal.SIGINT, before)
    assert struck


def fork_and_sleep(seconds: float = PATIENCE) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    try:
        time.sleep(seconds)
    finally:
        os.waitpid(child, 0)


def test_a_child_of_another_thread_has_the_handlers_of_the_program(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_patience", 0.2)
    monkeypatch.setattr(forks, "_MOST_PATIENCE", 0.2)
    handler: Any = signal.default_int_handler
    seen: list[bool] = []

    def fork() -> None:
        until(lambda: signal.getsignal(signal.SIGINT) is not handler)
        seen.append(in_a_child(lambda: signal.getsignal(signal.SIGINT) is handler)())
        let_go()

    before = signal.signal(signal.SIGINT, handler)
    try:
        with Queue("orders", sqlite_url) as queue, file_held(sqlite_url) as let_go:
            forking = threading.Thread(target=fork)
            forking.start()
            queue.push(1)  # meanwhile the handlers are put aside
            forking.join()
    finally:
        signal.signal(signal.SIGINT, before)

    assert seen == [True]


def test_a_signal_to_a_child_of_another_thread_is_handled_after_the_verb(database_url: str) -> None:
    def first() -> str:
        seen: list[str] = []
        engine = create_engine(database_url)
        signal.signal(signal.SIGUSR1, lambda *_: seen.append("handled"))
        strike = partial(signal.raise_signal, signal.SIGUSR1)
        event.listen(engine, "before_cursor_execute", lambda *_: strike())
        event.listen(engine, "after_cursor_execute", lambda *_: seen.append("sent"))
        Queue("orders", engine).push(1)
        assert "handled" in seen
        return seen[0]

    with ThreadPoolExecutor(1) as others:
        answer = others.submit(in_a_child, first).result(PATIENCE)()

    assert answer == "sent"


def test_nothing_is_lost_and_nothing_corrupted_by_parent_and_children(database_url: str) -> None:
    with Queue("orders", database_url) as queue:
        queue.push_many(list(range(20)))
        for _ in range(5):
            claimed = queue.claim()
            assert claimed is not None
            children = [in_a_child(lambda: [queue.push(n).id for n in range(5)]) for _ in range(3)]
            queue.ack(claimed)
            queue.close()
            ids = [id_ for wait in children for id_ in wait()]
            assert all(queue.get(id_) for id_ in ids)

        assert (queue.counts().available, queue.counts().consumed) == (20 - 5 + 5 * 3 * 5, 5)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    engine.dispose()


def check_answers(
    database_url: str, state: str, being: Callable[[Queue], AbstractContextManager[Any]]
) -> None:
    parent = os.getpid()
    is_in_use = database_url.startswith("sqlite") and state == "in transact"

    def work() -> int:
        me, wrong = f"process {os.getpid()}", 0
        if is_in_use and os.getpid() != parent:
            with pytest.raises(DatabaseUrlError, match="was in use when this process was forked"):
                queue.claim()
            return 0
        for _ in range(TURNS):
            claimed = queue.claim(claimed_by=me)
            assert claimed is not None
            found = queue.get(claimed.message.id)
            wrong += found is None or found.claimed_by != me
            queue.ack(claimed)
        return wrong

    with Queue("orders", database_url) as queue:
        queue.push_many(list(range(200)))
        with being(queue):
            children = [in_a_child(work) for _ in range(CHILDREN)]
            answers = [wait() for wait in children]
        wrong = work()

    assert [*answers, wrong] == [0] * (CHILDREN + 1)


@pytest.mark.parametrize("name", ["consume", "transact", "stream"])
def test_a_child_that_leaves_a_block_of_its_parent_settles_nothing(
    database_url: str, name: str
) -> None:
    def enter(queue: Queue) -> None:
        if name == "stream":
            for _ in queue.stream(batch=2):
                yield_to_children()
                raise ZeroDivisionError
        else:
            with getattr(queue, name)():
                yield_to_children()
                raise ZeroDivisionError

    def yield_to_children() -> None:
        for leave in (True, False):
            child = os.fork()
            if child == 0 and leave:
                raise EOFError  # it unwinds the stack of its parent
            if child == 0:
                os._exit(0)
            assert exit_code_of(child) == 0
        counts.append(Queue("orders", database_url).counts() if name != "transact" else None)

    counts: list[Any] = []
    with Queue("orders", database_url) as queue:
        queue.push_many([1, 2, 3])
        with pytest.raises(ZeroDivisionError), children_leaving_with(EOFError):
            enter(queue)

        assert name == "transact" or counts[0].claimed == (2 if name == "stream" else 1)
        left = queue.counts()
        assert (left.available, left.delayed) == (2, 1)


@contextmanager
def children_leaving_with(error: type[BaseException]) -> Iterator[None]:
    """End each child that is forked in the block where it leaves it: well if by this error."""
    parent = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != parent:
            os._exit(0 if isinstance(sys.exception(), error) else 1)


def exit_code_of(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def test_an_engine_of_xclaim_is_another_one_in_a_child(database_url: str) -> None:
    engine = create_engine(database_url)
    queue = Queue("orders", engine)
    queue.push_many([1, 2])
    pool = engine.pool

    def work() -> bool:
        assert queue.claim() is not None
        return engine.pool is not pool

    is_another = in_a_child(work)()

    assert is_another
    assert queue.claim() is not None
    engine.dispose()


def test_an_engine_of_ones_own_is_another_one_in_a_child(fresh_postgresql_url: str) -> None:
    engine = sqlalchemy.create_engine(fresh_postgresql_url)
    queue = Queue("orders", engine)
    queue.push_many(list(range(50)))
    with queue.transact():
        children = [in_a_child(lambda: len(queue.claim_many(5))) for _ in range(CHILDREN)]
        claimed = [wait() for wait in children]

    assert claimed == [5] * CHILDREN
    assert queue.counts().consumed == 1
    engine.dispose()


def test_a_child_that_ends_the_ordinary_way_tells_the_server_nothing(
    fresh_postgresql_url: str,
) -> None:
    import multiprocessing

    def leave() -> None:  # with all its finalizers, unlike os._exit
        queue.close()

    with Queue("orders", fresh_postgresql_url) as queue:
        queue.push(1)
        with queue.transact() as (claimed, connection):
            child = multiprocessing.get_context("fork").Process(target=leave)
            child.start()
            child.join()
            connection.exec_driver_sql("SELECT 1")

        assert claimed is not None
        assert queue.counts().consumed == 1
    assert child.exitcode == 0


def test_a_child_cannot_open_a_file_that_an_event_loop_has_open(sqlite_url: str) -> None:
    import asyncio

    def open_it() -> None:
        with pytest.raises(DatabaseUrlError, match="spawn"):
            Queue("orders", sqlite_url).counts()

    async def parent() -> None:
        async with AsyncQueue("orders", sqlite_url) as queue:
            await queue.push(1)
            in_a_child(open_it)()
            assert (await queue.counts()).available == 1

    asyncio.run(parent())


def test_a_child_of_an_event_loop_begins_anew(fresh_postgresql_url: str) -> None:
    import asyncio

    async def parent() -> Any:
        async with AsyncQueue("orders", fresh_postgresql_url) as queue:
            await queue.push_many([1, 2, 3])
            await queue.claim()

            def work() -> int:
                def in_a_thread() -> None:
                    ids.append(asyncio.run(child(queue)))

                ids: list[int] = []
                thread = threading.Thread(target=in_a_thread)  # a loop is running in this one
                thread.start()
                thread.join()
                return ids[0]

            answer = in_a_child(work)()
            claimed = await queue.claim()
            assert claimed is not None
            return answer, claimed.message.id

    async def child(queue: AsyncQueue) -> int:
        claimed = await queue.claim()
        assert claimed is not None
        return claimed.message.id

    theirs, ours = asyncio.run(parent())

    assert {theirs, ours} == {2, 3}


@pytest.mark.usefixtures("only_wake_ups")
def test_a_listener_is_started_anew_in_a_child(fresh_postgresql_url: str) -> None:
    def wait_for_one() -> Any:
        claimed = queue.claim(wait=long)
        return None if claimed is None else claimed.payload

    engine, long = create_engine(fresh_postgresql_url), timedelta(seconds=2 * PATIENCE)
    queue, others = (Queue(name, engine, notify=True) for name in ("orders", "others"))
    with ThreadPoolExecutor(1) as pool:
        in_the_parent = pool.submit(others.claim, wait=long)
        until(lambda: listens(engine))
        listening = set(listens(engine))
        in_the_child = in_a_child(wait_for_one)
        until(lambda: set(listens(engine)) - listening)
        queue.push("hello")
        others.push("hello")

        assert in_the_child() == "hello"
        assert in_the_parent.result(PATIENCE) is not None


OPTIONED: Mapping[str, Callable[[Engine], Engine]] = {
    "one of options": lambda engine: engine.execution_options(of="ones own"),
    "itself": lambda engine: engine,
}


@pytest.mark.parametrize("other", OPTIONED)
def test_a_file_in_a_transaction_is_refused_whatever_was_opened_and_closed_before(
    sqlite_url: str, other: str
) -> None:
    engine = sqlalchemy.create_engine(sqlite_url)
    with engine.connect() as connection:  # before any queue knows of it
        connection.exec_driver_sql("SELECT 1")
    queue, second = Queue("orders", engine), Queue("more", OPTIONED[other](engine))
    queue.push(1)
    second.push(1)
    in_a_child(lambda: None)()  # it closes what is idle

    def open_it() -> None:
        with pytest.raises(DatabaseUrlError, match="spawn"):
            Queue("orders", sqlite_url).counts()

    with queue.transact():
        in_a_child(open_it)()

    engine.dispose()


def test_a_child_that_goes_on_with_a_stream_of_its_parent_gets_nothing(database_url: str) -> None:
    with Queue("orders", database_url) as queue:
        queue.push_many([1, 2, 3])
        claims = queue.stream(batch=2)
        next(claims)

        assert in_a_child(lambda: [claim.payload for claim in claims])() == []
        assert [claim.payload for claim in claims] == [2, 3]
        assert queue.counts().consumed == 3


@pytest.mark.parametrize("make", [create_engine, sqlalchemy.create_engine])
def test_a_child_of_a_process_that_was_just_connecting_can_use_its_engine(
    fresh_postgresql_url: str, make: Callable[[str], Engine]
) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()
    engine = make(fresh_postgresql_url)
    queue = Queue("orders", engine)
    initialize = engine.dialect.initialize

    def initialize_slowly(connection: Any) -> None:
        has_begun.set()
        assert may_go_on.wait(PATIENCE)
        initialize(connection)

    def work() -> int:
        engine.dialect.initialize = initialize  # type: ignore[method-assign]  # only once slow
        queue.push_many([1, 2])
        with queue.consume(), queue.transact():
            pass
        return queue.counts().consumed

    engine.dialect.initialize = initialize_slowly  # type: ignore[method-assign]
    connecting = threading.Thread(target=queue.peek)
    connecting.start()
    assert has_begun.wait(PATIENCE)
    wait = in_a_child(work)
    may_go_on.set()
    connecting.join()

    assert wait() == 2
    engine.dispose()


@pytest.mark.parametrize("has_connected", [False, True])
def test_a_child_that_drops_a_block_of_its_parent_tells_the_server_nothing(
    fresh_postgresql_url: str,
    has_connected: bool,
) -> None:
    engine = sqlalchemy.create_engine(fresh_postgresql_url)
    if has_connected:
        with engine.connect() as early:
            early.exec_driver_sql("SELECT 1")
    blocks = [Queue("empty", engine).transact()]
    (connection,) = [block.__enter__()[1] for block in blocks]
    connection.exec_driver_sql("CREATE TABLE effects (id int)")

    def drop() -> None:
        nonlocal connection
        with suppress(EOFError):
            blocks[0].__exit__(EOFError, EOFError(), None)
        del connection
        blocks.clear()
        gc.collect()

    in_a_child(drop)()

    connection.exec_driver_sql("INSERT INTO effects VALUES (1)")
    blocks[0].__exit__(None, None, None)
    with engine.connect() as other:
        assert other.exec_driver_sql("SELECT count(*) FROM effects").scalar_one() == 1
    engine.dispose()
