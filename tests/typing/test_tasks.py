"""What type checkers say of ``exclusive_task``, and Airflow of the same tasks."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.typing import checkers
from tests.typing.checkers import Reports

pytest.importorskip("airflow")

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

HEAD = """
from typing import Any

from xclaim import Message
from xclaim.airflow import exclusive_task

Batch = list[Message[Any]]
"""
ONE, MANY = "message: Message[Any]", "messages: Batch"
WRONG = {  # the options, and the parameters
    "a_choice_there_is_not": ('queue_name="orders", on_empty="skipp"', ONE),
    "an_option_there_is_not": ('queue_name="orders", retrys=3', ONE),
    "a_task_option_of_another_type": ('queue_name="orders", retries="many"', ONE),
    "a_retry_that_is_a_number": ('queue_name="orders", retry=3', ONE),
    "a_batch_that_is_a_text": ('queue_name="orders", batch="10"', MANY),
    "a_queue_that_is_a_number": ("queue_name=3", ONE),
    "no_parameter_for_the_message": ('queue_name="orders"', "worker: int"),
    "a_message_that_is_a_dict": ('queue_name="orders"', "message: dict[str, int]"),
    "one_message_of_a_batch": ('queue_name="orders", batch=10', ONE),
    "a_batch_of_one_message": ('queue_name="orders"', MANY),
    "drain_without_a_queue": ("drain=True", ONE),
    "continue_without_a_queue": ('on_error="continue"', ONE),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write a module for each that is wrong, and copy ours."""
    folder = tmp_path_factory.mktemp("tasks")
    for name, (options, parameters) in WRONG.items():
        task = f"@exclusive_task({options})\ndef work({parameters}) -> None: ...\n"
        (folder / f"{name}.py").write_text(f"{HEAD}\n\n{task}")
    shutil.copy(checkers.CHECKOUT / "tests" / "typing" / "right_tasks.py", folder)
    return sorted(folder.glob("*.py"))


@pytest.fixture(scope="module")
def by_mypy(written: list[Path]) -> Reports:
    return checkers.mypy(written)


@pytest.fixture(scope="module")
def by_pyright(written: list[Path]) -> Reports:
    return checkers.pyright(written)


@pytest.fixture(params=["by_mypy", "by_pyright"])
def reports(request: pytest.FixtureRequest) -> Reports:
    found: Reports = request.getfixturevalue(request.param)
    return found


def test_a_type_checker_finds_nothing_in_right_tasks(reports: Reports) -> None:
    # What is reported of Airflow's own `expand` is said of any task.
    found = set(reports["right_tasks"].values()) - {"reportUnknownMemberType"}

    assert found == set()


@pytest.mark.parametrize("name", WRONG)
def test_a_type_checker_refuses_what_is_wrong(reports: Reports, name: str) -> None:
    line = HEAD.count("\n") + 3

    assert line in reports[name]
    assert set(reports[name]) == {line}


def test_right_tasks_are_a_dag() -> None:
    from tests.typing import right_tasks

    assert len(right_tasks.built().task_ids) == 14


def test_every_option_of_a_task_is_known() -> None:
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import BaseOperator

    from xclaim.airflow.decorator_types import TaskOptions

    taken = {*_options(BaseOperator), *_options(PythonOperator)}
    filled_in = {"python_callable", "op_args", "op_kwargs"}

    assert taken - filled_in - set(TaskOptions.__annotations__) == set()


def test_every_option_of_exclusive_tasks_is_known() -> None:
    from xclaim.airflow.decorator_types import HandOverOptions, QueueOptions, TaskOptions
    from xclaim.airflow.decorators import ExclusiveDecoratedOperator, HandOverDecoratedOperator

    filled_in = {"python_callable", "op_args", "op_kwargs"}
    by_hand = {"queue_name", "argument", "batch"}
    task = set(TaskOptions.__annotations__)

    of_queue, of_value = set(QueueOptions.__annotations__), set(HandOverOptions.__annotations__)
    assert of_queue - task == _options(ExclusiveDecoratedOperator) - filled_in - by_hand
    assert of_value - task == _options(HandOverDecoratedOperator) - filled_in


def test_the_package_imports_airflow_only_when_a_name_is_used() -> None:
    program = "import sys, xclaim.airflow; print('airflow' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert done.stdout.strip() == b"False"


def _options(operator: Any) -> set[str]:
    return set(inspect.signature(operator.__init__).parameters) - {"self", "kwargs"}
