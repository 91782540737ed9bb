"""How a queue does, in one word: each rule, and which one comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from xclaim.observing.values import Verdict
from xclaim.observing.verdicts import FAILING_FOR, STALLED_AFTER, Seen, verdict

NOW = datetime(2026, 11, 27, tzinfo=UTC)
MOMENT = timedelta(seconds=1)
LATELY = NOW - STALLED_AFTER + MOMENT
LONG_AGO = NOW - STALLED_AFTER - MOMENT
VERY_LONG_AGO = NOW - FAILING_FOR - MOMENT


@pytest.mark.parametrize(
    ("word", "seen"),
    [
        pytest.param("idle", {}, id="nothing is there"),
        pytest.param("idle", {"consumed_at": LATELY}, id="all is done"),
        pytest.param("idle", {"died_at": VERY_LONG_AGO}, id="it died long ago"),
        pytest.param("running", {"held": 1}, id="held"),
        pytest.param(
            "running", {"held": 1, "available": 9, "oldest_at": VERY_LONG_AGO}, id="too few work"
        ),
        pytest.param(
            "running",
            {"available": 1, "oldest_at": LONG_AGO, "consumed_at": LATELY},
            id="between two claims",
        ),
        pytest.param("running", {"available": 1, "oldest_at": LATELY}, id="just pushed"),
        pytest.param("running", {"lapsed": 1, "lapsed_at": LATELY}, id="just lapsed"),
        pytest.param("stalled", {"available": 1, "oldest_at": LONG_AGO}, id="nobody claims"),
        pytest.param(
            "stalled",
            {"available": 1, "oldest_at": LONG_AGO, "consumed_at": LONG_AGO},
            id="nobody claims any more",
        ),
        pytest.param("stalled", {"lapsed": 1, "lapsed_at": LONG_AGO}, id="all have died"),
        pytest.param(
            "stalled",
            {"lapsed": 1, "lapsed_at": LONG_AGO, "available": 1, "oldest_at": LATELY},
            id="lapsed, and a new one",
        ),
        pytest.param("failing", {"died_at": LONG_AGO}, id="it died"),
        pytest.param("failing", {"held": 1, "died_at": LATELY}, id="it died, and others are held"),
        pytest.param("failing", {"retrying": 1}, id="only tries"),
        pytest.param(
            "failing", {"retrying": 1, "consumed_at": VERY_LONG_AGO}, id="only tries by now"
        ),
        pytest.param(
            "running",
            {"retrying": 1, "held": 1, "consumed_at": LONG_AGO},
            id="some fail, others do not",
        ),
        pytest.param("paused", {"is_paused": True, "died_at": NOW, "held": 1}, id="paused"),
    ],
)
def test_the_first_rule_that_holds_decides(word: str, seen: dict[str, Any]) -> None:
    found, reason = verdict(Seen(now=NOW, **seen))

    assert found is Verdict(word)
    assert reason


def test_a_time_in_the_future_is_lately() -> None:
    seen = Seen(now=NOW, available=1, oldest_at=LONG_AGO, consumed_at=NOW + MOMENT)

    assert verdict(seen)[0] is Verdict.RUNNING
