"""Where the browser is: Debian's Chromium, or whatever XCLAIM_TEST_CHROMIUM names."""

from __future__ import annotations

import os
import shutil

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
