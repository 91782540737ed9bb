"""Which places could not be reached a moment ago, and until when they are not asked."""

from __future__ import annotations

import logging
import random
import time

from sqlalchemy.exc import DBAPIError

from xclaim.consuming.reconnecting import is_lost, shown

_SHORTEST, _LONGEST = 1.0, 60.0  # seconds
_SHARE = 5  # a place that takes long to fail is not asked for five times as long
_JITTER = 0.5  # not all workers ask again in the same instant

_logger = logging.getLogger("xclaim")


class Away:
    """The places of one queue that rest, each until a time of its own."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def rests(self, place: str) -> bool:
        """Return whether the place was away a moment ago."""
        return time.monotonic() < self._until.get(place, 0.0)

    def forget(self, place: str) -> None:
        """Note that the place has answered."""
        self._until.pop(place, None)

    def note(self, place: str, error: BaseException, *, began: float) -> bool:
        """Let the place rest if the error says that it is away; return whether it does.

        ``began``: when it was asked, by the monotonic clock.
        """
        # Of the driver there are errors of a wrong host, and of one that was there before.
        if not isinstance(error, DBAPIError) or not is_lost(error):
            return False
        now = time.monotonic()
        rest = min(max(_SHORTEST, _SHARE * (now - began)), _LONGEST)
        rest *= random.uniform(1, 1 + _JITTER)  # noqa: S311
        if not self.rests(place):  # what must go there asks nevertheless, and says so itself
            _logger.warning(
                "place %s is away (%s) and is not asked for %.1f s", place, shown(error), rest
            )
        self._until[place] = now + rest
        return True
