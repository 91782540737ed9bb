"""Who waits looks everywhere now and then, in between for what came in lately: no message hides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from tests.retrying import AT_ONCE
from tests.still_clock import StillClock
from tests.test_positions import pages_of_a_claim
from xclaim import Claim, Queue, create_engine, verbs
from xclaim.arguments import LEASE
from xclaim.sql import statements
from xclaim.sql.dialects import POSTGRESQL
from xclaim.sql.schema import message_table
from xclaim.sql.statements import Start
from xclaim.verbs import backlog, hints
from xclaim.verbs.hints import LOOK_BACK_EVERY, Hints, Position, lately_of, recall

WHO: Any = {
    "claimed_by": None,
    "claim_key": None,
    "lease": LEASE,
    "retry": AT_ONCE,
    "schema": None,
}
NO_TIME = timedelta(milliseconds=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StillClock:
    clock = StillClock()
    monkeypatch.setattr(hints, "time", clock)
    return clock


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest) -> str:
    names = {"sqlite": "sqlite_url", "postgresql": "fresh_postgresql_url"}
    return str(request.getfixturevalue(names[request.param]))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def other_engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def other(other_engine: Engine) -> Queue:
    """The queue as another process sees it, whose changes ours is not told."""
    return Queue("orders", other_engine, retry=AT_ONCE)


@pytest.fixture
def _dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let looks everywhere be as rare as they may be, as if they took very long."""
    monkeypatch.setattr(Hints, "_pause", lambda _: LOOK_BACK_EVERY)


@pytest.fixture
def worker(engine: Engine, clock: StillClock, _dear: None) -> Iterator[Connection]:
    """A connection of a process that waits for messages, had some, and just looked everywhere."""
    Queue("orders", engine).push_many([0] * 10)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while poll(connection) is not None:
            clock.now += LOOK_BACK_EVERY
        yield connection


def poll(worker: Connection) -> Claim | None:
    for claim in verbs.POLL.function(worker, "orders", 1, **WHO):
        verbs.ACK.function(worker, claim)
        return claim
    return None


def pass_by(worker: Connection, queue: Queue) -> None:
    """Let the worker get further, and look everywhere once more after that."""
    for _ in range(3):
        queue.push("passed by")
        assert poll(worker) is not None
    recall(worker, None, "orders")._looked_back_at = float("-inf")
    assert poll(worker) is None


def is_lately(worker: Connection) -> bool:
    return lately_of(worker, recall(worker, None, "orders")) is not None


def release(worker: Connection, other: Queue, _: Engine) -> list[int]:
    held = other.claim_message(other.push("released").id)
    assert held is not None
    pass_by(worker, other)
    other.release(held)
    return [held.message.id]


def hand_back(worker: Connection, other: Queue, engine: Engine) -> list[int]:
    other.push_many([0] * 5)
    held = other.claim_many(5)
    pass_by(worker, other)
    with engine.connect() as connection:
        verbs.HAND_BACK.function(connection, held)
        connection.commit()
    return [claim.message.id for claim in held]


def move(worker: Connection, other: Queue, engine: Engine) -> list[int]:
    moved = other.push("moved", delay=timedelta(days=1))
    pass_by(worker, other)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET available_at = :then WHERE id = :id"),
            {"then": "2020-01-01 00:00:00.000", "id": moved.id},
        )
    return [moved.id]


def commit_late(worker: Connection, _: Queue, engine: Engine) -> list[int]:
    with engine.begin() as connection:
        pushed = Queue("orders", connection).push_many([0] * 3)
        pass_by(worker, Queue("orders", worker))
        bring_forward(connection)
    return [message.id for message in pushed]


def bring_forward(connection: Connection) -> None:
    """Let what was pushed lie as far back as the pushes of a slow transaction do."""
    connection.execute(
        text(
            "UPDATE xclaim_message SET available_at = available_at - interval '1 minute'"
            " WHERE status = 'available'"
        )
    )


def roll_back(worker: Connection, other: Queue, engine: Engine) -> list[int]:
    with engine.connect() as connection:
        undone = [claim.message.id for claim in _claimed_in(connection)]
        pass_by(worker, other)
        connection.rollback()
    return undone


def _claimed_in(connection: Connection) -> list[Claim]:
    with connection.engine.begin() as another:
        Queue("orders", another).push_many([0] * 3)
        bring_forward(another)
    return Queue("orders", connection).claim_many(3)


