"""A short run of the torture: `make torture` runs it for as long as you like."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


@pytest.mark.timeout(1200)
def test_under_faults_nothing_is_lost_and_nothing_is_consumed_twice(tmp_path: Path) -> None:
    told = ""
    for minutes in (0.25, 1, 4):  # on a machine that is busy with others little happens in 15 s
        settings = Settings(
            minutes=minutes,
            workers=5,
            seed=1,
            messages_per_second=150,
            pause=0.25,
            output=tmp_path / str(minutes),
        )

        summary = run(settings)

        told = report.text(summary)
        assert summary["violation_counts"] == {}, told
        assert (summary["lost"], summary["duplicates"]) == (0, 0)
        if _has_happened(summary):
            return
    pytest.fail(f"too little happened: {told}")


def _has_happened(summary: Mapping[str, Any]) -> bool:
    return (
        summary["messages"] > 300
        and summary["poison"]["dead_letters"] > 5
        and summary["poison"]["pauses_judged"] > 30
        and len(summary["faults_by_kind"]) >= 14
        and summary["faults_by_kind"].keys() >= OF_THE_CONSUMERS
        and summary["cut_short"]["judged"] > 30
    )
