"""Tests of the tests of ordering keys: a turn that is passed on wrongly is noticed, by name.

That the explorer finds nothing without the mutants is what `test_turns` says, in the same scenes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.model import machine
from tests.model.explorer import explore
from tests.model.promises import (
    AS_MODELLED,
    IN_ORDER,
    NOT_STUCK,
    ONE_TURN,
    RESTED,
    WAITING,
    BrokenPromiseError,
)
from tests.model.stages import Stage, stage_on
from tests.model.strategies import ONCE
from tests.model.turn_mutants import SQLITE_TURN_MUTANTS, TURN_MUTANTS
from xclaim import create_engine

pytestmark = pytest.mark.slow

_LINE, _ONE = "head claimed with a line", "head claimed with one in line"
_BATCH = "batch claimed with a line"
_TWICE = ("push behind", "ack the head", "consume")
# The scene and the verbs in which the mutant shows, and the promise that it breaks.
CAUGHT = {
    "the turn goes to the last in line": (_LINE, ("push behind", "ack the head"), IN_ORDER),
    "the turn is not passed on": (_LINE, ("ack the head", "delete the first in line"), NOT_STUCK),
    "the turn is passed on twice": (_LINE, ("push behind", "ack the head"), ONE_TURN),
    "who is awaited is forgotten": (_ONE, _TWICE, NOT_STUCK),
    "who is awaited is not looked at": (_ONE, _TWICE, NOT_STUCK),
    "a push does not look at the holder": (
        "head claimed",
        ("push behind", "ack the head"),
        NOT_STUCK,
    ),
    "a push looks at the holder only once": (
        "head claimed",
        ("push behind", "ack the head"),
        NOT_STUCK,
    ),
    "an ack waits for producers": ("head claimed", ("push behind", "ack the head"), WAITING),
    "a turn that is owed is never passed on": (
        "head claimed",
        ("push behind", "ack the head"),
        NOT_STUCK,
    ),
    "the turn leaves its batch": (_BATCH, ("ack the head", "claim in turn"), ONE_TURN),
    "what is given back of a batch can be claimed": (
        _BATCH,
        ("release the head", "claim in turn"),
        ONE_TURN,
    ),
    "what is put off stays so": (_BATCH, ("release the head", "ack one along"), NOT_STUCK),
    "two lead a new line": ("head claimed", ("push many behind", "ack the head"), ONE_TURN),
}


@pytest.fixture
def stage(fresh_postgresql_url: str) -> Iterator[Stage]:
    stage = stage_on(fresh_postgresql_url, rolls_back=True)
    yield stage
    stage.close()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("name", TURN_MUTANTS)
def test_the_explorer_catches(stage: Stage, name: str) -> None:
    scene, verbs, promise = CAUGHT[name]
    stage.setting(scene)

    with TURN_MUTANTS[name].planted(stage.engine), pytest.raises(BrokenPromiseError) as raised:
        explore(stage, scene, verbs)

    assert raised.value.promise == promise


@pytest.mark.usefixtures("no_hints")
@pytest.mark.parametrize("name", SQLITE_TURN_MUTANTS)
def test_the_state_machine_catches(sqlite_engine: Engine, name: str) -> None:
    mutant = SQLITE_TURN_MUTANTS[name]

    with mutant.planted(sqlite_engine), pytest.raises(BrokenPromiseError) as raised:
        machine.run(sqlite_engine, ONCE)

    # Who gets the turn instead may have failed just now: then that shows first.
    assert raised.value.promise in (AS_MODELLED, RESTED)
