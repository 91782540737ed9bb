"""Races, with real processes, threads and transactions."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier, Event
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.retrying import AT_ONCE
from xclaim import (
    AsyncQueue,
    Claim,
    ClaimLostError,
    DuplicateMessageError,
    Message,
    Queue,
    create_engine,
)
from xclaim.consuming.holding import Holding, by_holding

NOW = timedelta(0)

WORKER = """
import json, sys
from xclaim import Queue
url, name = sys.argv[1:]
consumed = []
with Queue("race", url) as queue:
    while (claimed := queue.claim(claimed_by=name)) is not None:
        queue.ack(claimed)
        consumed.append(claimed.message.id)
print(json.dumps(consumed))
"""

HOLDER = """
import signal, sys
from datetime import timedelta
from xclaim import Queue
with Queue("race", sys.argv[1]) as queue:
    queue.claim(claimed_by="doomed", lease=timedelta(0))
    print("holding", flush=True)
    signal.pause()
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgresql(fresh_postgresql_url: str) -> Iterator[Engine]:
    engine = create_engine(fresh_postgresql_url, pool_size=10)
    yield engine
    engine.dispose()


@pytest.mark.slow
def test_eight_processes_consume_two_thousand_messages_once_each(
    engine: Engine, database_url: str
) -> None:
    pushed = Queue("race", engine).push_many(list(range(2_000)))
    command = [sys.executable, "-c", WORKER, database_url]

    workers = [
        subprocess.Popen([*command, f"worker-{number}"], stdout=subprocess.PIPE, text=True)
        for number in range(8)
    ]
    reported = {f"worker-{n}": json.loads(w.communicate()[0]) for n, w in enumerate(workers)}

    assert sorted(id_ for ids in reported.values() for id_ in ids) == [m.id for m in pushed]
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT id, consumed_by, attempts FROM xclaim_message WHERE status = 'consumed'")
        ).all()
    assert {row.id: row.consumed_by for row in rows} == {
        id_: name for name, ids in reported.items() for id_ in ids
    }
    assert {row.attempts for row in rows} == {1}


def test_batches_claimed_in_parallel_are_disjoint(engine: Engine) -> None:
    Queue("race", engine).push_many(list(range(400)))
    barrier = Barrier(4)

    def work() -> list[Claim]:
        barrier.wait()
        return Queue("race", engine).claim_many(100)

    with ThreadPoolExecutor(4) as pool:
        batches = [future.result() for future in [pool.submit(work) for _ in range(4)]]

    ids = [claim.message.id for batch in batches for claim in batch]
    assert len(ids) == len(set(ids)) == 400


def test_the_message_of_a_killed_worker_comes_back(engine: Engine, database_url: str) -> None:
    queue = Queue("race", engine, retry=AT_ONCE)
    queue.push(1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, database_url], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()

    holder.kill()
    status = holder.wait()
    holder.stdout.close()
    claimed = queue.claim()

    assert status == -signal.SIGKILL
    assert claimed is not None
    assert claimed.message.last_error == "lease expired, claimed by doomed"


def test_one_key_pushed_by_two_transactions_is_one_message(postgresql: Engine) -> None:
    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        first = Queue("race", connection).push(1, unique_key="key")
        waiting = pool.submit(Queue("race", postgresql).push, 1, unique_key="key")
        _wait_for_lock(postgresql)
        connection.commit()
        second = waiting.result()

    assert second.id == first.id
    assert Queue("race", postgresql).counts().available == 1


def test_one_key_with_two_payloads_in_two_transactions_is_refused(postgresql: Engine) -> None:
    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        Queue("race", connection).push(1, unique_key="key")
        waiting = pool.submit(
            Queue("race", postgresql).push_many, [7, 2, 8], unique_keys=["a", "key", None]
        )
        _wait_for_lock(postgresql)
        connection.commit()
        error = waiting.exception()

    assert isinstance(error, DuplicateMessageError)
    assert error.unique_keys == ["key"]
    assert Queue("race", postgresql).counts().available == 1


@pytest.mark.parametrize("keys", [["key"], ["a", "key", None]])
@pytest.mark.parametrize("is_joined", [False, True])
def test_a_batch_that_meets_a_key_of_another_session_is_pushed_once(
    postgresql: Engine, keys: list[str | None], is_joined: bool
) -> None:
    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        first = Queue("race", connection).push(1, unique_key="key")
        payloads = [1] * len(keys)
        push = partial(_push_in_one_transaction, is_joined=is_joined)
        waiting = pool.submit(push, postgresql, payloads, keys)
        _wait_for_lock(postgresql)
        connection.commit()
        messages = waiting.result()

    assert [message.unique_key for message in messages] == keys
    assert messages[keys.index("key")].id == first.id
    assert Queue("race", postgresql).counts().available == len(keys)


