"""What Airflow learns of the provider."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.resources import files

import jsonschema
import pytest
from packaging.version import Version

from tests.airflow_versions import since
from xclaim import __version__
from xclaim.airflow.provider import get_provider_info

pytestmark = pytest.mark.airflow


def test_the_provider_info_fits_airflows_schema() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())

    jsonschema.validate(get_provider_info(), schema)


def test_no_option_was_added_after_this_version() -> None:
    options = get_provider_info()["config"]["xclaim"]["options"].values()

    added = {Version(option["version_added"]) for option in options}
    assert max(added) <= Version(__version__)


def test_airflow_lists_the_hook_and_its_connection_type() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "airflow", "providers", "hooks", "--output", "json"],
        capture_output=True,
        text=True,
        check=True,
    )

    hooks = json.loads(result.stdout[result.stdout.index("[") :])
    (hook,) = [hook for hook in hooks if hook["connection_type"] == "xclaim"]
    assert hook["class"] == "xclaim.airflow.hooks.XclaimHook"
    assert hook["conn_id_attribute_name"] == "xclaim_conn_id"


@since("3.2", "fields of connections that a provider declares")
def test_the_form_has_our_fields() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()  # type: ignore[no-untyped-call]

    behaviour = manager.field_behaviours["xclaim"]
    assert "schema" in behaviour["relabeling"]


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        ("queues", "xclaim.airflow.queues.XclaimMessageQueueProvider"),
        ("list", "xclaim"),
        ("triggers", "xclaim.airflow.triggers"),
    ],
)
def test_airflow_lists_what_the_provider_has(listing: str, expected: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "airflow", "providers", listing, "--output", "json"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert f'"{expected}"' in result.stdout


def test_the_task_decorator_is_found() -> None:
    from airflow.sdk import task

    from xclaim.airflow.decorators import exclusive_task

    assert task.exclusive is exclusive_task


def test_a_dag_file_imports_nothing_of_the_database_world_and_no_dashboard() -> None:
    code = (
        "import sys; import xclaim.airflow.hooks, xclaim.airflow.operators, xclaim.airflow.sensors;"
        "import xclaim.airflow.decorators, xclaim.airflow.plugin;"
        "print(sorted(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)

    loaded = set(ast.literal_eval(result.stdout.splitlines()[-1]))
    assert "xclaim.airflow.hooks" in loaded
    assert not loaded & {
        f"xclaim.{name}"
        for name in ("queues.sync", "verbs", "connections.engine", "sql.schema", "web")
    }
    assert not loaded & {"fastapi", "starlette"}
