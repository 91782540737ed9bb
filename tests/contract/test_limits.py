"""A limited queue hands out no more at once, and no more in a time, than its limits say."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice

import pytest
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from tests.eventually import PATIENCE
from xclaim import ClaimLostError, InvalidArgumentError, Limits, Queue, Ticket

NO_LEASE = timedelta(0)
HOUR = timedelta(hours=1)
_AN_HOUR_AGO = {
    "postgresql": "taken_at - interval '1 hour'",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', taken_at, '-1 hour')",
}


@pytest.fixture
def filled(queue: Queue) -> Queue:
    """A queue with twenty messages."""
    queue.push_many(range(20))
    return queue


def an_hour_passes(queue: Queue, engine: Engine) -> None:
    """Let all slots of the queue have been taken an hour earlier."""
    earlier = _AN_HOUR_AGO[engine.dialect.name]
    statement = text(f"UPDATE xclaim_slot SET taken_at = {earlier} WHERE queue = :queue")
    with engine.begin() as connection:
        connection.execute(statement, {"queue": queue.name})


def test_no_more_are_claimed_at_once(filled: Queue) -> None:
    filled.limit(concurrency=3)

    claims = filled.claim_many(10)

    assert [claim.payload for claim in claims] == [0, 1, 2]
    assert filled.claim() is None
    assert filled.claim_message(filled.peek()[0].id) is None
    assert filled.counts().claimed == 3


def test_what_ends_a_claim_frees_its_slot(filled: Queue) -> None:
    filled.limit(concurrency=2)
    first, second = filled.claim_many(10)

    filled.ack(first)
    third = filled.claim()
    filled.release(second)
    fourth, fifth = filled.claim(), filled.claim()

    assert third is not None
    assert fourth is not None
    assert fifth is None


def test_a_lapsed_claim_has_its_slot_until_it_is_given_back(filled: Queue) -> None:
    filled.limit(concurrency=1)
    lapsed = filled.claim(lease=NO_LEASE)
    assert lapsed is not None

    again = filled.claim()

    assert again is not None  # an empty claim gives back what has lapsed
    assert filled.claim() is None
    with pytest.raises(ClaimLostError):
        filled.ack(lapsed)


def test_a_dead_letter_frees_its_slot(queue: Queue) -> None:
    queue.push_many([1, 2], max_attempts=1)
    queue.limit(concurrency=1)
    claimed = queue.claim()
    assert claimed is not None

    queue.release(claimed, error="dead")

    assert queue.claim() is not None
    assert queue.claim() is None


def test_what_comes_back_to_be_claimed_has_one_slot(queue: Queue) -> None:
    queue.push_many(range(3))
    queue.limit(concurrency=3)
    for _ in range(5):
        first = queue.claim()
        assert first is not None
        queue.release(first)

    assert len(queue.claim_many(10)) == 3


def test_what_was_claimed_before_the_limit_counts(filled: Queue) -> None:
    held = filled.claim_many(4)

    filled.limit(concurrency=5)

    assert len(filled.claim_many(10)) == 1
    filled.ack_many(held[:3])
    assert len(filled.claim_many(10)) == 3
    assert filled.claim() is None


def test_a_lower_limit_lets_nothing_begin_until_enough_has_ended(filled: Queue) -> None:
    filled.limit(concurrency=5)
    held = filled.claim_many(10)

    filled.limit(concurrency=2)

    filled.ack_many(held[:3])
    assert filled.claim() is None
    filled.ack(held[3])
    assert filled.claim() is not None
    assert filled.claim() is None


def test_a_higher_limit_lets_more_begin(filled: Queue) -> None:
    filled.limit(concurrency=2)
    filled.claim_many(10)

    filled.limit(concurrency=5)

    assert len(filled.claim_many(10)) == 3


def test_without_limits_everything_goes(filled: Queue) -> None:
    filled.limit(concurrency=1, rate=1, per=HOUR)
    assert len(filled.claim_many(10)) == 1

    assert filled.limit() == Limits()

    assert filled.limits() is None
    assert len(filled.claim_many(20)) == 19


def test_no_more_claims_begin_in_a_time(filled: Queue, engine: Engine) -> None:
    filled.limit(rate=2, per=HOUR, burst=2)

    first = filled.claim_many(10)
    second = filled.claim()
    an_hour_passes(filled, engine)
    third = filled.claim_many(10)

    assert [len(first), second, len(third)] == [2, None, 2]


def test_a_claim_that_has_ended_or_was_lost_counts_as_one_that_began(
    filled: Queue, engine: Engine
) -> None:
    filled.limit(rate=4, per=HOUR, burst=4)
    acked, released, _ = filled.claim_many(3)
    filled.claim(lease=NO_LEASE)

    filled.ack(acked)
    filled.release(released)
    filled.expire()
    filled.prune(older_than=NO_LEASE)

    assert filled.claim() is None
    an_hour_passes(filled, engine)
    assert len(filled.claim_many(10)) == 4


def test_a_rate_begins_one_at_a_time_unless_a_burst_is_said(filled: Queue, engine: Engine) -> None:
    filled.limit(rate=60, per=HOUR)

    assert len(filled.claim_many(10)) == 1
    assert filled.claim() is None
    an_hour_passes(filled, engine)
    assert len(filled.claim_many(10)) == 1


def test_both_limits_hold_together(filled: Queue, engine: Engine) -> None:
    filled.limit(concurrency=3, rate=5, per=HOUR, burst=5)

    held = filled.claim_many(10)
    filled.ack_many(held)
    rest = filled.claim_many(10)

    assert [len(held), len(rest)] == [3, 2]
    assert filled.claim() is None
    an_hour_passes(filled, engine)
    assert len(filled.claim_many(10)) == 1


def test_a_rate_that_is_set_again_goes_on(filled: Queue) -> None:
    filled.limit(rate=1, per=HOUR)
    assert filled.claim() is not None

    filled.limit()
    filled.limit(rate=1, per=HOUR)

    assert filled.claim() is None


def test_a_retry_takes_its_own_message_back_and_needs_no_slot(filled: Queue) -> None:
    filled.limit(concurrency=1)
    held = filled.claim(claim_key="task", claimed_by="try 1")
    assert held is not None

    again = filled.claim(claim_key="task", claimed_by="try 2")

    assert again is not None
    assert again.message.id == held.message.id
    assert filled.claim() is None
    filled.ack(again)
    assert filled.claim() is not None
    assert filled.claim() is None


def test_a_ticket_is_taken_up_and_counts(filled: Queue) -> None:
    filled.limit(concurrency=2)
    ticket = Ticket.of(filled.claim_many(2, claim_key="sensor", claimed_by="sensor"))

    resumed = filled.resume(ticket, claimed_by="task")

    assert len(resumed) == 2
    assert filled.claim() is None
    filled.ack(resumed[0])
    assert len(filled.claim_many(5)) == 1


def test_a_claim_by_id_takes_a_slot(filled: Queue) -> None:
    filled.limit(concurrency=1)
    last = filled.peek(20)[-1]

    claimed = filled.claim_message(last.id)

    assert claimed is not None
    assert claimed.message.id == last.id
    assert filled.claim() is None


def test_priorities_and_delays_are_as_without_limits(queue: Queue) -> None:
    queue.push("low")
    queue.push("late", priority=9, delay=HOUR)
    queue.push("high", priority=5)
    queue.limit(concurrency=1)

    claimed = queue.claim()

    assert claimed is not None
    assert claimed.payload == "high"


def test_what_rests_after_a_failure_has_no_slot(queue: Queue) -> None:
    queue.push_many([1, 2])
    queue.limit(concurrency=1)
    first = queue.claim()
    assert first is not None

    queue.release(first, error="comes back later", delay=HOUR)

    assert queue.claim() is not None


@pytest.mark.usefixtures("with_ordering")
def test_messages_with_ordering_keys_are_claimed_in_turn_within_the_limit(queue: Queue) -> None:
    queue.push_many(["a1", "a2", "b1", "c1"], ordering_keys=["a", "a", "b", "c"])
    queue.limit(concurrency=2)

    first, other = queue.claim_many(10)
    queue.ack(first)
    last = queue.claim_many(10)

    assert (first.payload, other.payload, [each.payload for each in last]) == ("a1", "b1", ["c1"])


def test_a_stream_works_within_the_limit(filled: Queue) -> None:
    filled.limit(concurrency=3)

    seen = []
    for claimed in filled.stream(batch=10):
        assert filled.counts().claimed <= 3
        seen.append(claimed.payload)

    assert seen == list(range(20))


def test_a_claim_in_a_transaction_that_is_rolled_back_has_begun_nothing(
    filled: Queue, facade: Facade
) -> None:
    filled.limit(concurrency=1, rate=1, per=HOUR)

    with pytest.raises(RuntimeError), facade.in_transaction(filled.name) as joined:
        assert joined.claim() is not None
        assert joined.claim() is None
        raise RuntimeError

    assert filled.claim() is not None


def test_a_transaction_claims_within_the_limit(filled: Queue) -> None:
    filled.limit(concurrency=1)

    with filled.transact() as (claimed, _):
        assert claimed is not None

    assert filled.counts().consumed == 1


def test_a_paused_queue_with_limits_hands_out_nothing(filled: Queue) -> None:
    filled.limit(concurrency=3)
    filled.pause()

    assert filled.claim_many(5) == []

    filled.unpause()
    assert filled.limits() == Limits(concurrency=3)
    assert len(filled.claim_many(5)) == 3


def test_another_queue_and_the_dead_letters_have_no_limits(filled: Queue, facade: Facade) -> None:
    filled.limit(concurrency=1)
    other = facade.queue(f"{filled.name}-other")
    other.push_many([1, 2])

    assert other.limits() is None
    assert len(other.claim_many(5)) == 2


def test_limits_are_said(queue: Queue) -> None:
    assert queue.limits() is None

    limits = queue.limit(concurrency=3, rate=10, burst=5)

    assert limits == Limits(concurrency=3, rate=10, per=timedelta(seconds=1), burst=5)
    assert queue.limits() == limits
    assert str(limits) == "3 at once, 10 per 1 s in bursts of 5"
    assert limits.to_dict() == {"concurrency": 3, "rate": 10, "per": 1.0, "burst": 5}


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"concurrency": -1},
        {"concurrency": 1001},
        {"concurrency": True},
        {"concurrency": "10"},
        {"concurrency": 2**63},
        {"rate": 0},
        {"rate": 1.5},
        {"rate": 2**63},
        {"rate": 10, "burst": 0},
        {"rate": 10, "burst": 1001},
        {"rate": 10, "per": NO_LEASE},
        {"rate": 10, "per": timedelta(seconds=-1)},
        {"rate": 10, "per": 1},
        {"rate": 100_000},
        {"rate": 1, "per": timedelta(days=3_650), "burst": 101},
        {"per": HOUR},
        {"burst": 3},
        {"concurrency": 1, "by": ""},
    ],
)
def test_a_limit_that_is_none_is_refused(queue: Queue, options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        queue.limit(**options)  # type: ignore[arg-type]

    assert queue.limits() is None


def test_the_slowest_rate_of_all_lets_a_burst_begin_and_no_more(filled: Queue) -> None:
    filled.limit(rate=1, per=timedelta(days=3_650), burst=100)
    assert filled.claim() is not None

    filled.limit(rate=1, per=timedelta(days=3_660), burst=3)

    assert len(filled.claim_many(10)) == 2
    assert filled.claim() is None
    assert filled.newest_available_at() is None


@pytest.mark.parametrize(
    "values",
    [
        "0, NULL, NULL, NULL",
        "NULL, 1, NULL, 1",
        "NULL, NULL, 1, NULL",
        "NULL, 1, 1, 0",
        "NULL, 1, 1e9, 1",
        "NULL, 1, 316224000, 1000",
        "NULL, 10, 316224000, 2147483647",
    ],
)
def test_the_database_refuses_limits_that_are_none(
    queue: Queue, engine: Engine, values: str
) -> None:
    statement = text(
        "INSERT INTO xclaim_queue (queue, concurrency, rate, rate_seconds, burst)"
        f" VALUES ('{queue.name}', {values})"
    )

    with pytest.raises(Exception, match="ck_xclaim_queue_limits"), engine.begin() as connection:
        connection.execute(statement)


def test_what_cannot_be_claimed_now_is_not_what_can_be(filled: Queue, engine: Engine) -> None:
    filled.limit(concurrency=2, rate=1, per=HOUR, burst=3)
    first, second = filled.claim_many(2)

    when_full = filled.newest_available_at()
    filled.ack_many([first, second])
    with_room = filled.newest_available_at()
    filled.ack_many(filled.claim_many(2))
    before_the_next_turn = filled.newest_available_at()
    an_hour_passes(filled, engine)
    an_hour_passes(filled, engine)
    an_hour_passes(filled, engine)

    assert when_full is None
    assert with_room is not None
    assert before_the_next_turn is None
    assert filled.newest_available_at() is not None


def test_a_queue_whose_limits_have_ended_elsewhere_is_not_empty(
    filled: Queue, engine: Engine
) -> None:
    filled.limit(concurrency=1)
    held = filled.claim()
    assert held is not None
    assert filled.claim() is None

    with engine.begin() as connection:
        connection.execute(text("UPDATE xclaim_queue SET concurrency = NULL"))

    assert len(filled.claim_many(30)) == 19


@pytest.mark.usefixtures("only_wake_ups")
def test_who_waits_looks_when_a_rate_lets_the_next_claim_begin(filled: Queue) -> None:
    filled.limit(rate=4)
    assert filled.claim() is not None

    claimed = filled.claim(wait=timedelta(seconds=PATIENCE))

    assert claimed is not None
    assert len(list(islice(filled.stream(wait=timedelta(seconds=PATIENCE)), 3))) == 3


def test_what_a_hand_has_given_back_has_no_slot(filled: Queue, engine: Engine) -> None:
    filled.limit(concurrency=2)
    claims = filled.claim_many(2)
    # As one does it who knows of the CHECK, and of nothing else: the end of the lease stays.
    given_back = text(
        "UPDATE xclaim_message SET status = 'available', claim_token = NULL"
        " WHERE queue = :queue AND status = 'claimed'"
    )
    with engine.begin() as connection:
        connection.execute(given_back, {"queue": filled.name})

    again = filled.claim_many(2)

    assert [claim.payload for claim in again] == [claim.payload for claim in claims]