OF_BOTH = {"released": release, "handed back": hand_back, "moved": move}
OF_POSTGRESQL = {"committed late": commit_late, "rolled back": roll_back}
Way = Callable[[Connection, Queue, Engine], list[int]]


def assert_is_found_after_the_time_of_a_position(
    worker: Connection, other_engine: Engine, clock: StillClock, way: Way
) -> None:
    appeared = way(worker, Queue("orders", other_engine, retry=AT_ONCE), other_engine)

    clock.now += LOOK_BACK_EVERY
    found = [poll(worker) for _ in appeared]

    assert [claim.message.id for claim in found if claim is not None] == appeared


@pytest.mark.parametrize("way", OF_BOTH)
def test_what_comes_back_to_an_old_place_waits_no_longer_than_a_position_holds(
    worker: Connection, other_engine: Engine, clock: StillClock, way: str
) -> None:
    assert_is_found_after_the_time_of_a_position(worker, other_engine, clock, OF_BOTH[way])


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("way", OF_POSTGRESQL)
def test_what_a_transaction_has_kept_waits_no_longer_than_a_position_holds(
    worker: Connection, other_engine: Engine, clock: StillClock, way: str
) -> None:
    assert_is_found_after_the_time_of_a_position(worker, other_engine, clock, OF_POSTGRESQL[way])


def expire(queue: Queue) -> int:
    pushed = queue.push("expired")
    queue.claim_message(pushed.id, lease=timedelta(0))
    queue.expire()
    return pushed.id


def retry(queue: Queue) -> int:
    held = queue.claim_message(queue.push("retried").id)
    assert held is not None
    return queue.release(held, error="no").id


def redrive(queue: Queue) -> int:
    held = queue.claim_message(queue.push("redriven", max_attempts=1).id)
    assert held is not None
    queue.release(held, error="no")
    queue.redrive()
    return held.message.id


LATELY: dict[str, Callable[[Queue], int]] = {
    "pushed": lambda queue: queue.push("pushed").id,
    "expired": expire,
    "retried": retry,
    "redriven": redrive,
    "due": lambda queue: queue.push("due", delay=timedelta(microseconds=1)).id,
    "lower": lambda queue: queue.push("lower", priority=-5).id,
    "higher": lambda queue: queue.push("higher", priority=5).id,
}


@pytest.mark.parametrize("way", LATELY)
def test_what_another_process_makes_available_now_is_found_at_once(
    worker: Connection, other: Queue, way: str
) -> None:
    pass_by(worker, other)

    appeared = LATELY[way](other)
    claim = poll(worker)

    assert claim is not None
    assert claim.message.id == appeared


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_push_that_another_has_overtaken_is_found_at_once(
    worker: Connection, other: Queue, other_engine: Engine
) -> None:
    pass_by(worker, other)
    with other_engine.begin() as connection:
        late = Queue("orders", connection).push("late")
        Queue("orders", worker).push("quicker")
        quicker = poll(worker)
        connection.execute(
            text("UPDATE xclaim_message SET available_at = :soon WHERE id = :id"),
            {"soon": _a_moment_before(quicker), "id": late.id},
        )

    found = poll(worker)

    assert found is not None
    assert found.message.id == late.id


def _a_moment_before(claim: Claim | None) -> datetime:
    assert claim is not None
    assert claim.message.available_at is not None
    return claim.message.available_at - timedelta(milliseconds=20)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_what_this_process_releases_is_found_at_once(
    worker: Connection, engine: Engine, other: Queue
) -> None:
    ours = Queue("orders", engine)
    held = ours.claim_message(other.push("released").id)
    assert held is not None
    pass_by(worker, other)

    ours.release(held)
    found = poll(worker)

    assert found is not None
    assert found.message.id == held.message.id


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_paused_queue_is_asked_by_each_look(worker: Connection, other: Queue) -> None:
    pass_by(worker, other)
    other.pause()
    pushed = other.push("pushed")
    assert is_lately(worker)

    while_paused = [poll(worker) for _ in range(3)]
    other.unpause()
    found = poll(worker)

    assert while_paused == [None] * 3
    assert found is not None
    assert found.message.id == pushed.id


