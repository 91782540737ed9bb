"""Where the browser is: Debian's Chromium, or whatever XCLAIM_TEST_CHROMIUM names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

WHY_NOT = (
    "there is no browser: install the package chromium (Debian), or name one in "
    "XCLAIM_TEST_CHROMIUM"
)
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """Return the path of the browser; None if there is none."""
    named = os.environ.get("XCLAIM_TEST_CHROMIUM")
    found = (shutil.which(program) for program in (*([named] if named else ()), *_PROGRAMS))
    return next((path for path in found if path), None)


@contextmanager
def opened() -> Iterator[Browser]:
    """Yield the browser; without one the test is skipped, and says so."""
    if executable() is None:
        pytest.skip(WHY_NOT)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        yield chromium
        chromium.close()
