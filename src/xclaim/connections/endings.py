"""Until when what an engine's verbs send may take: for those that somebody waits for."""

from __future__ import annotations

import time
from datetime import timedelta

from sqlalchemy import Connection, Engine

# An execution option of ours: when by `time.monotonic()` what is sent has to end.
ENDS_AT = "xclaim_ends_at"
_LEAST = 1.0  # seconds that a statement has, however late it is


def ending_within(engine: Engine, time_left: timedelta) -> Engine:
    """Return the engine for verbs that somebody waits for: what they send ends in so long.

    With an error, and nothing of it is done: PostgreSQL ends what waits or works too long, SQLite
    waits for the file for no longer. Half of the time may go by waiting for a lock.
    """
    ends_at = time.monotonic() + time_left.total_seconds()
    return engine.execution_options(**{ENDS_AT: ends_at})


def is_over(connection: Connection) -> bool:
    """Return whether what is sent on the connection should have ended by now."""
    ends_at: float | None = connection.get_execution_options().get(ENDS_AT)
    return ends_at is not None and ends_at <= time.monotonic()


def seconds_left(connection: Connection) -> float | None:
    """Return how long what is sent on the connection may take; None: as long as it takes."""
    ends_at: float | None = connection.get_execution_options().get(ENDS_AT)
    return None if ends_at is None else max(_LEAST, ends_at - time.monotonic())
