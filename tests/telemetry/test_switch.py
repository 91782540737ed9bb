"""How measuring is switched on: by the environment, or by OpenTelemetry's own command."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

from xclaim.connections import events
from xclaim.telemetry import Instrumentor, instrument_if_asked, uninstrument

MEASURED = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.metrics import set_meter_provider
set_meter_provider(MeterProvider())
from xclaim.connections import events
{switch}
print(events.VERBS.is_listened_to())
"""
OF_THE_COMMAND = "from xclaim.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass"
OF_AIRFLOW = "import xclaim.airflow.plugin"


def listens(switch: str, **environment: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(switch=switch)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize(
    ("said", "is_on"), [("1", True), ("true", True), ("0", False), ("", False), ("off", False)]
)
def test_the_command_measures_where_the_variable_says_so(said: str, is_on: bool) -> None:
    assert listens(OF_THE_COMMAND, XCLAIM_OTEL=said) is is_on


@pytest.mark.parametrize("kind", ["METER", "TRACER"])
def test_a_provider_that_is_named_wrongly_ends_nothing(kind: str) -> None:
    environment = {"XCLAIM_OTEL": "1", f"OTEL_PYTHON_{kind}_PROVIDER": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-c", OF_THE_COMMAND],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert done.stdout.startswith("xclaim, version")
    assert "XCLAIM_OTEL is set, and nothing is measured" in done.stderr


@pytest.mark.airflow
@pytest.mark.parametrize(("said", "is_on"), [("1", True), ("0", False)])
def test_airflow_measures_where_the_variable_says_so(said: str, is_on: bool) -> None:
    assert listens(OF_AIRFLOW, XCLAIM_OTEL=said) is is_on


def test_without_the_packages_the_work_goes_on_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XCLAIM_OTEL", "1")
    monkeypatch.setitem(sys.modules, "xclaim.telemetry.metrics", None)

    with caplog.at_level(logging.WARNING, "xclaim"):
        instrument_if_asked()

    assert "install xclaim[otel]" in caplog.text
    assert not events.VERBS.is_listened_to()


def test_opentelemetrys_command_finds_xclaim() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (name,) = pyproject["project"]["entry-points"]["opentelemetry_instrumentor"].values()

    assert resolve_name(name) is Instrumentor


def test_it_takes_what_the_command_passes_and_ends_again() -> None:
    Instrumentor().instrument(skip_dep_check=True, raise_exception_on_conflict=True)
    Instrumentor().uninstrument(unknown=1)

    assert not events.VERBS.is_listened_to()
    uninstrument()  # once more is no error
