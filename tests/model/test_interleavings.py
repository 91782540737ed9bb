"""Every order in which two sessions can take their steps, and some of three.

`make interleavings` runs all there are, in every scene and for all triples; this is the selection
for each run of the suite. The triples are those in which one message can go from hand to hand: its
lease runs out while its holder settles it and another claims it, a dead letter comes back, a key is
pushed twice and claimed at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.model.explorer import FAILING_PAIRS, PAIRS, TWO_FAILING, VARIANT_PAIRS, explore
from tests.model.stages import Stage, stage_on

pytestmark = pytest.mark.slow

VARIANT_SCENES = ["nothing", "held"]
FAILING_SCENES = ["lapsed", "held last attempt"]
TRIPLES = [
    ("lapsed", ("claim", "ack", "expire")),
    ("lapsed", ("claim", "release", "extend")),
    ("lapsed last attempt", ("release", "expire", "redrive")),
    ("nothing", ("push", "push", "claim")),
    ("lapsed", ("claim", "fail", "expire slowly")),
    ("held last attempt", ("take back", "fail", "redrive")),
]


def _named(verbs: Sequence[str]) -> str:
    return "-".join(verbs)


@pytest.mark.parametrize("verbs", PAIRS, ids=_named)
def test_no_order_of_two_sessions_breaks_a_promise(stage: Stage, verbs: Sequence[str]) -> None:
    assert explore(stage, "one of each", verbs) > 0


@pytest.mark.parametrize("verbs", PAIRS, ids=_named)
def test_no_order_of_two_sessions_at_a_lapsed_claim_breaks_a_promise(
    quick_stage: Stage, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, "lapsed", verbs) > 0


@pytest.mark.parametrize(("scene", "verbs"), TRIPLES, ids=str)
def test_no_order_of_three_sessions_breaks_a_promise(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0


@pytest.mark.parametrize("verbs", VARIANT_PAIRS, ids=_named)
@pytest.mark.parametrize("scene", VARIANT_SCENES)
def test_no_order_of_a_retry_or_a_refused_push_breaks_a_promise(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0


@pytest.mark.parametrize("verbs", FAILING_PAIRS, ids=_named)
@pytest.mark.parametrize("scene", FAILING_SCENES)
def test_no_order_of_a_failure_and_something_else_breaks_a_promise(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0


@pytest.mark.parametrize("verbs", TWO_FAILING, ids=_named)
def test_no_order_of_two_failures_breaks_a_promise(
    quick_stage: Stage, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, "lapsed often", verbs) > 0


@pytest.mark.parametrize(
    ("verbs", "count"), [(("claim",), 2), (("claim", "expire"), 24), (("claim",) * 2, 12)]
)
def test_each_order_and_each_end_is_explored_once(
    fresh_postgresql_url: str, verbs: Sequence[str], count: int
) -> None:
    stage = stage_on(fresh_postgresql_url)

    # Two steps each and two ends each: 4! / (2! * 2!) orders, times 4; half of them if both do the
    # same, because it does not matter then which of them is the first.
    assert explore(stage, "nothing", verbs) == count

    stage.close()
