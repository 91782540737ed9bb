"""Wait for what another process or thread is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable

# Nothing takes so long, also with ten other processes on two cores: a test may be slow there, and
# must not fail. Only a test that fails waits for all of it.
PATIENCE = 120.0  # seconds


def until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; fail when it does not for long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
