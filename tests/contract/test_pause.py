"""A paused queue hands out nothing; what is held, pushed and tended goes on."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from xclaim import InvalidArgumentError, Queue, SchemaVersionError, Ticket

SOON = timedelta(milliseconds=50)
NO_LEASE = timedelta(0)


@pytest.fixture
def paused(queue: Queue) -> Queue:
    """A queue that had ten messages, and is paused."""
    queue.push_many(range(10))
    queue.pause()
    return queue


def test_a_paused_queue_hands_out_nothing(paused: Queue) -> None:
    assert paused.claim() is None
    assert paused.claim_many(3) == []
    assert paused.claim(wait=SOON) is None
    assert paused.claim_message(paused.peek()[0].id) is None
    assert list(paused.stream()) == []
    with paused.consume() as one, paused.consume_many(3) as some:
        assert (one, some) == (None, [])
    assert paused.counts().available == 10


def test_a_paused_queue_gives_nothing_to_a_transaction(paused: Queue, facade: Facade) -> None:
    with paused.transact() as (claimed, _):
        assert claimed is None
    with facade.in_transaction(paused.name) as joined:
        assert joined.claim() is None


def test_all_priorities_are_paused(queue: Queue) -> None:
    for priority in range(40):
        queue.push(priority, priority=priority)

    queue.pause()

    assert queue.claim_many(40) == []


def test_whoever_claims_behind_a_position_is_paused_too(queue: Queue) -> None:
    queue.push_many(range(30))
    for _ in range(10):
        assert queue.claim() is not None

    queue.pause()

    assert queue.claim() is None


def test_an_unpaused_queue_goes_on_where_it_was(paused: Queue) -> None:
    assert paused.unpause() is True

    assert [claimed.payload for claimed in paused.stream()] == list(range(10))


def test_what_is_held_is_settled_and_not_replaced(queue: Queue) -> None:
    queue.push_many(range(5))
    first, second, third = queue.claim_many(3)

    queue.pause()
    queue.ack(first)
    queue.release(queue.extend(second))
    with queue.working_on([third]):
        pass

    counts = queue.counts()
    assert (counts.available, counts.claimed, counts.consumed) == (3, 0, 2)
    assert queue.claim() is None


def test_a_stream_acks_what_it_has_and_claims_no_more(queue: Queue) -> None:
    queue.push_many(range(30))

    yielded = []
    for claimed in queue.stream(batch=10):
        yielded.append(claimed.payload)
        if len(yielded) == 1:
            queue.pause()

    assert yielded == list(range(len(yielded)))
    assert len(yielded) < 30
    counts = queue.counts()
    assert (counts.consumed, counts.claimed) == (len(yielded), 0)


def test_a_retry_takes_its_own_message_back_and_no_other(queue: Queue) -> None:
    queue.push_many(range(3))
    held = queue.claim(claim_key="task", claimed_by="try 1")
    assert held is not None
    queue.pause()

    again = queue.claim(claim_key="task", claimed_by="try 2")
    another = queue.claim(claim_key="another", claimed_by="try 1")

    assert again is not None
    assert again.message.id == held.message.id
    by_id = queue.claim_message(held.message.id, claim_key="task", claimed_by="try 3")
    assert by_id is not None
    assert another is None


def test_a_ticket_is_taken_up(queue: Queue) -> None:
    queue.push_many(range(3))
    ticket = Ticket.of(queue.claim_many(2, claim_key="sensor", claimed_by="sensor"))
    queue.pause()

    resumed = queue.resume(ticket, claimed_by="task")

    assert [claimed.payload for claimed in resumed] == [0, 1]


def test_pushes_and_what_tends_a_queue_go_on(queue: Queue) -> None:
    queue.push("lapses")
    queue.push("dies", max_attempts=1)
    queue.push("is consumed")
    lapsing, dying, consumed = queue.claim_many(3)
    queue.extend(lapsing, lease=NO_LEASE)
    queue.pause()

    queue.push("another")
    queue.release(dying, error="dead")
    queue.ack(consumed)

    assert queue.expire() == 1
    assert queue.counts().dead_letters == 1
    assert queue.redrive() == 1
    assert queue.prune(older_than=NO_LEASE) == 1
    assert queue.withdraw(ids=[queue.peek()[0].id]) == 1
    assert queue.counts().available == 2


def test_a_lapsed_claim_is_given_back_and_not_handed_out(queue: Queue) -> None:
    queue.push(1)
    queue.claim(lease=NO_LEASE)
    queue.pause()

    assert queue.claim() is None

    assert queue.counts().available == 1


def test_dead_letters_are_a_queue_of_their_own(queue: Queue, dead_letters: Queue) -> None:
    queue.push(1, max_attempts=1)
    claimed = queue.claim()
    assert claimed is not None
    queue.release(claimed, error="dead")

    queue.pause()
    letter = dead_letters.claim()
    assert letter is not None
    dead_letters.release(letter)
    queue.unpause()
    dead_letters.pause(reason="nobody looks at them now")
    queue.push(2)

    assert dead_letters.claim() is None
    assert queue.claim() is not None


def test_another_queue_is_not_paused(paused: Queue, facade: Facade) -> None:
    other = facade.queue(f"{paused.name}-other")
    other.push(1)

    assert other.paused() is None
    assert other.claim() is not None


def test_a_pause_says_since_when_by_whom_and_why(queue: Queue) -> None:
    assert queue.paused() is None

    pause = queue.pause(reason="the mill is on fire", by="ann")

    assert (pause.paused_by, pause.reason) == ("ann", "the mill is on fire")
    assert pause.paused_at.tzinfo is UTC
    assert queue.paused() == pause
    assert set(pause.to_dict()) == {"paused_at", "paused_by", "reason"}


def test_whoever_runs_the_process_has_paused_it_unless_said_otherwise(queue: Queue) -> None:
    assert "@" in queue.pause().paused_by
    assert queue.paused() is not None


def test_to_pause_again_keeps_the_first_pause_and_takes_a_new_reason(queue: Queue) -> None:
    first = queue.pause(by="ann", reason="first")

    without, other = queue.pause(by="bob"), queue.pause(by="bob", reason="second")

    assert without == first
    assert (other.paused_at, other.paused_by) == (first.paused_at, "ann")
    assert other.reason == "second"


def test_to_unpause_what_is_not_paused_is_no_error(queue: Queue) -> None:
    assert queue.unpause() is False
    queue.pause(reason="why")

    assert queue.unpause(by="ann") is True

    assert queue.unpause() is False
    assert queue.paused() is None
    assert queue.pause().reason is None


@pytest.mark.parametrize(
    "options", [{"reason": ""}, {"reason": "  "}, {"reason": 1}, {"by": ""}, {"by": "x" * 1001}]
)
def test_a_pause_that_says_nothing_is_refused(queue: Queue, options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        queue.pause(**options)  # type: ignore[arg-type]

    assert queue.paused() is None


@pytest.mark.parametrize("text", ["'; DROP TABLE xclaim_queue; --", "%s %(x)s :x", "ü🫖", "a\nb"])
def test_a_reason_is_any_text(queue: Queue, text: str) -> None:
    queue.pause(reason=text, by=text)

    assert queue.paused() == queue.pause()
    assert queue.pause().reason == text


def test_a_pause_in_a_transaction_begins_with_its_commit(queue: Queue, facade: Facade) -> None:
    queue.push_many([1, 2])
    with pytest.raises(RuntimeError), facade.in_transaction(queue.name) as joined:
        joined.pause()
        assert joined.claim() is None
        raise RuntimeError

    assert queue.claim() is not None
    with facade.in_transaction(queue.name) as joined:
        joined.pause()
    assert queue.claim() is None


def test_those_who_watch_a_paused_queue_see_nothing_to_claim(paused: Queue) -> None:
    assert paused.newest_available_at() is None
    assert [message.payload for message in paused.peek(2)] == [0, 1]

    paused.unpause()

    assert paused.newest_available_at() is not None


@pytest.mark.parametrize(
    "values",
    ["'infinity', 'ann', NULL", "'-infinity', 'ann', 'why'", "'2026-01-02', '', ''"],
)
def test_a_pause_that_somebody_wrote_by_hand_holds_and_ends(
    queue: Queue, engine: Engine, values: str
) -> None:
    queue.push(1)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO xclaim_queue (queue, paused_at, paused_by, reason)"
                f" VALUES ('{queue.name}', {values})"
            )
        )

    assert queue.claim() is None
    assert queue.paused() is not None
    assert queue.unpause() is True
    assert queue.claim() is not None


def test_a_database_without_the_settings_is_said_and_not_taken_for_an_empty_queue(
    queue: Queue, engine: Engine
) -> None:
    queue.push(1)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE xclaim_queue RENAME TO of_another"))
    try:
        with pytest.raises(SchemaVersionError, match="has no table xclaim_queue"):
            queue.claim()
        with pytest.raises(SchemaVersionError, match="has no table xclaim_queue"):
            queue.pause()
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE of_another RENAME TO xclaim_queue"))
    assert queue.claim() is not None
