"""A verb that PostgreSQL ends for a deadlock, so that nothing of it was done, is run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, Engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from tests.contract.facades import AsyncFacade, Facade, SyncFacade
from tests.eventually import PATIENCE, until
from tests.ordering.draining import drained
from tests.retrying import AT_ONCE
from xclaim import Queue, create_engine
from xclaim.connections import direct
from xclaim.verbs import execution

_KEYS = ["a", "b", "c"]
_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


class Case(NamedTuple):
    """A verb that locks what is of three keys, one after the other, and who is in its way."""

    verb: Callable[[Queue], Any]
    locks: Callable[[Queue, str], object]
    left: list[str]


def _withdraws(queue: Queue, key: str) -> object:
    return queue.withdraw([key])


def _pushes(queue: Queue, key: str) -> object:
    return queue.push(key, ordering_key=key)


CASES = {
    "push_many": Case(lambda queue: queue.push_many(_KEYS, ordering_keys=_KEYS), _withdraws, _KEYS),
    "redrive": Case(lambda queue: queue.redrive(), _withdraws, ["dead"] * 3),
    "withdraw": Case(lambda queue: queue.withdraw(_KEYS), _pushes, _KEYS),
}


@pytest.fixture
def others(ordered_postgresql_url: str) -> Iterator[Engine]:
    """Sessions that PostgreSQL does not end: they do not look for a deadlock."""
    engine = _engine(ordered_postgresql_url, "-c deadlock_timeout=1h -c lock_timeout=60s")
    yield engine
    engine.dispose()


@pytest.fixture
def url(ordered_postgresql_url: str) -> str:
    """The same database for sessions that look at once."""
    return _with_options(ordered_postgresql_url, "-c deadlock_timeout=10ms -c lock_timeout=60s")


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, url: str) -> Iterator[Queue]:
    engine = create_engine(url)
    facade: Facade = SyncFacade(engine) if request.param == "Queue" else AsyncFacade(url)
    yield facade.queue("orders", retry=AT_ONCE)
    facade.close()
    engine.dispose()


@pytest.fixture
def heads(others: Engine) -> Queue:
    """A line of each key, with a message that leads it, and a dead letter of each."""
    heads = Queue("orders", others, retry=AT_ONCE)
    for key in _KEYS:
        heads.push("dead", ordering_key=key, max_attempts=1)
        claim = heads.claim()
        assert claim is not None
        heads.release(claim, error="boom")
    heads.push_many(["head"] * 3, unique_keys=_KEYS, ordering_keys=_KEYS)
    return heads


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_verb_that_is_ended_by_a_deadlock_is_run_again(
    queue: Queue, heads: Queue, others: Engine, case: Case
) -> None:
    result = _in_a_deadlock(others, case.locks, lambda: case.verb(queue))

    assert (result if isinstance(result, int) else len(result)) == 3
    assert sorted(drained(heads)) == case.left


def test_a_verb_in_a_transaction_of_the_caller_is_not(
    heads: Queue, others: Engine, url: str
) -> None:
    engine = create_engine(url)

    def push() -> None:
        with engine.begin() as connection:
            bound = Queue("orders", connection)
            bound.push("before it", ordering_key="d")
            bound.push_many(_KEYS, ordering_keys=_KEYS)

    with pytest.raises(OperationalError, match="deadlock"):
        _in_a_deadlock(others, _withdraws, push)
    engine.dispose()

    assert drained(heads) == []


def test_a_connection_of_the_caller_is_left_as_it_was(
    heads: Queue, others: Engine, url: str
) -> None:
    engine = create_engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        queue = Queue("orders", connection)
        pushed = _in_a_deadlock(
            others, _withdraws, lambda: queue.push_many(_KEYS, ordering_keys=_KEYS)
        )
        with connection.begin():  # which it refuses where one was begun unseen
            pass
    engine.dispose()

    assert len(pushed) == 3
    assert sorted(drained(heads)) == _KEYS


def test_one_that_is_lost_meanwhile_is_an_error_of_the_database(
    heads: Queue, others: Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = direct.run

    def cut(connection: Connection, statement: Any, *given: Any, **options: Any) -> Any:
        if "pg_sleep" in str(statement):
            with others.connect() as killer:
                driver: Any = connection.connection.driver_connection
                killer.execute(
                    text("SELECT pg_terminate_backend(:pid, 5000)"),
                    {"pid": driver.info.backend_pid},
                )
        return run(connection, statement, *given, **options)

    monkeypatch.setattr(direct, "run", cut)
    with Queue("orders", url) as queue, pytest.raises(OperationalError) as lost:
        _in_a_deadlock(others, _withdraws, lambda: queue.push_many(_KEYS, ordering_keys=_KEYS))

    assert lost.value.connection_invalidated
    assert drained(heads) == []


@pytest.mark.usefixtures("heads")
def test_one_that_has_no_time_to_step_aside_is_sent_again(
    others: Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_ASIDE", 60.0)
    engine = create_engine(url)
    queue = Queue("orders", engine)

    @event.listens_for(engine, "connect")
    def limit(connection: Any, _: Any) -> None:
        connection.execute("SET statement_timeout = '5s'")
        connection.commit()

    pushed = _in_a_deadlock(others, _withdraws, lambda: queue.push_many(_KEYS, ordering_keys=_KEYS))
    engine.dispose()

    assert len(pushed) == 3


def _in_a_deadlock(
    others: Engine, locks: Callable[[Queue, str], object], run: Callable[[], Any]
) -> Any:
    """Run it while somebody has what is of "c", and waits for "a", which it has by then.

    Somebody else keeps it at "b" for so long. It is ended: without it the other one got no "a".
    """
    with (
        ThreadPoolExecutor(2) as pool,
        others.connect() as gate,
        others.connect() as other,
        others.connect() as looking,
    ):

        def wait_for(count: int) -> None:
            def are_waiting() -> bool:
                looking.rollback()  # what is seen of others stands still in a transaction
                return bool(looking.scalar(_WAITING) == count)

            until(are_waiting)

        locks(Queue("orders", gate), "b")
        locks(Queue("orders", other), "c")
        result = pool.submit(run)
        wait_for(1)
        wanting = pool.submit(locks, Queue("orders", other), "a")
        wait_for(2)
        gate.commit()
        wanting.result(timeout=PATIENCE)
        other.commit()
        return result.result(timeout=PATIENCE)


def _engine(url: str, options: str) -> Engine:
    return create_engine(_with_options(url, options))


def _with_options(url: str, options: str) -> str:
    made = make_url(url).update_query_dict({"options": options})
    return made.render_as_string(hide_password=False)