@pytest.mark.usefixtures("_dear")
@pytest.mark.parametrize("wait", [timedelta(0), NO_TIME, timedelta(seconds=LOOK_BACK_EVERY)])
def test_a_wait_that_ends_in_vain_has_looked_everywhere(
    engine: Engine, other: Queue, wait: timedelta
) -> None:
    ours = Queue("orders", engine)
    held = other.claim_message(other.push("released").id)
    assert held is not None
    ours.push("passed by")
    passed_by = ours.claim(wait=wait)
    assert ours.claim() is None
    other.release(held)

    found = ours.claim(wait=wait)

    assert passed_by is not None
    assert found is not None
    assert found.message.id == held.message.id


@pytest.mark.usefixtures("_dear")
def test_a_stream_that_waits_finds_what_another_process_releases(
    engine: Engine, other: Queue
) -> None:
    held = other.claim_message(other.push("released").id)
    assert held is not None
    other.push("passed by")
    payloads = []

    for claim in Queue("orders", engine).stream(batch=1, wait=timedelta(seconds=1)):
        payloads.append(claim.payload)
        if claim.payload == "passed by":
            other.release(held)

    assert payloads == ["passed by", "released"]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_queue_that_keeps_up_is_not_read_from_its_head_for_each_message(
    url: str, worker: Connection, engine: Engine
) -> None:
    queue = Queue("orders", engine)
    with closing(psycopg.connect(url.replace("+psycopg", ""))) as snapshot:
        snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        snapshot.execute("SELECT count(*) FROM xclaim_message")
        for _ in range(60):
            queue.push_many([0] * 100)
            queue.ack_many(queue.claim_many(100))
        with engine.begin() as connection:  # as if that had taken some time
            connection.execute(
                text(
                    "UPDATE xclaim_message SET available_at = available_at - interval '1 minute'"
                    " WHERE status = 'consumed'"
                )
            )
        queue.push("the last")
        assert poll(worker) is not None
        assert poll(worker) is None

        lately = lately_of(worker, recall(worker, None, "orders"))
        assert lately is not None
        pages = pages_of_a_claim(engine, *lately)
        from_the_head = pages_of_a_claim(engine, Start.HEAD, {})

    assert lately[0] is Start.LATELY
    assert pages * 4 < from_the_head


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_look_for_what_came_in_lately_sees_every_other_priority(engine: Engine) -> None:
    queue = Queue("orders", engine)
    pushed = [queue.push(priority, priority=priority) for priority in (0, 5, 9, 5, 7, 5, 0)]
    of_the_place = pushed[3].available_at
    assert of_the_place is not None
    statement = statements.candidates(message_table(), POSTGRESQL, start=Start.LATELY, limit=10)
    place = Position(5, of_the_place, pushed[3].id).parameters(POSTGRESQL)

    with engine.connect() as connection:
        ids = connection.execute(statement, {"queue_name": "orders", **place}).scalars().all()

    assert ids == [pushed[number].id for number in (2, 4, 5, 0, 6)]


@pytest.mark.parametrize(
    ("everywhere", "pause"),
    [
        ([0.003], 0.1),
        ([0.003, 5.0, 5.0], 0.1),
        ([0.003, 5.0, 5.0, 5.0], LOOK_BACK_EVERY),
        ([], LOOK_BACK_EVERY),
        ([0.002], 0.0),
        ([0.0001], 0.0),
    ],
)
def test_a_look_everywhere_is_as_rare_as_it_is_dear(
    clock: StillClock, everywhere: list[float], pause: float
) -> None:
    of_queue = Hints()
    of_queue._reached = Position(0, datetime.now(UTC), 1)
    for seconds in (5.0, 0.001, 5.0):
        of_queue.note_look(seconds, everywhere=False)
    for seconds in everywhere:
        of_queue.note_look(seconds, everywhere=True)
    of_queue.look_back()

    clock.now += 0.9 * pause
    is_before = of_queue.reached() is not None
    clock.now += 0.2 * pause

    assert is_before is (pause > 0)
    assert of_queue.reached() is None


def test_only_the_queues_that_were_used_last_are_remembered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "_MOST", 2)
    with engine.connect() as connection:
        first, second = (recall(connection, None, name) for name in ("first", "second"))
        recall(connection, None, "first")

        recall(connection, None, "third")

        assert recall(connection, None, "first") is first
        assert recall(connection, None, "second") is not second


def test_so_are_those_that_are_pushed_to(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_MOST", 2)

    for number in range(5):
        Queue(f"orders {number}", engine).push(1)

    assert len(backlog._known[engine.pool]) == 2
