"""The page of the benchmarks says what was measured, and calls a miss a miss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from benchmarks import (
    agreement,
    concurrency,
    failing_cost,
    figures,
    ordering,
    payload_targets,
    running,
    steady,
    targets,
    turns,
)
from benchmarks.contenders import ASYNC, SAME, SHORTEST, SQLITE_XCLAIM, STREAM, XCLAIM, node_queue
from benchmarks.crew import Crew, Shift, open_session
from benchmarks.figures import Figures, beside, failed, record
from benchmarks.measuring import Context, WrongResultError, check_left, rate
from benchmarks.messages import in_chunks, payloads
from benchmarks.server import Server, unconsumed
from benchmarks.sides.checkout import ROOT
from benchmarks.sides.laps import QUEUE
from xclaim import Queue
from xclaim.sql import statements

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"
# Workloads that are younger than the run on the page. The next run of `make bench` has them.
NOT_YET_RUN = {
    "60,000 messages in a queue that keeps up, a snapshot held",
    "60,000 messages in a queue that keeps up, snapshots come and go",
    "messages without keys, ordering not enabled",
}


def rates(*rounds: tuple[float, float]) -> Figures:
    return Figures(
        record("batch_100", contender, number, {"messages/s": rate})
        for number, pair in enumerate(rounds)
        for contender, rate in zip((XCLAIM, SAME), pair, strict=True)
    )


def line(figures: Figures) -> str:
    (found,) = [line for line in targets.table(figures) if "| batches of 100 | >= 1.00" in line]
    return found


def test_the_page_shows_every_target_as_measured() -> None:
    results = json.loads((DOCS / "artefacts" / "benchmarks" / "results.json").read_text())

    folder = DOCS / "artefacts" / "benchmarks"
    lines = list(targets.table(Figures([*results["records"], *beside(folder)])))

    assert "\n".join(lines) in (DOCS / "benchmarks.md").read_text()
    assert {line.split(" | ")[0][2:] for line in lines if "not run" in line} == NOT_YET_RUN
    assert not results["machine"]["quick"]


def test_the_page_on_payloads_shows_every_target_as_measured() -> None:
    lines = payload_targets.table(json.loads(turns.RESULTS.read_text()))

    assert "\n".join(lines) in (DOCS / "payloads.md").read_text()


def test_a_ratio_below_its_goal_is_a_miss_unless_the_machine_cannot_tell() -> None:
    small = {"median": 0.9, "low": 0.85, "high": 0.97}

    assert payload_targets.line("x", 0.98, small).endswith("| **missed** |")
    assert payload_targets.line("x", 0.95, small).endswith("| in the noise |")
    assert payload_targets.line("x", 0.9, small).endswith("| reached |")


def test_a_miss_is_called_a_miss() -> None:
    assert line(rates((99, 100))).endswith("| 0.99 | **missed** |")
    assert line(rates((100, 100))).endswith("| 1.00 | reached |")


def verdict(workload: str, *records: dict[str, Any]) -> str:
    (found,) = [each for each in targets.table(Figures(records)) if f"| {workload} |" in each]
    return found


def test_the_worst_of_all_who_took_part_is_judged() -> None:
    def fifths(contender: str, *entries: float) -> dict[str, Any]:
        named = {f"entries {number}": each for number, each in enumerate(entries, 1)}
        return record("steady_held", contender, 0, named)

    name = "60,000 messages in a queue that keeps up, a snapshot held"
    flat, growing = fifths("Queue", 3, 3, 3, 3, 4), fifths("AsyncQueue", 1, 2, 3, 4, 21)

    assert verdict(name, flat).endswith("| 3 to 4 (Queue) | reached |")
    assert verdict(name, flat, growing).endswith("| 1 to 21 (AsyncQueue) | **missed** |")
    failure = record("steady_held", "AsyncQueue", 0, {}, "lost one")
    assert verdict(name, flat, failure).endswith("| AsyncQueue: lost one | **missed** |")


def test_a_crowd_is_judged_at_its_worst_step_and_by_its_connections() -> None:
    def crowd(size: int, rate: float, connections: int = 0) -> dict[str, Any]:
        figures = {"messages/s": rate, "connections": connections}
        return record(f"crowd_{size}", "Queue", 0, figures)

    lines = targets.table(Figures([crowd(15, 90), crowd(1, 50), crowd(5, 100, connections=2)]))

    steps, opened = (each for each in lines if "1 to 50 workers" in each)
    assert steps.endswith("| 0.90 (Queue, 5 to 15) | **missed** |")
    assert opened.endswith("| 2 at most | **missed** |")


def test_a_stream_of_many_is_judged_beside_one_of_fewer() -> None:
    def stream(size: int, rate: float) -> dict[str, Any]:
        return record(f"batch_{size}", STREAM, 0, {"messages/s": rate})

    assert verdict("stream of 1,000", stream(100, 50), stream(1_000, 60)).endswith("| reached |")
    assert "**missed**" in verdict("stream of 1,000", stream(100, 50), stream(1_000, 40))


def test_what_ordering_costs_is_judged_beside_plain_queues_and_the_best_peer() -> None:
    rates = {
        XCLAIM: [{"push": 60.0, "claim, ack": 80.0}],
        f"{XCLAIM}, without keys": [{"push": 100.0, "claim, ack": 100.0}],
        "pgmq": [{"push": 100.0, "claim, ack": 10.0}],
        "procrastinate": [{"push": 100.0, "claim, ack": 20.0}],
    }
    pages = {"a million keys": {"claim": 12, "aim": 40}, "one key": {"claim": 41, "aim": 40}}
    plain = {
        "disabled": [{"push": 101.0, "claim, ack": 105.0}],
        "before": [{"push": 100.0, "claim, ack": 100.0}],
    }

    judged = {
        tuple(line.split(" | ")[1:])
        for line in targets.table(Figures(ordering.records(rates, pages, plain)))
        if "keys" in line
    }

    assert judged == {
        (">= 0.50 x without keys", "0.60", "reached |"),
        (">= 0.70 x without keys", "0.80", "reached |"),
        (">= 5.00 x the best peer that keeps an order", "4.00 (procrastinate)", "**missed** |"),
        ("a claim reads <= 40 pages", "41 (one key)", "**missed** |"),
        (
            "processor of the server <= 1.02 x before there were keys",
            "1.050 (claim, ack us)",
            "**missed** |",
        ),
    }


def test_the_rows_of_the_page_are_what_this_checkout_has_reached() -> None:
    row = steady.Row(name="steady", snapshots=steady.Snapshots.HELD, replicas=2)
    row.rounds = {"now": [{"p50 ms": 1.0}], "before": [{"p50 ms": 2.0}]}
    failed_row = steady.Row(name="lapsed", error="lost one")
    crowd = concurrency.Row(facade=QUEUE, workers=5)
    crowd.rounds = {"now": [{"messages/s": 1.0}, {"messages/s": 2.0}]}

    assert list(steady.records([row, failed_row])) == [
        record("steady_held", "Queue, 2 processes", 0, {"p50 ms": 1.0}),
        record("lapsed", "Queue, 1 process", 0, {}, "lost one"),
    ]
    assert list(concurrency.records([crowd])) == [
        record("crowd_5", "Queue", 0, {"messages/s": 1.0}),
        record("crowd_5", "Queue", 1, {"messages/s": 2.0}),
    ]


def test_a_run_of_some_rows_leaves_the_others_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "ARTEFACTS", tmp_path)

    def steady_run(name: str, p50: float) -> steady.Row:
        return steady.Row(name=name, rounds={"now": [{"p50 ms": p50}]})

    def crowd(facade: str, workers: int, rate: float) -> concurrency.Row:
        rounds: list[Mapping[str, float]] = [{"messages/s": rate}]
        return concurrency.Row(facade=facade, workers=workers, rounds={"now": rounds})

    steady.write([steady_run(name, 1.0) for name in ("steady", "lapsed")], is_part=False)
    every = list(product(concurrency.FACADES, concurrency.WORKERS))
    concurrency.write([crowd(*each, 1.0) for each in every])
    steady.write([steady_run("steady", 2.0)], is_part=True)
    concurrency.write([crowd(*every[0], 2.0)])

    found = Figures(beside(tmp_path))
    assert found.values("steady", "Queue, 1 process", "p50 ms") == [2.0]
    assert found.values("lapsed", "Queue, 1 process", "p50 ms") == [1.0]
    rates = [found.values(f"crowd_{n}", facade, "messages/s") for facade, n in every]
    assert rates == [[2.0], *[[1.0]] * (len(every) - 1)]
    assert found.workloads()[:2] == ["steady", "lapsed"]  # in their order


def test_a_run_of_some_workloads_leaves_the_others_where_they_were() -> None:
    def run(*rates: tuple[str, float], quick: bool = False) -> dict[str, Any]:
        records = [record(name, XCLAIM, 0, {"messages/s": value}) for name, value in rates]
        return {"machine": {"quick": quick}, "records": records}

    before = run(("push_one", 1.0), ("claim_1", 1.0), ("wal", 1.0))
    found = Figures(running.with_others(before, run(("claim_1", 2.0), ("new", 2.0))))
    alone = Figures(running.with_others(before, run(("claim_1", 2.0), quick=True)))

    assert found.workloads() == ["push_one", "claim_1", "wal", "new"]
    assert found.values("claim_1", XCLAIM, "messages/s") == [2.0]
    assert found.values("wal", XCLAIM, "messages/s") == [1.0]
    assert alone.workloads() == ["claim_1"]


def test_it_is_told_whether_somebody_sat_rounds_out() -> None:
    both = [record("batch_100", name, 0, {"messages/s": 1}) for name in (XCLAIM, "awa")]
    second = [record("batch_100", name, 1, {"messages/s": 1}) for name in (XCLAIM, "awa")]

    assert Figures([*both, second[0]]).anybody_sat_out()
    assert not Figures([*both, *second]).anybody_sat_out()


def test_a_run_of_some_workloads_has_their_pictures_and_no_others() -> None:
    def ran(*workloads: str) -> list[str]:
        return Figures(record(each, XCLAIM, 0, {}) for each in workloads).pictures()

    assert ran("connections_200") == []
    assert ran("claim_ack_2", "pinned", "unpinned") == ["workers", "pinned"]
    assert ran("batch_100", "growth_1000") == ["rates", "growth"]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    slow_round, quick_rounds = (9, 10), ((200, 100), (300, 100))

    assert line(rates(slow_round, *quick_rounds)).endswith("| 2.00 | reached |")


def test_contenders_take_turns_and_each_round_begins_with_another() -> None:
    seen = []

    def measure(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    measured = turns.by_turns({"a": lambda: measure("a"), "b": lambda: measure("b")}, rounds=3)

    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert measured == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_ratio_by_turns_says_how_sure_it_is() -> None:
    steady = turns.ratio([2.0] * 100, [1.0] * 100)
    restless = turns.ratio([2.0, 1.0, 4.0] * 33, [1.0] * 99)

    assert (steady["median"], steady["low"], steady["high"]) == (2, 2, 2)
    assert restless["median"] == 2
    assert (restless["first quartile"], restless["third quartile"]) == (1, 4)
    assert restless["undisturbed"] == 4
    assert restless["rounds"] == 99


def test_payloads_in_chunks_are_numbered_on() -> None:
    chunks = list(in_chunks(5, 2, first=10))

    assert [[payload["n"] for payload in chunk] for chunk in chunks] == [[10, 11], [12, 13], [14]]


OURS = [XCLAIM, STREAM, ASYNC, SAME, SHORTEST]


@pytest.mark.parametrize("contender", OURS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_contender_consumes_what_it_says(
    fresh_postgresql_url: str, contender: str, batch: int
) -> None:
    url = _of_psycopg(fresh_postgresql_url)
    with open_session(contender, url) as session:
        session.push_many(payloads(9))

        consumed = session.consume(6, batch)

    assert sorted(consumed) == [0, 1, 2, 3, 4, 5]
    check_left(contender, url, 3)


@pytest.mark.parametrize("contender", OURS)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_contender_consumes_to_the_end(
    fresh_postgresql_url: str, contender: str, batch: int
) -> None:
    url = _of_psycopg(fresh_postgresql_url)
    with open_session(contender, url) as session:
        session.push(payloads(9))

        consumed = session.consume(100, batch)

    assert consumed == list(range(9))
    check_left(contender, url, 0)


_CLIENTS = """
SELECT query FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@pytest.mark.parametrize("contender", OURS)
def test_a_contender_that_is_opened_is_connected_and_has_read_no_table(
    fresh_postgresql_url: str, contender: str
) -> None:
    url = _of_psycopg(fresh_postgresql_url)
    with open_session(contender, url), psycopg.connect(url) as connection:
        last_statements = [text for (text,) in connection.execute(_CLIENTS)]

    assert len(last_statements) == 1
    assert "xclaim_message" not in last_statements[0]


