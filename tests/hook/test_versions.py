"""What is imported from wherever each version of Airflow has it, and which versions are refused."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import airflow
import pytest

import xclaim.airflow
from tests.airflow_versions import since
from xclaim.airflow import versions

pytestmark = pytest.mark.airflow


@pytest.mark.parametrize(
    "name",
    [found.name for found in walk_packages(xclaim.airflow.__path__, "xclaim.airflow.")],
)
def test_every_module_can_be_imported(name: str) -> None:
    import_module(name)


@pytest.mark.parametrize("name", versions.__all__)
def test_each_name_is_found(name: str) -> None:
    assert getattr(versions, name) is not None


@since("3.3", "TaskAwaitingInput")
def test_what_only_the_newest_version_has_is_found_there() -> None:
    assert issubclass(versions.__getattr__("TaskAwaitingInput"), BaseException)


def test_a_name_that_no_airflow_has_is_missing_like_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions._PLACES, "Nothing", ("airflow.sdk.exceptions", "airflow.no.such"))

    assert not hasattr(versions, "Nothing")
    assert not hasattr(versions, "conf_")


def test_a_module_that_lacks_a_module_itself_is_not_taken_for_a_missing_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shop_that_is_broken.py").write_text("import shop_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(versions._PLACES, "Broken", ("shop_that_is_broken", "airflow.exceptions"))

    with pytest.raises(ModuleNotFoundError, match="shop_that_is_not_there"):
        versions.__getattr__("Broken")


@pytest.mark.parametrize("version", ["2.10.5", "2.11.2", "3.0.6", "3.0.0rc1"])
def test_an_airflow_that_is_too_old_is_refused_by_name(version: str) -> None:
    with pytest.raises(ImportError, match=rf"3\.1 or later, and this is {version}: .* SQLAlchemy"):
        versions.check(version)


@pytest.mark.parametrize("version", ["3.1.0", "3.2.2", "3.3.2", "3.10.0", "4.0.0", "3.4.0b1", None])
def test_others_are_not(version: str | None) -> None:
    versions.check(version)


IMPORTED = ("decorators", "hooks", "operators", "sensors", "triggers", "xcom.backend", "provider")
IMPORTS = f"""
import airflow
from importlib import import_module
airflow.__version__ = "3.0.6"
for name in {IMPORTED}:
    try:
        import_module(f"xclaim.airflow.{{name}}")
    except ImportError as error:
        print(name, "this is 3.0.6" in str(error))
"""


def test_what_a_dag_file_imports_says_so_and_airflow_can_still_ask_the_provider() -> None:
    *refused, provider = IMPORTED

    assert provider == "provider"
    assert printed(IMPORTS).splitlines() == [f"{name} True" for name in refused]


def test_the_module_alone_imports_nothing_of_airflow() -> None:
    code = (
        "import sys; import airflow; before = set(sys.modules);"
        "import xclaim.airflow.versions;"
        "new = set(sys.modules) - before;"
        "print(sorted(name for name in new if name.startswith('airflow')))"
    )

    assert printed(code) == "[]"


@pytest.mark.parametrize(
    ("version", "command"),
    [("3.1.8", "python -m xclaim.airflow"), ("3.2.0", "airflow xclaim")],
)
def test_what_to_type_depends_on_the_version(
    monkeypatch: pytest.MonkeyPatch, version: str, command: str
) -> None:
    monkeypatch.setattr(airflow, "__version__", version)

    assert versions.program() == command


def test_readers_of_lineage_are_those_of_the_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert versions.get_hook_lineage_readers_plugins() == []

    class Reader:
        """Reads nothing."""

    plugin: Any = type("Plugin", (versions.AirflowPlugin,), {"hook_lineage_readers": [Reader]})
    add_plugin(monkeypatch, plugin)
    assert versions.get_hook_lineage_readers_plugins() == [Reader]


def add_plugin(monkeypatch: pytest.MonkeyPatch, plugin: Any) -> None:
    """Let this Airflow have the plugin, and forget what it found before."""
    try:
        manager: Any = import_module("airflow.sdk.plugins_manager")
    except ModuleNotFoundError:  # Airflow 3.1
        manager = import_module("airflow.plugins_manager")
        monkeypatch.setattr(manager, "hook_lineage_reader_classes", None)
        monkeypatch.setattr(manager, "plugins", [plugin])
        return
    get = manager.get_hook_lineage_readers_plugins
    monkeypatch.setattr(manager, "_get_plugins", lambda: ([plugin], {}))
    monkeypatch.setattr(manager, "get_hook_lineage_readers_plugins", get.__wrapped__)


def printed(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


@pytest.mark.parametrize(
    ("version", "program"), [(None, "airflow xclaim"), ("3.1.8", "python -m xclaim.airflow")]
)
def test_the_task_sdk_alone_has_a_program_too(
    version: str | None, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow.__version__", version)

    assert versions.program() == program
