"""Rows as values: messages of a list, and the tasks that they name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from xclaim.arguments import DEAD_LETTER_SUFFIX
from xclaim.message import Status, status_of
from xclaim.observing.values import Held, Listed, Task
from xclaim.sql.dialects import marked
from xclaim.task_names import task_of
from xclaim.verbs.execution import as_utc

_MOST_OF_A_NAME = 1_000


def listed(row: Any, excerpt: str | None = None, note: str | None = None) -> Listed:
    """Return the row of a message as one line of a list."""
    is_waiting = row.status == Status.AVAILABLE
    return Listed(
        id=row.id,
        queue=row.queue,
        origin_queue=row.origin_queue,
        status=status_of(row.status),
        is_delayed=bool(row.is_later),
        is_lapsed=bool(row.is_lapsed),
        is_dead=is_waiting and row.queue.endswith(DEAD_LETTER_SUFFIX),
        priority=row.priority,
        unique_key=row.unique_key,
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        created_at=as_utc(row.created_at),
        available_at=as_utc(row.available_at),
        ordering_key=row.ordering_key,
        claimed_at=as_utc(row.claimed_at),
        claim_expires_at=as_utc(row.claim_expires_at),
        consumed_at=as_utc(row.consumed_at),
        claimed_by=row.claimed_by,
        consumed_by=row.consumed_by,
        error_class=row.last_error_class,
        error=getattr(row, "last_error", None),
        excerpt=excerpt,
        excerpt_note=note,
    )


def held(row: Any) -> Held:
    """Return the row of a claim as a value."""
    return Held(
        id=row.id,
        queue=row.queue,
        claimed_by=row.claimed_by or "",
        task=claimant(row.claimed_by),
        attempts=row.attempts,
        claimed_at=as_utc(row.claimed_at),
        claim_expires_at=as_utc(row.claim_expires_at),
        is_lapsed=bool(row.is_lapsed),
        error_class=row.last_error_class,
    )


def claimant(name: str | None) -> Task | None:
    """Return the task instance that has claimed or consumed, None if it was something else."""
    found = task_of(name)
    return None if found is None else Task(**found._asdict())


def producer(headers: str | None) -> Task | None:
    """Return the task instance that pushed, as the headers say it: JSON that anybody may write."""
    try:
        said = json.loads(headers or "null")
        names = {name: said[name] for name in ("dag_id", "run_id", "task_id")}
        if not all(isinstance(name, str) and name for name in names.values()):
            return None
        shown = {name: marked(text[:_MOST_OF_A_NAME]) for name, text in names.items()}
        map_index, try_number = said.get("map_index", -1), said.get("try_number")
        return Task(
            **shown,
            map_index=map_index if type(map_index) is int else -1,
            try_number=try_number if type(try_number) is int else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def decoded(rows: Iterable[Any]) -> list[Any]:
    """Return rows whose texts the database has sent as bytes, with marks for what is no text."""
    return list(map(_decoded, rows))


def _decoded(row: Any) -> Any:
    texts = _texts(row)
    if not texts:
        return row
    if hasattr(row, "_replace"):  # a named tuple
        return row._replace(**texts)
    return SimpleNamespace(**{**row._asdict(), **texts})  # of SQLAlchemy, where somebody listens


def _texts(row: Any) -> dict[str, str]:
    return {
        name: value.decode("utf-8", "replace")
        for name, value in row._asdict().items()
        if isinstance(value, bytes)
    }
