"""A Retry for tests of other things: what failed can be claimed again at once."""

from __future__ import annotations

from datetime import timedelta

from xclaim import Retry

AT_ONCE = Retry(first=timedelta(0))
