"""What a scrape of metrics needs: bounded in queues and in what is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from sqlalchemy import Engine, text

from benchmarks.observing_cost import counted
from tests.looks import patient_observer
from tests.observing.rows import HOUR, MINUTE, SECOND, Rows
from xclaim import Claim, InvalidArgumentError, Queue, create_engine
from xclaim.observing import Observer, counting, glancing, listing, measuring, remembering, scraping
from xclaim.observing.asking import Question
from xclaim.observing.listing import Known
from xclaim.observing.values import Count, QueueMeasures


@pytest.fixture
def many(fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database in which one queue is many."""
    monkeypatch.setattr(remembering, "FEW", 0)
    engine = create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


def claimed(queue: Queue[int]) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def test_each_queue_is_measured(observer: Observer, rows: Rows) -> None:
    rows.available(3, ago=HOUR)
    rows.available(1, ago=-HOUR, attempts=1)
    rows.claimed(2, claimed_at=MINUTE)
    rows.claimed(1, left=-MINUTE, claimed_at=MINUTE)
    rows.dead(4)

    (found,) = observer.measures().queues

    assert (found.queue, found.is_paused, found.consumed) == ("orders", False, None)
    counts = (found.backlog, found.delayed, found.retrying, found.claimed, found.lapsed, found.dead)
    assert [count.at_least for count in counts] == [3, 1, 1, 3, 1, 4]
    assert found.retrying_of == 4
    assert 3600 <= found.oldest_available_seconds < 3700
    assert 60 <= found.oldest_claim_seconds < 160


