"""Prometheus's own tool, which checks its rules and expositions."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = os.environ.get("XCLAIM_TEST_PROMTOOL") or shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROGRAM is None,
    reason="there is no promtool: install the package prometheus (Debian), "
    "or name the program in XCLAIM_TEST_PROMTOOL",
)


def promtool(
    *arguments: str, stdin: bytes = b"", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it, and return what came of it."""
    return subprocess.run(
        [str(PROGRAM), *arguments],
        input=stdin.decode(),
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
