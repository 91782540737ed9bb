"""Of many queues some is remembered between two looks: never what can be seen at little cost."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from tests.looks import patient_observer
from tests.observing.rows import HOUR, MINUTE, SECOND, Rows
from tests.people import people
from xclaim import create_engine
from xclaim.observing import glancing, listing, remembering
from xclaim.observing.values import Count, QueueSummary, Verdict

SEEN_ANEW = ("available", "delayed", "claimed", "lapsed", "dead")


@pytest.fixture
def many(fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database in which two queues are many."""
    for module in (listing, remembering):
        monkeypatch.setattr(module, "FEW", 1)
    engine = create_engine(fresh_postgresql_url)
    yield engine
    engine.dispose()


def run(engine: Engine, sql: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(sql))


def anew(engine: Engine) -> dict[str, QueueSummary]:
    remembering._remembered.clear()
    return {found.name: found for found in patient_observer(engine).queues()}


def again(engine: Engine) -> dict[str, QueueSummary]:
    return {found.name: found for found in patient_observer(engine).queues()}


def test_what_was_pushed_claimed_consumed_or_died_is_seen_at_once(many: Engine) -> None:
    rows = Rows(many)
    for name in ("a", "b", "c"):
        rows.consumed(queue=name)
    anew(many)

    rows.available(3, queue="a", ago=HOUR)
    rows.available(2, queue="a", ago=-HOUR)
    rows.claimed(2, queue="b")
    rows.claimed(1, queue="b", left=-MINUTE)
    rows.dead(4, queue="c.dead", ago=SECOND)
    found = again(many)

    assert (found["a"].available, found["a"].delayed) == (Count(at_least=3), Count(at_least=2))
    assert found["a"].oldest_waiting is not None
    assert found["a"].oldest_waiting >= HOUR
    assert (found["b"].claimed, found["b"].lapsed) == (Count(at_least=3), Count(at_least=1))
    assert (found["c"].dead, found["c"].verdict) == (Count(at_least=4), Verdict.FAILING)


def test_what_has_gone_is_not_seen_any_more(many: Engine) -> None:
    rows = Rows(many)
    for name in ("a", "b"):
        rows.consumed(queue=name)
        rows.available(3, queue=name)
        rows.claimed(queue=name)
        rows.dead(queue=f"{name}.dead")
    anew(many)

    run(many, "DELETE FROM xclaim_message WHERE queue IN ('a', 'a.dead') AND status <> 'consumed'")
    found = again(many)["a"]

    assert [getattr(found, name) for name in SEEN_ANEW] == [Count(at_least=0)] * 5
    assert (found.oldest_waiting, found.oldest_claim) == (None, None)


def test_a_new_queue_and_a_pause_are_seen_at_once(many: Engine) -> None:
    rows = Rows(many)
    for name in ("a", "b"):
        rows.consumed(queue=name)
    anew(many)

    rows.available(queue="new")
    columns = "queue, paused_at, paused_by"
    run(many, f"INSERT INTO xclaim_queue ({columns}) VALUES ('a', now(), 'ann')")
    found = again(many)

    assert list(found) == ["a", "b", "new"]
    assert found["new"].available == Count(at_least=1)
    assert found["a"].verdict is Verdict.PAUSED


@pytest.mark.parametrize("seed", range(5))
def test_a_look_at_what_is_remembered_counts_as_one_anew(many: Engine, seed: int) -> None:
    random = Random(seed)  # noqa: S311  (the same in every run)
    rows = Rows(many)
    changes: list[Any] = [
        lambda name: rows.available(random.randrange(1, 30), queue=name),
        lambda name: rows.available(random.randrange(1, 30), queue=name, ago=-HOUR, priority=3),
        lambda name: rows.claimed(random.randrange(1, 4), queue=name),
        lambda name: rows.dead(random.randrange(1, 30), queue=f"{name}.dead"),
        lambda name: run(many, f"DELETE FROM xclaim_message WHERE queue = '{name}'"),
    ]
    for name in ("a", "b", "c"):
        rows.consumed(queue=name, ago=MINUTE)
        random.choice(changes)(name)
    anew(many)

    for name in ("a", "b", "c"):
        random.choice(changes)(name)
    remembered, real = again(many), anew(many)

    for name, found in real.items():
        for what in SEEN_ANEW:
            count, is_really = getattr(remembered[name], what), getattr(found, what).at_least
            assert count.at_least <= is_really or is_really >= glancing.LEAST
            assert not count.is_exact or count.at_least == is_really or is_really > 20


