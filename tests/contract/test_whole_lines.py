"""A batch of whole lines: claimed in their order, by nobody else until all of it have ended."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from tests.contract.facades import Facade
from tests.contract.test_ordering import drained, in_line
from tests.retrying import AT_ONCE
from xclaim import Claim, InvalidArgumentError, Queue, Status, Ticket
from xclaim.operations import ordering

HOUR, NOW = timedelta(hours=1), timedelta(0)


@pytest.fixture(autouse=True)
def _enabled(engine: Engine) -> None:
    ordering.enable(engine)


def batch(queue: Queue, limit: int = 10, lease: timedelta = HOUR) -> list[Claim]:
    return queue.claim_many(limit, whole_lines=True, lease=lease)


def payloads(claims: list[Claim]) -> list[object]:
    return [claim.payload for claim in claims]


def lapse(engine: Engine, claim: Claim) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET claim_expires_at = claimed_at WHERE id = :id"),
            {"id": claim.message.id},
        )


def test_a_line_is_claimed_together_in_its_order(queue: Queue) -> None:
    in_line(queue, 1, 2, 3)

    claims = batch(queue)

    assert payloads(claims) == [1, 2, 3]
    assert [claim.message.attempts for claim in claims] == [1, 1, 1]
    assert queue.claim() is None


def test_a_batch_is_filled_from_the_next_lines(queue: Queue) -> None:
    in_line(queue, "a1", "a2")
    queue.push("plain")
    in_line(queue, "b1", "b2", "b3", key="b")

    claims = batch(queue, 5)

    lines = [[each for each in payloads(claims) if str(each)[0] == key] for key in "apb"]
    assert lines == [["a1", "a2"], ["plain"], ["b1", "b2"]]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_batch_has_as_many_as_asked_for(queue: Queue, limit: int) -> None:
    in_line(queue, 1, 2, 3, 4)

    claims = batch(queue, limit)

    assert payloads(claims) == [1, 2, 3][:limit]
    queue.ack_many(claims)
    assert drained(queue) == [1, 2, 3, 4][limit:]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]], ids=str)
def test_the_next_is_claimed_when_the_last_of_a_batch_has_ended(
    queue: Queue, order: list[int]
) -> None:
    in_line(queue, 1, 2, 3, 4)
    claims = batch(queue, 3)

    for place in order:
        assert batch(queue) == []
        queue.ack(claims[place])

    assert payloads(batch(queue)) == [4]


def test_a_batch_is_acked_at_once(queue: Queue) -> None:
    in_line(queue, 1, 2, 3, 4)

    queue.ack_many(batch(queue, 3))

    assert payloads(batch(queue)) == [4]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_released_of_a_batch_is_the_next_of_its_key(queue: Queue, place: int) -> None:
    in_line(queue, 1, 2, 3, 4)
    claims = batch(queue, 3)

    queue.release(claims.pop(place))
    for claim in claims:
        assert batch(queue) == []
        queue.ack(claim)

    assert payloads(batch(queue)) == [[1, 2, 3][place], 4]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]], ids=str)
def test_a_batch_that_is_released_is_claimed_again_in_its_order(
    queue: Queue, order: list[int]
) -> None:
    in_line(queue, 1, 2, 3, 4)
    claims = batch(queue, 3)

    for place in order:
        assert batch(queue) == []
        queue.release(claims[place], count=False)

    assert drained(queue) == [1, 2, 3, 4]


@pytest.mark.parametrize("place", [0, 1])
def test_what_is_released_with_a_delay_holds_its_line_back(
    queue: Queue, engine: Engine, place: int
) -> None:
    in_line(queue, 1, 2, 3)
    claims = batch(queue, 2)

    queue.release(claims.pop(place), delay=HOUR)
    queue.ack_many(claims)

    assert batch(queue) == []
    assert queue.counts().delayed == 1
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE xclaim_message SET available_at = created_at"
                " WHERE status = 'available' AND available_at IS NOT NULL"
            )
        )
    assert payloads(batch(queue)) == [[1, 2][place], 3]


def test_a_batch_ends_before_one_that_is_delayed(queue: Queue) -> None:
    in_line(queue, 1, 2)
    in_line(queue, 3, delay=HOUR)
    in_line(queue, 4)

    claims = batch(queue)

    assert payloads(claims) == [1, 2]
    queue.ack_many(claims)
    assert batch(queue) == []


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_dead_letter_of_a_batch_is_skipped(queue: Queue, place: int) -> None:
    in_line(queue, 1, 2, 3, 4, max_attempts=1)
    claims = batch(queue, 3)

    queue.release(claims.pop(place), error="boom")
    queue.ack_many(claims)

    assert drained(queue) == [4]
    assert queue.redrive() == 1
    assert drained(queue) == [[1, 2, 3][place]]


@pytest.mark.parametrize("places", [[0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]], ids=str)
def test_what_has_lapsed_of_a_batch_comes_back_in_its_place(
    queue: Queue, engine: Engine, places: list[int]
) -> None:
    in_line(queue, 1, 2, 3, 4)
    claims = batch(queue, 3)

    for place in places:
        lapse(engine, claims[place])
        assert queue.expire() == 1
    kept = [each for place, each in enumerate(claims) if place not in places]
    if kept:
        assert batch(queue) == []
    queue.ack_many(kept)

    assert drained(queue) == [*[[1, 2, 3][place] for place in places], 4]


def test_a_batch_that_has_lapsed_comes_back_whole(queue: Queue) -> None:
    in_line(queue, 1, 2, 3, 4)
    batch(queue, 3, NOW)

    assert queue.expire() == 3
    assert payloads(batch(queue, 3)) == [1, 2, 3]


def test_what_is_withdrawn_is_missed_by_no_batch(queue: Queue) -> None:
    queue.push_many([1, 2, 3, 4], unique_keys=["1", "2", "3", "4"], ordering_keys=["a"] * 4)
    claims = batch(queue, 2)

    assert queue.withdraw(["2", "3"]) == 1
    queue.ack_many(claims)

    assert payloads(batch(queue)) == [4]


def test_what_is_redriven_meanwhile_is_the_next(queue: Queue) -> None:
    in_line(queue, 1, max_attempts=1)
    in_line(queue, 2, 3, 4)
    (first,) = batch(queue, 1)
    queue.release(first, error="boom")
    claims = batch(queue, 2)

    queue.redrive()

    assert payloads(claims) == [2, 3]
    assert batch(queue) == []
    queue.ack(claims[0])
    assert batch(queue) == []
    queue.release(claims[1])
    assert payloads(batch(queue)) == [1, 3, 4]


def redriven_and_claimed_along(queue: Queue, lease: timedelta) -> list[Claim]:
    in_line(queue, 1, max_attempts=2)
    in_line(queue, 2, 3)
    for _ in range(2):
        (first,) = batch(queue, 1)
        queue.release(first, error="boom")
    queue.redrive()
    return batch(queue, 10, lease)


def test_what_was_redriven_and_claimed_along_is_the_first_when_all_lapse(queue: Queue) -> None:
    claims = redriven_and_claimed_along(queue, NOW)

    queue.expire()

    assert payloads(claims) == [1, 2, 3]
    assert drained(queue) == [1, 2, 3]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]], ids=str)
def test_what_was_redriven_and_claimed_along_is_the_first_when_all_are_released(
    queue: Queue, order: list[int]
) -> None:
    claims = redriven_and_claimed_along(queue, HOUR)

    for place in order:
        queue.release(claims[place], count=False)

    assert drained(queue) == [1, 2, 3]


def test_a_batch_takes_a_slot_of_the_limit_for_each_message(queue: Queue) -> None:
    queue.limit(concurrency=3)
    in_line(queue, 1, 2, 3, 4)
    in_line(queue, "b1", "b2", key="b")

    claims = batch(queue)

    assert len(claims) == 3
    assert batch(queue) == []
    queue.ack(claims.pop())
    claims += batch(queue)
    assert len(claims) == 3
    queue.limit()
    queue.ack_many(claims)
    assert len(claims) + len(drained(queue)) + 1 == 6


def test_a_batch_within_limits_is_a_prefix_of_its_line(queue: Queue) -> None:
    queue.limit(concurrency=2)
    in_line(queue, 1, 2, 3, 4, 5)
    seen = []

    while claims := batch(queue):
        seen.append(payloads(claims))
        queue.ack_many(claims)

    assert seen == [[1, 2], [3, 4], [5]]


def test_a_batch_begins_no_more_claims_than_the_rate_lets(queue: Queue) -> None:
    queue.limit(rate=2, per=HOUR, burst=2)
    in_line(queue, 1, 2, 3)

    assert payloads(batch(queue)) == [1, 2]
    assert batch(queue) == []


def test_a_paused_queue_hands_out_no_lines(queue: Queue) -> None:
    in_line(queue, 1, 2)
    queue.pause()

    assert batch(queue) == []
    queue.unpause()
    assert payloads(batch(queue)) == [1, 2]


def test_the_priority_of_the_first_decides_which_line_is_claimed(queue: Queue) -> None:
    in_line(queue, "a1", "a2")
    in_line(queue, "b1", "b2", key="b", priority=5)

    assert payloads(batch(queue, 3)) == ["b1", "b2", "a1"]


def test_a_batch_of_one_is_an_ordinary_claim(queue: Queue) -> None:
    in_line(queue, 1, 2)

    assert payloads(batch(queue, 1)) == [1]
    assert queue.counts().in_line == 1


def test_who_does_not_ask_for_whole_lines_claims_from_the_same_lines(queue: Queue) -> None:
    in_line(queue, 1, 2, 3, 4)

    queue.ack_many(batch(queue, 2))
    (claim,) = queue.claim_many(10)
    assert claim.payload == 3
    assert batch(queue) == []
    queue.ack(claim)

    assert payloads(batch(queue)) == [4]


def test_one_of_a_batch_is_acked_by_hand(queue: Queue, engine: Engine) -> None:
    in_line(queue, 1, 2, 3, 4)
    claims = batch(queue, 3)

    for claim in claims:
        assert batch(queue) == []
        with engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE xclaim_message SET status = 'consumed', consumed_at = created_at,"
                    " consumed_by = 'me', claim_expires_at = NULL, claim_token = NULL"
                    " WHERE id = :id"
                ),
                {"id": claim.message.id},
            )

    assert payloads(batch(queue)) == [4]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_of_a_batch_is_deleted_by_hand(queue: Queue, engine: Engine, place: int) -> None:
    in_line(queue, 1, 2, 3, 4)
    claims = batch(queue, 3)

    with engine.begin() as connection:
        connection.execute(
            text("DELETE FROM xclaim_message WHERE id = :id"),
            {"id": claims.pop(place).message.id},
        )
    assert batch(queue) == []
    queue.ack_many(claims)

    assert payloads(batch(queue)) == [4]


def test_a_ticket_hands_a_batch_on_in_its_order(queue: Queue) -> None:
    in_line(queue, 1, 2, 3)
    claims = queue.claim_many(2, whole_lines=True, claimed_by="one", claim_key="hands on")

    taken = queue.resume(Ticket.of(claims))

    assert payloads(taken) == [1, 2]
    queue.ack_many(taken)
    assert payloads(batch(queue)) == [3]


def test_a_retry_takes_its_batch_back_in_its_order(queue: Queue) -> None:
    in_line(queue, 1, 2, 3)
    queue.claim_many(2, whole_lines=True, claimed_by="try 1", claim_key="task")

    again = queue.claim_many(9, whole_lines=True, claimed_by="try 2", claim_key="task")

    assert payloads(again) == [1, 2]
    queue.ack_many(again)
    assert drained(queue) == [3]


def test_a_stream_takes_whole_lines_and_keeps_their_order(queue: Queue) -> None:
    in_line(queue, *range(7))
    in_line(queue, "b1", "b2", key="b")

    found = [claim.payload for claim in queue.stream(batch=4, whole_lines=True)]

    assert [each for each in found if isinstance(each, int)] == list(range(7))
    assert [each for each in found if isinstance(each, str)] == ["b1", "b2"]
    assert queue.counts().consumed == 9


def test_what_a_stream_releases_takes_those_behind_it_along(queue: Queue) -> None:
    in_line(queue, 1, 2, 3, 4)
    seen: list[object] = []

    for claim in queue.stream(batch=3, whole_lines=True):
        seen.append(claim.payload)
        if claim.payload == 2 and claim.message.attempts == 1:
            queue.release(claim)

    assert seen == [1, 2, 2, 3, 4]
    assert queue.counts().consumed == 4


def test_a_block_that_raises_gives_the_batch_back_in_its_order(queue: Queue) -> None:
    in_line(queue, 1, 2, 3)

    with (
        pytest.raises(ZeroDivisionError),
        queue.consume_many(2, whole_lines=True, retry=AT_ONCE) as claims,
    ):
        assert payloads(claims) == [1, 2]
        raise ZeroDivisionError

    assert drained(queue) == [1, 2, 3]


def test_a_queue_without_keys_gives_batches_as_ever(queue: Queue) -> None:
    queue.push_many([1, 2, 3])

    assert sorted(map(str, payloads(batch(queue)))) == ["1", "2", "3"]
    assert queue.claim() is None


# ------------------------------------------------------------- keys of other queues, and who holds


@pytest.mark.parametrize("limit", [2, 10])
def test_a_message_from_another_queue_takes_no_line_along(
    queue: Queue, facade: Facade, name: str, limit: int
) -> None:
    other = facade.queue(f"{name}-other")
    in_line(queue, "letter", max_attempts=1)
    queue.release(batch(queue)[0], error="boom")
    queue.redrive(to=other.name)
    in_line(other, 1, 2, 3)
    held = other.claim_message(batch_ids(other)[0], lease=HOUR)
    assert held is not None

    claims = batch(other, limit)

    assert payloads([held, *claims]) == ["letter", 1, 2, 3][: limit + 1]


@pytest.mark.parametrize("limit", [2, 10])
def test_a_message_from_another_queue_stands_apart_in_a_batch(
    queue: Queue, facade: Facade, name: str, limit: int
) -> None:
    other = facade.queue(f"{name}-other")
    in_line(queue, "letter", max_attempts=1)
    queue.release(batch(queue)[0], error="boom")
    in_line(other, 1, 2, 3)
    queue.redrive(to=other.name)

    claims = batch(other, limit)

    assert payloads(claims) == ([1, 2] if limit == 2 else [1, 2, 3, "letter"])


def batch_ids(queue: Queue) -> list[int]:
    return [message.id for message in queue.peek(10)]


def test_what_holds_its_line_as_a_dead_letter_is_claimed_alone(queue: Queue) -> None:
    in_line(queue, 1, 2, on_dead="hold")
    in_line(queue, 3, 4)
    seen = []

    while claims := batch(queue):
        seen.append(payloads(claims))
        queue.ack_many(claims)

    assert seen == [[1], [2], [3, 4]]


def test_a_batch_ends_before_what_holds_its_line_as_a_dead_letter(queue: Queue) -> None:
    in_line(queue, 1, 2)
    in_line(queue, 3, max_attempts=1, on_dead="hold")
    in_line(queue, 4)

    queue.ack_many(batch(queue))
    queue.release(batch(queue)[0], error="boom")

    assert batch(queue) == []
    assert queue.redrive() == 1
    assert drained(queue) == [3, 4]


# ----------------------------------------------------------------------------------- taken back


def test_what_is_taken_back_is_one_line_after_the_other(queue: Queue) -> None:
    in_line(queue, 1, max_attempts=2)
    in_line(queue, 2, 3)
    for _ in range(2):
        queue.release(batch(queue, 1)[0], error="boom")
    queue.redrive()
    in_line(queue, "b1", "b2", key="b")
    who: dict[str, Any] = {"claim_key": "task", "lease": HOUR}
    queue.claim_many(9, whole_lines=True, claimed_by="try 1", **who)

    again = queue.claim_many(9, whole_lines=True, claimed_by="try 2", **who)

    assert payloads(again) == [1, 2, 3, "b1", "b2"]


def test_what_is_left_of_a_batch_is_taken_back_in_its_order(queue: Queue) -> None:
    in_line(queue, 1, 2, 3, 4)
    who: dict[str, Any] = {"claim_key": "task", "lease": HOUR}
    first, *_ = queue.claim_many(3, whole_lines=True, claimed_by="try 1", **who)
    queue.release(first)

    again = queue.claim_many(9, whole_lines=True, claimed_by="try 2", **who)

    assert payloads(again) == [2, 3]
    queue.ack_many(again)
    assert drained(queue) == [1, 4]


# ------------------------------------------------------------------------------ what is given back


@pytest.mark.parametrize("place", [0, 1])
def test_a_release_says_that_a_message_stands_in_line(queue: Queue, place: int) -> None:
    in_line(queue, 1, 2, 3)
    claims = batch(queue, 2)

    first = queue.release(claims.pop(place))
    last = queue.release(claims[0])

    assert first.status is Status.AVAILABLE
    assert first.available_at is None
    assert (last.available_at is None) == (place == 0)
    found = queue.get(last.id)
    assert found is not None
    assert found.available_at == last.available_at


@pytest.mark.parametrize("place", [0, 1])
def test_what_failed_of_a_batch_rests_before_it_is_claimed_again(queue: Queue, place: int) -> None:
    in_line(queue, 1, 2, 3)
    claims = batch(queue, 2)

    queue.release(claims.pop(place), error="boom", delay=HOUR)
    queue.ack_many(claims)

    assert batch(queue) == []
    assert (queue.counts().delayed, queue.counts().in_line) == (1, 1)


def test_what_failed_of_a_batch_and_is_redriven_does_not_rest(queue: Queue) -> None:
    in_line(queue, 1, 2, 3, max_attempts=1)
    first, second = batch(queue, 2)
    queue.release(second, error="boom", delay=HOUR)

    queue.redrive()
    queue.ack(first)

    assert payloads(batch(queue)) == [2, 3]


def test_a_claim_that_is_rolled_back_leaves_the_line_as_it_was(
    queue: Queue, facade: Facade, name: str
) -> None:
    in_line(queue, 1, 2, 3)

    with pytest.raises(ZeroDivisionError), facade.in_transaction(name) as joined:
        assert payloads(batch(joined)) == [1, 2, 3]
        raise ZeroDivisionError

    assert queue.counts().in_line == 2
    assert payloads(batch(queue)) == [1, 2, 3]


_REQUEUE = (
    "UPDATE xclaim_message SET status = 'available', claimed_at = NULL, claimed_by = NULL,"
    " claim_key = NULL, claim_expires_at = NULL, claim_token = NULL{} WHERE id = :id"
)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_of_a_batch_is_given_back_by_hand(queue: Queue, engine: Engine, place: int) -> None:
    in_line(queue, 1, 2, 3, 4)
    claims = batch(queue, 3)

    with engine.begin() as connection:
        connection.execute(text(_REQUEUE.format("")), {"id": claims.pop(place).message.id})
    assert batch(queue) == []
    queue.ack_many(claims)

    assert drained(queue) == [place + 1, 4]


def test_no_hand_makes_two_of_a_key_available(queue: Queue, engine: Engine) -> None:
    in_line(queue, 1, 2, 3)
    claims = batch(queue)

    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(
            text(_REQUEUE.format(", available_at = created_at")), {"id": claims[1].message.id}
        )

    queue.ack_many(claims)


def test_ordering_is_not_disabled_while_a_batch_is_claimed(queue: Queue, engine: Engine) -> None:
    in_line(queue, 1, 2)
    first, second = batch(queue)
    queue.ack(first)

    with pytest.raises(InvalidArgumentError):
        ordering.disable(engine)

    queue.ack(second)


# ---------------------------------------------------------------------------------------- streams


def test_a_release_in_a_transaction_takes_along_what_a_stream_has_behind_it(
    queue: Queue, facade: Facade, name: str
) -> None:
    in_line(queue, 1, 2, 3)
    seen: list[object] = []

    for claim in queue.stream(batch=3, whole_lines=True):
        seen.append(claim.payload)
        if claim.message.attempts == 1 and claim.payload == 1:
            with facade.in_transaction(name) as joined:
                joined.release(claim)

    assert seen == [1, 1, 2, 3]
    assert queue.counts().consumed == 3


def make_unreadable(engine: Engine, id_: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE xclaim_message SET codec = 'json+fernet' WHERE id = :id"), {"id": id_}
        )


def test_a_stream_hands_out_nothing_behind_a_message_that_cannot_be_read(
    queue: Queue, engine: Engine
) -> None:
    _, unreadable, _ = in_line(queue, 1, 2, 3, max_attempts=1)
    in_line(queue, "b", key="b")
    make_unreadable(engine, unreadable)
    seen: list[object] = []

    for claim in queue.stream(batch=9, whole_lines=True):
        seen.append(claim.payload)
        if claim.payload == 3:
            assert queue.counts().dead_letters == 1

    assert seen == [1, "b", 3]
    assert queue.counts().consumed == 3


def test_a_block_works_on_what_stands_before_a_message_that_cannot_be_read(
    queue: Queue, engine: Engine
) -> None:
    _, unreadable, _ = in_line(queue, 1, 2, 3)
    in_line(queue, "b", key="b")
    make_unreadable(engine, unreadable)

    with queue.consume_many(9, whole_lines=True) as claims:
        seen = payloads(claims)

    assert sorted(seen, key=str) == [1, "b"]
    assert queue.counts().consumed == 2
    assert queue.failures(unreadable)  # and 3 waits behind it
    assert queue.counts().claimed == 0


def test_the_log_says_what_became_of_a_batch(
    queue: Queue, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    in_line(queue, 1, 2, 3, 4)
    first, second, third, fourth = batch(queue)
    caplog.clear()
    caplog.set_level(logging.INFO, "xclaim")

    queue.release(second, error="it failed")
    queue.release(third)
    for claim in (first, fourth):
        lapse(engine, claim)
    queue.expire()

    failed, released, lapsed = said(caplog)
    assert failed.endswith("it stands in line again")
    assert released.endswith("it stands in line again")
    assert "the leases on 2 messages" in lapsed
    assert "next try by 20" in lapsed


def test_the_log_says_so_also_where_only_one_claimed_along_has_lapsed(
    queue: Queue, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    in_line(queue, 1, 2)
    _, second = batch(queue)
    caplog.clear()

    lapse(engine, second)
    queue.expire()

    (lapsed,) = said(caplog)
    assert lapsed.endswith("it stands in line again")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of failures, releases and leases."""
    words = ("failed in", "was released", "ran out")
    return [text for text in caplog.messages if any(each in text for each in words)]
