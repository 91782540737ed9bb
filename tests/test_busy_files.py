"""Who waits for a SQLite file that another process has waits as long as was said, and no longer."""

from __future__ import annotations

import asyncio
import gc
import itertools
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from tests.cancelling.striking import ctrl_c_beside
from tests.eventually import PATIENCE, until
from tests.held_files import file_held
from xclaim import AsyncQueue, Claim, Queue, create_engine
from xclaim.connections import busy_files, calls, engine, forks, per_thread, pysqlite
from xclaim.connections.busy_files import PatientConnection
from xclaim.consuming.transaction import Transaction
from xclaim.operations import doctor

pytestmark = pytest.mark.slow

LONG = 4 * PATIENCE  # seconds: nobody waits so long in a test
SHORT_TURN = 0.1  # seconds
A_WHILE = 4 * SHORT_TURN


CALLS: Mapping[str, Callable[[Queue, Claim], Any]] = {
    "push": lambda queue, _: queue.push(1),
    "push_many": lambda queue, _: queue.push_many([1, 2]),
    "claim": lambda queue, _: queue.claim(),
    "claim_many": lambda queue, _: queue.claim_many(5),
    "ack": lambda queue, claimed: queue.ack(claimed),
    "release": lambda queue, claimed: queue.release(claimed),
    "expire": lambda queue, _: queue.expire(),
    "consume": lambda queue, _: queue.consume().__enter__(),
    "transact": lambda queue, _: queue.transact().__enter__(),
    "stream": lambda queue, _: next(queue.stream()),
}


