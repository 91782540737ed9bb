"""How fast queues are worked on, and what happened in each step of time: on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.observing.rows import HOUR, MINUTE, SECOND, Rows
from xclaim.observing import Observer, charting, flowing
from xclaim.observing.values import Charted

NOTHING = timedelta(0)


def test_percentiles_are_those_of_the_messages(observer: Observer, rows: Rows) -> None:
    for seconds in range(1, 101):
        waited, worked = seconds * SECOND, 2 * seconds * SECOND
        rows.consumed(ago=NOTHING, claimed_at=worked, available_at=waited + worked, created_at=HOUR)

    flow = observer.flows(["orders"])["orders"]

    assert flow.waiting is not None
    assert flow.work is not None
    assert (flow.waiting.p50, flow.waiting.p95, flow.waiting.p99) == (
        50 * SECOND,
        95 * SECOND,
        99 * SECOND,
    )
    assert (flow.work.p50, flow.work.messages) == (100 * SECOND, 100)


def test_a_message_that_was_claimed_before_it_was_available_has_not_waited(
    observer: Observer, rows: Rows
) -> None:
    rows.consumed(ago=MINUTE, claimed_at=HOUR, available_at=MINUTE)

    waiting = observer.flows(["orders"])["orders"].waiting

    assert waiting is not None
    assert waiting.p99 == NOTHING


def test_the_rate_is_of_the_last_minutes(observer: Observer, rows: Rows) -> None:
    rows.consumed(10, ago=MINUTE)
    rows.consumed(90, ago=20 * MINUTE)

    flow = observer.flows(["orders"])["orders"]

    assert flow.consumed_per_minute == 2.0
    assert sum(flow.consumed.values) == 100
    assert flow.consumed.is_complete
    assert len(flow.consumed.values) == 30


def test_a_rate_above_what_is_read_is_reckoned_from_its_time(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flowing, "_SAMPLE", 50)
    for second in range(120):
        rows.consumed(ago=(second + 1) * SECOND)

    rate = observer.flows(["orders"])["orders"].consumed_per_minute

    assert 25 < rate <= 61  # one a second, by a clock that has gone on since


def test_what_was_acked_at_once_is_no_rate(observer: Observer, rows: Rows) -> None:
    rows.consumed(1_000, ago=SECOND)

    flow = observer.flows(["orders"])["orders"]
    chart = observer.chart("orders", Charted.CONSUMED, HOUR)

    assert flow.consumed_per_minute == 200.0  # of the last five minutes
    for each, least in ((flow.consumed, 133), (chart, 200)):
        assert (sum(each.values), each.is_complete, each.is_estimate) == (least, False, False)


def test_the_steps_of_a_stream_in_batches_are_reckoned(observer: Observer, rows: Rows) -> None:
    for number in range(1, 25):
        rows.consumed(100, ago=5 * number * SECOND)

    consumed = observer.flows(["orders"])["orders"].consumed

    assert consumed.is_estimate
    assert sum(consumed.values) > 1_200  # of 2,400


def test_acks_of_many_are_reckoned_from_the_time_between_them(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flowing, "_SAMPLE", 50)
    for number in range(1, 13):
        rows.consumed(100, ago=5 * number * SECOND)

    rate = observer.flows(["orders"])["orders"].consumed_per_minute

    assert 240 < rate <= 1_200  # which it is, by a clock that has gone on since


def test_a_queue_that_is_not_there_has_an_empty_flow(observer: Observer) -> None:
    flow = observer.flows(["nothing"])["nothing"]

    assert (flow.consumed_per_minute, sum(flow.consumed.values)) == (0.0, 0)
    assert (flow.waiting, flow.work) == (None, None)


def test_flows_of_several_queues_are_apart(observer: Observer, rows: Rows) -> None:
    rows.consumed(3, queue="a")
    rows.consumed(4, queue="b")

    found = observer.flows(["b", "a", "c", "a"])

    assert {name: sum(flow.consumed.values) for name, flow in found.items()} == {
        "b": 4,
        "a": 3,
        "c": 0,
    }


@pytest.mark.parametrize("what", Charted)
def test_a_chart_has_what_happened_in_its_steps(
    observer: Observer, rows: Rows, what: Charted
) -> None:
    for ago, number in ((30 * SECOND, 2), (90 * SECOND, 3), (2 * HOUR, 5)):
        match what:
            case Charted.CONSUMED:
                rows.consumed(number, ago=ago)
            case Charted.PUSHED:
                rows.add(number, created_at=ago)
            case Charted.DIED:
                rows.dead(number, ago=ago)
    rows.consumed(7, queue="another")

    chart = observer.chart("orders", what, HOUR)

    assert (len(chart.values), chart.step, chart.is_complete) == (60, MINUTE, True)
    assert sum(chart.values) == 5
    assert sum(chart.values[-4:]) == 5


@pytest.mark.parametrize("what", [Charted.PUSHED, Charted.DIED])
def test_a_chart_that_was_cut_says_so(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch, what: Charted
) -> None:
    monkeypatch.setattr(charting, "_READ", 3)
    rows.dead(9, ago=MINUTE)

    chart = observer.chart("orders", what, HOUR)

    assert (sum(chart.values), chart.is_complete, chart.is_estimate) == (3, False, False)


def test_a_chart_has_what_died_whatever_its_priority(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charting, "_READ", 4)
    rows.dead(9, ago=2 * HOUR, priority=0)
    rows.dead(2, ago=MINUTE, priority=5)
    rows.dead(1, ago=2 * MINUTE, priority=0)
    rows.dead(9, ago=-HOUR, priority=5)  # claimed as dead letters, and released with a delay

    chart = observer.chart("orders", Charted.DIED, HOUR)

    assert (sum(chart.values), chart.is_complete) == (3, True)


def test_a_step_with_more_than_is_counted_is_reckoned(
    observer: Observer, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charting, "_COUNTED_OF_STEP", 10)
    for second in range(1, 3600, 10):  # 360 a step of an hour of 60 hours
        rows.consumed(ago=second * SECOND)

    chart = observer.chart("orders", Charted.CONSUMED, 60 * HOUR)

    assert (chart.is_complete, chart.is_estimate) == (False, True)
    assert sum(chart.values[:-2]) == 0
    assert 180 < sum(chart.values) <= 720