def test_small_queues_are_seen_by_one_step_and_large_ones_hide_none(
    many: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glancing, "ENTRIES", 12)
    monkeypatch.setattr(glancing, "LEAST", 4)
    monkeypatch.setattr(glancing, "CLAIMS", 5)
    random = Random(1)  # noqa: S311
    rows = Rows(many)
    sizes = {f"q{number:02}": random.randrange(1, 30) for number in range(20)}
    for name, size in sizes.items():
        rows.available(size, queue=name, ago=HOUR)
        rows.dead(1 + size % 3, queue=f"{name}.dead")
        rows.claimed(size % 8, queue=name, left=-MINUTE)

    found = anew(many)

    assert list(found) == list(sizes)
    for name, size in sizes.items():
        available, claimed, lapsed = found[name].available, found[name].claimed, found[name].lapsed
        assert available.at_least == size if available.is_exact else 4 <= available.at_least <= size
        assert available.is_exact or size >= 4
        assert claimed.at_least == min(size % 8, 5)
        assert lapsed == claimed
        assert claimed.is_exact == (size % 8 < 5)
        assert found[name].dead == Count(at_least=1 + size % 3)


def test_what_was_looked_at_closely_is_in_the_list_for_a_while(many: Engine) -> None:
    rows = Rows(many)
    rows.available(300, queue="a", ago=HOUR)
    rows.available(2, queue="a", ago=-HOUR)
    rows.available(queue="b")
    before = anew(many)["a"]

    closely = patient_observer(many).closely(["a"])["a"]
    after = again(many)["a"]

    assert (before.available, before.delayed) == (
        Count(at_least=glancing.ENTRIES, is_exact=False),
        Count(at_least=0, is_exact=False),
    )
    assert closely.available == after.available == Count(at_least=300)
    assert closely.delayed == after.delayed == Count(at_least=2)


def test_who_held_a_claim_behind_many_that_lapsed_is_not_remembered(
    many: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("counting._LEAST_ENTRIES", "counting._ENTRIES", "glancing.CLAIMS"):
        monkeypatch.setattr(f"xclaim.observing.{name}", 3)
    rows = Rows(many)
    rows.claimed(5, queue="a", left=-HOUR)
    rows.claimed(1, queue="a")
    rows.consumed(queue="b", ago=HOUR)
    anew(many)
    closely = patient_observer(many).closely(["a"])["a"]

    run(many, "DELETE FROM xclaim_message WHERE queue = 'a'")
    rows.available(queue="a", ago=HOUR)
    found = again(many)["a"]

    assert closely.verdict is Verdict.RUNNING
    assert (found.verdict, found.claimed) == (Verdict.STALLED, Count(at_least=0))


def test_of_many_queues_failing_ones_are_seen_at_once(many: Engine) -> None:
    rows = Rows(many)
    rows.available(3, queue="fails", ago=HOUR, attempts=1)
    rows.available(3, queue="waits", ago=HOUR)
    rows.dead(200, queue="dies.dead", ago=HOUR)
    rows.dead(1, queue="dies.dead", ago=SECOND)

    found = anew(many)

    assert found["fails"].verdict is Verdict.FAILING
    assert found["fails"].retrying == Count(at_least=3)
    assert found["waits"].verdict is Verdict.STALLED
    assert found["dies"].verdict is Verdict.FAILING


def test_what_is_consumed_is_counted_whatever_is_remembered(many: Engine) -> None:
    rows = Rows(many)
    for name in ("a", "b"):
        rows.consumed(queue=name, ago=HOUR)
    observer = patient_observer(many)
    observer.measures()

    rows.consumed(3, queue="b", ago=MINUTE)
    rows.consumed(2, queue="new", ago=MINUTE)
    found = observer.measures(consumed_after=rows.now - 2 * MINUTE).queues

    consumed = {each.queue: each.consumed and each.consumed.at_least for each in found}
    assert consumed == {"a": 0, "b": 3, "new": 2}


def test_a_role_is_not_told_what_another_has_seen_through_the_same_pool(
    postgresql_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (listing, remembering):
        monkeypatch.setattr(module, "FEW", 0)
    with people(postgresql_server, None, ("orders",), kinds=["observer"]) as everybody:
        rows = Rows(everybody.owner)
        for name in ("orders", "secret"):
            rows.consumed(queue=name)
        role = everybody.engines["observer"].url.username
        engine = create_engine(everybody.owner.url)
        seen = []
        for taken in ("NONE", role):
            event.listen(engine, "checkout", _take(taken))
            seen.append([found.name for found in patient_observer(engine).queues()])
        engine.dispose()

    assert seen == [["orders", "secret"], ["orders"]]


def _take(role: str | None) -> Any:
    def take(connection: Any, *_: Any) -> None:
        connection.execute(f"SET ROLE {role}")
        connection.commit()

    return take


def test_what_is_forgotten_is_looked_at_anew(many: Engine) -> None:
    rows = Rows(many)
    for name in ("a", "b"):
        rows.available(3 * glancing.ENTRIES, queue=name)
    anew(many)
    patient_observer(many).closely(["a"])
    run(many, "DELETE FROM xclaim_message WHERE queue = 'a' AND id % 4 = 0")
    remembered = again(many)["a"].available

    patient_observer(many).forget()
    found = again(many)["a"].available

    assert found.at_least < remembered.at_least