@pytest.mark.parametrize("keys", [["key"], ["a", "key", None]])
def test_a_transaction_that_meets_a_key_with_another_payload_pushes_nothing(
    postgresql: Engine, keys: list[str | None]
) -> None:
    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        Queue("race", connection).push(1, unique_key="key")
        waiting = pool.submit(_push_and_commit_whatever_happens, postgresql, [2] * len(keys), keys)
        _wait_for_lock(postgresql)
        connection.commit()
        error = waiting.result()

    assert isinstance(error, DuplicateMessageError)
    assert error.unique_keys == ["key"]
    assert Queue("race", postgresql).counts().available == 1


def test_a_repeated_push_that_waited_is_no_new_one(
    postgresql: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xclaim")
    keys = ["key", "new"]
    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        first = Queue("race", connection).push(1, unique_key="key")
        waiting = pool.submit(Queue("race", postgresql).push_many, [1, 1], unique_keys=keys)
        _wait_for_lock(postgresql)
        connection.commit()
        waiting.result()

    assert f"message {first.id} was there already" in caplog.messages[-1]


def test_one_key_pushed_by_a_task_and_a_transaction_is_one_message(postgresql: Engine) -> None:
    async def push_awaiting() -> list[Message]:
        url = postgresql.url.render_as_string(hide_password=False)
        async with AsyncQueue("race", url) as queue:
            return await queue.push_many([1, 2], unique_keys=["key", "new"])

    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        first = Queue("race", connection).push(1, unique_key="key")
        waiting = pool.submit(asyncio.run, push_awaiting())
        _wait_for_lock(postgresql)
        connection.commit()
        messages = waiting.result()

    assert messages[0].id == first.id
    assert Queue("race", postgresql).counts().available == 2


def _push_in_one_transaction(
    engine: Engine, payloads: list[int], keys: list[str | None], *, is_joined: bool
) -> list[Message]:
    if not is_joined:
        return Queue("race", engine).push_many(payloads, unique_keys=keys)
    with engine.begin() as connection:
        return Queue("race", connection).push_many(payloads, unique_keys=keys)


def _push_and_commit_whatever_happens(
    engine: Engine, payloads: list[int], keys: list[str | None]
) -> Exception | None:
    with engine.connect() as connection:
        try:
            Queue("race", connection).push_many(payloads, unique_keys=keys)
        except DuplicateMessageError as error:
            connection.commit()
            return error
    return None


def test_a_message_pushed_by_an_open_transaction_is_not_seen(postgresql: Engine) -> None:
    queue = Queue("race", postgresql)

    with postgresql.begin() as connection:
        Queue("race", connection).push(1)
        nothing = queue.claim()

    assert nothing is None
    assert queue.claim() is not None


def test_expire_skips_what_is_being_acked(postgresql: Engine) -> None:
    queue = Queue("race", postgresql)
    queue.push(1)
    claimed = queue.claim(lease=timedelta(0))
    assert claimed is not None

    with postgresql.begin() as connection:
        Queue("race", connection).ack(claimed)
        expired = queue.expire()

    assert expired == 0
    assert queue.counts().consumed == 1


def test_an_ack_that_waits_for_a_new_claim_is_lost(postgresql: Engine) -> None:
    queue = Queue("race", postgresql)
    queue.push(1)
    stale = queue.claim(lease=timedelta(0))
    assert stale is not None

    with ThreadPoolExecutor(1) as pool, postgresql.begin() as connection:
        bound = Queue("race", connection, retry=AT_ONCE)
        bound.expire()
        current = bound.claim()
        waiting = pool.submit(queue.ack, stale)
        _wait_for_lock(postgresql)
        connection.commit()
        error = waiting.exception()

    assert isinstance(error, ClaimLostError)
    assert current is not None
    queue.ack(current)
    assert queue.counts().consumed == 1


def test_two_retries_at_once_take_the_message_back_once(engine: Engine) -> None:
    queue = Queue("race", engine)
    queue.push(1)
    queue.claim(claim_key="task", claimed_by="task#1")
    barrier = Barrier(2)

    def retry(number: int) -> Claim | None:
        barrier.wait()
        return queue.claim(claim_key="task", claimed_by=f"task#{number}")

    with ThreadPoolExecutor(2) as pool:
        claims = [future.result() for future in [pool.submit(retry, n) for n in (2, 3)]]

    live = [claim for claim in claims if claim is not None and _is_held(queue, claim)]
    assert len(live) == 1


@pytest.fixture
def restless_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless_threads")
def test_a_claim_is_settled_while_other_threads_begin_blocks() -> None:
    are_over = Event()
    nobody: Any = SimpleNamespace(bind_of=lambda _: None)

    def begin_blocks() -> None:
        while not are_over.is_set():
            [Holding(nobody, nobody, nobody, lease=NOW, lease_limit=NOW) for _ in range(20)]

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(begin_blocks) for _ in range(2)]
        try:
            found = [by_holding([])[0][0] for _ in range(15_000)]
        finally:
            are_over.set()
        for other in others:
            other.result()

    assert not any(found)


def _is_held(queue: Queue, claim: Claim) -> bool:
    try:
        queue.extend(claim)
    except ClaimLostError:
        return False
    return True


def _wait_for_lock(engine: Engine) -> None:
    """Return when another session waits for a lock."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with engine.connect() as connection:
        while not connection.scalar(query):
            connection.rollback()
