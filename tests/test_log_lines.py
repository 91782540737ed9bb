"""The log says which messages, at which attempt, and what comes next; and nothing confidential."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests.contract.facades import queue_by
from tests.retrying import AT_ONCE
from xclaim import (
    Claim,
    ClaimLostError,
    Message,
    Queue,
    Retry,
    Ticket,
    create_engine,
    verbs,
)
from xclaim.connections import log_lines
from xclaim.verb import Verb

NOW = timedelta(0)
AT = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@pytest.fixture(params=["Queue", "AsyncQueue"])
def queue(request: pytest.FixtureRequest, database_url: str) -> Iterator[Queue]:
    with queue_by(request.param, database_url, retry=AT_ONCE) as queue:
        yield queue


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


class Log:
    """What the log ``xclaim`` got since it was asked last."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def lines(self) -> list[str]:
        found = [
            f"{record.levelname} {record.getMessage()}"
            for record in self._caplog.records
            if record.name == "xclaim"
        ]
        self._caplog.clear()
        return found

    def line(self) -> str:
        (line,) = self.lines()
        return line


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.DEBUG, "xclaim")
    return Log(caplog)


def claimed(queue: Queue, **options: Any) -> Claim:
    claim = queue.claim(claimed_by="me", **options)
    assert claim is not None
    return claim


def test_a_push_says_how_many_and_which(queue: Queue, log: Log) -> None:
    first = queue.push(1).id
    assert log.line() == f"INFO orders: pushed message {first}"

    few = [message.id for message in queue.push_many([2, 3])]
    assert log.line() == f"INFO orders: pushed 2 messages ({few[0]}, {few[1]})"

    many = [message.id for message in queue.push_many(range(2_000))]
    shown = f"{many[0]}, {many[1]}, {many[2]} ... {many[-1]}"
    assert log.line() == f"INFO orders: pushed 2,000 messages ({shown})"

    queue.push_many([])
    assert log.lines() == []


def test_a_push_says_which_were_there_already(queue: Queue, log: Log) -> None:
    one = queue.push(1, unique_key="one").id
    assert log.line() == f"INFO orders: pushed message {one}"

    queue.push(1, unique_key="one")
    assert log.line() == f"INFO orders: pushed nothing, message {one} was there already"

    keys = ["one", "two", None, "two", "three"]
    messages = queue.push_many([1, 2, 3, 2, 4], unique_keys=keys)
    fresh = [messages[index].id for index in (1, 2, 4)]
    listed = f"3 messages ({fresh[0]}, {fresh[1]}, {fresh[2]})"
    assert log.line() == f"INFO orders: pushed {listed}, message {one} was there already"

    queue.push_many([1, 2], unique_keys=["one", "two"])
    assert log.line() == (
        f"INFO orders: pushed nothing, 2 messages ({one}, {fresh[0]}) were there already"
    )


def test_a_delayed_push_says_until_when(queue: Queue, log: Log) -> None:
    queue.push(1, delay=timedelta(hours=1))

    assert re.fullmatch(rf"INFO orders: pushed message \d+, to be claimed from {AT}", log.line())


def test_a_claim_and_its_ack_are_details(queue: Queue, log: Log) -> None:
    id_ = queue.push(1).id
    log.lines()

    claim = claimed(queue)
    said = log.line()
    assert re.fullmatch(
        rf"DEBUG orders: claimed message {id_}, attempt 1 of 20, by me until {AT}", said
    )

    queue.ack(claim)
    assert log.line() == f"DEBUG orders: acked message {id_}, attempt 1"

    assert queue.claim() is None
    assert log.lines() == []


def test_batches_and_streams_say_which(queue: Queue, log: Log) -> None:
    ids = [message.id for message in queue.push_many(range(3))]
    log.lines()
    three = f"3 messages ({ids[0]}, {ids[1]}, {ids[2]})"

    with queue.consume_many(3, claimed_by="me"):
        assert log.line().startswith(f"DEBUG orders: claimed {three}, attempt 1, by me until")
    assert log.line() == f"DEBUG orders: acked {three}, attempt 1"

    id_ = queue.push(1).id
    log.lines()
    for _ in queue.stream():
        assert log.line().startswith(f"DEBUG orders: claimed message {id_}, ")
    assert log.line() == f"DEBUG orders: acked message {id_}, attempt 1"


