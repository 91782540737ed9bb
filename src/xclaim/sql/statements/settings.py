"""The row of a queue in the table of settings, which each setting writes in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Table

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
