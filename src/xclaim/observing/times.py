"""Times as rows have them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from xclaim.observing.asking import Question
from xclaim.sql.dialects import time_of
from xclaim.sql.statements import observing_queues


def as_time(value: Any) -> Any:
    """Return a time of a row as aware UTC; on SQLite it may come as text. None stays None."""
    if value is None:
        return None
    return value.astimezone(UTC) if isinstance(value, datetime) else time_of(value)


def now_of(question: Question) -> datetime:
    """Return the time by the database's clock."""
    now: datetime = as_time(question.rows(observing_queues.clock)[0].now)
    return now
