"""Every order in which a claim and another can meet at the limits of a queue, and some of three.

`make interleavings` runs all pairs in every scene, and all triples with a claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.model import slots
from tests.model.explorer import explore
from tests.model.promises import LIMITED, ROOM, BrokenPromiseError
from tests.model.slot_mutants import NO_MUTANT, SLOT_MUTANTS
from tests.model.stages import Stage, stage_on

pytestmark = pytest.mark.slow

SCENES = ["one of two slots taken", "one slot lapsed", "one at once of two begun"]
TRIPLES = [
    ("one slot taken", ("claim within", "claim one within", "ack within")),
    ("one of two slots taken", ("claim two within", "claim within", "limit to three")),
]
GATED = ("close the gate", "claim at the gate", "claim within")
# The scene and the verbs in which the mutant shows, and the promise that it breaks.
CAUGHT = {
    "a slot that is not locked": ("one slot", ("claim within", "claim within"), LIMITED),
    "a slot that another has taken since": ("one slot", GATED, LIMITED),
    "claims without a slot are not counted": (
        "claimed before the limit",
        ("claim two within", "ack within"),
        ROOM,
    ),
    "what is consumed keeps its slot": ("one slot taken", ("ack within", "claim within"), ROOM),
    "a rate that forgets": ("one of two begun", ("claim two within", "ack within"), ROOM),
}


@pytest.fixture
def fresh_stage(fresh_postgresql_url: str) -> Iterator[Stage]:
    stage = stage_on(fresh_postgresql_url, rolls_back=True)
    yield stage
    stage.close()


def _named(verbs: Sequence[str]) -> str:
    return "-".join(verbs)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("verbs", [("claim within", verb) for verb in slots.VERBS], ids=_named)
def test_no_order_of_a_claim_and_another_breaks_a_limit(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0


@pytest.mark.parametrize(("scene", "verbs"), TRIPLES, ids=str)
def test_no_order_of_three_sessions_breaks_a_limit(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0


def test_a_slot_that_is_taken_while_a_claim_looks_is_not_taken_again(fresh_stage: Stage) -> None:
    with NO_MUTANT.planted(fresh_stage.engine):
        assert explore(fresh_stage, "one slot", GATED) > 0


@pytest.mark.parametrize("name", SLOT_MUTANTS)
def test_the_explorer_catches(fresh_stage: Stage, name: str) -> None:
    scene, verbs, promise = CAUGHT[name]
    fresh_stage.setting(scene)

    with (
        SLOT_MUTANTS[name].planted(fresh_stage.engine),
        pytest.raises(BrokenPromiseError) as raised,
    ):
        explore(fresh_stage, scene, verbs)

    assert raised.value.promise == promise