def test_by_hand_nothing_is_compiled_while_messages_are_consumed(
    fresh_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_session(SAME, _of_psycopg(fresh_postgresql_url)) as session:
        session.push_many(payloads(6))
        session.consume(2, 2)  # the warm-up
        monkeypatch.delattr(statements, "claim")

        consumed = [*session.consume(1, 1), *session.consume(2, 2)]

    assert consumed == [2, 3, 4]


def test_a_worker_that_consumed_too_little_or_twice_is_wrong() -> None:
    full, short = Shift(0, 1, [1, 2, 3]), Shift(0, 2, [4, 5])

    assert rate([full, short], 2) == 2.5
    with pytest.raises(WrongResultError, match="2 messages were consumed instead of 3"):
        rate([full, short], 3)
    with pytest.raises(WrongResultError, match="3 messages consumed twice"):
        rate([full, full], 3)
    with pytest.raises(WrongResultError, match="0 messages were consumed"):
        rate([], 0)


def outcome(
    contender: str, error: str | None = None, *, is_wrong: bool = False
) -> dict[str, object]:
    return record("push", contender, 0, {}, error) | {"is_wrong": is_wrong}


def rounds_of(rates: dict[str, float], name: str = "messages/s") -> dict[str, int]:
    """Return in how many of three rounds each takes part that has such a figure."""
    context = Context(server=Server("postgresql://nowhere"), crew=Crew(0), quick=True)

    def measure(contender: str) -> dict[str, float]:
        if contender not in rates:
            raise RuntimeError("it cannot")
        return {name: rates[contender]}

    context.compare("push_one", (*rates, "broken"), measure)
    took_part = [each.contender for each in context.records]
    return {contender: took_part.count(contender) for contender in took_part}


def test_each_benchmark_is_run_by_make_or_stands_in_contributing() -> None:
    programs = [
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if '__name__ == "__main__"' in path.read_text() and path.stem != "__main__"
    ]
    makefile, guide = ((ROOT / name).read_text() for name in ("Makefile", "CONTRIBUTING.md"))
    parts = makefile.partition("PARTS := ")[2].partition("\n\n")[0].replace("\\", "").split()

    unnamed = [
        name
        for name in programs
        if name not in parts and f"benchmarks.{name}" not in makefile + guide
    ]

    assert sorted(unnamed) == [
        "payload_rounds",
        "payload_targets",
    ]  # of others, and what they print
    assert set(parts) <= set(programs)


def test_who_is_far_behind_or_fails_in_the_first_round_sits_the_others_out() -> None:
    rounds = rounds_of({XCLAIM: 500, "near": 100, "far": 99})

    assert rounds == {XCLAIM: 3, "near": 3, "far": 1, "broken": 1}


def test_nobody_sits_out_where_no_rate_is_measured_or_there_is_none_to_compare_with() -> None:
    times = rounds_of({XCLAIM: 1, "far": 99}, "median ms")
    without_us = rounds_of({"near": 500, "far": 1})

    assert times == {XCLAIM: 3, "far": 3, "broken": 3}
    assert without_us == {"near": 3, "far": 3, "broken": 3}


def test_what_was_measured_is_kept_when_the_rest_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(context: Context) -> None:
        context.record("push_one", XCLAIM, {"messages/s": 1.0})

    def interrupted(_: Context) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_WORKERS", 0)
    monkeypatch.setattr(running, "WORKLOADS", {"first": measured, "second": interrupted})
    path = tmp_path / "results.json"

    with pytest.raises(KeyboardInterrupt):
        running.run(["first", "second"], path, quick=True)

    results = json.loads(path.read_text())
    assert [each["figures"] for each in results["records"]] == [{"messages/s": 1.0}]
    assert results["machine"]["quick"]


def test_a_run_fails_for_wrong_results_of_anybody_and_for_any_error_of_ours() -> None:
    peers = [outcome("pgmq", "it cannot"), outcome("litequeue", "neither")]

    assert failed([outcome(XCLAIM), *peers]) == []
    assert failed([outcome("pgmq", "2 left", is_wrong=True)]) == ["pgmq in push"]
    assert failed([outcome(STREAM, "it cannot")]) == [f"{STREAM} in push"]


def test_a_peer_that_is_missing_says_so_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_queue, "FOLDER", tmp_path)
    context = Context(server=Server("postgresql://nowhere"), crew=Crew(0), quick=True)

    def measure(_name: str) -> dict[str, float]:
        with open_session("pg-boss", "postgresql://nowhere"):
            return {}

    context.measure("push_one", "pg-boss", 0, measure)

    (row,) = context.records
    assert row.error == "npm has not installed pg-boss: `make bench` does"
    assert not row.is_wrong