def test_a_failure_says_when_it_is_tried_again(queue: Queue, log: Log) -> None:
    id_ = queue.push("secret").id
    claim = claimed(queue)
    log.lines()

    queue.release(claim, error=KeyError("secret"))
    failed = rf"WARNING orders: message {id_} failed \(KeyError\) in attempt 1 of 20"
    assert re.fullmatch(rf"{failed}, next try at {AT}", log.line())

    with pytest.raises(ZeroDivisionError), queue.consume(claimed_by="me"):
        log.lines()
        raise ZeroDivisionError("secret")
    failed = rf"WARNING orders: message {id_} failed \(ZeroDivisionError\) in attempt 2 of 20"
    assert re.fullmatch(rf"{failed}, next try at {AT}", log.line())


def test_a_release_says_what_comes_next(queue: Queue, log: Log) -> None:
    id_ = queue.push(1).id
    claim = claimed(queue)
    log.lines()
    released = f"INFO orders: message {id_} was released in attempt"

    queue.release(claim)
    assert log.line() == f"{released} 1 of 20, it can be claimed at once"

    claim = claimed(queue)
    log.lines()
    queue.release(claim, count=False)
    assert log.line() == f"DEBUG orders: handed back message {id_}, uncounted"

    claim = claimed(queue)
    log.lines()
    queue.release(claim, delay=timedelta(minutes=1))
    assert re.fullmatch(rf"{released} 2 of 20, it can be claimed from {AT}", log.line())


def test_a_dead_letter_says_how_it_comes_back(queue: Queue, log: Log) -> None:
    id_ = queue.push(1, max_attempts=1).id
    claim = claimed(queue)
    log.lines()

    queue.release(claim, error="it is broken")
    assert log.line() == (
        f"WARNING orders: message {id_} failed in attempt 1 of 1, a dead letter in orders.dead "
        "now: redrive() or `xclaim redrive orders` brings it back"
    )

    queue.redrive()
    assert log.line() == "INFO orders: redrove 1 dead letter to orders"


def test_the_limit_that_is_shown_is_the_one_that_holds(engine: Engine, log: Log) -> None:
    limited = Queue("orders", engine, retry=Retry(max_attempts=7))
    unlimited = Queue("orders", engine, retry=Retry(max_attempts=None))
    limited.push_many([1, 2])
    log.lines()

    limited.claim()
    unlimited.claim()

    first, second = log.lines()
    assert "attempt 1 of 7," in first
    assert "attempt 1, by" in second


def test_a_lapsed_lease_is_said_by_expire_and_by_a_claim_on_its_way(queue: Queue, log: Log) -> None:
    id_ = queue.push(1, max_attempts=2).id
    claimed(queue, lease=NOW)
    log.lines()

    queue.expire()
    lapsed = f"WARNING orders: the lease on message {id_} ran out, attempt"
    assert re.fullmatch(rf"{lapsed} 1, next try by {AT}", log.line())

    claimed(queue, lease=NOW)
    log.lines()
    assert queue.claim() is None
    assert log.line().startswith(f"{lapsed} 2, a dead letter in orders.dead now: redrive() or")


def test_many_lapsed_leases_are_one_line(queue: Queue, log: Log) -> None:
    ids = [message.id for message in queue.push_many(range(30))]
    queue.claim_many(30, lease=NOW)
    log.lines()

    queue.expire()

    listed = re.escape(f"30 messages ({ids[0]}, {ids[1]}, {ids[2]} ... {ids[-1]})")
    said = rf"WARNING orders: the leases on {listed} ran out, attempt 1, next try by {AT}"
    assert re.fullmatch(said, log.line())


def test_a_lost_claim_is_told_and_the_others_are_acked(
    queue: Queue, log: Log, engine: Engine
) -> None:
    queue.push_many([1, 2])
    lost, kept = queue.claim_many(2)
    with engine.begin() as connection:
        connection.execute(text(f"DELETE FROM xclaim_message WHERE id = {lost.message.id}"))
    log.lines()

    with pytest.raises(ClaimLostError):
        queue.ack_many([lost, kept])

    found = f"found the claim on message {lost.message.id} lost, others may have it"
    assert log.lines() == [
        f"INFO orders: ack_many {found}",
        f"DEBUG orders: acked message {kept.message.id}, attempt 1",
    ]
    with pytest.raises(ClaimLostError):
        queue.release(lost)
    assert log.line() == f"INFO orders: release {found}"


def test_upkeep_says_how_many(queue: Queue, log: Log) -> None:
    queue.push_many([1, 2], unique_keys=["a", "b"])
    queue.ack(claimed(queue))
    log.lines()

    queue.prune(older_than=NOW)
    assert log.line() == "INFO orders: pruned 1 consumed message"
    queue.withdraw(["a", "b"])
    assert log.line() == "INFO orders: withdrew 1 message"
    queue.prune(older_than=NOW)
    queue.redrive()
    assert log.lines() == []


