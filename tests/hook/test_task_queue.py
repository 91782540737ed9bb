"""A queue within a task, and outside of one, on real databases."""

from __future__ import annotations

import inspect
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from tests.hook.conftest import RETRIES, within_rerun, within_task
from tests.retrying import waiting
from xclaim import (
    Claim,
    ClaimLostError,
    InvalidArgumentError,
    Queue,
    Status,
    Ticket,
    create_engine,
)
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks.task_queue import TaskQueue

pytestmark = pytest.mark.airflow

KEY = "shop/manual__2026-11-20T00:00:00+00:00/group.work"
HERE = socket.gethostname()


def the_claim(claims: Claim | list[Claim] | None) -> Claim:
    found = claims[0] if isinstance(claims, list) else claims
    assert found is not None
    return found


def consumed_by(queue: TaskQueue) -> Claim:
    with queue.consume() as claimed:
        return the_claim(claimed)


def consumed_in_a_batch(queue: TaskQueue) -> Claim:
    with queue.consume_many(1) as claims:
        return the_claim(claims)


def consumed_in_a_transaction(queue: TaskQueue) -> Claim:
    with queue.transact() as (claimed, _):
        return the_claim(claimed)


CLAIMING: list[Callable[[TaskQueue], Claim]] = [
    lambda queue: the_claim(queue.claim()),
    lambda queue: the_claim(queue.claim(wait=timedelta(0))),
    lambda queue: the_claim(queue.claim_many(1)),
    consumed_by,
    consumed_in_a_batch,
    consumed_in_a_transaction,
    lambda queue: next(iter(queue.stream())),
]


@pytest.mark.parametrize("claim", CLAIMING)
def test_a_task_claims_under_its_name(
    queue: TaskQueue, claim: Callable[[TaskQueue], Claim]
) -> None:
    with within_task(try_number=2, map_index=3):
        queue.push(1)
        claimed = claim(queue)

    assert claimed.claimed_by == f"{KEY}[3]#2@{HERE}"
    assert claimed.message.claim_key == f"{KEY}[3]"


@pytest.mark.parametrize("claim", CLAIMING)
def test_outside_a_task_nothing_is_filled_in(
    queue: TaskQueue, claim: Callable[[TaskQueue], Claim]
) -> None:
    first, second = queue.push(1), queue.push(1)
    claimed = claim(queue)

    assert first.id != second.id
    assert (first.unique_key, first.headers) == (None, {})
    assert claimed.claimed_by == f"{HERE}:{os.getpid()}"
    assert claimed.message.claim_key is None


def test_one_message_is_claimed_under_a_key_of_its_own(queue: TaskQueue) -> None:
    first, second = queue.push_many([1, 2])

    with within_task():
        claimed = the_claim(queue.claim_message(second.id))
        following = the_claim(queue.claim())

    assert claimed.message.claim_key == f"{KEY}/message/{second.id}"
    assert following.message.id == first.id


def test_a_name_and_a_key_of_ones_own_are_kept(queue: TaskQueue) -> None:
    pushed = queue.push_many([1, 2, 3, 4])
    mine: dict[str, Any] = {"claimed_by": "me", "claim_key": "mine"}

    with within_task():
        ticket = Ticket.of(queue.claim_many(1, **mine))
        claims = [
            *queue.resume(ticket, claimed_by="him", claim_key="mine"),
            the_claim(queue.claim_message(pushed[1].id, **mine)),
        ]
        with queue.transact(claimed_by="me", claim_key="my transaction") as (claimed, _):
            claims.append(the_claim(claimed))
        claims.append(next(iter(queue.stream(claimed_by="me", claim_key="my stream"))))

    assert [claim.claimed_by for claim in claims] == ["him", "me", "me", "me"]
    keys = [claim.message.claim_key for claim in claims]
    assert keys == ["mine", "mine", "my transaction", "my stream"]


def test_a_stream_of_a_retry_gets_back_what_its_earlier_try_had_claimed_ahead(
    queue: TaskQueue,
) -> None:
    queue.push_many([1, 2, 3, 4])
    with within_task(try_number=1):
        killed = queue.stream(batch=3)
        zombie = next(killed)

    with within_task(try_number=2):
        stream = queue.stream(batch=3)
        retried = [claim.payload for claim in stream]

    assert retried == [1, 2, 3, 4]
    assert queue.counts().consumed == 4
    with pytest.raises(ClaimLostError):
        queue.ack(zombie)
    killed.close()  # type: ignore[attr-defined]  # it is a generator


def test_another_task_does_not_get_what_a_stream_holds(queue: TaskQueue) -> None:
    queue.push_many([1, 2])
    with within_task():
        stream = queue.stream()
        next(stream)

        with within_task(task_id="another", try_number=2):
            assert queue.claim() is None

        assert [claim.payload for claim in stream] == [2]


