"""Do so much in a second and no more: so that what is moved back does not flood who consumes it."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEPS = 4  # in a second
_MOST = 1_000  # messages in a step, as in a batch of an upkeep verb


def paced(
    step: Callable[[int], int],
    sleep: Callable[[float], None],
    *,
    rate: float,
    limit: int | None,
) -> int:
    """Take steps until one finds less than it may move; return how many were moved in all.

    ``step`` is told how many it may move. ``rate`` is in messages per second. A failed step ends
    it; what was moved before stays moved.
    """
    began, total = time.monotonic(), 0
    size = max(1, min(_MOST, round(rate / _STEPS)))
    while limit is None or total < limit:
        asked = size if limit is None else min(size, limit - total)
        moved = step(asked)
        total += moved
        if moved < asked or total == limit:
            break
        sleep(max(0.0, total / rate - (time.monotonic() - began)))
    return total
