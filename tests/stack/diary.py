"""What tasks of the tests tell of themselves, in a file of lines that the test reads."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from airflow.sdk import get_current_context

PATIENCE = 600.0  # seconds, see examples.airflow_stack


def conf() -> dict[str, Any]:
    """Return what the run was started with."""
    return get_current_context()["dag_run"].conf or {}


def tell(event: str, **values: object) -> None:
    """Write down that something has happened, in which process, and in which try."""
    names = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "try": get_current_context()["ti"].try_number,
    }
    with Path(conf()["diary"]).open("a") as file:
        file.write(json.dumps({"event": event, **names, **values}) + "\n")


def wait_for_the_test() -> None:
    """Wait until the test lets the task go on."""
    go, give_up_at = Path(conf()["go"]), time.monotonic() + PATIENCE
    while not go.exists() and time.monotonic() < give_up_at:
        time.sleep(0.05)
