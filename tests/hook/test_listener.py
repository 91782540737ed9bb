"""What a task holds when it fails for good is given back at once."""

from __future__ import annotations

import importlib
from datetime import timedelta
from types import SimpleNamespace

import pytest

from tests.airflow_versions import since
from tests.hook.conftest import within_task
from tests.retrying import waiting
from xclaim import Claim, ClaimLostError, InvalidArgumentError, Message, Queue, Ticket
from xclaim.airflow import listener
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks import open_claims
from xclaim.airflow.tasks.task_queue import TaskQueue

pytestmark = pytest.mark.airflow


TRY = "0195e0e0-0000-7000-8000-000000000001"


def fail(state: str, instance_id: str = TRY) -> None:
    from xclaim.airflow.listener import on_task_instance_failed

    task = SimpleNamespace(retry_delay=timedelta(hours=1))
    instance = SimpleNamespace(state=state, id=instance_id, task=task, try_number=1)
    on_task_instance_failed(None, instance, ValueError("boom"))


def last_errors(queue: TaskQueue, pushed: list[Message]) -> list[str | None]:
    found = [queue.get(each.id) for each in pushed]
    return [None if message is None else message.last_error for message in found]


def open_claims_of(instance_id: str) -> list[Claim]:
    return [each.claim for each in open_claims._open.values() if each.instance_id == instance_id]


def test_a_task_that_failed_for_good_gives_back_what_it_held(queue: TaskQueue) -> None:
    pushed = queue.push_many([1, 2, 3])
    with within_task(id=TRY):
        first = queue.claim()
        assert first is not None
        queue.ack(first)
        queue.claim_many(2)

    fail("failed")

    assert (queue.counts().consumed, waiting(queue)) == (1, 2)
    assert last_errors(queue, pushed) == [None, "ValueError: boom", "ValueError: boom"]


def test_before_a_retry_it_is_kept(queue: TaskQueue) -> None:
    pushed = queue.push(1)
    with within_task(id=TRY):
        queue.claim()

    fail("up_for_retry")

    kept = queue.get(pushed.id)
    assert kept is not None
    assert kept.claim_expires_at is not None
    assert kept.last_error == "ValueError: boom"
    assert kept.claimed_at is not None
    assert kept.claim_expires_at - kept.claimed_at > timedelta(hours=1)  # the retry's delay
    with within_task(2):
        resumed = queue.claim()
    assert resumed is not None
    assert resumed.message.id == pushed.id


def test_what_no_retry_takes_back_is_given_back_before_one(queue: TaskQueue) -> None:
    pushed = queue.push(1)
    with within_task(id=TRY):
        queue.claim(claimed_by="worker-7")

    fail("up_for_retry")

    assert (queue.counts().claimed, waiting(queue)) == (0, 1)
    assert last_errors(queue, [pushed]) == ["ValueError: boom"]


def test_what_another_try_holds_is_left_alone(queue: TaskQueue) -> None:
    queue.push(1)
    with within_task():
        queue.claim()

    fail("failed")

    assert queue.counts().claimed == 1


def test_tickets_are_not_given_back(hook: XclaimHook, queue: TaskQueue) -> None:
    queue.push(1)
    with within_task(id=TRY):
        ticket = hook.claim_ticket("orders")

    fail("failed")

    assert ticket is not None
    with within_task(task_id="work"):
        queue.ack_many(hook.resume(ticket))


def test_what_was_lost_or_settled_elsewhere_is_left_alone(queue: TaskQueue, connected: str) -> None:
    queue.push_many([1, 2])
    with within_task(id=TRY):
        settled, kept = queue.claim_many(2)
    with Queue("orders", connected) as elsewhere:
        elsewhere.ack(settled)

    fail("failed")

    with pytest.raises(ClaimLostError):
        queue.ack(kept)
    assert (waiting(queue), queue.counts().consumed) == (1, 1)


def test_every_way_to_claim_is_given_back(queue: TaskQueue) -> None:
    pushed = queue.push_many([1, 2, 3, 4])
    with within_task(task_id="before", id="another"):
        ticket = Ticket.of(queue.claim_many(1, claim_key="ticket"))
    with within_task(id=TRY):
        queue.claim()
        queue.claim_message(pushed[2].id)
        queue.claim_many(1, wait=timedelta(0))
        queue.resume(ticket)

    fail("failed")

    assert set(last_errors(queue, pushed)) == {"ValueError: boom"}


def test_what_a_block_settled_is_not_given_back_again(queue: TaskQueue) -> None:
    queue.push_many([1, 2, 3])
    with within_task(id=TRY):
        with queue.working_on(queue.claim_many(1)):
            pass
        (later,) = queue.claim_many(1)
        queue.release(later, error="later", delay=timedelta(hours=1))
        (last,) = queue.claim_many(1)
        queue.ack_many([last])

        assert not open_claims_of(TRY)


def test_what_a_block_lost_is_not_asked_for_again(queue: TaskQueue) -> None:
    queue.push(1)
    with within_task(id=TRY):
        claimed = queue.claim(lease=timedelta(0))
        queue.expire()
        assert claimed is not None
        with pytest.raises(ClaimLostError):
            queue.ack_many([claimed])

        assert not open_claims_of(TRY)


def test_an_ack_that_the_database_did_not_carry_out_leaves_the_claim_to_be_given_back(
    queue: TaskQueue,
) -> None:
    queue.push(1)
    with within_task(id=TRY):
        claimed = queue.claim()
        assert claimed is not None
        with pytest.raises(InvalidArgumentError):
            queue.ack_many([claimed, "no claim"])  # type: ignore[list-item]

    fail("failed")

    assert waiting(queue) == 1


def test_a_stream_that_was_left_open_hands_back_what_it_holds(queue: TaskQueue) -> None:
    pushed = queue.push_many([1, 2, 3])
    with within_task(id=TRY):
        stream = queue.stream()
        next(stream)
        next(stream)

    fail("failed")

    counts = queue.counts()
    assert (counts.consumed, counts.delayed, counts.available) == (1, 1, 1)
    assert last_errors(queue, pushed) == [None, "ValueError: boom", None]


def test_a_stream_of_another_try_is_left_open(queue: TaskQueue) -> None:
    queue.push_many([1, 2])
    with within_task():
        stream = queue.stream()
        next(stream)

    fail("failed")

    assert [claim.payload for claim in stream] == [2]


# Of a scheduler, and of a task. Airflow goes by the name of a plugin's class, not by its identity.
@pytest.mark.parametrize(
    "module",
    [
        "airflow.listeners.listener",
        pytest.param("airflow.sdk.listener", marks=since("3.2", "a listener of the task SDK")),
    ],
)
def test_airflow_finds_the_plugin_and_its_listener(module: str) -> None:
    manager = importlib.import_module(module).get_listener_manager()

    assert listener in manager.pm.get_plugins()
