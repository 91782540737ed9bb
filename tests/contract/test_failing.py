"""What becomes of a message whose attempt failed: a pause, a limit, and its errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.contract.facades import Facade
from tests.times import available_at
from xclaim import (
    Claim,
    ClaimLostError,
    InvalidArgumentError,
    Message,
    MessagesFailedError,
    Queue,
    Retry,
    verbs,
)
from xclaim.consuming.holding import holding_of

NOW = timedelta(0)
SECOND = timedelta(seconds=1)


@pytest.fixture
def plain(facade: Facade, name: str) -> Queue:
    """Return a queue as users make it: with the default pauses."""
    return facade.queue(name)


def claimed_from(queue: Queue, **options: Any) -> Claim:
    claimed = queue.claim(**options)
    assert claimed is not None
    return claimed


def the_message(queue: Queue, id_: int) -> Message:
    message = queue.get(id_)
    assert message is not None
    return message


def fail_in_a_block(queue: Queue, **options: Any) -> None:
    with suppress(ValueError), queue.consume(**options):
        raise ValueError("boom")


def fail_in_a_batch(queue: Queue, **options: Any) -> None:
    with suppress(ValueError), queue.consume_many(1, **options):
        raise ValueError("boom")


def fail_in_a_transaction(queue: Queue, **options: Any) -> None:
    with suppress(ValueError), queue.transact(**options):
        raise ValueError("boom")


def fail_what_is_worked_on(queue: Queue, **options: Any) -> None:
    with suppress(ValueError), queue.working_on([claimed_from(queue)], **options):
        raise ValueError("boom")


def fail_in_a_stream(queue: Queue, **options: Any) -> None:
    for claimed in queue.stream(**options):
        queue.release(claimed, error=ValueError("boom"))


def fail_by_hand(queue: Queue) -> None:
    queue.release(claimed_from(queue), error=ValueError("boom"))


LOOPS: Mapping[str, Callable[..., None]] = {
    "consume": fail_in_a_block,
    "consume_many": fail_in_a_batch,
    "transact": fail_in_a_transaction,
    "working_on": fail_what_is_worked_on,
    "stream": fail_in_a_stream,
}
WAYS = {**LOOPS, "release": fail_by_hand}


@pytest.mark.parametrize("way", WAYS)
def test_what_failed_rests_and_holds_nobody_up(plain: Queue, way: str) -> None:
    bad, good = plain.push_many(["bad", "good"])

    if way != "stream":
        WAYS[way](plain)
    else:
        plain.release(claimed_from(plain), error=ValueError("boom"))

    rests = the_message(plain, bad.id)
    assert (rests.attempts, rests.last_error) == (1, "ValueError: boom")
    assert rests.last_error_class == "ValueError"
    assert claimed_from(plain).message.id == good.id
    assert plain.claim() is None
    [failure] = plain.failures(bad.id)
    assert (failure.attempt, failure.error_class) == (1, "ValueError")
    assert failure.error == "ValueError: boom"
    pause = available_at(rests) - failure.at
    assert timedelta(seconds=3.7) < pause <= timedelta(seconds=5.1)


@pytest.mark.parametrize("way", LOOPS)
def test_each_loop_has_a_retry_of_its_own(plain: Queue, way: str) -> None:
    message = plain.push(1)

    LOOPS[way](plain, retry=Retry(first=timedelta(hours=1), jitter=0))

    rests = the_message(plain, message.id)
    [failure] = plain.failures(message.id)
    assert abs(available_at(rests) - failure.at - timedelta(hours=1)) < SECOND


def test_pauses_grow_up_to_the_longest(facade: Facade, name: str, engine: Engine) -> None:
    retry = Retry(first=timedelta(hours=1), factor=3, most=timedelta(hours=5), jitter=0)
    queue = facade.queue(name, retry=retry)
    message = queue.push(1)
    pauses = []

    for _ in range(4):
        released = queue.release(claimed_from(queue), error="boom")
        pauses.append(round((available_at(released) - queue.failures(message.id)[-1].at) / SECOND))
        with engine.begin() as connection:  # as if the pause were over
            connection.exec_driver_sql(
                f"UPDATE xclaim_message SET available_at = created_at WHERE id = {message.id}"
            )

    assert pauses == [3_600, 3 * 3_600, 5 * 3_600, 5 * 3_600]


def test_what_failed_together_does_not_come_back_together(plain: Queue) -> None:
    plain.push_many(list(range(50)))
    claims = plain.claim_many(50)

    rests = [plain.release(claim, error="boom") for claim in claims]

    pauses = {round(available_at(each).timestamp() % 60, 1) for each in rests}
    assert len(pauses) > 5


def test_a_lapsed_lease_is_counted_from_the_claim(plain: Queue) -> None:
    message = plain.push(1)
    claimed = claimed_from(plain, lease=NOW, claimed_by="me")

    assert plain.expire() == 1

    rests = the_message(plain, message.id)
    assert claimed.message.claimed_at is not None
    pause = available_at(rests) - claimed.message.claimed_at
    assert timedelta(seconds=3.7) < pause <= timedelta(seconds=5.1)
    [failure] = plain.failures(message.id)
    assert (failure.error_class, failure.claimed_by) == ("LeaseExpired", "me")


def test_hand_backs_are_no_failures(plain: Queue) -> None:
    message = plain.push(1)

    plain.release(claimed_from(plain), error="on the way out", count=False)
    plain.release(claimed_from(plain))

    left = the_message(plain, message.id)
    assert plain.failures(message.id) == []
    assert plain.counts().available == 1
    assert left.available_at == message.available_at


def test_a_loop_that_raises_holds_nobody_up(plain: Queue) -> None:
    bad, good, later = plain.push_many(["bad", "good", "later"])

    with suppress(ValueError):
        for claimed in plain.stream():
            raise ValueError(claimed.payload)

    rests = the_message(plain, bad.id)
    assert rests.last_error_class == "xclaim.errors.UnfinishedError"  # of which a stream knows
    assert [each.attempt for each in plain.failures(bad.id)] == [1]
    assert [each.message.id for each in plain.claim_many(5)] == [good.id, later.id]


def test_what_was_settled_before_a_break_is_settled(plain: Queue) -> None:
    done, back, _ = plain.push_many([1, 2, 3])

    for claimed in plain.stream():
        plain.ack(claimed)
        break
    for claimed in plain.stream():
        plain.release(claimed, count=False)
        break

    assert (plain.counts().available, plain.counts().consumed) == (2, 1)
    assert plain.get(done.id).consumed_at is not None  # type: ignore[union-attr]
    assert claimed_from(plain).message.id == back.id
    assert plain.failures(back.id) == []


def test_of_a_batch_only_what_failed_is_failed(plain: Queue) -> None:
    plain.push_many(list(range(10)))

    with pytest.raises(MessagesFailedError) as raised, plain.consume_many(10) as claims:
        bad = [each for each in claims if each.payload % 3 == 1]
        raise MessagesFailedError({each.message.id: KeyError(each.payload) for each in bad})

    counts = plain.counts()
    assert (counts.consumed, counts.delayed, counts.claimed) == (7, 3, 0)
    assert {plain.failures(id_)[0].error for id_ in raised.value.failed} == {
        f"KeyError: {payload}" for payload in (1, 4, 7)
    }
    assert str(bad[0].message.id) in str(raised.value)


def test_an_error_that_names_other_messages_fails_the_whole_batch(plain: Queue) -> None:
    plain.push_many([1, 2])

    with suppress(MessagesFailedError), plain.consume_many(2):
        raise MessagesFailedError({10**9: "another"})

    assert (plain.counts().delayed, plain.counts().consumed) == (2, 0)


@pytest.mark.parametrize("wrong", [{}, {"5": "text"}, {True: "bool"}, {None: "none"}])
def test_an_error_that_names_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        MessagesFailedError(wrong)


def test_a_dead_letter_that_fails_again_rests(facade: Facade, name: str, plain: Queue) -> None:
    message = plain.push(1, max_attempts=1)
    plain.release(claimed_from(plain), error="dead")
    dead = facade.queue(f"{name}.dead")

    released = dead.release(claimed_from(dead), error="again")

    assert released.queue == f"{name}.dead"
    assert dead.claim() is None
    assert [each.error for each in plain.failures(message.id)] == ["dead", "again"]
    assert plain.redrive() == 1


def test_claims_of_several_blocks_are_settled_together(facade: Facade, name: str) -> None:
    queue = facade.queue(name)
    queue.push_many([1, 2, 3])

    with queue.consume() as first, queue.consume() as second:
        assert first is not None
        assert second is not None
        third = claimed_from(queue)
        queue.ack_many([third, second, first])

    assert queue.counts().consumed == 3


def test_an_error_that_is_kept_is_not_kept_again_when_the_lease_ends(
    plain: Queue, engine: Engine
) -> None:
    message = plain.push(1)
    claimed = claimed_from(plain, claimed_by="me", claim_key="mine")
    with engine.begin() as connection:  # as the task of a scheduler does that is tried again
        verbs.NOTE_FAILURE.function(connection, claimed, error=KeyError("x"), lease=NOW)

    assert plain.expire() == 1

    lapsed = the_message(plain, message.id)
    assert (lapsed.last_error_class, lapsed.claimed_by) == ("KeyError", None)
    assert [each.error_class for each in plain.failures(message.id)] == ["KeyError"]


@pytest.mark.parametrize("kept", ["[{}]", "[1]", '"text"', "{}", '[{"attempt": 1e400}]'])
def test_failures_that_somebody_wrote_stop_nobody(plain: Queue, engine: Engine, kept: str) -> None:
    message = plain.push(1)
    claimed_from(plain, lease=NOW)
    with engine.begin() as connection:
        connection.execute(
            text(f"UPDATE xclaim_message SET failures = :kept WHERE id = {message.id}"),
            {"kept": kept.replace("1e400", "1e300")},
        )

    assert plain.failures(message.id) == []
    assert plain.expire() == 1
    assert plain.failures(message.id)[-1].error_class == "LeaseExpired"


@pytest.mark.parametrize("way", ["ack", "release"])
def test_what_is_settled_in_a_transaction_is_not_extended_against_it(
    plain: Queue, way: str
) -> None:
    plain.push(1)

    with plain.transact() as (claimed, _):
        assert claimed is not None
        holding = holding_of(claimed)
        assert holding is not None
        if way == "ack":
            plain.ack(claimed)
        else:
            plain.release(claimed, error="boom")
        assert holding._keep_alive is None  # it would wait for our lock

    assert (plain.counts().consumed, plain.counts().delayed) == (way == "ack", way == "release")


class SpeechlessError(Exception):
    """An error whose text cannot be had."""

    def __str__(self) -> str:
        raise KeyError("no text")


def named(name: str, module: str = "here") -> type[Exception]:
    made = type("Made", (Exception,), {"__module__": module})
    made.__qualname__ = name
    return made


@pytest.mark.parametrize("way", ["consume", "transact", "stream", "MessagesFailedError"])
@pytest.mark.parametrize(
    "error",
    [SpeechlessError(), named("a\x00b")(), named("E", "m\ud800")(), named("\ud800")("\x00")],
)
def test_an_error_that_cannot_be_shown_hides_nothing(
    plain: Queue, way: str, error: Exception
) -> None:
    message = plain.push(1)
    with pytest.raises((type(error), MessagesFailedError)):
        if way == "consume":
            with plain.consume():
                raise error
        if way == "transact":
            with plain.transact():
                raise error
        if way == "stream":
            for claimed in plain.stream():
                plain.release(claimed, error=error)
            raise error
        with plain.consume_many(5):
            raise MessagesFailedError({message.id: error})

    assert (plain.counts().delayed, plain.counts().claimed) == (1, 0)
    [failure] = plain.failures(message.id)
    assert failure.error_class is not None


def test_what_was_released_by_hand_may_be_named_again(plain: Queue) -> None:
    plain.push_many([1, 2, 3])

    with pytest.raises(MessagesFailedError), plain.consume_many(3) as claims:
        plain.release(claims[0], error="boom")
        raise MessagesFailedError({claims[0].message.id: "boom"})

    assert (plain.counts().delayed, plain.counts().consumed) == (1, 2)


@pytest.mark.parametrize("way", ["ack", "release"])
def test_what_the_block_itself_rolls_back_was_not_settled(plain: Queue, way: str) -> None:
    message = plain.push(1)

    with plain.transact() as (claimed, connection):
        assert claimed is not None
        connection.execute(text("SAVEPOINT before"))
        if way == "ack":
            plain.ack(claimed)
        else:
            plain.release(claimed, error="boom")
        connection.execute(text("ROLLBACK TO SAVEPOINT before"))

    assert plain.counts().consumed == 1  # since the block has ended well
    assert plain.failures(message.id) == []


def test_of_what_is_acked_in_a_transaction_others_may_be_lost(plain: Queue) -> None:
    plain.push_many([1, 2])
    lost = claimed_from(plain, lease=NOW)
    plain.expire()

    with plain.transact() as (claimed, _):
        assert claimed is not None
        with pytest.raises(ClaimLostError) as caught:
            plain.ack_many([claimed, lost])

    assert [each.message.id for each in caught.value.claims] == [lost.message.id]
    assert plain.counts().consumed == 1


def test_a_delay_of_ones_own_is_followed(plain: Queue) -> None:
    message = plain.push(1)

    released = plain.release(claimed_from(plain), error="boom", delay=timedelta(hours=3))

    [failure] = plain.failures(message.id)
    assert abs(available_at(released) - failure.at - timedelta(hours=3)) < SECOND


def test_what_no_attempt_can_mend_is_given_up_at_once(plain: Queue, dead_letters: Queue) -> None:
    hopeless = plain.push("hopeless")

    with plain.consume(retry=Retry(max_attempts=5)) as claimed:
        assert claimed is not None
        released = plain.release(claimed, error="no such item", retry=Retry(max_attempts=1))

    assert released.is_dead_letter
    assert [letter.id for letter in dead_letters.peek()] == [hopeless.id]


def test_after_twenty_attempts_a_message_is_dead(queue: Queue, dead_letters: Queue) -> None:
    message = queue.push(1)

    while (claimed := queue.claim(claim_key="mine")) is not None:
        queue.release(claimed, error=KeyError("x"))

    dead = the_message(dead_letters, message.id)
    assert dead.is_dead_letter
    assert (dead.attempts, dead.claim_key, dead.last_error_class) == (20, "mine", "KeyError")
    assert [failure.attempt for failure in queue.failures(message.id)] == list(range(1, 21))
    assert queue.redrive() == 1
    back = the_message(queue, message.id)
    assert (back.attempts, back.claim_key) == (0, None)


def test_the_producer_may_say_another_limit_or_none(queue: Queue) -> None:
    twice = queue.push(1, max_attempts=2)
    for_ever = queue.push(2, max_attempts=None)

    for _ in range(60):
        claimed = claimed_from(queue)
        queue.release(claimed, error=claimed.message.attempts)

    assert the_message(queue, twice.id).is_dead_letter
    left = the_message(queue, for_ever.id)
    assert (left.attempts, left.is_dead_letter) == (58, False)
    failures = queue.failures(for_ever.id)
    assert [failure.attempt for failure in failures] == list(range(39, 59))
    assert [failure.error for failure in failures] == [str(n) for n in range(39, 59)]


@pytest.mark.parametrize(("limit", "attempts"), [(3, 3), (None, 30)])
def test_the_consumers_limit_wins(
    facade: Facade, name: str, limit: int | None, attempts: int
) -> None:
    queue = facade.queue(name, retry=Retry(first=NOW, max_attempts=limit))
    message = queue.push(1, max_attempts=5)

    for _ in range(30):
        if (claimed := queue.claim()) is not None:
            queue.release(claimed, error="boom")

    failed = the_message(queue, message.id)
    assert (failed.attempts, failed.is_dead_letter) == (attempts, limit is not None)


def test_a_row_of_others_has_the_limit_too(queue: Queue, name: str, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO xclaim_message (queue, origin_queue, payload, created_at, available_at)"
            f" VALUES ('{name}', '{name}', '1', '2026-01-01 00:00:00', '2026-01-01 00:00:00')"
        )

    assert claimed_from(queue).message.max_attempts == 20


def test_attempts_that_were_set_back_by_hand_stop_nobody(plain: Queue, engine: Engine) -> None:
    reset, other = plain.push_many(["reset", "other"])
    held = plain.claim_many(2, lease=NOW)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE xclaim_message SET attempts = 0 WHERE id = {reset.id}")

    assert plain.expire() == len(held)

    pauses = [
        available_at(the_message(plain, each.message.id)) - each.message.claimed_at
        for each in held
        if each.message.claimed_at is not None
    ]
    assert {each.message.id for each in held} == {reset.id, other.id}
    assert all(timedelta(seconds=3.7) < pause <= timedelta(seconds=5.1) for pause in pauses)


def fail_the_even(queue: Queue, claims: Any) -> None:
    for claimed in claims:
        if claimed.payload % 2 == 0:
            queue.release(claimed, error=ValueError("even"), delay=timedelta(hours=1))


def in_a_stream(queue: Queue) -> None:
    fail_the_even(queue, queue.stream(batch=3))


def in_consume_many(queue: Queue) -> None:
    with queue.consume_many(10) as claims:
        fail_the_even(queue, claims)


def in_working_on(queue: Queue) -> None:
    with queue.working_on(queue.claim_many(10)) as claims:
        fail_the_even(queue, claims)


def in_consume(queue: Queue) -> None:
    for _ in range(10):
        with queue.consume() as claimed:
            fail_the_even(queue, [claimed])


def in_transact(queue: Queue) -> None:
    for _ in range(10):
        with queue.transact() as (claimed, _):
            fail_the_even(queue, [claimed])


@pytest.mark.parametrize(
    "loop", [in_a_stream, in_consume_many, in_working_on, in_consume, in_transact]
)
def test_one_is_failed_and_the_others_go_on(plain: Queue, loop: Callable[[Queue], None]) -> None:
    messages = plain.push_many(list(range(10)))

    loop(plain)

    counts = plain.counts()
    assert (counts.consumed, counts.delayed, counts.claimed) == (5, 5, 0)
    for message in messages[::2]:
        [failure] = plain.failures(message.id)
        assert failure.error == "ValueError: even"


def test_what_is_acked_by_hand_is_not_acked_again(plain: Queue) -> None:
    plain.push_many(list(range(6)))

    for claimed in plain.stream(batch=2):
        if claimed.payload == 0:
            plain.ack(claimed)
        if claimed.payload == 3:
            plain.release(claimed, count=False)
            break
    with plain.consume_many(2) as claims:
        plain.ack_many(claims)
    with plain.transact() as (claim, _):
        assert claim is not None
        plain.ack(claim)

    assert plain.counts().consumed == 6


def test_what_was_acked_by_hand_beside_a_lost_claim_is_not_reported_as_lost(
    plain: Queue, engine: Engine
) -> None:
    lost, *others = plain.push_many([1, 2, 3])

    with pytest.raises(ClaimLostError) as raised, plain.consume_many(3) as claims:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DELETE FROM xclaim_message WHERE id = {lost.id}")
        with suppress(ClaimLostError):
            plain.ack_many(claims)

    assert [claim.message.id for claim in raised.value.claims] == [lost.id]
    assert plain.counts().consumed == len(others)


def test_a_block_that_raises_after_a_release_in_its_transaction_releases_once(plain: Queue) -> None:
    message = plain.push(1)

    with suppress(KeyError), plain.transact() as (claimed, _):
        assert claimed is not None
        plain.release(claimed, error=ValueError("rolled back"))
        raise KeyError("later")

    assert [each.error_class for each in plain.failures(message.id)] == ["KeyError"]


@pytest.mark.parametrize("loop", ["consume", "consume_many", "transact"])
def test_a_block_waits_for_a_message(plain: Queue, name: str, engine: Engine, loop: str) -> None:
    pushing = threading.Timer(0.7, Queue(name, engine).push, [1])
    pushing.start()

    arguments = [1] if loop == "consume_many" else []
    with getattr(plain, loop)(*arguments, wait=timedelta(minutes=2)) as got:
        first = got if loop == "consume" else got[0]
        assert first is not None
        assert first.payload == 1

    pushing.join()
    assert plain.counts().consumed == 1
    with getattr(plain, loop)(*arguments, wait=timedelta(seconds=0.1)) as got:
        assert not got or got[0] is None


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"first": timedelta(seconds=-1)}, "first"),
        ({"first": 5}, "first"),
        ({"first": timedelta(hours=2)}, "longer than the longest"),
        ({"factor": 0.5}, "factor"),
        ({"factor": float("nan")}, "factor"),
        ({"jitter": 1.5}, "jitter"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": "3"}, "max_attempts"),
    ],
)
def test_a_retry_that_makes_no_sense_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        Retry(**options)


def test_something_else_than_a_retry_is_refused(facade: Facade, name: str, plain: Queue) -> None:
    wrong: Any = 5
    with pytest.raises(InvalidArgumentError, match="Retry"):
        facade.queue(name, retry=wrong)
    with pytest.raises(InvalidArgumentError, match="Retry"), plain.consume(retry=wrong):
        pass
