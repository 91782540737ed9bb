"""What loops goes on when the database comes back, and guesses nothing about what it missed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import cast

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import OperationalError

from tests.contract.facades import Blocking
from tests.eventually import PATIENCE
from tests.proxy import Proxy
from tests.retrying import AT_ONCE
from xclaim import (
    AsyncQueue,
    Claim,
    ClaimLostError,
    InvalidArgumentError,
    Queue,
    SchemaVersionError,
    create_engine,
    verbs,
)
from xclaim.connections import calls

COMMIT = b"COMMIT"
ACK = b"consumed_by"
ACK_AND_CLAIM = b"acked_ids"
Open = Callable[..., Queue]


@pytest.fixture
def proxy(fresh_postgresql_url: str) -> Iterator[Proxy]:
    url = make_url(fresh_postgresql_url)
    with Proxy(str(url.host), int(url.port or 5432)) as proxy:
        yield proxy


@pytest.fixture
def engine(fresh_postgresql_url: str) -> Iterator[Engine]:
    """The way to the database that does not fail."""
    engine = create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


@pytest.fixture
def observed(engine: Engine) -> Queue:
    return Queue("orders", engine)


@pytest.fixture(params=["Queue", "AsyncQueue"])
def open_queue(
    request: pytest.FixtureRequest, proxy: Proxy, fresh_postgresql_url: str
) -> Iterator[Open]:
    """Open a queue through the proxy, connected."""
    import asyncio

    url = make_url(fresh_postgresql_url).set(host="127.0.0.1", port=proxy.port)
    rendered = url.render_as_string(hide_password=False)
    runner = asyncio.Runner()
    opened: list[Queue] = []

    def open_queue(**options: timedelta) -> Queue:
        queue: Queue | Blocking = (
            Queue("orders", rendered, **options)  # type: ignore[arg-type]
            if request.param == "Queue"
            else Blocking(AsyncQueue("orders", rendered, **options), runner.run)  # type: ignore[arg-type]
        )
        opened.append(cast(Queue, queue))
        queue.counts()
        return opened[-1]

    yield open_queue
    for queue in opened:
        queue.close()
    runner.close()


def go_away_for_a_moment(proxy: Proxy) -> None:
    proxy.go_away()
    threading.Timer(0.3, proxy.come_back).start()


def attempts(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        query = "SELECT attempts FROM xclaim_message ORDER BY id"
        return list(connection.scalars(text(query)))


def end_leases(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET claim_expires_at = now() WHERE status = 'claimed'")
        )


def test_a_stream_goes_on_when_the_database_is_back(
    open_queue: Open, proxy: Proxy, observed: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    observed.push_many(list(range(6)))
    seen = []

    for claimed in open_queue().stream(batch=2):
        seen.append(claimed.payload)
        if claimed.payload in (0, 3):
            go_away_for_a_moment(proxy)

    assert seen == [0, 1, 2, 3, 4, 5]
    assert observed.counts().consumed == 6
    assert "the database is away" in caplog.text
    assert "the database is back after" in caplog.text


def test_a_loop_of_consume_goes_on(
    open_queue: Open, proxy: Proxy, observed: Queue, engine: Engine
) -> None:
    observed.push_many([0, 1])
    queue = open_queue()

    with queue.consume() as claimed:
        go_away_for_a_moment(proxy)
    go_away_for_a_moment(proxy)
    with queue.consume() as next_claimed:
        pass

    assert claimed is not None
    assert next_claimed is not None
    assert [claimed.payload, next_claimed.payload] == [0, 1]
    assert observed.counts().consumed == 2
    assert attempts(engine) == [1, 1]


def test_a_wait_goes_on(open_queue: Open, proxy: Proxy, observed: Queue) -> None:
    queue = open_queue()
    proxy.go_away()
    threading.Timer(0.2, observed.push, args=[1]).start()
    threading.Timer(0.4, proxy.come_back).start()

    claimed = queue.claim(wait=timedelta(seconds=PATIENCE))

    assert claimed is not None
    assert claimed.payload == 1


def test_an_ack_whose_answer_was_lost_was_done(
    open_queue: Open, proxy: Proxy, observed: Queue, engine: Engine
) -> None:
    observed.push(1)

    with open_queue().consume() as claimed:
        proxy.cut_after(ACK)

    assert claimed is not None
    assert observed.counts().consumed == 1
    assert attempts(engine) == [1]


def test_an_ack_that_did_not_arrive_is_sent_again(
    open_queue: Open, proxy: Proxy, observed: Queue, engine: Engine
) -> None:
    observed.push(1)

    with open_queue().consume():
        proxy.cut_before(ACK)

    assert observed.counts().consumed == 1
    assert attempts(engine) == [1]


def test_what_was_claimed_without_an_answer_comes_back_by_its_lease(
    open_queue: Open, proxy: Proxy, observed: Queue, engine: Engine
) -> None:
    observed.push_many([0, 1])
    seen = []

    for claimed in open_queue().stream(batch=1):
        seen.append(claimed.payload)
        if claimed.payload == 0:
            proxy.cut_after(ACK_AND_CLAIM)

    assert seen == [0]
    assert [observed.counts().consumed, observed.counts().claimed] == [1, 1]
    end_leases(engine)
    assert observed.claim(wait=timedelta(seconds=PATIENCE)) is not None
    assert attempts(engine) == [1, 2]


def test_a_commit_whose_answer_was_lost_is_found_in_the_table(
    open_queue: Open, proxy: Proxy, observed: Queue, engine: Engine
) -> None:
    observed.push(1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE effect (id int)"))

    with open_queue().transact() as (claimed, connection):
        connection.execute(text("INSERT INTO effect VALUES (1)"))
        proxy.cut_after(COMMIT)

    assert claimed is not None
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM effect")) == 1
    assert observed.counts().consumed == 1


def test_a_commit_that_did_not_arrive_is_raised_and_the_message_is_back(
    open_queue: Open, proxy: Proxy, observed: Queue, engine: Engine
) -> None:
    observed.push(1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE effect (id int)"))

    transaction = open_queue().transact(retry=AT_ONCE)
    with pytest.raises(OperationalError), transaction as (_, connection):
        connection.execute(text("INSERT INTO effect VALUES (1)"))
        proxy.cut_before(COMMIT)

    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM effect")) == 0
    assert observed.counts().available == 1


def test_a_block_that_raises_while_the_database_is_away_ends_soon(
    open_queue: Open,
    proxy: Proxy,
    observed: Queue,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "BOUND", 1.0)
    observed.push_many(list(range(5)))
    queue = open_queue()

    with pytest.raises(ZeroDivisionError) as raised, queue.consume_many(5):
        proxy.go_away()
        raise ZeroDivisionError

    (note,) = raised.value.__notes__
    assert "could not release message 1, 2, 3, 4, 5" in note
    assert caplog.text.count("was not released") == 1


def test_a_single_verb_raises_at_once(open_queue: Open, proxy: Proxy) -> None:
    queue = open_queue()
    proxy.go_away()

    with pytest.raises(OperationalError):
        queue.claim()


def test_a_database_that_stays_away_is_raised_after_the_limit(
    open_queue: Open, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    queue = open_queue(reconnect=timedelta(seconds=1))
    proxy.go_away()

    with pytest.raises(OperationalError):
        list(queue.stream())

    asked = [line for line in caplog.messages if "asking again" in line]
    assert 2 <= len(asked) <= 8
    assert "SELECT" not in caplog.text


@pytest.mark.parametrize("loop", ["consume", "transact"])
def test_a_database_that_was_never_reached_is_raised_at_once(loop: str) -> None:
    with Queue("orders", "postgresql://nobody@127.0.0.1:1/nowhere") as queue:
        with pytest.raises(OperationalError), getattr(queue, loop)():
            pass
        with pytest.raises(OperationalError):
            next(queue.stream())


def test_what_does_not_pass_by_itself_is_raised_at_once(
    open_queue: Open, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    queue = open_queue()
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE xclaim_message CASCADE"))

    with pytest.raises(SchemaVersionError):
        next(queue.stream())

    assert "asking again" not in caplog.text


def test_a_queue_on_your_connection_does_not_try_again(engine: Engine) -> None:
    with engine.connect() as connection, engine.connect() as other:
        queue = Queue("orders", connection)
        queue.counts()
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        other.execute(text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": pid})

        with pytest.raises(OperationalError):
            next(queue.stream())


def test_a_limit_below_zero_is_refused(postgresql_url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="reconnect"):
        Queue("orders", postgresql_url, reconnect=timedelta(seconds=-1))


def claim(queue: Queue, claimed_by: str = "me") -> Claim:
    claimed = queue.claim(claimed_by=claimed_by)
    assert claimed is not None
    return claimed


def ack_again(url: str, *claims: Claim) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        verbs.ACK_AGAIN.function(connection, claims)
    engine.dispose()


def test_to_ack_again_is_no_error_for_who_acked(database_url: str) -> None:
    with Queue("orders", database_url) as queue:
        queue.push_many([1, 2])
        acked, held = claim(queue), claim(queue)
        queue.ack(acked)

        ack_again(database_url, acked, held)

        assert queue.counts().consumed == 2


def test_to_ack_again_what_somebody_else_consumed_is_an_error(database_url: str) -> None:
    with Queue("orders", database_url) as queue:
        queue.push(1)
        lost = claim(queue)
        queue.release(lost)
        queue.ack(claim(queue))  # the same name, another attempt

        with pytest.raises(ClaimLostError) as raised:
            ack_again(database_url, lost)

        assert raised.value.claims == [lost]


def test_to_ack_again_what_was_pruned_is_an_error(database_url: str) -> None:
    with Queue("orders", database_url) as queue:
        queue.push(1)
        acked = claim(queue)
        queue.ack(acked)
        queue.prune(older_than=timedelta(0))

        with pytest.raises(ClaimLostError):
            ack_again(database_url, acked)
