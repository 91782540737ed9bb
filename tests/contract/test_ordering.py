"""Messages with the same ordering key are claimed one at a time, in the order of their pushes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from tests.contract.facades import Facade
from xclaim import Claim, InvalidArgumentError, Queue
from xclaim.operations import ordering

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _enabled(engine: Engine) -> None:
    ordering.enable(engine)


def in_line(queue: Queue, *payloads: object, key: str = "a", **options: object) -> list[int]:
    keys = [key] * len(payloads)
    messages = queue.push_many(payloads, ordering_keys=keys, **options)  # type: ignore[call-overload]
    return [message.id for message in messages]


def of_yesterday(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE xclaim_message SET available_at = '2026-01-01 00:00:00.000'"
                " WHERE status = 'available' AND available_at IS NOT NULL"
            )
        )


def claimed(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def dead(queue: Queue) -> Claim:
    claim = claimed(queue)
    queue.release(claim, error="boom")
    return claim


def drained(queue: Queue) -> list[object]:
    payloads = []
    while claim := queue.claim():
        payloads.append(claim.payload)
        queue.ack(claim)
    return payloads


def test_the_next_of_a_key_is_claimed_after_the_ack(queue: Queue) -> None:
    in_line(queue, 1, 2, 3)

    assert [claim.payload for claim in queue.claim_many(10)] == [1]


def test_a_key_is_consumed_in_the_order_of_its_pushes(queue: Queue) -> None:
    in_line(queue, 1, 2)
    queue.push(3, ordering_key="a")
    in_line(queue, 4, 5)

    assert drained(queue) == [1, 2, 3, 4, 5]


def test_keys_take_turns(queue: Queue, engine: Engine) -> None:
    in_line(queue, "a1", "a2", "a3")
    in_line(queue, "b1", key="b")
    queue.push("plain")
    of_yesterday(engine)  # SQLite tells no times apart that are less than a millisecond

    assert drained(queue) == ["a1", "b1", "plain", "a2", "a3"]


def test_a_push_says_who_stands_in_line(queue: Queue) -> None:
    first = queue.push(1, ordering_key="a")
    second = queue.push(2, ordering_key="a")

    assert (first.available_at, second.available_at) == (first.created_at, None)
    assert [queue.get(first.id), queue.get(second.id)] == [first, second]
    assert [first.ordering_key, second.ordering_key] == ["a", "a"]


def test_a_push_under_a_unique_key_stands_in_line_once(queue: Queue) -> None:
    keys = {"unique_keys": ["x", "y", None], "ordering_keys": ["a", "a", "b"]}
    pushed = queue.push_many([1, 2, 3], **keys)  # type: ignore[call-overload]
    again = queue.push_many([1, 2], unique_keys=["x", "y"], ordering_keys=["a", "a"])

    assert [message.available_at is None for message in pushed] == [False, True, False]
    assert again == pushed[:2]
    assert sorted(map(str, drained(queue))) == ["1", "2", "3"]


@pytest.mark.parametrize("lines", [[None, "a"], ["a", None], ["a", "b"]], ids=str)
def test_of_what_is_pushed_twice_at_once_the_first_says_the_line(
    queue: Queue, lines: list[str | None]
) -> None:
    first, second = queue.push_many([1, 1], unique_keys=["one", "one"], ordering_keys=lines)

    assert first.id == second.id
    assert claimed(queue).message.ordering_key == lines[0]


def test_the_claim_knows_the_key(queue: Queue) -> None:
    in_line(queue, 1)

    claim = claimed(queue)

    assert claim.message.ordering_key == "a"
    assert Claim.from_dict(claim.to_dict()) == claim


def test_counts_say_how_many_are_in_line(queue: Queue) -> None:
    in_line(queue, 1, 2, 3)

    counts = queue.counts()

    assert (counts.available, counts.delayed, counts.in_line) == (1, 0, 2)


def test_what_is_in_line_cannot_be_claimed_by_its_id(queue: Queue) -> None:
    first, second = in_line(queue, 1, 2)

    assert queue.claim_message(second) is None
    claim = queue.claim_message(first)
    assert claim is not None
    assert queue.claim_message(second) is None
    queue.ack(claim)
    assert queue.claim_message(second) is not None


def test_a_message_that_is_given_back_keeps_its_turn(queue: Queue) -> None:
    in_line(queue, 1, 2)
    queue.release(claimed(queue), count=False)

    assert drained(queue) == [1, 2]


def test_a_message_that_is_delayed_by_its_release_keeps_its_turn(queue: Queue) -> None:
    in_line(queue, 1, 2)
    queue.release(claimed(queue), delay=HOUR)

    assert queue.claim() is None


def test_a_lapsed_lease_keeps_the_turn(queue: Queue) -> None:
    in_line(queue, 1, 2)
    queue.claim(lease=timedelta(0))

    assert queue.expire() == 1
    assert drained(queue) == [1, 2]


def test_a_delayed_push_holds_its_line(queue: Queue) -> None:
    in_line(queue, 1)
    queue.push(2, ordering_key="a", delay=HOUR)
    queue.push(3, ordering_key="a")

    assert drained(queue) == [1]
    assert queue.counts().delayed == 1


def test_a_dead_letter_passes_its_turn_on(queue: Queue) -> None:
    in_line(queue, 1, 2, max_attempts=1)
    dead(queue)

    assert claimed(queue).payload == 2


def test_a_lapsed_lease_that_makes_a_dead_letter_passes_the_turn_on(queue: Queue) -> None:
    in_line(queue, 1, 2, max_attempts=1)
    queue.claim(lease=timedelta(0))
    queue.expire()

    assert claimed(queue).payload == 2


def test_a_redriven_message_is_the_next_of_its_line(queue: Queue) -> None:
    in_line(queue, 1, 2, 3, max_attempts=1)
    dead(queue)
    second = claimed(queue)
    queue.redrive()

    assert queue.claim() is None
    queue.ack(second)
    assert drained(queue) == [1, 3]


def test_a_redriven_message_leads_a_line_that_is_empty(queue: Queue) -> None:
    in_line(queue, 1, max_attempts=1)
    dead(queue)
    queue.redrive()

    assert drained(queue) == [1]


def test_a_message_that_is_redriven_elsewhere_stands_in_no_line(
    queue: Queue, facade: Facade, name: str
) -> None:
    in_line(queue, 1, 2, max_attempts=1)
    other = facade.queue(f"{name}-other")
    in_line(other, 3)
    dead(queue)
    queue.redrive(to=other.name)

    assert sorted(claim.payload for claim in other.claim_many(10)) == [1, 3]


def test_a_dead_letter_can_hold_its_line(queue: Queue) -> None:
    in_line(queue, 1, 2, max_attempts=1, on_dead="hold")
    dead(queue)

    assert queue.claim() is None
    queue.redrive()
    assert drained(queue) == [1, 2]


def test_a_dead_letter_that_is_acked_holds_its_line_no_more(
    queue: Queue, dead_letters: Queue
) -> None:
    in_line(queue, 1, 2, max_attempts=1, on_dead="hold")
    dead(queue)
    dead_letters.ack(claimed(dead_letters))

    assert claimed(queue).payload == 2


@pytest.mark.parametrize("on_dead", ["skip", "hold"])
def test_a_dead_letter_that_is_withdrawn_holds_no_line(queue: Queue, on_dead: str) -> None:
    first, _ = in_line(queue, 1, 2, max_attempts=1, on_dead=on_dead)
    dead(queue)
    queue.withdraw(ids=[first])

    assert drained(queue) == [2]


def test_a_letter_that_held_its_line_holds_none_elsewhere(
    queue: Queue, facade: Facade, name: str
) -> None:
    in_line(queue, 1, 2, max_attempts=1, on_dead="hold")
    dead(queue)
    queue.redrive(to=f"{name}-other")

    assert claimed(queue).payload == 2
    assert claimed(facade.queue(f"{name}-other")).payload == 1


def test_a_withdrawn_message_passes_its_turn_on(queue: Queue) -> None:
    first, second, _ = in_line(queue, 1, 2, 3)
    queue.withdraw(ids=[second, first])

    assert drained(queue) == [3]


def test_what_is_acked_and_deleted_by_hand_passes_its_turn_on(queue: Queue, engine: Engine) -> None:
    first, second, third = in_line(queue, 1, 2, 3)
    with engine.begin() as connection:
        connection.execute(text(f"DELETE FROM xclaim_message WHERE id = {first}"))
        connection.execute(
            text(
                "UPDATE xclaim_message SET status = 'consumed', consumed_at = created_at"
                f" WHERE id = {second}"
            )
        )

    assert claimed(queue).message.id == third


def test_prune_leaves_the_line_alone(queue: Queue) -> None:
    in_line(queue, 1, 2, 3)
    queue.ack(claimed(queue))

    assert queue.prune(older_than=timedelta(0)) == 1
    assert drained(queue) == [2, 3]


def test_a_batch_of_acks_passes_on_each_turn(queue: Queue) -> None:
    in_line(queue, "a1", "a2")
    in_line(queue, "b1", "b2", key="b")
    queue.ack_many(queue.claim_many(10))

    assert [claim.payload for claim in queue.claim_many(10)] == ["a2", "b2"]


def test_a_stream_goes_through_all_lines(queue: Queue) -> None:
    in_line(queue, "a1", "a2", "a3")
    in_line(queue, "b1", key="b")

    payloads = [claim.payload for claim in queue.stream(batch=2)]

    assert [each for each in payloads if each != "b1"] == ["a1", "a2", "a3"]
    assert len(payloads) == 4


def test_lines_are_of_a_queue(queue: Queue, facade: Facade, name: str) -> None:
    other = facade.queue(f"{name}-other")
    in_line(queue, 1)
    in_line(other, 2)

    assert claimed(queue).payload == 1
    assert claimed(other).payload == 2


def test_a_rolled_back_ack_keeps_the_turn(facade: Facade, queue: Queue, name: str) -> None:
    in_line(queue, 1, 2)
    claim = claimed(queue)
    with pytest.raises(ZeroDivisionError), facade.in_transaction(name) as joined:
        joined.ack(claim)
        raise ZeroDivisionError

    assert queue.claim() is None
    queue.ack(claim)
    assert claimed(queue).payload == 2


def test_a_rolled_back_push_leaves_no_line(facade: Facade, queue: Queue, name: str) -> None:
    with pytest.raises(ZeroDivisionError), facade.in_transaction(name) as joined:
        joined.push(1, ordering_key="a")
        raise ZeroDivisionError
    in_line(queue, 2)

    assert drained(queue) == [2]


def test_messages_pushed_and_acked_in_one_transaction_stay_in_order(
    facade: Facade, queue: Queue, name: str
) -> None:
    with facade.in_transaction(name) as joined:
        joined.push(1, ordering_key="a")
        joined.push(2, ordering_key="a")
        joined.ack(claimed(joined))

    assert drained(queue) == [2]


def test_two_messages_of_a_key_can_never_be_had_at_once(queue: Queue, engine: Engine) -> None:
    _, second = in_line(queue, 1, 2)
    by_hand = "UPDATE xclaim_message SET available_at = created_at WHERE id ="

    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(f"{by_hand} {second}"))


@pytest.mark.parametrize(
    "options",
    [
        {"ordering_key": ""},
        {"ordering_key": 7},
        {"ordering_key": "a", "on_dead": "wait"},
    ],
)
def test_a_wrong_option_is_refused(queue: Queue, options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        queue.push(1, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("length", [256, 2_000])
def test_a_key_that_is_too_long_is_refused_with_how_long_it_may_be(
    queue: Queue, length: int
) -> None:
    with pytest.raises(InvalidArgumentError, match="at most 255 are allowed"):
        queue.push(1, ordering_key="a" * length)


def test_there_is_an_ordering_key_for_each_payload(queue: Queue) -> None:
    with pytest.raises(InvalidArgumentError, match="1 ordering_keys for 2 payloads"):
        queue.push_many([1, 2], ordering_keys=["a"])
