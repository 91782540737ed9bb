"""The XCom backend in a real Airflow: processes of their own, its API, its triggerer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.stack.conftest import Run, Stack
from tests.stack.seeds import SEEDS

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1800)]


def returned(run: Run, task_id: str) -> list[Any]:
    """Return what the API, and so the UI, shows of the task's XComs, by map index."""
    answer = run.stack.client.get(
        f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/xcomEntries",
        params={"xcom_key": "return_value", "limit": 100},
    )
    values = []
    for each in answer.json()["xcom_entries"]:
        entry = run.stack.client.get(
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}"
            "/xcomEntries/return_value",
            params={"map_index": each["map_index"]},
        )
        value = entry.json()["value"]
        values.append(unquoted(value))
    return values


def unquoted(value: Any) -> Any:
    """Return what the API shows as JSON, in a text; a text that is none stays as it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def objects(stack: Stack, run: Run) -> list[Path]:
    folder = stack.xcom_folder / "xcom" / run.dag_id
    return [path for path in folder.rglob("*") if path.is_file()]


def test_large_values_go_through_workers_and_the_triggerer_and_are_cleaned(stack: Stack) -> None:
    run = stack.start("xcoms")

    assert run.end() == "success"

    assert returned(run, "wait") == [{"length": 6000, "loop_went_on": True, "pulled": "LARGE"}]
    (reference,) = returned(run, "large")
    assert reference["__xclaim__"] == "object"
    assert len(objects(stack, run)) == 4  # large, from_trigger, and retried's two of its last try

    assert stack.client.delete(f"/api/v2/dags/xcoms/dagRuns/{run.run_id}").is_success
    cleaning = stack.start("clean")
    assert cleaning.end() == "success"
    assert returned(cleaning, "sweep") == [{"deleted": 4, "kept": 0, "unknown": 0}]
    assert objects(stack, run) == []


def test_mapped_workers_get_an_exclusive_value_each(stack: Stack) -> None:
    run = stack.start("hand_over")

    assert run.end() == "success"

    assert sorted(returned(run, "work")) == [[0, 1], [1, 1], [2, 1], [3, 2], [4, 1], [5, 1]]
    with stack.queue("hand_over.produce") as queue:
        assert queue.counts().consumed == 6


def test_dags_as_they_circulate_run_unchanged(stack: Stack) -> None:
    runs = [stack.start(dag_id) for dag_id in SEEDS]

    states = [run.end() for run in runs]

    assert states == ["success"] * len(SEEDS)
    values = [
        returned(run, task_id) for run, (task_id, _) in zip(runs, SEEDS.values(), strict=True)
    ]
    assert values == [expected for _, expected in SEEDS.values()]
    (reference,) = returned(runs[-1], "extract")
    assert reference["__xclaim__"] == "object"
