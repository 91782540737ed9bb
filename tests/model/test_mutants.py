"""Tests of the tests: whoever takes away what keeps a promise is noticed, by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.model import machine
from tests.model.explorer import explore
from tests.model.mutants import MUTANTS
from tests.model.promises import (
    AS_MODELLED,
    BURIED,
    COUNTED,
    EXCLUSIVE,
    FENCED,
    LEASED,
    PUSHED_ONCE,
    REMEMBERED,
    RESTED,
    UNCOUNTED,
    WAITING,
    BrokenPromiseError,
)
from tests.model.stages import Stage, stage_on
from tests.model.strategies import ONCE
from xclaim import create_engine

pytestmark = pytest.mark.slow

# The scene and the verbs in which the mutant shows, and the promise that it breaks.
CAUGHT = {
    "an ack without the token": ("lapsed", ("claim", "ack"), FENCED),
    "a release without the token": ("lapsed", ("claim", "release"), FENCED),
    "a claim without a lock": ("available", ("claim", "claim"), EXCLUSIVE),
    "a claim that waits its turn": ("available", ("claim", "claim"), WAITING),
    "an expire without a lock": ("lapsed", ("extend", "expire"), LEASED),
    "a push without the conflict clause": ("nothing", ("push", "push"), PUSHED_ONCE),
    "a pause that is ignored": ("held", ("fail", "claim"), RESTED),
    "a lapse that rests from now": ("lapsed", ("expire", "claim"), RESTED),
    "a limit that is ignored": ("held last attempt", ("fail", "claim"), BURIED),
    "a consumer's limit that is ignored": ("held", ("fail for good", "claim"), BURIED),
    "a dead letter that is claimed": ("dead letter", ("claim", "redrive"), BURIED),
    "a hand-back that is a failure": ("held", ("fail uncounted", "claim"), UNCOUNTED),
    "failures without a bound": ("lapsed often", ("fail", "expire"), REMEMBERED),
    "a noted failure without the token": ("lapsed", ("claim", "note a failure"), FENCED),
    "a redrive that keeps the attempts": ("dead letter", ("redrive", "claim"), COUNTED),
}
# The others need two transactions at a time, which the state machine has not; so does the push on
# PostgreSQL. What it sees first may be another message than the one that the promise is about.
CAUGHT_ALONE = {
    "an ack without the token": FENCED,
    "a release without the token": FENCED,
    "a push without the conflict clause": PUSHED_ONCE,
    "a pause that is ignored": RESTED,
    "a lapse that rests from now": RESTED,
    "a limit that is ignored": BURIED,
    "a consumer's limit that is ignored": BURIED,
    "a hand-back that is a failure": UNCOUNTED,
    "failures without a bound": REMEMBERED,
    "a noted failure without the token": FENCED,
    "a redrive that keeps the attempts": AS_MODELLED,
}


@pytest.fixture
def stage(fresh_postgresql_url: str) -> Iterator[Stage]:
    stage = stage_on(fresh_postgresql_url)
    yield stage
    stage.close()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("name", MUTANTS)
def test_the_explorer_catches(stage: Stage, name: str) -> None:
    scene, verbs, promise = CAUGHT[name]
    stage.setting(scene)

    with MUTANTS[name].planted(stage.engine), pytest.raises(BrokenPromiseError) as raised:
        explore(stage, scene, verbs)

    assert raised.value.promise == promise


@pytest.mark.parametrize("name", MUTANTS)
def test_the_explorer_finds_nothing_without(stage: Stage, name: str) -> None:
    scene, verbs, _ = CAUGHT[name]

    assert explore(stage, scene, verbs) > 0


@pytest.mark.usefixtures("no_hints")
@pytest.mark.parametrize("name", CAUGHT_ALONE)
def test_the_state_machine_catches(sqlite_engine: Engine, name: str) -> None:
    with MUTANTS[name].planted(sqlite_engine), pytest.raises(BrokenPromiseError) as raised:
        machine.run(sqlite_engine, ONCE)

    assert raised.value.promise in {CAUGHT_ALONE[name], AS_MODELLED}
