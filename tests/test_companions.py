"""What comes along with a push and with the work on a message, for whoever traces or measures."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from sqlalchemy import create_engine

from tests.contract.facades import lose, queue_by
from xclaim import (
    Claim,
    ClaimLostError,
    DuplicateMessageError,
    Message,
    MessagesFailedError,
    PayloadError,
    Queue,
    push,
)
from xclaim.connections import events
from xclaim.connections.companions import (
    PUSHES,
    WORKS,
    Outcome,
    Push,
    PushCompanion,
    Work,
    WorkCompanion,
    WorkEvent,
)
from xclaim.verb import VerbEvent


@dataclass
class Along:
    """Comes along with everything, and writes it down."""

    added: dict[str, Any] = field(default_factory=dict)
    pushes: list[Push] = field(default_factory=list)
    pushed: list[tuple[int, BaseException | None]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    events: list[WorkEvent] = field(default_factory=list)

    def with_push(self, push: Push) -> PushCompanion:
        self.pushes.append(push)
        return OfPush(self)

    def with_work(self, work: Work) -> WorkCompanion:
        self.log.append(f"begin {' '.join(str(claim.payload) for claim in work.claims)}")
        return OfWork(self)

    @property
    def outcomes(self) -> list[tuple[list[Any], str]]:
        return [
            ([claim.payload for claim in event.work.claims], str(event.outcome))
            for event in self.events
        ]


@dataclass
class OfPush(PushCompanion):
    along: Along

    def headers(self) -> Mapping[str, Any]:
        return self.along.added

    def ended(self, messages: Sequence[Message], error: BaseException | None) -> None:
        self.along.pushed.append((len(messages), error))


@dataclass
class OfWork(WorkCompanion):
    along: Along

    def left(self) -> None:
        self.along.log.append("left")

    def ended(self, event: WorkEvent) -> None:
        self.along.events.append(event)


@pytest.fixture
def along() -> Iterator[Along]:
    along = Along()
    PUSHES.add(along.with_push)
    WORKS.add(along.with_work)
    yield along
    PUSHES.remove(along.with_push)
    WORKS.remove(along.with_work)


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, database_url: str) -> Iterator[Queue]:
    with queue_by(request.param, database_url) as queue:
        yield queue


def test_headers_are_added_to_a_push(queue: Queue, along: Along) -> None:
    along.added = {"traceparent": "00-1-2-01"}

    pushed = queue.push(1)
    many = queue.push_many([2, 3], headers={"of": "mine"})

    assert pushed.headers == {"traceparent": "00-1-2-01"}
    assert [each.headers for each in many] == [{"traceparent": "00-1-2-01", "of": "mine"}] * 2
    assert [message.headers for message in queue.peek(3)] == [
        pushed.headers,
        *[many[0].headers] * 2,
    ]
    assert [(push.queue, push.count) for push in along.pushes] == [("orders", 1), ("orders", 2)]
    assert along.pushed == [(1, None), (2, None)]


def test_a_header_of_the_caller_wins(queue: Queue, along: Along) -> None:
    along.added = {"traceparent": "ours", "tracestate": "ours"}

    pushed = queue.push(1, headers={"traceparent": "theirs"})

    assert pushed.headers == {"traceparent": "theirs", "tracestate": "ours"}


def test_a_push_on_a_connection_has_the_headers_too(database_url: str, along: Along) -> None:
    along.added = {"traceparent": "00"}
    engine = create_engine(database_url)

    with engine.begin() as connection:
        push(connection, "orders", 1)
        Queue("orders", connection).push(2)

    with Queue("orders", engine) as queue:
        assert [message.headers for message in queue.peek(2)] == [{"traceparent": "00"}] * 2
    engine.dispose()


def test_what_was_pushed_before_keeps_its_headers(queue: Queue, along: Along) -> None:
    along.added = {"traceparent": "first"}
    queue.push(1, unique_key="one")
    along.added = {"traceparent": "second"}

    again = queue.push(1, unique_key="one")

    assert again.headers == {"traceparent": "first"}


@pytest.mark.parametrize("added", ["x" * 70_000, "\0", b"bytes"])
def test_what_would_not_be_a_header_is_left_out(queue: Queue, along: Along, added: object) -> None:
    along.added = {"traceparent": added}

    pushed = queue.push(1, headers={"of": "mine"})

    assert pushed.headers == {"of": "mine"}


def test_headers_of_the_caller_are_checked_as_ever(queue: Queue, along: Along) -> None:
    along.added = {"traceparent": "00"}

    with pytest.raises(PayloadError, match="must be a mapping"):
        queue.push(1, headers=cast(Any, ["traceparent"]))
    with pytest.raises(PayloadError, match="headers have"):
        queue.push(1, headers={"large": "x" * 70_000})

    assert [type(error) for _, error in along.pushed] == [PayloadError, PayloadError]


def test_a_push_that_is_refused_ends_with_its_error(queue: Queue, along: Along) -> None:
    queue.push(1, unique_key="one")

    with pytest.raises(DuplicateMessageError):
        queue.push(2, unique_key="one")

    assert [type(error) for _, error in along.pushed] == [type(None), DuplicateMessageError]


def test_what_a_companion_raises_is_logged_and_changes_nothing(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise ValueError("of whoever traces")

    PUSHES.add(fail)
    WORKS.add(fail)
    try:
        with caplog.at_level(logging.WARNING), Queue("orders", database_url) as queue:
            queue.push(1)
            with queue.consume() as claim:
                payload = cast(Claim, claim).payload
            counts = queue.counts()
    finally:
        PUSHES.remove(fail)
        WORKS.remove(fail)

    assert (payload, counts.consumed) == (1, 1)
    assert [record.message for record in caplog.records] == [
        "what comes along with a push or with work failed"
    ] * 2


@dataclass
class CtrlC:
    """Presses Ctrl-C at one moment of what it comes along with, once."""

    moment: str
    times: int = 1

    def press(self, moment: str) -> None:
        if moment == self.moment and self.times:
            self.times -= 1
            signal.raise_signal(signal.SIGINT)

    def with_push(self, _: Push) -> PushCompanion:
        self.press("begin")
        return PressesInAPush(self)

    def with_work(self, _: Work) -> WorkCompanion:
        self.press("begin")
        return PressesInWork(self)

    def of_verb(self, event: VerbEvent) -> None:
        self.press(event.verb)


@dataclass
class PressesInAPush(PushCompanion):
    ctrl_c: CtrlC

    def headers(self) -> Mapping[str, Any]:
        self.ctrl_c.press("headers")
        return {}

    def ended(self, messages: Sequence[Message], error: BaseException | None) -> None:
        self.ctrl_c.press("ended")


@dataclass
class PressesInWork(WorkCompanion):
    ctrl_c: CtrlC

    def left(self) -> None:
        self.ctrl_c.press("left")

    def ended(self, event: WorkEvent) -> None:
        self.ctrl_c.press("ended")


@pytest.fixture
def ctrl_c(request: pytest.FixtureRequest) -> Iterator[CtrlC]:
    ctrl_c = CtrlC(request.param)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield ctrl_c
    signal.signal(signal.SIGINT, before)
    PUSHES.remove(ctrl_c.with_push)
    WORKS.remove(ctrl_c.with_work)
    events.VERBS.remove(ctrl_c.of_verb)


@pytest.mark.parametrize("ctrl_c", ["begin", "headers", "ended"], indirect=True)
def test_an_interrupt_while_somebody_comes_along_with_a_push_is_raised_after_it(
    database_url: str, ctrl_c: CtrlC, along: Along
) -> None:
    PUSHES.add(ctrl_c.with_push)

    with Queue("orders", database_url) as queue:
        with pytest.raises(KeyboardInterrupt):
            queue.push(1)
        counts = queue.counts()

    assert counts.available == 1
    assert along.pushed == [(1, None)]


@pytest.mark.parametrize("ctrl_c", ["begin", "left", "ended"], indirect=True)
def test_an_interrupt_while_somebody_comes_along_with_work_is_raised(
    database_url: str, ctrl_c: CtrlC
) -> None:
    WORKS.add(ctrl_c.with_work)

    with Queue("orders", database_url) as queue:
        queue.push(1)
        with pytest.raises(KeyboardInterrupt), queue.consume():
            pass
        counts = queue.counts()

    assert counts.claimed == 0


@pytest.mark.parametrize("ctrl_c", ["push_many"], indirect=True)
def test_an_interrupt_while_a_listener_hears_of_a_refused_push_is_raised(
    database_url: str, ctrl_c: CtrlC
) -> None:
    events.add_listener(ctrl_c.of_verb)

    with Queue("orders", database_url) as queue, pytest.raises(KeyboardInterrupt):
        queue.push(object())


def test_the_work_of_a_block_begins_and_ends(queue: Queue, along: Along) -> None:
    queue.push_many([1, 2, 3])

    with queue.consume():
        along.log.append("in work")
    with queue.consume_many(2):
        along.log.append("in work")
    with queue.consume() as nothing:
        along.log.append("nothing")

    assert nothing is None
    assert along.log == ["begin 1", "in work", "left", "begin 2 3", "in work", "left", "nothing"]
    assert along.outcomes == [([1], "acked"), ([2, 3], "acked")]
    assert all(event.error is None and event.seconds > 0 for event in along.events)


def test_the_work_of_what_was_claimed_before_begins_and_ends(queue: Queue, along: Along) -> None:
    queue.push(1)
    claims = queue.claim_many(1)

    with queue.working_on(claims):
        pass

    assert along.outcomes == [([1], "acked")]


def test_work_that_raises_has_failed_with_the_error(queue: Queue, along: Along) -> None:
    queue.push(1)
    error = ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"), queue.consume():
        raise error

    assert along.outcomes == [([1], "failed")]
    assert along.events[0].error is error


def test_of_a_batch_those_that_failed_are_named(queue: Queue, along: Along) -> None:
    ids = [message.id for message in queue.push_many([1, 2, 3])]

    with queue.consume_many(3) as claims:
        queue.release(claims[1], error="the second one")
    queue.push_many([4, 5])
    with pytest.raises(MessagesFailedError), queue.consume_many(2) as claims:
        fifth = claims[1].message.id
        raise MessagesFailedError({fifth: ValueError("the fifth one")})

    assert along.outcomes == [([1, 2, 3], "failed"), ([4, 5], "failed")]
    assert along.events[0].failed == {ids[1]: "the second one"}
    assert along.events[0].error is None
    assert [repr(each) for each in along.events[1].failed.values()] == [
        "ValueError('the fifth one')"
    ]


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("ack", Outcome.ACKED),
        ("release", Outcome.RELEASED),
        ("fail", Outcome.FAILED),
        ("put off", Outcome.RELEASED),
    ],
)
@pytest.mark.parametrize("block", ["consume", "stream"])
def test_what_is_settled_by_hand_has_that_outcome(
    queue: Queue, along: Along, how: str, outcome: Outcome, block: str
) -> None:
    queue.push(1)
    ways: dict[str, Callable[[Claim], object]] = {
        "ack": queue.ack,
        "release": queue.release,
        "fail": lambda claim: queue.release(claim, error="in vain"),
        "put off": lambda claim: queue.release(claim, error="in vain", count=False),
    }
    settle = ways[how]

    if block == "consume":
        with queue.consume() as claim:
            settle(cast(Claim, claim))
    else:
        with closing(cast(Any, queue.stream())) as claims:
            settle(next(claims))

    assert along.outcomes[0] == ([1], str(outcome))
    assert along.events[0].error == ("in vain" if outcome is Outcome.FAILED else None)


def test_a_claim_that_was_lost_ends_as_that(queue: Queue, database_url: str, along: Along) -> None:
    queue.push(1)

    with pytest.raises(ClaimLostError), queue.consume() as claim:
        lose_in(database_url, cast(Claim, claim))

    assert along.outcomes == [([1], "lost")]
    assert isinstance(along.events[0].error, ClaimLostError)


def test_each_message_of_a_stream_is_worked_on_until_the_next_is_asked_for(
    queue: Queue, along: Along
) -> None:
    queue.push_many([1, 2])

    for claim in queue.stream():
        along.log.append(f"in work {claim.payload}")

    assert along.log == ["begin 1", "in work 1", "left", "begin 2", "in work 2", "left"]
    assert along.outcomes == [([1], "acked"), ([2], "acked")]


def test_of_a_stream_the_one_that_was_lost_is_told_from_the_others(
    queue: Queue, database_url: str, along: Along
) -> None:
    queue.push_many([1, 2, 3])

    with pytest.raises(ClaimLostError):
        for claim in queue.stream():
            if claim.payload == 2:
                lose_in(database_url, claim)

    assert sorted(along.outcomes) == [([1], "acked"), ([2], "lost"), ([3], "acked")]


def test_a_stream_that_is_left_ends_the_work_on_its_message(queue: Queue, along: Along) -> None:
    queue.push_many([1, 2, 3])

    with closing(cast(Any, queue.stream())) as claims:
        next(claims)
        next(claims)

    assert along.log == ["begin 1", "left", "begin 2", "left"]
    assert along.outcomes == [([1], "acked"), ([2], "failed")]


def test_a_transaction_is_work_as_well(queue: Queue, along: Along) -> None:
    queue.push_many([1, 2])

    with queue.transact():
        along.log.append("in work")
    with pytest.raises(ValueError, match="of the block"), queue.transact():
        raise ValueError("of the block")

    assert along.log == ["begin 1", "in work", "left", "begin 2", "left"]
    assert along.outcomes == [([1], "acked"), ([2], "failed")]


def lose_in(database_url: str, claim: Claim) -> None:
    engine = create_engine(database_url)
    lose(engine, claim)
    engine.dispose()
