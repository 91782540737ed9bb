"""The page of the benchmarks says what was measured, and calls a miss a miss."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import payload_targets, targets, turns
from benchmarks.contenders import SAME, XCLAIM
from benchmarks.figures import Figures

DOCS = Path(__file__).parents[1] / "docs"


def rates(*rounds: tuple[float, float]) -> Figures:
    return Figures(
        {
            "workload": "batch_100",
            "contender": contender,
            "round": number,
            "figures": {"messages/s": rate},
            "error": None,
        }
        for number, pair in enumerate(rounds)
        for contender, rate in zip((XCLAIM, SAME), pair, strict=True)
    )


def line(figures: Figures) -> str:
    (found,) = [line for line in targets.table(figures) if "batches of 100 | >= 0.95" in line]
    return found


def test_the_page_shows_every_target_as_measured() -> None:
    results = json.loads((DOCS / "artefacts" / "benchmarks" / "results.json").read_text())

    lines = list(targets.table(Figures(results["records"])))

    assert "\n".join(lines) in (DOCS / "benchmarks.md").read_text()
    assert "not run" not in "".join(lines)
    assert not results["machine"]["quick"]


def test_the_page_on_payloads_shows_every_target_as_measured() -> None:
    lines = payload_targets.table(json.loads(payload_targets.RESULTS.read_text()))

    assert "\n".join(lines) in (DOCS / "payloads.md").read_text()


def test_a_ratio_below_its_goal_is_a_miss_unless_the_machine_cannot_tell() -> None:
    small = {"median": 0.9, "low": 0.85, "high": 0.97}

    assert payload_targets.line("x", 0.98, small).endswith("| **missed** |")
    assert payload_targets.line("x", 0.95, small).endswith("| in the noise |")
    assert payload_targets.line("x", 0.9, small).endswith("| reached |")


def test_a_miss_is_called_a_miss() -> None:
    assert line(rates((94, 100))).endswith("| 0.94 | **missed** |")
    assert line(rates((95, 100))).endswith("| 0.95 | reached |")


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
