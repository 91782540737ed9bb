"""Every order in which a producer and another can meet at an ordering key, and some of three.

`make interleavings` runs all pairs in every scene, and all triples with a producer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import pytest

from tests.model import turns
from tests.model.explorer import explore
from tests.model.stages import Stage

pytestmark = pytest.mark.slow

SCENES = ["head claimed", "head claimed with a line", "head lapsed for good with a line"]
# In each of them the turn is passed on twice while somebody else is at work.
TRIPLES = [
    ("head claimed with a line", ("push behind", "ack the head", "consume")),
    ("head claimed with a line", ("push behind", "push behind", "ack the head")),
    ("head claimed", ("push behind", "ack the head", "expire the head")),
    ("head claimed with one in line", ("push behind", "ack the head", "consume")),
    ("head claimed with a line", ("ack the head", "delete the first in line", "consume")),
    ("batch claimed with a line", ("ack the head", "ack one along", "consume")),
    ("batch claimed with a line", ("release the head", "ack one along", "claim whole lines")),
    ("batch claimed with a line", ("push behind", "release the head", "release one along")),
    ("batch lapsed with a line", ("expire the head", "ack one along", "claim whole lines")),
    ("letter of a batch", ("redrive in order", "ack one along", "claim whole lines")),
    ("letter beside a batch", ("release the head", "ack one along", "redrive in order")),
    ("letters that hold the turn", ("redrive one", "redrive one", "delete the first in line")),
]
# What happens to a batch, beside each other thing that happens to it.
OF_A_BATCH = [
    "claim whole lines",
    "ack the head",
    "release the head",
    "delete the head",
    "ack one along",
    "release one along",
    "expire the head",
    "push behind",
    "redrive in order",
]


def _named(verbs: Sequence[str]) -> str:
    return "-".join(verbs)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("verbs", [("push behind", verb) for verb in turns.VERBS], ids=_named)
def test_no_order_of_a_producer_and_another_breaks_a_promise(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0


@pytest.mark.parametrize(
    "scene",
    [
        "batch claimed with a line",
        "batch lapsed with a line",
        "head free with a line",
        "letter beside a batch",
    ],
)
@pytest.mark.parametrize("verbs", list(combinations_with_replacement(OF_A_BATCH, 2)), ids=_named)
def test_no_order_of_two_sessions_at_a_batch_breaks_a_promise(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0


@pytest.mark.parametrize(("scene", "verbs"), TRIPLES, ids=str)
def test_no_order_of_three_sessions_at_a_key_breaks_a_promise(
    quick_stage: Stage, scene: str, verbs: Sequence[str]
) -> None:
    assert explore(quick_stage, scene, verbs) > 0