@pytest.fixture
def patient_url(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(calls, "BOUND", 0.5)
    return f"{sqlite_url}?timeout={LONG:.0f}"


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let several turns be over soon."""
    monkeypatch.setattr(busy_files, "TURN", SHORT_TURN)


def file_of(connection: PatientConnection) -> str:
    ((_, _, file),) = sqlite3.Connection.execute(connection, "PRAGMA database_list").fetchall()
    return str(file)


@pytest.fixture
def sent(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what counts how often a statement was sent again: one that is sent twice waits.

    Only to the file of the test: threads that other tests have left may have files of their own.
    """
    statements: list[object] = []
    database = make_url(sqlite_url).database
    send = PatientConnection._in_turns

    def counting(connection: PatientConnection, given: Callable[..., Any], arguments: Any) -> Any:
        def once(*them: Any) -> Any:
            if file_of(connection) == database:
                statements.append(arguments)
            return given(*them)

        return send(connection, once, arguments)

    monkeypatch.setattr(PatientConnection, "_in_turns", counting)
    return lambda: len(statements)


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_the_wait(patient_url: str, sent: Callable[[], int], name: str) -> None:
    with Queue("orders", patient_url) as queue:
        queue.push_many([1, 2])
        claimed = queue.claim()
        assert claimed is not None
        before = sent()

        def strike(press: Callable[[], None]) -> None:
            until(lambda: sent() >= before + 2)
            press()

        with file_held(patient_url), pytest.raises(KeyboardInterrupt):
            began = time.monotonic()
            with ctrl_c_beside(strike):
                CALLS[name](queue, claimed)

        assert time.monotonic() - began < PATIENCE
        counts = queue.counts()
        assert (counts.available, counts.claimed, counts.consumed) == (1, 1, 0)
        queue.ack(claimed)


def test_ctrl_c_ends_the_wait_for_the_begin_of_a_transaction(
    patient_url: str, sent: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as holding, Queue("orders", patient_url) as queue:
        queue.push(1)
        connect = Transaction._connect
        statements_before = []

        def hold_and_connect(transaction: Transaction) -> Any:
            holding.enter_context(file_held(patient_url))
            statements_before.append(sent())
            return connect(transaction)

        def strike(press: Callable[[], None]) -> None:
            until(lambda: statements_before and sent() >= statements_before[0] + 2)
            press()

        monkeypatch.setattr(Transaction, "_connect", hold_and_connect)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), ctrl_c_beside(strike), queue.transact():
            pass

        assert time.monotonic() - began < PATIENCE
        assert queue.counts().claimed == 1  # nobody could release it: it comes back by its lease


def test_a_thread_whose_read_was_interrupted_waits_in_turns_as_before(
    patient_url: str, sent: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Queue("orders", patient_url) as queue:
        queue.push(1)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(pysqlite._Reading, "rows", interrupt)
            queue.counts()
        before = sent()

        assert queue.counts().available == 1
        assert sent() > before


def interrupt(*_: object, **__: object) -> Any:
    """Interrupt who reads rows."""
    raise KeyboardInterrupt


FILES = (busy_files.__file__, per_thread.__file__, forks.__file__)


@pytest.fixture
def few_objects() -> Iterator[None]:
    """Let the collector look at nothing older than the test: of a whole run there are millions."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("few_objects")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("verb", ["counts", "push"])
def test_wherever_a_signal_strikes_a_connection_is_as_before(sqlite_url: str, verb: str) -> None:
    struck = 0
    for step in itertools.count():
        with Queue("orders", sqlite_url) as queue:
            was_struck = strikes_at(step, queue.counts if verb == "counts" else partial_push(queue))
            struck += was_struck
            gc.collect()

            assert threading.get_ident() not in forks._in_verbs  # others may be in one
            assert queue._queue._per_thread is not None
            queue._queue._per_thread.close()
            assert not queue._queue._per_thread._all
            with queue._queue.bind.engine.connect() as connection:
                used = busy_files.patient(connection)
                timeout = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
                assert (timeout, used and used.turns.value) == (30_000, "none")
        if not was_struck:
            break
    assert struck > 15


def partial_push(queue: Queue) -> Callable[[], Any]:
    return lambda: queue.push(1)


def strikes_at(step: int, call: Callable[[], Any]) -> bool:
    """Interrupt the call where its step-th function of FILES begins; return whether there is one.

    A verb that sends a statement puts signals aside: where one does, nothing is interrupted.
    """
    steps = itertools.count()

    def strike(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename in FILES and next(steps) == step:
            signal.raise_signal(signal.SIGUSR1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    sys.setprofile(strike)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
        signal.signal(signal.SIGUSR1, before)
    return next(steps) > step


ASYNC_CALLS: Mapping[str, Callable[[AsyncQueue, Claim], Any]] = {
    "push": lambda queue, _: queue.push(1),
    "claim": lambda queue, _: queue.claim(),
    "ack": lambda queue, claimed: queue.ack(claimed),
    "consume": lambda queue, _: queue.consume().__aenter__(),
    "transact": lambda queue, _: queue.transact().__aenter__(),
    "stream": lambda queue, _: anext(queue.stream()),
}


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("name", ASYNC_CALLS)
def test_a_cancellation_ends_the_wait(patient_url: str, sent: Callable[[], int], name: str) -> None:
    async def main() -> None:
        async with AsyncQueue("orders", patient_url) as queue:
            await queue.push_many([1, 2])
            claimed = await queue.claim()
            assert claimed is not None

            with file_held(patient_url):
                began = time.monotonic()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await ASYNC_CALLS[name](queue, claimed)

                # It was ended, and not left alone: that would send again and again.
                while not await is_quiet(sent):
                    assert time.monotonic() - began < PATIENCE

            counts = await queue.counts()
            assert (counts.available, counts.claimed, counts.consumed) == (1, 1, 0)
            await queue.ack(claimed)

    asyncio.run(main())


async def is_quiet(sent: Callable[[], int]) -> bool:
    """Return whether nothing is sent for longer than any turn takes."""
    before = sent()
    await asyncio.sleep(6 * SHORT_TURN)
    return sent() == before


@pytest.mark.parametrize("facade", ["Queue", "AsyncQueue"])
def test_a_wait_goes_on_for_several_turns(sqlite_url: str, facade: str) -> None:
    with file_held(sqlite_url) as let_go:
        threading.Timer(1.7, let_go).start()
        push_one(facade, sqlite_url)

    with Queue("orders", sqlite_url) as queue:
        assert queue.counts().available == 1


@pytest.mark.parametrize("facade", ["Queue", "AsyncQueue"])
@pytest.mark.parametrize("timeout", [0, 0.2, 1.2])
def test_a_wait_ends_when_it_was_said(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, facade: str, timeout: float
) -> None:
    monkeypatch.setattr(engine, "_SQLITE_WAIT_SECONDS", LONG)
    with file_held(sqlite_url):
        began = time.monotonic()
        with pytest.raises(OperationalError, match="database is locked"):
            push_one(facade, f"{sqlite_url}?timeout={timeout}")

    assert timeout <= time.monotonic() - began < PATIENCE


def push_one(facade: str, url: str) -> None:
    async def push() -> None:
        async with AsyncQueue("orders", url) as queue:
            await queue.push(1)

    if facade == "AsyncQueue":
        asyncio.run(push())
        return
    with Queue("orders", url) as queue:
        queue.push(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a file with a table, in WAL mode."""
    file = tmp_path / "own.db"
    with closing(connected(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE given (n)")
        connection.execute("INSERT INTO given VALUES (0)")
    return file


def connected(file: Path) -> PatientConnection:
    options: dict[str, Any] = {"isolation_level": None, "check_same_thread": False}
    connection = sqlite3.connect(file, timeout=LONG, factory=PatientConnection, **options)
    assert isinstance(connection, PatientConnection)
    return connection


MANY = "INSERT INTO given (n) VALUES (?)"
FORMS: Mapping[str, Callable[[PatientConnection], Any]] = {
    "execute": lambda connection: connection.execute(MANY, (1,)),
    "cursor": lambda connection: connection.cursor().execute(MANY, (1,)),
    "executemany": lambda connection: connection.executemany(MANY, [(1,)]),
    "executescript": lambda connection: connection.executescript("INSERT INTO given VALUES (1)"),
    "a cursor of one's own": lambda connection: sqlite3.Cursor(connection).execute(MANY, (1,)),
    "a blob": lambda connection: connection.blobopen("given", "n", 1),
}


def run_and_give_back(connection: PatientConnection) -> None:
    connection.keep_for_verbs()
    connection.execute("UPDATE given SET n = zeroblob(10)")
    connection.wait_as_usual()


USES: Mapping[str, Callable[[PatientConnection], object]] = {
    "for others": lambda _: None,
    "for a verb": lambda connection: setattr(connection, "turns", busy_files.Turns.EACH),
    "for verbs only, before": run_and_give_back,
}


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("form", FORMS)
def test_each_way_to_use_a_connection_waits(file: Path, form: str, use: str) -> None:
    connection = connected(file)
    connection.execute("UPDATE given SET n = zeroblob(10)")
    USES[use](connection)

    with file_held(f"sqlite:///{file}") as let_go:
        threading.Timer(A_WHILE, let_go).start()
        used = FORMS[form](connection)

    connection.wait_as_usual()
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (LONG * 1000,)
    del used
    connection.close()


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("use", [use for use in USES if use != "for a verb"])
def test_a_checkpoint_waits(file: Path, use: str) -> None:
    connection, reader = connected(file), connected(file)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM given").fetchall()
    connection.execute("UPDATE given SET n = 5")
    USES[use](connection)
    threading.Timer(A_WHILE, reader.rollback).start()

    [is_busy, *_] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert not is_busy
    connection.close()
    reader.close()


@pytest.mark.usefixtures("short_turns")
@pytest.mark.parametrize("use", USES)
def test_without_wal_a_commit_waits_for_readers(file: Path, use: str) -> None:
    writer, reader = connected(file), connected(file)
    writer.execute("PRAGMA journal_mode=DELETE")
    USES[use](writer)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM given").fetchall()
    threading.Timer(A_WHILE, reader.rollback).start()

    changed = writer.execute("UPDATE given SET n = 5 RETURNING n").fetchall()

    assert changed == reader.execute("SELECT n FROM given").fetchall() == [(5,)]
    writer.close()
    reader.close()


def test_the_timeout_of_a_pragma_is_followed_and_stays(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SQLITE_WAIT_SECONDS", LONG)
    own = create_engine(sqlite_url)

    @sqlalchemy.event.listens_for(own, "connect")
    def set_timeout(connection: Any, _: object) -> None:
        connection.execute("PRAGMA busy_timeout = 1200")

    queue = Queue("orders", own)
    with file_held(sqlite_url):
        began = time.monotonic()
        with pytest.raises(OperationalError, match="database is locked"):
            queue.push(1)
        assert 1.2 <= time.monotonic() - began < PATIENCE

    with own.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 1200
    own.dispose()


@pytest.fixture
def closed_file(sqlite_url: str) -> str:
    """Return the URL of a file that nobody can open while ``file_held`` has it."""
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return sqlite_url


def test_opening_a_file_waits_as_long_as_was_said(
    closed_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_SQLITE_WAIT_SECONDS", LONG)
    with file_held(closed_file, "EXCLUSIVE"):
        began = time.monotonic()
        with (
            Queue("orders", f"{closed_file}?timeout=1.2") as queue,
            pytest.raises(OperationalError, match="database is locked"),
        ):
            queue.push(1)

    assert 1.2 <= time.monotonic() - began < PATIENCE


def test_a_cancellation_ends_the_opening_of_a_file(closed_file: str) -> None:
    """In a process of its own, because a thread that was left would keep that from its end."""
    with file_held(closed_file, "EXCLUSIVE"):
        ended = subprocess.run(
            [sys.executable, "-c", OPENING, f"{closed_file}?timeout={LONG}"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert (ended.returncode, ended.stdout) == (0, "TimeoutError\n"), ended.stderr


OPENING = """
import asyncio, sys
from xclaim import AsyncQueue

async def main():
    async with AsyncQueue("orders", sys.argv[1]) as queue:
        try:
            async with asyncio.timeout(1):
                await queue.push(1)
        except TimeoutError as error:
            print(type(error).__name__)

asyncio.run(main())
"""


def test_the_doctor_knows_how_long_a_connection_waits(sqlite_url: str) -> None:
    for url, waits in ((sqlite_url, "30 s"), (f"{sqlite_url}?timeout=0.5", "0.5 s")):
        bind = create_engine(url)
        found = {each.name: each.found for each in doctor.examine(bind)}
        bind.dispose()
        assert found["busy_timeout"] == waits