def test_what_can_still_be_rolled_back_is_said_to_be(queue: Queue, log: Log) -> None:
    id_ = queue.push(1).id

    with queue.transact():
        log.lines()

    assert log.line() == f"DEBUG orders: acked message {id_}, attempt 1, in the open transaction"


def test_a_session_is_heard_too(engine: Engine, log: Log) -> None:
    with Session(engine) as session:
        id_ = Queue("orders", session).push(1).id

    assert log.line() == f"INFO orders: pushed message {id_}, in the open transaction"


def test_a_note_of_a_failure_says_that_the_claim_is_kept(engine: Engine, log: Log) -> None:
    queue = Queue("orders", engine)
    queue.push(1)
    claim = claimed(queue)
    log.lines()

    queue._queue.settle(verbs.NOTE_FAILURE, claim, error=KeyError("secret"))

    failed = rf"WARNING orders: message {claim.message.id} failed \(KeyError\) in attempt 1 of 20"
    assert re.fullmatch(rf"{failed}, kept for another try of me until {AT}", log.line())


def test_a_queue_can_raise_what_is_a_detail_elsewhere(
    engine: Engine, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xclaim")
    queue = Queue("orders", engine)
    queue.push_many([1, 2, 3])
    log.lines()
    queue.ack(claimed(queue))
    assert log.lines() == []

    queue._queue.log_level = logging.INFO
    queue.ack(claimed(queue))
    with queue.transact():
        pass

    assert [line.split(" message")[0] for line in log.lines()] == [
        "INFO orders: claimed",
        "INFO orders: acked",
        "INFO orders: claimed",
        "INFO orders: acked",
    ]


def test_nothing_confidential_is_said(queue: Queue, log: Log) -> None:
    queue.push("secret", unique_key="secret-1", headers={"secret": 1}, max_attempts=1)
    queue.push("secret", unique_key="secret-1")
    queue.push("secret")
    claim = claimed(queue, claim_key="secret-2")
    queue.release(claim, error=ValueError("secret"))
    claim = claimed(queue, claim_key="secret-2")
    queue.resume(Ticket.of([claim]), claim_key="secret-3")
    with pytest.raises(ClaimLostError):
        queue.ack(claim)
    queue.redrive()

    said = "\n".join(log.lines())
    assert said.count("\n") >= 7
    assert "secret" not in said
    assert str(claim.token) not in said


def test_a_claimant_cannot_forge_a_line(engine: Engine, log: Log) -> None:
    queue = Queue("orders", engine)
    queue.push(1)
    log.lines()

    queue.claim(claimed_by="me\nCRITICAL all is lost")

    assert "\n" not in log.line()


def test_a_log_that_fails_hides_no_claim(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "xclaim")
    logger = logging.getLogger("xclaim")

    def fail(_: logging.LogRecord) -> bool:
        raise ZeroDivisionError

    logger.addFilter(fail)
    try:
        queue.push(1)
        with queue.consume() as claim:
            assert claim is not None
    finally:
        logger.removeFilter(fail)

    assert queue.counts().consumed == 1


def test_a_verb_that_is_not_wanted_is_not_asked(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def lines(verb: Verb[Any], *_: Any, **__: Any) -> list[log_lines.Line]:
        asked.append(verb.name)
        return []

    monkeypatch.setattr(log_lines, "lines", lines)
    caplog.set_level(logging.INFO, "xclaim")
    queue = Queue("orders", engine)

    queue.push(1)
    queue.ack(claimed(queue))
    queue.counts()

    assert asked == ["push_many"]


def test_every_verb_that_changes_messages_has_a_line() -> None:
    found = [getattr(verbs, name) for name in verbs.__all__]
    changing = {each.name for each in found if isinstance(each, Verb) and not each.reads}

    silent = {"expire", "extend", "extend_many"}  # expire says which leases lapsed
    assert changing - set(log_lines._LINES) == silent


def test_the_lines_are_made_without_a_database() -> None:
    values = {
        "id": 7,
        "queue": "orders.dead",
        "attempts": 3,
        "max_attempts": 3,
        "last_error_class": "shop.OutOfTea",
    }
    names = Message.__dataclass_fields__
    message = Message(
        **{name: values.get(name) for name in names if names[name].init}  # type: ignore[arg-type]
    )
    claim = Claim(message=message, token=cast(Any, None))

    [(level, said)] = log_lines.lines(
        verbs.RELEASE, [claim], {"error": "x"}, result=message, lost=None
    )

    assert level == logging.WARNING
    assert said.startswith("orders.dead: message 7 failed (shop.OutOfTea) in attempt 3 of 3")
