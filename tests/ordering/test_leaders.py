"""Lines with several leaders, written before ordering keys were enabled: by COPY, say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from tests.ordering.draining import drained
from tests.retrying import AT_ONCE
from xclaim import Claim, InvalidArgumentError, Queue, create_engine
from xclaim.operations import ordering
from xclaim.operations.audit import audit

# As a restore leaves it: nobody has stood in line.
_GIVE_ALL_THE_KEY = "UPDATE xclaim_message SET ordering_key = 'k'''"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def queue(engine: Engine) -> Queue:
    """A queue in a database without ordering keys, of which three messages have the same."""
    queue = Queue("orders", engine, retry=AT_ONCE)
    queue.push_many([0, 1, 2])
    run(engine, _GIVE_ALL_THE_KEY)
    return queue


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def remedy_of(error: BaseException) -> str:
    """Return the SQL that the error names."""
    return str(error)[str(error).index("UPDATE") :]


def claimed_by_hand(queue: Queue, engine: Engine, count: int) -> list[Claim]:
    run(engine, "UPDATE xclaim_message SET ordering_key = NULL")
    claims = queue.claim_many(count)
    run(engine, _GIVE_ALL_THE_KEY)
    return claims


def test_several_leaders_of_a_line_are_an_error_whose_sql_mends_it(
    queue: Queue, engine: Engine
) -> None:
    with pytest.raises(InvalidArgumentError, match="more than one message") as raised:
        ordering.enable(engine)
    run(engine, remedy_of(raised.value))

    assert ordering.enable(engine)
    assert audit(engine).is_sound
    assert [claim.payload for claim in queue.claim_many(3)] == [0]


def test_who_is_claimed_leads_and_is_left_alone(queue: Queue, engine: Engine) -> None:
    run(
        engine,
        "UPDATE xclaim_message SET priority = 1 WHERE id = (SELECT max(id) FROM xclaim_message)",
    )
    (claim,) = claimed_by_hand(queue, engine, 1)

    with pytest.raises(InvalidArgumentError) as raised:
        ordering.enable(engine)
    run(engine, remedy_of(raised.value))

    assert ordering.enable(engine)
    assert queue.claim() is None
    queue.ack(claim)
    assert drained(queue) == [0, 1]


def test_two_that_are_claimed_have_to_end_first(queue: Queue, engine: Engine) -> None:
    first, second = claimed_by_hand(queue, engine, 2)

    with pytest.raises(InvalidArgumentError, match="no more than one is claimed") as raised:
        ordering.enable(engine)
    run(engine, remedy_of(raised.value))
    with pytest.raises(InvalidArgumentError):
        ordering.enable(engine)
    queue.ack(first)

    assert ordering.enable(engine)
    queue.ack(second)
    assert drained(queue) == [2]


def test_the_first_push_with_a_key_says_so_of_a_file(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url)
    queue = Queue("orders", engine)
    queue.push_many([0, 1])
    run(engine, _GIVE_ALL_THE_KEY)

    with pytest.raises(InvalidArgumentError, match="more than one message") as raised:
        queue.push(2, ordering_key="another")
    run(engine, remedy_of(raised.value))

    queue.push(3, ordering_key="k'")
    assert drained(queue) == [0, 1, 3]
    engine.dispose()


@pytest.mark.usefixtures("queue")
def test_an_audit_finds_them_and_its_sql_mends_them(engine: Engine) -> None:
    (broken,) = [check for check in audit(engine).checks if check.broken]

    assert broken.name == "turns"
    assert broken.remedy is not None
    with engine.begin() as connection:
        id_ = connection.scalar(text("SELECT min(id) FROM xclaim_message"))
        connection.execute(text(broken.remedy), {"id": id_})

    assert audit(engine).is_sound
