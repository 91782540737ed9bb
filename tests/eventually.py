"""Wait for what another process or thread is about to do."""

from __future__ import annotations

import time
from collections.abc import Callable

_SECONDS = 20


def until(condition: Callable[[], object]) -> None:
    """Return as soon as the condition holds; fail when it does not for long."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
