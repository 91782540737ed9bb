"""XComs of real runs with our backend: classic and TaskFlow, retries, deferral, and cleaning up."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from xclaim.airflow.versions import program

import pendulum
import pytest
from airflow import sdk
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time import task_runner, xcom

from tests.hook.conftest import DagRun, configure_xcoms, dags
from xclaim.airflow.xcom import clean_xcoms
from xclaim.airflow.xcom.cleaning import clean_xcoms_by_database
from xclaim.airflow.xcom.stored import StoredXCom

pytestmark = [pytest.mark.airflow, pytest.mark.usefixtures("xcom_folder")]

Run = Callable[..., DagRun]
task: Any = sdk.task  # its decorators are found at run time
LARGE = "large " * 1000
dag = dags("xcom", retries=2)


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@task
def large(number: int = 0) -> str:
    return f"{number}{LARGE}"


def shortened(values: Any) -> Any:
    """Return what is left of values when the large part of each is cut off."""
    if isinstance(values, list):
        return [shortened(value) for value in values]
    return values.removesuffix(LARGE) if isinstance(values, str) else values


def test_taskflow_passes_large_values_on(run_anywhere: Run, xcom_folder: Path) -> None:
    with dag("taskflow") as built:

        @task(multiple_outputs=True)
        def give() -> dict[str, Any]:
            return {"small": 1, "large": LARGE}

        @task
        def take(whole: dict[str, Any], small: int, one: str) -> list[Any]:
            return [sorted(whole), small, len(one)]

        given = give()
        take(given, given["small"], one=given["large"])

    done = run_anywhere(built)

    assert done.xcoms("take") == [[["large", "small"], 1, len(LARGE)]]
    assert done.xcoms("give", "small") == [1]
    assert len(objects(xcom_folder)) == 2  # return_value and large


def classic() -> DAG:
    with dag("classic") as built:

        @task
        def push(**context: Any) -> None:
            context["ti"].xcom_push("one", f"one{LARGE}")
            context["ti"].xcom_push("two", 2)

        @task
        def pull(**context: Any) -> Any:
            pull = context["ti"].xcom_pull
            pulled = {
                "one task": pull("large"),
                "several tasks": pull(["large", "other"]),
                "key": pull("push", key="one"),
                "small": pull("push", key="two"),
                "some have it": pull(["push", "large"], key="one"),
                "default": pull(["push", "large"], key="one", map_indexes=-1, default="none"),
                "dag_id": pull("large", dag_id="xcom_classic"),
                "map index": pull("mapped", map_indexes=1),
                "map indexes": pull("mapped", map_indexes=[1, 0]),
                "mapped": pull("mapped"),
                "nobody": pull("nobody"),
                "prior dates": pull("large", map_indexes=-1, include_prior_dates=True),
            }
            return {name: shortened(value) for name, value in pulled.items()}

        before = [large(1), large.override(task_id="other")(2), push()]
        mapped = large.override(task_id="mapped").expand(number=[5, 6])
        [*before, mapped] >> pull()
    return built


def test_classic_pulls_return_what_they_do_with_airflows_own_backend(
    run_anywhere: Run, xcom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = run_anywhere(classic()).xcoms("pull")
    assert len(objects(xcom_folder)) == 5

    monkeypatch.setattr(task_runner, "XCom", BaseXCom)
    monkeypatch.setattr(xcom, "XCom", BaseXCom)
    airflows = run_anywhere(classic()).xcoms("pull")

    assert len(objects(xcom_folder)) == 5
    assert ours == airflows
    assert ours[0]["map indexes"] == ["6", "5"]


def test_mapped_tasks_take_what_mapped_tasks_returned(run_anywhere: Run) -> None:
    with dag("mapped") as built:

        @task
        def each(text: str) -> str:
            return str(shortened(text)) + LARGE

        @task
        def gather(texts: Any) -> Any:
            return shortened([texts[1], *texts[0:2], *texts, str(len(texts))])

        @task
        def listed() -> list[str]:
            return [f"{number}{LARGE}" for number in (7, 8)]

        gather(each.expand(text=large.expand(number=[5, 6])))
        gather.override(task_id="of_list")(each.override(task_id="ones").expand(text=listed()))

    done = run_anywhere(built)

    assert done.xcoms("gather") == [["6", "5", "6", "5", "6", "2"]]
    assert done.xcoms("of_list") == [["8", "7", "8", "7", "8", "2"]]


def test_a_branch_skips_also_if_all_values_go_to_the_storage(
    run_anywhere: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_xcoms(monkeypatch, threshold="0")
    with dag("branch") as built:

        @task.branch
        def choose() -> str:
            return "large"

        choose() >> [large(), large.override(task_id="other")()]

    done = run_anywhere(built)

    assert done.states("large") == {"success": 1}
    assert done.states("other") == {"skipped": 1}


def test_templates_read_large_values(run_anywhere: Run) -> None:
    with dag("template") as built:

        @task
        def measure(text: str) -> int:
            return len(text)

        large() >> measure("{{ ti.xcom_pull('large') }}")

    assert run_anywhere(built).xcoms("measure") == [len(LARGE) + 1]


def test_a_retry_deletes_the_objects_of_the_try_before(
    run_anywhere: Run, xcom_folder: Path
) -> None:
    with dag("retry") as built:

        @task
        def fail_twice(**context: Any) -> str:
            context["ti"].xcom_push("early", LARGE)
            if context["ti"].try_number < 3:
                raise ValueError("again")
            return LARGE

        fail_twice()

    done = run_anywhere(built)

    assert done.tries("fail_twice") == [3]
    assert len(objects(xcom_folder)) == 2


def test_an_object_that_cannot_be_deleted_does_not_fail_the_retry(
    run_anywhere: Run, xcom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = xcom_folder / "elsewhere"
    elsewhere.mkdir()
    with dag("retry_elsewhere") as built:

        @task
        def fail_once(**context: Any) -> str:
            if context["ti"].try_number == 1:
                context["ti"].xcom_push("early", LARGE)
                configure_xcoms(monkeypatch, storage=f"file://{elsewhere}")
                raise ValueError("again")
            return "done"

        fail_once()

    assert run_anywhere(built).xcoms("fail_once") == ["done"]
    assert len(objects(xcom_folder)) == 1


class DeferLarge(BaseOperator):
    def execute(self, context: Any) -> None:
        context["ti"].xcom_push("before", LARGE)
        self.defer(trigger=TimeDeltaTrigger(timedelta(0)), method_name="resume")

    def resume(self, context: Any, event: Any) -> Any:
        return [shortened(context["ti"].xcom_pull(self.task_id, key="before"))]


def test_a_forged_reference_deletes_no_object_of_another_xcom(
    run_anywhere: Run, xcom_folder: Path
) -> None:
    with dag("forged") as built:

        @task
        def forge(**context: Any) -> str:
            ti = context["ti"]
            owner = {"dag_id": ti.dag_id, "run_id": ti.run_id}
            theirs: Any = StoredXCom.get_one(key="return_value", task_id="large", **owner)
            if ti.try_number == 1:
                StoredXCom.set("mine", theirs.value, task_id=ti.task_id, **owner)
                raise ValueError("again")
            return str(ti.xcom_pull(ti.task_id, key="mine"))

        large() >> forge()

    done = run_anywhere(built)

    assert done.xcoms("forge") == ["None"]
    assert len(objects(xcom_folder)) == 1


def test_what_was_pushed_before_a_deferral_is_there_after_it(run_anywhere: Run) -> None:
    with dag("deferred") as built:
        DeferLarge(task_id="wait")

    assert run_anywhere(built).xcoms("wait") == [[""]]


@task
def clean(age: float = 0) -> dict[str, int]:
    return clean_xcoms(timedelta(seconds=age))


def test_the_objects_of_a_deleted_run_are_cleaned_by_a_task(
    run_anywhere: Run, xcom_folder: Path
) -> None:
    with dag("deleted") as doomed:
        large()
    with dag("kept") as kept:
        large.expand(number=[1, 2])
    with dag("clean") as cleaning:
        clean()
    delete_run(run_anywhere(doomed))
    run_anywhere(kept)

    done = run_anywhere(cleaning)

    assert done.xcoms("clean") == [{"deleted": 1, "kept": 2, "unknown": 0}]
    assert len(objects(xcom_folder)) == 2


def test_what_is_overwritten_is_cleaned_and_what_is_young_is_not(
    run_anywhere: Run, xcom_folder: Path
) -> None:
    with dag("overwritten") as built:

        @task
        def push_twice(**context: Any) -> None:
            context["ti"].xcom_push("same", f"1{LARGE}")
            context["ti"].xcom_push("same", f"2{LARGE}")

        push_twice() >> clean.override(task_id="too_young")(3600) >> clean()

    done = run_anywhere(built)

    assert done.xcoms("too_young") == [{"deleted": 0, "kept": 0, "unknown": 0}]
    assert done.xcoms("clean") == [{"deleted": 1, "kept": 1, "unknown": 0}]
    (kept,) = objects(xcom_folder)
    assert kept.read_bytes()[:2] == b'"2'


def test_after_db_clean_the_command_of_airflow_deletes_the_objects(
    run_anywhere: Run, xcom_folder: Path, xcom_environment: dict[str, str]
) -> None:
    from airflow.utils.db_cleanup import run_cleanup

    with dag("db_clean") as built:
        large.expand(number=[1, 2, 3])
    run_anywhere(built)
    run_cleanup(
        clean_before_timestamp=pendulum.now().add(hours=1),
        table_names=["xcom"],
        skip_archive=True,
        confirm=False,
    )
    words = f"{program().removeprefix('python -m ')} clean-xcoms --older-than-hours 0".split()
    command = [sys.executable, "-m", *words]

    assert printed([*command, "--dry-run"], xcom_environment) == "deleted=3 kept=0 unknown=0"
    assert len(objects(xcom_folder)) == 3
    assert printed(command, xcom_environment) == "deleted=3 kept=0 unknown=0"
    assert objects(xcom_folder) == []


def test_cleaning_by_the_database_asks_once_for_a_batch(
    run_anywhere: Run, xcom_folder: Path
) -> None:
    from airflow.settings import engine
    from sqlalchemy import event

    with dag("batch") as built:
        large.expand(number=list(range(6)))
    run_anywhere(built)
    queries: list[str] = []

    def note(*details: Any) -> None:
        queries.append(details[2])

    event.listen(engine, "before_cursor_execute", note)
    try:
        counts = clean_xcoms_by_database(timedelta(0))
    finally:
        event.remove(engine, "before_cursor_execute", note)

    assert counts == {"deleted": 0, "kept": 6, "unknown": 0}
    assert len([query for query in queries if "xcom" in query]) == 1
    assert len(objects(xcom_folder)) == 6


def test_cleaning_stops_without_deleting_when_airflow_cannot_be_asked(
    run_anywhere: Run, xcom_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dag("no_answer") as built:
        large()
    run_anywhere(built)

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("the API server is away")

    monkeypatch.setattr(StoredXCom, "get_one", fail)
    with pytest.raises(ConnectionError):
        clean_xcoms(timedelta(0))

    assert len(objects(xcom_folder)) == 1


def test_the_backend_is_what_airflow_finds_by_its_name(xcom_environment: dict[str, str]) -> None:
    code = "from airflow.sdk.execution_time.xcom import XCom; print(XCom.__name__)"

    assert printed([sys.executable, "-c", code], xcom_environment) == "XclaimXComBackend"


def printed(command: list[str], environment: dict[str, str]) -> str:
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()[-1]


@pytest.fixture
def xcom_environment(xcom_folder: Path) -> dict[str, str]:
    return os.environ | {
        "AIRFLOW__CORE__XCOM_BACKEND": "xclaim.airflow.xcom.XclaimXComBackend",
        "AIRFLOW__XCLAIM__XCOM_STORAGE": f"file://{xcom_folder}",
    }


def delete_run(done: DagRun) -> None:
    """Delete the run from Airflow's database, as its UI does."""
    from airflow.models.dagrun import DagRun as DagRunModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.delete(session.get(DagRunModel, done._run.id))
