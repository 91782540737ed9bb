"""Whatever is done in whatever order: the table is what the model says."""

import pytest
from sqlalchemy import Engine

from tests.model import machine
from tests.model.strategies import SETTINGS

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("no_hints")
def test_the_table_is_what_the_model_says_after_whatever_steps(engine: Engine) -> None:
    machine.run(engine, SETTINGS)
