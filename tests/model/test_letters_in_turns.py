"""Dead letters beside a line, and before it, in every order of two sessions: a selection.

`make interleavings` runs all pairs in these scenes, as in the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.model.explorer import explore
from tests.model.stages import Stage

pytestmark = pytest.mark.slow

HELD, BESIDE = "letter that holds the turn", "letter beside a line"
PAIRS = [
    (HELD, ("push behind", "redrive in order")),
    (HELD, ("redrive in order", "redrive in order")),
    (HELD, ("redrive in order", "consume")),
    (HELD, ("delete the head", "redrive in order")),
    (BESIDE, ("consume", "consume")),
    (BESIDE, ("push behind", "redrive in order")),
    (BESIDE, ("redrive in order", "ack the head")),
    (BESIDE, ("redrive in order", "fail the head")),
    (BESIDE, ("redrive in order", "delete the first in line")),
]


@pytest.mark.parametrize(("scene", "verbs"), PAIRS, ids=str)
def test_no_order_of_two_sessions_at_a_dead_letter_breaks_a_promise(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0
