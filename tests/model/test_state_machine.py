"""Whatever is done in whatever order: the table is what the model says."""

from functools import partial

import pytest
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Engine

from tests.model.machine import TableMachine
from tests.model.strategies import SETTINGS


@pytest.mark.usefixtures("no_hints")
def test_the_table_is_what_the_model_says_after_whatever_steps(engine: Engine) -> None:
    run_state_machine_as_test(partial(TableMachine, engine), settings=SETTINGS)
