"""Tickets between tasks: one makes them, another resumes them, and retries of both come back."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import get_current_context

from tests.hook.conftest import within_rerun, within_task
from tests.retrying import AT_ONCE
from xclaim import ClaimLostError, InvalidArgumentError, MessagesFailedError, TicketLostError
from xclaim.airflow.hooks import XclaimHook
from xclaim.airflow.tasks.failing import is_final

pytestmark = pytest.mark.airflow

NOW = timedelta(0)


def ticket_of(hook: XclaimHook, size: int = 1, **options: Any) -> dict[str, Any]:
    with within_task(task_id="claim"):
        ticket = hook.claim_ticket("orders", size, **options)
    assert ticket is not None
    return ticket


def test_a_ticket_shows_its_message_to_templates(hook: XclaimHook) -> None:
    message = hook.queue("orders").push({"order": 4711})

    ticket = ticket_of(hook)

    assert ticket["payload"] == {"order": 4711}
    assert (ticket["id"], ticket["attempts"], ticket["size"]) == (message.id, 1, 1)
    assert (ticket["queue"], ticket["xclaim_conn_id"]) == ("orders", "xclaim_default")


def test_nothing_to_claim_gives_no_ticket(hook: XclaimHook) -> None:
    with within_task():
        assert hook.claim_ticket("orders") is None


def test_another_task_resumes_and_acks(hook: XclaimHook) -> None:
    hook.queue("orders").push(1)
    ticket = ticket_of(hook)

    with within_task(task_id="work"), hook.consume_ticket(ticket) as claims:
        assert [claim.payload for claim in claims] == [1]

    message = hook.queue("orders").get(ticket["id"])
    assert message is not None
    assert message.attempts == 1
    assert message.consumed_by is not None
    assert "/work#1@" in message.consumed_by


def test_a_retry_resumes_the_same_ticket_and_fences_the_earlier_try(hook: XclaimHook) -> None:
    hook.queue("orders").push(1)
    ticket = ticket_of(hook)
    with within_task(task_id="work"):
        (zombie,) = hook.resume(ticket)

    with within_task(2, task_id="work"):
        (retried,) = hook.resume(ticket)

    with pytest.raises(ClaimLostError):
        hook.queue("orders").ack(zombie)
    hook.queue("orders").ack(retried)


def test_only_one_of_two_tasks_can_resume_a_ticket(hook: XclaimHook) -> None:
    hook.queue("orders").push(1)
    ticket = ticket_of(hook)
    with within_task(task_id="work", map_index=0):
        (claimed,) = hook.resume(ticket)

    with within_task(task_id="work", map_index=1), pytest.raises(TicketLostError, match="orders"):
        hook.resume(ticket)

    hook.queue("orders").ack(claimed)


def test_a_claiming_task_that_is_retried_makes_a_ticket_for_the_same_message(
    hook: XclaimHook,
) -> None:
    hook.queue("orders").push_many([1, 2])
    first = ticket_of(hook)

    with within_task(2, task_id="claim"):
        second = hook.claim_ticket("orders")

    assert second is not None
    assert second["id"] == first["id"]
    with within_task(task_id="work"), pytest.raises(TicketLostError):
        hook.resume(first)


def test_a_retry_whose_earlier_try_settled_the_message_has_nothing_left_to_do(
    hook: XclaimHook,
) -> None:
    hook.queue("orders").push(1)
    ticket = ticket_of(hook)
    with within_task(task_id="work"):
        hook.queue("orders").ack_many(hook.resume(ticket))

    with within_task(2, task_id="work"):
        assert hook.resume(ticket) == []
    with within_rerun(task_id="other"), pytest.raises(TicketLostError):
        hook.resume(ticket)


def test_a_lapsed_ticket_is_refused_when_somebody_has_its_message(hook: XclaimHook) -> None:
    hook.queue("orders").push(1)
    ticket = ticket_of(hook, lease=NOW)
    claimed = hook.queue("orders", retry=AT_ONCE).claim()

    with within_task(task_id="work"), pytest.raises(TicketLostError, match="a longer lease"):
        hook.resume(ticket)

    assert claimed is not None
    hook.queue("orders").ack(claimed)


@pytest.mark.parametrize(
    "change",
    [
        {"id": 18},
        {"payload": {"order": 2}},
        {"claim_key": "another"},
        {"claimed_by": "me"},
        {"queue": "other"},
        {"size": 2},
        {"checksum": "0" * 16},
        {"extra": 1},
    ],
)
def test_a_ticket_that_was_changed_is_refused_and_nothing_happens(
    hook: XclaimHook, change: dict[str, Any]
) -> None:
    hook.queue("orders").push({"order": 1})
    ticket = ticket_of(hook)

    with within_task(task_id="work"):
        with pytest.raises(InvalidArgumentError, match="was changed"):
            hook.resume(ticket | change)

        assert len(hook.resume(ticket)) == 1


@pytest.mark.parametrize(
    ("ticket", "complaint"),
    [
        ("{'queue': 'orders'}", r"a template makes a string of it"),
        (None, "not NoneType"),
        ({"queue": "orders"}, "not a ticket"),
        ([], "not list"),
        ({"queue": "q", "claim_key": "k", "claimed_by": "me", "size": object()}, "not JSON"),
    ],
)
def test_what_is_no_ticket_is_refused(hook: XclaimHook, ticket: Any, complaint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=complaint):
        hook.resume(ticket)


def test_outside_a_task_tickets_work_as_well(hook: XclaimHook) -> None:
    hook.queue("orders").push(1)
    ticket = hook.claim_ticket("orders")
    assert ticket is not None

    with hook.consume_ticket(ticket) as claims:
        assert [claim.payload for claim in claims] == [1]

    assert hook.queue("orders").counts().consumed == 1


def test_what_a_block_raises_releases_the_ticket(hook: XclaimHook) -> None:
    pushed = hook.queue("orders").push_many([1, 2])
    ticket = ticket_of(hook, 2)

    with (
        within_task(task_id="work"),
        pytest.raises(ValueError, match="boom"),
        hook.consume_ticket(ticket, on_error="release"),
    ):
        raise ValueError("boom")

    for message in (hook.queue("orders").get(each.id) for each in pushed):
        assert message is not None
        assert message.last_error == "ValueError: boom"
        assert message.claimed_by is None


def test_a_retry_has_the_ticket_back_that_its_block_failed_with(hook: XclaimHook) -> None:
    pushed = hook.queue("orders").push_many([1, 2])
    ticket = ticket_of(hook, 2)

    with (
        within_task(task_id="work"),
        pytest.raises(MessagesFailedError),
        hook.consume_ticket(ticket),
    ):
        raise MessagesFailedError({pushed[1].id: "boom"})

    with within_task(2, task_id="work"), hook.consume_ticket(ticket) as claims:
        assert [(each.message.id, each.message.last_error) for each in claims] == [
            (pushed[1].id, "boom")
        ]
    assert hook.queue("orders").counts().consumed == 2


def test_batches_share_the_queue_out(hook: XclaimHook) -> None:
    hook.queue("orders").push_many(list(range(7)))

    with within_task(task_id="plan"):
        tickets = hook.claim_batches("orders", 3)

    assert [ticket["size"] for ticket in tickets] == [3, 3, 1]
    assert len(str(tickets[0])) < 500
    slices = []
    for index, ticket in enumerate(tickets):
        with within_task(task_id="load", map_index=index):
            slices.append([claim.payload for claim in hook.resume(ticket)])
    assert slices == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_retried_mapped_task_gets_its_own_slice_less_what_it_acked(hook: XclaimHook) -> None:
    hook.queue("orders").push_many(list(range(6)))
    with within_task(task_id="plan"):
        first, second = hook.claim_batches("orders", 3)
    with within_task(task_id="load", map_index=0):
        claims = hook.resume(first)
        hook.queue("orders").ack(claims[0])

    with within_task(2, task_id="load", map_index=0):
        again = hook.resume(first)
        hook.queue("orders").ack_many(again)
    with within_task(3, task_id="load", map_index=0):
        assert hook.resume(first) == []

    assert [claim.payload for claim in again] == [1, 2]
    with within_task(task_id="load", map_index=1):
        assert [claim.payload for claim in hook.resume(second)] == [3, 4, 5]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_batch_that_others_have_is_lost_for_retries_too_and_for_good(
    hook: XclaimHook, *, resumed: bool
) -> None:
    hook.queue("orders").push_many([1, 2])
    ticket = ticket_of(hook, 2, lease=NOW)
    if resumed:  # by a try that was killed
        with within_task(task_id="work"):
            hook.resume(ticket, lease=NOW)
    assert len(hook.queue("orders", retry=AT_ONCE).claim_many(2)) == 2

    with within_task(2, task_id="work"), pytest.raises(TicketLostError) as lost:
        hook.resume(ticket)

    assert is_final(lost.value)


def test_a_retry_has_nothing_to_do_where_the_first_of_its_batch_failed(hook: XclaimHook) -> None:
    hook.queue("orders").push_many([1, 2])
    ticket = ticket_of(hook, 2)
    with within_task(task_id="work"):
        first, second = hook.resume(ticket)
        hook.queue("orders").release(first, error="boom")
        hook.queue("orders").ack(second)

    with within_task(2, task_id="work"):
        assert hook.resume(ticket) == []


@pytest.mark.parametrize("is_new", [False, True])
def test_what_failed_before_a_run_was_made_anew_settles_no_batch_of_it(
    hook: XclaimHook, *, is_new: bool
) -> None:
    queue = hook.queue("orders", retry=AT_ONCE)
    queue.push_many([1, 2])
    with within_task(task_id="work"):
        for claim in hook.resume(ticket_of(hook, 2)):
            queue.release(claim, error="boom")
    ticket = ticket_of(hook, 2, lease=NOW)
    assert len(queue.claim_many(2)) == 2
    began = datetime.now(UTC) + timedelta(minutes=2 if is_new else -2)

    with within_task(2, task_id="work"):
        context: Any = get_current_context()
        context["dag_run"] = SimpleNamespace(start_date=began)
        with pytest.raises(TicketLostError) if is_new else nullcontext():
            assert hook.resume(ticket) == []


def test_a_retried_plan_takes_its_batches_back(hook: XclaimHook) -> None:
    hook.queue("orders").push_many(list(range(4)))
    with within_task(task_id="plan"):
        hook.claim_batches("orders", 2)

    with within_task(2, task_id="plan"):
        tickets = hook.claim_batches("orders", 2)

    assert [ticket["size"] for ticket in tickets] == [2, 2]
    with within_task(task_id="load"):
        assert [claim.payload for claim in hook.resume(tickets[0])] == [0, 1]


def test_no_more_batches_than_asked_for(hook: XclaimHook) -> None:
    hook.queue("orders").push_many(list(range(10)))

    with within_task():
        tickets = hook.claim_batches("orders", 2, max_batches=3)

    assert len(tickets) == 3
    assert hook.queue("orders").counts().available == 4


@pytest.mark.parametrize("number", [0, -1, 1025, "3", True])
def test_more_batches_than_airflow_maps_over_are_refused(hook: XclaimHook, number: Any) -> None:
    hook.queue("orders").push(1)

    with pytest.raises(InvalidArgumentError, match="max_map_length"):
        hook.claim_batches("orders", 2, max_batches=number)

    assert hook.queue("orders").counts().available == 1
