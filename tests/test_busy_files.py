"""Who waits for a SQLite file that another process has waits as long as was said, and no longer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

from tests.cancelling.striking import ctrl_c_beside
from tests.eventually import PATIENCE, until
from tests.held_files import file_held
from xclaim import AsyncQueue, Claim, Queue, create_engine
from xclaim.connections import calls
from xclaim.connections.busy_files import PatientConnection
from xclaim.operations import doctor

pytestmark = pytest.mark.slow

LONG = 4 * PATIENCE  # seconds: nobody waits so long in a test


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


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_the_wait(patient_url: str, name: str) -> None:
    with Queue("orders", patient_url) as queue:
        queue.push_many([1, 2])
        claimed = queue.claim()
        assert claimed is not None
        sent = Sent(queue)

        def strike(press: Callable[[], None]) -> None:
            until(sent.is_waiting)
            press()

        with file_held(patient_url), pytest.raises(KeyboardInterrupt):
            began = time.monotonic()
            with ctrl_c_beside(strike):
                CALLS[name](queue, claimed)

        assert time.monotonic() - began < PATIENCE
        counts = queue.counts()
        assert (counts.available, counts.claimed, counts.consumed) == (1, 1, 0)
        queue.ack(claimed)


class Sent:
    """Knows that a statement of the queue waits for the file: it does after a moment."""

    def __init__(self, queue: Queue) -> None:
        self._since: float | None = None
        sqlalchemy.event.listen(queue._queue.bind, "before_cursor_execute", self._note)

    def _note(self, *_: object) -> None:
        self._since = self._since or time.monotonic()

    def is_waiting(self) -> bool:
        return self._since is not None and time.monotonic() - self._since > 0.2


ASYNC_CALLS: Mapping[str, Callable[[AsyncQueue, Claim], Any]] = {
    "push": lambda queue, _: queue.push(1),
    "claim": lambda queue, _: queue.claim(),
    "ack": lambda queue, claimed: queue.ack(claimed),
    "consume": lambda queue, _: queue.consume().__aenter__(),
    "transact": lambda queue, _: queue.transact().__aenter__(),
    "stream": lambda queue, _: anext(queue.stream()),
}


@pytest.mark.parametrize("name", ASYNC_CALLS)
def test_a_cancellation_ends_the_wait(patient_url: str, name: str) -> None:
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

                assert time.monotonic() - began < PATIENCE

            counts = await queue.counts()
            assert (counts.available, counts.claimed, counts.consumed) == (1, 1, 0)
            await queue.ack(claimed)

    asyncio.run(main())


@pytest.mark.parametrize("facade", ["Queue", "AsyncQueue"])
def test_a_wait_goes_on_for_several_turns(sqlite_url: str, facade: str) -> None:
    with file_held(sqlite_url) as let_go:
        threading.Timer(1.7, let_go).start()
        push_one(facade, sqlite_url)

    with Queue("orders", sqlite_url) as queue:
        assert queue.counts().available == 1


@pytest.mark.parametrize("facade", ["Queue", "AsyncQueue"])
@pytest.mark.parametrize("timeout", [0, 0.2, 1.2])
def test_a_wait_ends_when_it_was_said(sqlite_url: str, facade: str, timeout: float) -> None:
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


def connected(url: str, timeout: float = 30) -> sqlite3.Connection:
    file = url.removeprefix("sqlite:///")
    options: dict[str, Any] = {"isolation_level": None, "factory": PatientConnection}
    connection: sqlite3.Connection = sqlite3.connect(file, timeout=timeout, **options)
    return connection


MANY = "INSERT INTO given (n) VALUES (?)"
FORMS: Mapping[str, Callable[[sqlite3.Connection], Any]] = {
    "execute": lambda connection: connection.execute(MANY, (1,)),
    "cursor": lambda connection: connection.cursor().execute(MANY, (1,)),
    "executemany": lambda connection: connection.executemany(MANY, [(1,)]),
    "executemany of a cursor": lambda connection: connection.cursor().executemany(MANY, [(1,)]),
    "executescript": lambda connection: connection.executescript("INSERT INTO given VALUES (1)"),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_way_to_send_a_statement_waits(tmp_path: Path, form: str) -> None:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    connection = connected(url)
    connection.execute("CREATE TABLE given (n)")

    with file_held(url) as let_go:
        threading.Timer(1.2, let_go).start()
        FORMS[form](connection)

    assert connection.execute("SELECT count(*) FROM given").fetchone() == (1,)
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (500,)
    connection.close()


def test_a_wait_in_vain_is_none(sqlite_url: str) -> None:
    """One who has read before another wrote can never write: SQLite says so at once."""
    reader, writer = connected(sqlite_url, LONG), connected(sqlite_url)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM xclaim_message").fetchall()
    writer.execute("UPDATE xclaim_message SET priority = 1")
    writer.execute("CREATE TABLE other (n)")
    began = time.monotonic()

    with pytest.raises(sqlite3.OperationalError, match="locked"):
        reader.execute("CREATE TABLE mine (n)")

    assert time.monotonic() - began < PATIENCE
    reader.close()
    writer.close()


def test_the_commit_of_a_file_without_wal_waits_for_its_readers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'own.db'}"
    writer = connected(url)
    writer.execute("CREATE TABLE given (n)")
    writer.execute("INSERT INTO given VALUES (1)")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO given VALUES (2)")
    reading = sqlite3.connect(tmp_path / "own.db", check_same_thread=False)
    reading.execute("BEGIN")
    reading.execute("SELECT * FROM given").fetchall()
    threading.Timer(1.2, reading.rollback).start()

    writer.commit()

    assert reading.execute("SELECT count(*) FROM given").fetchone() == (2,)
    writer.close()
    reading.close()


def test_the_doctor_knows_how_long_a_connection_waits(sqlite_url: str) -> None:
    for url, waits in ((sqlite_url, "30 s"), (f"{sqlite_url}?timeout=0.5", "0.5 s")):
        engine = create_engine(url)
        found = {each.name: each.found for each in doctor.examine(engine)}
        engine.dispose()
        assert found["busy_timeout"] == waits
