"""A wall clock of this process that is wrong, and jumps when the process gets SIGUSR1.

Only Python's ``time.time`` and ``time.time_ns`` are replaced, of which SQLAlchemy's pool makes use;
xclaim asks no wall clock at all, so there is nothing else that could be misled.
"""

from __future__ import annotations

import signal
import time
from random import Random

_MOST = 3 * 86_400.0  # seconds


def skew_clock(random: Random) -> None:
    """Set the clock of this process wrong, and again at each SIGUSR1."""
    now, now_ns = time.time, time.time_ns
    offset = random.uniform(-_MOST, _MOST)

    def jump(_number: int, _frame: object) -> None:
        nonlocal offset
        offset = random.uniform(-_MOST, _MOST)

    time.time = lambda: now() + offset
    time.time_ns = lambda: now_ns() + int(offset * 1e9)
    signal.signal(signal.SIGUSR1, jump)