def test_looking_fills_in_nothing_and_needs_no_task(queue: TaskQueue) -> None:
    pushed = queue.push(1)

    outside = queue.peek(), queue.counts(), queue.get(pushed.id)
    with within_task():
        within = queue.peek(), queue.counts(), queue.get(pushed.id)

    assert within == outside
    assert outside[0] == [pushed]


def test_a_queue_made_outside_a_task_knows_the_task_it_is_used_in(hook: XclaimHook) -> None:
    queue = hook.queue("orders")
    for task_id in ("one", "other"):
        with within_task(task_id=task_id):
            queue.push(task_id)

    assert [message.headers["task_id"] for message in queue.peek(2)] == ["one", "other"]


def test_threads_of_a_task_claim_under_its_name(queue: TaskQueue) -> None:
    queue.push_many(list(range(40)))

    with within_task(), ThreadPoolExecutor(4) as pool:
        claims = [the_claim(each) for each in pool.map(lambda _: queue.claim(), range(40))]

    assert len({claim.message.id for claim in claims}) == 40
    assert {claim.claimed_by for claim in claims} == {f"{KEY}#1@{HERE}"}


def test_a_retry_takes_its_message_back_and_fences_the_earlier_try(queue: TaskQueue) -> None:
    queue.push_many([1, 2])
    with within_task(try_number=1):
        zombie = the_claim(queue.claim())

    with within_task(try_number=2):
        (retried,) = queue.claim_many(2)

    assert retried.message.id == zombie.message.id
    with pytest.raises(ClaimLostError):
        queue.ack(zombie)
    queue.ack(retried)


def test_a_retry_resumes_a_ticket_again(queue: TaskQueue) -> None:
    queue.push_many([1, 2])
    ticket = Ticket.of(queue.claim_many(2, claim_key="ticket"))
    with within_task(try_number=1):
        zombies = queue.resume(ticket)

    with within_task(try_number=2):
        resumed = queue.resume(ticket)

    assert [claim.payload for claim in resumed] == [1, 2]
    assert {claim.claimed_by for claim in resumed} == {f"{KEY}#2@{HERE}"}
    with pytest.raises(ClaimLostError):
        queue.ack_many(zombies)
    queue.ack_many(resumed)


