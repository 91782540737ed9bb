"""A short run of the torture: `make torture` runs it for as long as you like."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import report
from tests.torture.run import Settings, run

pytestmark = pytest.mark.slow

OF_THE_CONSUMERS = {
    "task cancelled",
    "task cancelled twice",
    "task timed out",
    "consumer interrupted by Ctrl-C",
    "consumer forked",
}


def test_under_faults_nothing_is_lost_and_nothing_is_consumed_twice(tmp_path: Path) -> None:
    settings = Settings(
        minutes=0.25, workers=5, seed=1, messages_per_second=150, pause=0.25, output=tmp_path
    )

    summary = run(settings)

    assert summary["violation_counts"] == {}, report.text(summary)
    assert (summary["lost"], summary["duplicates"]) == (0, 0)
    assert summary["messages"] > 300
    assert summary["poison"]["dead_letters"] > 5
    assert summary["poison"]["pauses_judged"] > 30
    assert len(summary["faults_by_kind"]) >= 14
    assert summary["faults_by_kind"].keys() >= OF_THE_CONSUMERS
    assert summary["cut_short"]["judged"] > 30