@pytest.mark.parametrize("few", [0, 10])
def test_how_many_were_looked_at_for_those_that_failed_is_told(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(remembering, "FEW", few)
    monkeypatch.setattr(counting, "_ENTRIES", 200)
    rows.available(20, queue="fails", attempts=1)
    rows.available(20, queue="fails", ago=-HOUR, attempts=1)
    rows.available(1, queue="new")

    found = {each.queue: each for each in observer.measures().queues}

    assert (found["fails"].retrying, found["fails"].retrying_of) == (
        Count(at_least=10, is_exact=False),
        10,
    )
    assert (found["new"].retrying, found["new"].retrying_of) == (Count(at_least=0), 1)


def test_what_was_consumed_between_two_scrapes_is_counted_once(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.consumed(2, ago=90 * MINUTE)
    rows.consumed(3, ago=30 * MINUTE)
    counted = []
    after = None

    for settled_after in (HOUR, 10 * MINUTE, MINUTE):
        monkeypatch.setattr(measuring, "_SETTLED_AFTER", settled_after)
        found = observer.measures(consumed_after=after)
        after = found.looked_until
        counted.append(found.queues[0].consumed)

    assert counted == [None, Count(at_least=3), Count(at_least=0)]


def test_what_is_consumed_during_a_slow_scrape_is_counted_by_the_next(
    observer: Observer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = listing.find
    queue = Queue[int]("orders", engine)
    queue.push(1)

    def slow(question: Question, *, anew: bool, with_levels: bool) -> Known:
        found = find(question, anew=anew, with_levels=with_levels)
        queue.ack(claimed(queue))
        return found

    monkeypatch.setattr(measuring, "_SETTLED_AFTER", timedelta(milliseconds=1))
    before = observer.measures().looked_until
    monkeypatch.setattr(listing, "find", slow)
    during = observer.measures(consumed_after=before)
    monkeypatch.setattr(listing, "find", find)
    after = observer.measures(consumed_after=during.looked_until)

    assert [each.consumed for each in (*during.queues, *after.queues)] == [
        Count(at_least=0),
        Count(at_least=1),
    ]


def test_all_that_was_consumed_is_counted_by_some_scrape(observer: Observer, rows: Rows) -> None:
    rows.consumed(5, ago=MINUTE)
    rows.consumed(2, ago=HOUR)

    (found,) = observer.measures(consumed_after=rows.now - 2 * MINUTE).queues

    assert found.consumed == Count(at_least=5)


def test_more_than_is_counted_is_said_to_be_more(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_COUNTED", 4)
    monkeypatch.setattr(measuring, "_LEAST_COUNTED", 4)
    for second in range(10, 20):
        rows.consumed(ago=second * SECOND)

    (found,) = observer.measures(consumed_after=rows.now - MINUTE).queues

    assert found.consumed is not None
    assert (found.consumed.at_least, found.consumed.is_exact) == (4, False)
    assert found.consumed.estimate is not None


def test_what_was_acked_at_once_is_not_multiplied(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_COUNTED", 4)
    monkeypatch.setattr(measuring, "_LEAST_COUNTED", 4)
    rows.consumed(10, ago=20 * SECOND)

    (found,) = observer.measures(consumed_after=rows.now - MINUTE).queues

    assert found.consumed == Count(at_least=4, is_exact=False)


def test_a_burst_is_not_taken_for_all_the_time_between_two_scrapes(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_COUNTED", 4)
    monkeypatch.setattr(measuring, "_LEAST_COUNTED", 4)
    for number in range(10):
        rows.consumed(ago=10 * SECOND + number * SECOND / 100)

    (found,) = observer.measures(consumed_after=rows.now - 24 * HOUR).queues

    assert found.consumed == Count(at_least=4, is_exact=False)


def test_what_one_queue_consumed_is_counted_with_what_the_others_leave(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_COUNTED", 50)
    monkeypatch.setattr(measuring, "_LEAST_COUNTED", 4)
    for name in ("a", "b", "c", "d"):
        rows.consumed(1, queue=name, ago=20 * SECOND)
    rows.consumed(30, queue="busy", ago=20 * SECOND)

    found = observer.measures(consumed_after=rows.now - MINUTE).queues

    assert {each.queue: each.consumed for each in found}["busy"] == Count(at_least=30)


def test_the_busiest_are_named_and_the_others_added_up(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_NAMED", 2)
    for number, name in enumerate(["a", "b", "c", "d"], 1):
        rows.available(number, queue=name, ago=number * MINUTE)

    found = observer.measures().queues

    assert [(each.queue, each.backlog.at_least) for each in found] == [
        ("d", 4),
        ("c", 3),
        (None, 3),
    ]
    assert 120 <= found[-1].oldest_available_seconds < 220
    assert found[-1].is_paused is None


def test_who_had_a_name_keeps_it_while_others_are_about_as_busy(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_NAMED", 2)
    rows.available(9, queue="busy")
    rows.available(3, queue="a")
    rows.available(2, queue="b")

    def named(*before: str) -> list[str | None]:
        return [each.queue for each in observer.measures(named=before).queues]

    assert named() == ["busy", "a", None]
    assert named("busy", "b") == ["busy", "b", None]
    rows.available(20, queue="new")
    assert named("busy", "b") == ["new", "busy", None]


def test_no_queue_in_which_all_is_done_keeps_a_name_from_another(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_NAMED", 2)
    rows.available(9, queue="busy")
    rows.available(1, queue="a")
    rows.consumed(1, queue="done", ago=HOUR)

    found = observer.measures(named=["busy", "done"])

    assert [each.queue for each in found.queues] == ["busy", "a", None]


def test_of_the_others_those_that_wait_longest_are_named_as_well(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_NAMED", 1)
    monkeypatch.setattr(measuring, "MOST_WAITING", 2)
    rows.available(9, queue="busy", ago=MINUTE)
    for hours, name in enumerate(["new", "late", "later", "latest"]):
        rows.available(queue=name, ago=MINUTE + hours * HOUR)

    found = observer.measures().queues

    assert [each.queue for each in found] == ["busy", "latest", "later", None]
    assert 3600 <= found[-1].oldest_available_seconds < 3800


def test_a_paused_queue_of_the_others_does_not_make_them_late(
    observer: Observer, rows: Rows, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MOST_NAMED", 1)
    rows.available(9, queue="busy", ago=MINUTE)
    rows.available(2, queue="asleep", ago=HOUR)
    rows.available(1, queue="new", ago=MINUTE)
    Queue("asleep", engine).pause()

    _, others = observer.measures().queues

    assert (others.queue, others.backlog.at_least) == (None, 3)
    assert 60 <= others.oldest_available_seconds < 160


@pytest.mark.parametrize("few", [0, 10])
def test_of_more_queues_than_are_looked_at_the_busiest_are_and_none_is_missed_in_silence(
    observer: Observer, rows: Rows, engine: Engine, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(remembering, "FEW", few)
    monkeypatch.setattr(measuring, "MOST_LOOKED_AT", 2)
    monkeypatch.setattr(measuring, "MOST_NAMED", 2)
    rows.consumed(1, queue="a", ago=MINUTE)
    rows.available(1, queue="b", ago=MINUTE)
    rows.claimed(2, queue="c")
    rows.dead(3, queue="d.dead", ago=MINUTE)

    found = observer.measures(consumed_after=rows.now - HOUR)

    if engine.dialect.name == "sqlite":  # of which nobody has seen how much is in each
        assert [each.queue for each in found.queues] == ["c", "b", None]
        assert found.queues_not_measured == 1
    else:
        assert [each.queue for each in found.queues] == ["d", "c", None]
        assert (found.queues[-1].backlog.at_least, found.queues_not_measured) == (1, 0)
    assert found.queues[-1].consumed == Count(at_least=1)


def test_queues_beyond_those_that_are_looked_for_are_said_to_be_there(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_QUEUES", 2)
    for name in ("a", "b"):
        rows.available(200, queue=name)
        rows.claimed(queue=name)
    measured = observer.measures().queues_not_measured

    rows.available(200, queue="c")

    assert (measured, observer.measures().queues_not_measured) == (0, 1)


def test_small_queues_that_are_seen_together_are_all_measured(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_QUEUES", 2)
    engine = create_engine(fresh_postgresql_url)
    rows = Rows(engine)
    for name in ("a", "b", "c", "d"):
        rows.available(queue=name)
        rows.claimed(queue=name)
        rows.dead(queue=f"{name}.dead")

    found = patient_observer(engine).measures()
    engine.dispose()

    assert [each.queue for each in found.queues] == ["a", "b", "c", "d"]
    assert found.queues_not_measured == 0


def test_queues_in_which_all_is_done_are_not_missed(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MOST_QUEUES", 2)
    for name in ("a", "b", "c"):
        rows.consumed(queue=name, ago=HOUR)

    found = observer.measures(consumed_after=rows.now - MINUTE)

    assert found.queues_not_measured == 0


def test_a_paused_queue_says_so(observer: Observer, engine: Engine) -> None:
    columns = "queue, paused_at, paused_by"
    sql = f"INSERT INTO xclaim_queue ({columns}) VALUES ('a', '2026-01-01 00:00:00+00:00', 'ann')"
    with engine.begin() as connection:
        connection.execute(text(sql))

    (found,) = observer.measures().queues

    assert found.is_paused is True


def test_the_oldest_snapshot_is_that_of_another_session(fresh_postgresql_url: str) -> None:
    engine = create_engine(fresh_postgresql_url)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as other:
        other.execute(text("SELECT 1 FROM xclaim_message"))
        found = patient_observer(engine).measures().oldest_snapshot_seconds
    engine.dispose()

    assert found is not None
    assert 0 <= found < 3600


@pytest.mark.parametrize("after", [datetime(2026, 1, 1), 7, "now"])  # noqa: DTZ001  (that is it)
def test_a_time_without_its_zone_is_refused(observer: Observer, after: object) -> None:
    with pytest.raises(InvalidArgumentError, match="consumed_after must be the looked_until"):
        observer.measures(consumed_after=after)  # type: ignore[arg-type]


@pytest.mark.parametrize("few", [0, 10])
def test_dead_letters_and_claims_are_counted_further_than_what_waits(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(remembering, "FEW", few)
    for name in ("a", "b"):
        rows.dead(150, queue=f"{name}.dead")
        rows.claimed(30, queue=name, left=-MINUTE, claimed_at=HOUR)
        rows.claimed(20, queue=name)
        rows.available(150, queue=name, ago=HOUR, priority=5)
        rows.available(2, queue=name, ago=2 * HOUR)
    monkeypatch.setattr(counting, "_LEAST_ENTRIES", 10)
    monkeypatch.setattr(counting, "_ENTRIES", 20)
    monkeypatch.setattr(glancing, "ENTRIES", 20)
    monkeypatch.setattr(glancing, "CLAIMS", 10)

    for found in observer.measures().queues:
        counts = (found.dead, found.claimed, found.lapsed)
        assert counts == tuple(Count(at_least=number) for number in (150, 50, 30))
        assert not found.backlog.is_exact
        assert found.oldest_available_seconds >= 7200  # of the lower priority
        assert found.oldest_claim_seconds >= 3600


@pytest.mark.parametrize("few", [0, 10])
def test_claims_of_dead_letters_are_counted_further_with_those_of_the_queue(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(remembering, "FEW", few)
    monkeypatch.setattr(counting, "_LEAST_ENTRIES", 10)
    monkeypatch.setattr(counting, "_ENTRIES", 20)
    monkeypatch.setattr(glancing, "CLAIMS", 10)
    rows.claimed(12, queue="a", left=-MINUTE)
    rows.claimed(3, queue="a")
    rows.claimed(6, queue="a.dead", left=-MINUTE)

    (found,) = observer.measures().queues

    assert (found.claimed, found.lapsed) == (Count(at_least=21), Count(at_least=18))


def test_dead_letters_beyond_the_bound_are_said_to_be_more(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping, "_COUNTED", 40)
    monkeypatch.setattr(counting, "_LEAST_ENTRIES", 10)
    monkeypatch.setattr(counting, "_ENTRIES", 10)
    monkeypatch.setattr(counting, "MOST_ENTRIES", 25)
    rows.dead(60, queue="a.dead")

    (found,) = observer.measures().queues

    assert found.dead == Count(at_least=25, is_exact=False)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_known_of_priorities_saves_questions_and_changes_no_number(
    many: Engine, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(seed)  # noqa: S311  (the same in every run)
    monkeypatch.setattr(glancing, "ENTRIES", 16)
    monkeypatch.setattr(glancing, "LEAST", 4)
    for name in ("_LEAST_ENTRIES", "_ENTRIES"):
        monkeypatch.setattr(counting, name, 80)
    rows, observer = Rows(many), patient_observer(many)
    for name in ("a", "b", "c", "d.dead", "e", "f.dead.dead", "g", "h"):
        for priority in random.sample(range(-2, 3), random.choice((1, 1, 2, 3))):
            values = {"queue": name, "priority": priority, "attempts": random.randrange(2)}
            rows.available(random.choice((1, 3, 30)), ago=random.randrange(1, 9) * HOUR, **values)
            rows.available(random.choice((1, 2, 9)), ago=-HOUR, **values)
        rows.dead(random.randrange(1, 40), queue=f"{name}.dead")
        rows.claimed(random.randrange(3), queue=name)
    by_levels = observer.measures().queues
    for name in ("_tried", "_of_one_level"):
        monkeypatch.setattr(scraping, name, lambda *_: set())

    as_always = observer.measures().queues

    for one, other in zip(by_levels, as_always, strict=True):
        assert _without_ages(one) == _without_ages(other)
        assert abs(one.oldest_available_seconds - other.oldest_available_seconds) < 100
        assert abs(one.oldest_claim_seconds - other.oldest_claim_seconds) < 100


@pytest.mark.parametrize("delayed", [2, 30])
def test_a_message_that_becomes_due_during_a_scrape_is_looked_at(
    many: Engine, monkeypatch: pytest.MonkeyPatch, delayed: int
) -> None:
    monkeypatch.setattr(counting, "_LEAST_ENTRIES", 80)
    monkeypatch.setattr(counting, "_ENTRIES", 80)  # so that few are four
    rows = Rows(many)
    rows.available(3, ago=HOUR)
    rows.available(1, ago=MINUTE, attempts=1)
    rows.available(delayed - 1, ago=-HOUR)
    find = listing.find

    def before_it_was_due(question: Question, *, anew: bool, with_levels: bool) -> Known:
        known = find(question, anew=anew, with_levels=with_levels)
        assert known.glance is not None
        seen = known.glance.waiting["orders"]
        waiting = {"orders": seen._replace(due=seen.due - 1)}
        return replace(known, glance=replace(known.glance, waiting=waiting))

    monkeypatch.setattr(listing, "find", before_it_was_due)

    (found,) = patient_observer(many).measures().queues

    assert found.retrying == Count(at_least=1, is_exact=delayed == 2)


def _without_ages(measured: QueueMeasures) -> QueueMeasures:
    """Return what is the same whenever it is asked; of few messages more may be looked at."""
    looked_at = 0 if measured.retrying.is_exact else measured.retrying_of
    return replace(
        measured,
        oldest_available_seconds=0.0,
        oldest_claim_seconds=0.0,
        retrying_of=looked_at,
    )


def test_of_small_queues_it_is_asked_once_what_failed(
    many: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, observer = Rows(many), patient_observer(many)
    for number in range(20):
        rows.available(3, queue=f"q{number:02}", attempts=1)
        rows.available(1, queue=f"q{number:02}", priority=1)
    observer.measures()  # now its session knows the tables

    with counted() as pages:
        found = observer.measures().queues
    monkeypatch.setattr(scraping, "_tried", lambda *_: set())
    with counted() as of_each_priority:
        observer.measures()

    assert {each.retrying for each in found} == {Count(at_least=3)}
    assert pages.count < of_each_priority.count / 2