def test_what_is_no_ticket_is_refused(queue: TaskQueue) -> None:
    with within_task(), pytest.raises(InvalidArgumentError, match="not a ticket"):
        queue.resume({"queue": "orders"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "misspelt",
    [
        lambda queue: queue.push(1, unique_keys=["a"]),
        lambda queue: queue.push(1, schema="other"),
        lambda queue: queue.push_many([1], unique_key="a"),
        lambda queue: queue.push_many([1], notify=True),
        lambda queue: queue.claim(claimedby="me"),
        lambda queue: queue.claim_many(1, key="mine"),
        lambda queue: queue.claim_message(1, wait=timedelta(0)),
        lambda queue: queue.resume(None, schema="other"),
        lambda queue: queue.consume(limit=2),
        lambda queue: queue.consume_many(1, batch=2),
        lambda queue: queue.working_on([], claimed_by="me"),
        lambda queue: queue.transact(limit=2),
        lambda queue: queue.stream(limit=2),
        lambda queue: queue.ack(None, after="keep"),
        lambda queue: queue.ack_many([], after="keep"),
        lambda queue: queue.release(None, notify=True),
    ],
)
def test_an_option_that_there_is_not_is_refused(
    queue: TaskQueue, misspelt: Callable[[TaskQueue], object]
) -> None:
    with within_task(), pytest.raises(TypeError, match="unexpected keyword argument"):
        misspelt(queue)


@pytest.mark.parametrize(
    "misused",
    [
        lambda queue: queue.ack(None),
        lambda queue: queue.ack_many([None]),
        lambda queue: queue.release(None),
    ],
)
def test_what_is_no_claim_is_refused(
    queue: TaskQueue, misused: Callable[[TaskQueue], object]
) -> None:
    with within_task(), pytest.raises(InvalidArgumentError, match="claim"):
        misused(queue)


def test_the_lease_of_consume_can_be_limited(queue: TaskQueue) -> None:
    a_day = timedelta(days=1)

    with pytest.raises(InvalidArgumentError, match="lease_limit"), queue.consume(lease=a_day):
        pass
    with queue.consume(lease=a_day, lease_limit=a_day) as consumed:
        assert consumed is None


def test_claims_are_extended_and_released_as_by_any_queue(queue: TaskQueue) -> None:
    with within_task():
        queue.push_many([1, 2])
        with queue.consume() as consumed:
            assert consumed is not None
        claimed = the_claim(queue.claim())
        released = queue.release(queue.extend(claimed), error="later", count=False)

    assert released.last_error == "later"
    assert queue.counts().consumed == 1


def test_a_block_that_raises_keeps_what_it_claimed_for_the_retry(queue: TaskQueue) -> None:
    queue.push_many([1, 2, 3])

    with within_task():
        with pytest.raises(ValueError, match="boom"), queue.consume_many(2):
            raise ValueError("boom")
        with pytest.raises(ValueError, match="boom"), queue.transact():
            raise ValueError("boom")

    assert (queue.counts().available, queue.counts().claimed) == (0, 3)
    with within_task(try_number=2):  # which has them back
        assert len(queue.claim_many(5)) == 3


@pytest.fixture
def refused(queue: TaskQueue, connected: str) -> Iterator[str]:
    """Return a statement that the database refuses only when it is committed."""
    (bind,) = queue._queue.runner.engines

    def check_foreign_keys(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    if bind.dialect.name == "sqlite":
        event.listen(bind, "checkout", check_foreign_keys)
    engine = create_engine(connected)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE customer (id integer PRIMARY KEY)"))
        deferred = "REFERENCES customer (id) DEFERRABLE INITIALLY DEFERRED"
        connection.execute(text(f"CREATE TABLE bill (customer_id integer {deferred})"))
    engine.dispose()
    yield "INSERT INTO bill VALUES (1)"
    if bind.dialect.name == "sqlite":
        event.remove(bind, "checkout", check_foreign_keys)


def commit_in_vain(queue: TaskQueue, refused: str) -> None:
    with pytest.raises(IntegrityError), queue.transact() as (claimed, connection):
        assert claimed is not None
        connection.execute(text(refused))


def test_a_transaction_that_cannot_be_committed_keeps_its_message_for_the_retry(
    queue: TaskQueue, refused: str
) -> None:
    pushed = queue.push(1)

    with within_task():
        commit_in_vain(queue, refused)

    failed = queue.get(pushed.id)
    assert failed is not None
    assert failed.status is Status.CLAIMED
    assert failed.last_error_class == "sqlalchemy.exc.IntegrityError"
    with within_task(try_number=2), queue.transact() as (claimed, _):  # which has it back
        assert the_claim(claimed).message.id == pushed.id
    assert queue.counts().consumed == 1


@pytest.mark.parametrize("way", ["the last try", "not in a task"])
def test_a_transaction_that_cannot_be_committed_releases_what_nobody_tries_again(
    queue: TaskQueue, refused: str, way: str
) -> None:
    queue.push(1)

    with within_task(try_number=1 + RETRIES) if way == "the last try" else nullcontext():
        commit_in_vain(queue, refused)

    assert (queue.counts().claimed, waiting(queue)) == (0, 1)


def test_a_transaction_that_cannot_be_committed_in_the_last_attempt_makes_a_dead_letter(
    queue: TaskQueue, refused: str
) -> None:
    pushed = queue.push(1, max_attempts=1)

    with within_task():
        commit_in_vain(queue, refused)

    assert queue.counts().dead_letters == 1
    assert [message.id for message in queue.keeper.take_dead()] == [pushed.id]


def test_a_block_that_raises_for_good_releases_what_it_claimed(queue: TaskQueue) -> None:
    queue.push_many([1, 2, 3])

    with within_task(RETRIES + 1):
        with pytest.raises(ValueError, match="boom"), queue.consume_many(2):
            raise ValueError("boom")
        with pytest.raises(ValueError, match="boom"), queue.transact():
            raise ValueError("boom")

    assert (waiting(queue), queue.counts().claimed) == (3, 0)


def test_a_typed_queue_stays_typed_in_a_rerun(hook: XclaimHook) -> None:
    from dataclasses import dataclass

    @dataclass
    class Parcel:
        weight: int

    queue = hook.queue("parcels", type=Parcel)
    with within_task():
        queue.push(Parcel(1))

    with within_rerun():
        (pushed,) = queue.push_many([Parcel(2)], on_rerun="replace_unconsumed")

    assert pushed.payload == Parcel(2)
    assert the_claim(queue.claim()).payload == Parcel(2)


@pytest.mark.parametrize("name", [name for name in vars(TaskQueue) if not name.startswith("_")])
def test_a_method_takes_what_that_of_a_queue_takes(name: str) -> None:
    given = inspect.signature(getattr(TaskQueue, name)).parameters
    plain = inspect.signature(getattr(Queue, name)).parameters

    filled_in = {"unique_key", "unique_keys"}
    assert set(plain) <= set(given)
    assert {key for key in plain if given[key].default != plain[key].default} <= filled_in