def test_the_peers_for_node_are_locked_to_a_version_and_not_to_a_registry() -> None:
    wanted, lock = (
        json.loads((node_queue.FOLDER / name).read_text())
        for name in ("package.json", "package-lock.json")
    )

    installed = {path: package for path, package in lock["packages"].items() if path}
    assert {
        name: installed[f"node_modules/{name}"]["version"] for name in wanted["dependencies"]
    } == wanted["dependencies"]
    assert all("integrity" in package for package in installed.values())
    assert not any("resolved" in package for package in installed.values())


def test_a_quick_run_agrees_where_it_says_the_same_or_is_as_near_as_noise() -> None:
    target = targets.Target("push one", ">= 1", lambda _figures: None, 1.0)

    def agrees(quick: float, long: float) -> bool:
        return agreement.agree(
            target, targets.Measured(quick, str(quick)), targets.Measured(long, str(long))
        )

    assert agrees(5, 1)
    assert agrees(0.2, 0.9)
    assert agrees(0.95, 1.1)
    assert not agrees(0.8, 1.1)


def test_a_quick_run_shows_what_it_says_otherwise_than_the_long_one() -> None:
    quick, long = rates((80, 100)), rates((110, 100))
    results = {"machine": {"date": "2026-11-21"}, "records": list(long._records)}

    shown = list(agreement.section(quick, results))

    assert "0 of 1 targets" in shown[1]
    assert "| batches of 100 | >= 1.00 x by hand | 0.80 | 1.10 |" in shown


def test_a_contender_that_acks_nothing_is_wrong(sqlite_url: str) -> None:
    with Queue("bench", sqlite_url) as queue:
        queue.push_many([1, 2, 3])
        queue.claim_many(2)

    assert unconsumed(SQLITE_XCLAIM, sqlite_url) == 3
    with pytest.raises(WrongResultError, match="3 messages are left instead of 1"):
        check_left(SQLITE_XCLAIM, sqlite_url, 1)


def test_the_cost_of_failing_is_not_measured_with_what_failed(sqlite_url: str) -> None:
    with Queue("orders", sqlite_url) as queue:
        queue.push_many([{"is_good": True}] * 20)
        queue.push({"is_good": False})

        clock, processor = failing_cost._claim(queue)
        with pytest.raises(WrongResultError, match="instead of a good message"):
            failing_cost._claim(queue)
        with pytest.raises(WrongResultError, match="1,000 failed"):
            failing_cost._check(queue, failing_cost.Head(count=1_000), rounds=1)

    assert min(clock, processor) > 0


def _of_psycopg(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
