"""What became of a message, who holds what, and what died of which error."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.retrying import AT_ONCE
from xclaim import Claim, Queue
from xclaim.errors import FilterError, InvalidArgumentError
from xclaim.observing import Observer, completing, holding
from xclaim.observing.values import Happened, Held, Task, Work
from xclaim.task_names import natural_key, shortened

LONG = timedelta(minutes=5)
LATER = timedelta(days=1)
PRODUCER: dict[str, Any] = {
    "dag_id": "etl",
    "run_id": "r/1",
    "task_id": "load",
    "map_index": -1,
    "try_number": 1,
}
BY = "etl/r/2/pack[7]#2@host"
PACK = Task(dag_id="etl", run_id="r/2", task_id="pack", map_index=7, try_number=2)


@pytest.fixture
def queue(engine: Engine) -> Queue:
    return Queue("orders", engine, retry=AT_ONCE)


def test_a_life_has_every_moment_in_its_order(queue: Queue, observer: Observer) -> None:
    message = queue.push({"id": 1}, headers=PRODUCER)
    queue.release(claimed(queue, claimed_by="me"), error=KeyError("cup"))
    queue.ack(claimed(queue, claimed_by=BY))

    life = observer.message(message.id)

    assert life is not None
    happened = [moment.what for moment in life.moments]
    assert happened[0] is Happened.PUSHED
    assert happened[-2:] == [Happened.CLAIMED, Happened.CONSUMED]
    assert Happened.FAILED in happened
    (failed,) = [moment for moment in life.moments if moment.what is Happened.FAILED]
    assert (failed.by, failed.attempt, failed.error_class) == ("me", 1, "KeyError")
    assert failed.error == "KeyError: 'cup'"
    assert life.moments[-1].task == life.consumer == PACK
    assert life.moments[0].task == life.producer
    assert life.producer == Task(**PRODUCER)
    assert life.payload == '{\n  "id": 1\n}'
    assert json.loads(life.headers or "") == PRODUCER


def test_a_life_goes_on_in_the_future(queue: Queue, observer: Observer) -> None:
    delayed = queue.push(1, delay=LATER)
    retried = queue.push(2)
    queue.release(claimed(queue), delay=LATER, error="x")
    held = queue.push(3)
    queue.claim(lease=LONG, claimed_by=BY)

    lives = [observer.message(each.id) for each in (delayed, retried, held)]

    lasts = [life.moments[-1] for life in lives if life is not None]
    assert [last.what for last in lasts] == [Happened.COMES_BACK] * 3
    assert lasts[2].task == PACK


def test_a_lapsed_claim_and_a_death_are_moments(queue: Queue, observer: Observer) -> None:
    dead = queue.push(1, max_attempts=1)
    queue.release(claimed(queue), error=ValueError("no"))
    lapsed = queue.push(2)
    queue.claim(lease=timedelta(0))

    of_dead, of_lapsed = observer.message(dead.id), observer.message(lapsed.id)

    assert of_dead is not None
    assert of_lapsed is not None
    assert of_dead.moments[-1].what is Happened.DIED
    assert of_dead.moments[-1].error_class == "ValueError"
    assert Happened.LAPSED in [moment.what for moment in of_lapsed.moments]


def test_there_is_no_life_of_a_message_that_is_not_there(observer: Observer) -> None:
    assert observer.message(17) is None
    with pytest.raises(InvalidArgumentError, match="message id"):
        observer.message(2**63)


def test_a_large_payload_is_cut(queue: Queue, observer: Observer) -> None:
    message = queue.push({"text": "x" * 10_000_000, "number": 1})

    life = observer.message(message.id)
    (listed,) = observer.search("").messages

    assert life is not None
    assert life.payload is not None
    assert len(life.payload) == 100_000
    assert life.is_cut
    assert "only its first 100,000 characters are shown" in (life.payload_note or "")
    assert len(life.message.excerpt or "") <= 300
    assert len(listed.excerpt or "") <= 300


def test_claims_are_paged_by_queue_and_end(engine: Engine, observer: Observer) -> None:
    for name in ("b", "a", "c"):
        queue = Queue(name, engine)
        queue.push_many([1, 2, 3])
        for minutes in (3, 1, 2):
            queue.claim(claimed_by=BY, lease=timedelta(minutes=minutes))

    pages: list[Held] = []
    cursor = None
    while True:
        claims = observer.claims(limit=2, after=cursor)
        pages += claims.page
        cursor = claims.next
        if cursor is None:
            break
    of_queue = observer.claims("b", limit=2)
    rest = observer.claims("b", limit=2, after=of_queue.next)

    assert [held.queue for held in pages] == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert len({held.id for held in pages}) == 9
    ends = [held.claim_expires_at for held in pages[:3]]
    assert ends == sorted(ends)
    assert pages[0].task == PACK
    assert [*of_queue.page, *rest.page] == pages[3:6]
    assert rest.next is None
    with pytest.raises(FilterError):
        observer.claims(after="forged")


def test_claims_of_a_queue_have_those_on_its_dead_letters(
    queue: Queue, engine: Engine, observer: Observer
) -> None:
    dead = queue.push(1, max_attempts=1)
    queue.release(claimed(queue), error="x")
    Queue("orders.dead", engine).claim()
    alive = queue.push(2)
    queue.claim()

    first = observer.claims("orders", limit=1)
    second = observer.claims("orders", limit=1, after=first.next)

    assert [first.page[0].id, second.page[0].id] == [alive.id, dead.id]
    assert second.next is None


def test_what_failed_comes_in_the_order_of_its_next_try(queue: Queue, observer: Observer) -> None:
    pushed = queue.push_many([1, 2, 3])
    claims = queue.claim_many(3)
    for each, hours in zip(claims, (3, 1, 2), strict=True):
        queue.release(each, error="x", delay=timedelta(hours=hours))
    queue.push(4, delay=LATER)

    failing = observer.failing("orders", 10)

    assert [message.id for message in failing] == [pushed[1].id, pushed[2].id, pushed[0].id]


def test_dead_letters_are_grouped_by_class_and_first_line(
    queue: Queue, engine: Engine, observer: Observer
) -> None:
    errors = ["one\nof many", "one\nof others", "two", ValueError("bad"), ValueError("bad")]
    for error in errors:
        queue.push(1, max_attempts=1)
        queue.release(claimed(queue), error=error)
    other = Queue("other", engine)
    other.push(1, max_attempts=1)
    other.release(claimed(other), error="one")

    letters = observer.dead_letters("orders").groups
    everywhere = observer.dead_letters()

    assert {(each.error_class, each.first_line): each.count for each in letters} == {
        (None, "one"): 2,
        (None, "two"): 1,
        ("ValueError", "ValueError: bad"): 2,
    }
    assert {each.queue for each in letters} == {"orders"}
    assert all(each.is_complete for each in letters)
    assert all(each.first_died_at <= each.last_died_at for each in letters)
    assert {each.queue for each in everywhere.groups} == {"orders", "other"}
    assert everywhere.is_complete


def test_letters_beyond_those_that_are_counted_are_told_of(
    queue: Queue, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "MOST_LETTERS", 2)
    for _ in range(3):
        queue.push(1, max_attempts=1)
        queue.release(claimed(queue), error="one")

    (letters,) = observer.dead_letters("orders").groups

    assert (letters.count, letters.is_complete) == (2, False)


def test_queues_whose_letters_there_was_no_time_for_are_told_of(
    engine: Engine, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        queue = Queue(name, engine)
        queue.push(1, max_attempts=1)
        queue.release(claimed(queue), error="no")
    times = itertools.count(0, LONG.total_seconds() / 2)
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr(holding, "time", clock)
    monkeypatch.setattr(holding, "_AT_ONCE", 1)  # queues that one statement asks about

    letters = observer.dead_letters()

    assert [each.queue for each in letters.groups] == ["one"]
    assert not letters.is_complete


def test_the_work_of_a_task_is_what_it_pushed_holds_consumed_and_failed(
    queue: Queue, observer: Observer
) -> None:
    of_pack = {**PRODUCER, "run_id": "r/2", "task_id": "pack", "map_index": 7}
    pushed = queue.push("pushed", headers=of_pack)
    queue.push("of another", headers={**of_pack, "map_index": 8})
    queue.push("of another task", headers={**of_pack, "task_id": "packs"})
    consumed, held, failed, others = (queue.push(name, priority=1) for name in "chfo")
    queue.ack(claimed(queue, claimed_by=BY))
    queue.claim(claimed_by=BY, lease=LATER)
    queue.release(claimed(queue, claimed_by=BY), error="x", delay=LATER)
    queue.claim(claimed_by="etl/r/2/pack[70]#1@host", lease=LATER)

    work = observer.work("etl", "r/2", "pack", 7)
    of_task = observer.work("etl", "r/2", "pack")
    of_run = observer.work("etl", "r/2")
    of_none = observer.work("etl", "r/3")

    assert ids(work.pushed) == [pushed.id]
    assert ids(work.consumed) == [consumed.id]
    assert ids(work.held) == [held.id]
    assert ids(work.failed) == [failed.id]
    assert work.is_complete
    assert work.looked_at == 7
    assert ids(of_task.held) == [others.id, held.id]
    assert len(of_task.pushed) == 2
    assert len(of_run.pushed) == 3
    assert (of_none.pushed, of_none.held, of_none.consumed, of_none.failed) == ((), (), (), ())


@pytest.mark.parametrize("map_index", [-1, 7])
def test_the_work_of_a_task_whose_name_is_cut_in_claimants_is_found(
    queue: Queue, observer: Observer, map_index: int
) -> None:
    run, task = "выгрузка" * 31, "загрузка" * 31  # which Airflow takes: 250 characters
    by, another = (
        shortened(natural_key("etl", run, task, index), "#1@worker.example")
        for index in (map_index, 8)
    )
    consumed, held, failed, others = (queue.push(name, priority=1) for name in "chfo")
    queue.ack(claimed(queue, claimed_by=by))
    queue.claim(claimed_by=by, lease=LATER)
    queue.release(claimed(queue, claimed_by=by), error="x", delay=LATER)
    queue.claim(claimed_by=another, lease=LATER)

    work = observer.work("etl", run, task, map_index)

    assert "~" in by
    assert others.id not in ids(work.held)
    assert (ids(work.consumed), ids(work.held)) == ([consumed.id], [held.id])
    assert ids(work.failed) == [failed.id]


def ids(messages: object) -> list[int]:
    return [message.id for message in messages]  # type: ignore[attr-defined]


def test_work_goes_on_where_it_stopped(
    queue: Queue, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xclaim.observing.working.MOST_LOOKED_AT", 10)
    first = queue.push(1, headers=PRODUCER)
    queue.push_many([2] * 15)

    begun = observer.work("etl", "r/1")
    rest = observer.work("etl", "r/1", before=begun.older)

    assert not begun.is_complete
    assert begun.looked_at == 10
    assert begun.pushed == ()
    assert ids(rest.pushed) == [first.id]
    assert rest.is_complete


def test_work_of_which_not_all_is_shown_is_not_complete(queue: Queue, observer: Observer) -> None:
    queue.push_many([1] * 3, headers=PRODUCER)

    assert len(observer.work("etl", "r/1", limit=2).pushed) == 2
    assert not observer.work("etl", "r/1", limit=2).is_complete
    assert observer.work("etl", "r/1", limit=3).is_complete


def test_an_index_without_its_task_is_refused(observer: Observer) -> None:
    with pytest.raises(InvalidArgumentError, match="task_id"):
        observer.work("etl", "r", map_index=1)


COMPLETED = {
    "": ["status:", "queue:", "key:"],
    "sta": ["status:"],
    "queue:orders -sta": ["status:"],
    "status:d": ["status:delayed", "status:dead"],
    "queue:o": ["queue:orders", "queue:orders.dead", 'queue:"other one"'],
    'queue:"oth': ['queue:"other one"'],
    "key:a": [],
    "payl": ["payload."],
    "nothing:": [],
    "\x00\ud800": [],
}


def test_the_work_of_a_run_is_not_that_of_another_whose_name_goes_on(
    queue: Queue, observer: Observer
) -> None:
    queue.push_many(range(6))
    for claimant in ("etl/r/pack#1@host", "etl/r/2/pack[7]#2@host"):
        queue.claim(claimed_by=claimant)
        queue.ack(claimed(queue, claimed_by=claimant))
        queue.release(claimed(queue, claimed_by=claimant), error="no")

    run, other = observer.work("etl", "r"), observer.work("etl", "r/2")

    for kind in ("held", "consumed", "failed"):
        (mine,), (its,) = getattr(run, kind), getattr(other, kind)
        assert mine.id != its.id


def test_a_filter_is_completed(queue: Queue, engine: Engine, observer: Observer) -> None:
    queue.push(1, max_attempts=1)
    queue.release(claimed(queue), error="x")
    Queue("other one", engine).push(1)
    queue.push(1)

    found = {text: observer.completions(text) for text in COMPLETED}

    for text, expected in COMPLETED.items():
        assert sorted(each.text for each in found[text][: len(expected) or None]) == sorted(
            expected
        ), text
    assert found["queue:orders -sta"][0].position == len("queue:orders -")


@pytest.mark.parametrize(
    ("text", "begins", "completed"),
    [
        ('error:"timed out" sta', 18, "status:"),
        ('error:"it said \\"no\\" twice" -sta', 30, "status:"),
        ('payload."a b":1 queue:"oth', 16, 'queue:"other one"'),
        ('queue:"say \\"no', 0, 'queue:"say \\"no\\""'),
        ('queue:"back\\\\', 0, "queue:back\\slash"),
        ("queue:back\\", 0, "queue:back\\slash"),
    ],
)
def test_what_stands_in_quotes_is_completed_and_stays_as_it_is(
    engine: Engine, observer: Observer, text: str, begins: int, completed: str
) -> None:
    for name in ("other one", 'say "no"', "back\\slash"):
        Queue(name, engine).push(1)

    (found,) = observer.completions(text)

    assert (found.position, found.text) == (begins, completed)


def test_many_quotes_are_read_in_no_time(observer: Observer) -> None:
    # As a regular expression that was twice as long for each quotation mark.
    found = observer.completions('"' * 1_000 + "\\\n sta")

    assert [each.text for each in found] == ["status:"]


@pytest.mark.parametrize("begun", ["\x00", "\ud800"])
def test_of_many_queues_none_begins_with_what_no_text_has(
    queue: Queue, observer: Observer, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    queue.push(1)
    monkeypatch.setattr(completing, "_MOST_NAMES", 1)

    assert observer.completions(f"queue:{begun}") == []


def claimed(queue: Queue, **options: Any) -> Claim:
    claim = queue.claim(**options)
    assert claim is not None
    return claim


def pages(observer: Observer, run: str, limit: int) -> list[Work]:
    """Return all pages of the work of a run."""
    found = [observer.work("etl", run, limit=limit)]
    while found[-1].older is not None:
        found.append(observer.work("etl", run, limit=limit, before=found[-1].older))
    return found


def test_no_work_is_left_out_between_two_pages(queue: Queue, observer: Observer) -> None:
    pushed = [message.id for message in queue.push_many(range(23), headers=PRODUCER)]
    queue.push_many(range(2))
    for _ in range(9):
        queue.ack(claimed(queue, claimed_by="etl/r/1/load#1@host"))

    found = pages(observer, "r/1", 5)

    assert [id_ for work in found for id_ in ids(work.pushed)] == pushed[::-1]
    assert {id_ for work in found for id_ in ids(work.consumed)} == set(pushed[:9])
    assert found[0].cut == {"consumed", "pushed"}
    assert found[-1].is_complete


def test_what_was_consumed_last_is_seen_whatever_the_queue_is_called(
    queue: Queue, engine: Engine, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xclaim.observing.working.MOST_LOOKED_AT", 1)
    last = Queue("the last", engine)
    for each in (queue, queue, queue, last):
        each.push(1)
        each.ack(claimed(each, claimed_by=BY))
    queue.push(1)

    work = observer.work("etl", "r/2", limit=2)

    assert "the last" in {message.queue for message in work.consumed}


def test_that_not_all_claims_were_looked_at_is_said(
    queue: Queue, engine: Engine, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xclaim.observing.working.MOST_LOOKED_AT", 1)
    monkeypatch.setattr("xclaim.observing.working._MOST_CLAIMS", 4)
    queue.push_many(range(6))
    queue.claim_many(6, claimed_by="etl/r/1/load#1@host")
    last = Queue("the last", engine)
    last.push(1)
    held = claimed(last, claimed_by=BY)
    queue.push(1)

    work, whole = observer.work("etl", "r/2"), pages(observer, "r/2", 50)

    assert ids(work.held) == [held.message.id]
    assert work.cut == {"held"}
    assert whole[-1].cut == frozenset()


def test_that_the_attempts_are_too_long_to_be_shown_is_said(
    queue: Queue, observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = queue.push(1).id
    queue.release(claimed(queue), error="out of tea")
    whole = observer.message(id_)
    monkeypatch.setattr("xclaim.observing.lives.MOST_SHOWN", 10)

    cut = observer.message(id_)

    assert whole is not None
    assert whole.attempts_note is None
    assert cut is not None
    assert cut.attempts_note == "what is kept of them is too long to be shown"
