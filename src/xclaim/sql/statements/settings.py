"""The row of a queue in the table of settings, which each setting writes and shows in one way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, select

from xclaim.sql.dialects import Dialect
from xclaim.sql.statements.parts import QUEUE

Kept = Callable[[Any, Any], Mapping[str, Any]]


def written(
    settings: Table, dialect: Dialect, values: Mapping[str, Any], kept: Kept | None = None
) -> Any:
    """Return the statement that writes some settings of the queue, whether it has others or none.

    ``kept``: what becomes of them where there is a row, given its columns and the new values; by
    default the new values.
    """
    inserted = dialect.insert(settings).values(queue=QUEUE, **values)
    new = inserted.excluded
    return inserted.on_conflict_do_update(
        index_elements=[settings.c.queue],
        set_={name: new[name] for name in values} if kept is None else kept(settings.c, new),
    )


def shown(settings: Table, dialect: Dialect, names: Iterable[str]) -> list[ColumnElement[Any]]:
    """Return these settings, as columns that can be read."""
    return [dialect.readable(settings.c[name]) for name in names]


def of_queue(
    settings: Table, dialect: Dialect, names: Iterable[str], is_set: ColumnElement[bool]
) -> Select[Any]:
    """Return these settings of the queue; nothing if ``is_set`` is false for it."""
    return select(*shown(settings, dialect, names)).where(is_set, settings.c.queue == QUEUE)


def of_queues(
    settings: Table, dialect: Dialect, names: Iterable[str], is_set: ColumnElement[bool]
) -> Select[Any]:
    """Return these settings of all queues for which ``is_set`` is true, by name."""
    columns = shown(settings, dialect, ("queue", *names))
    return select(*columns).where(is_set).order_by(settings.c.queue)
