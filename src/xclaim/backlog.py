"""What is known of how many messages wait in a queue, and of how many may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xclaim.arguments import OnFull


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How many messages may wait in a queue, what a push does at that, and how many do.

    Waiting are those that can be claimed, the delayed, and those in line behind others of their
    ordering key; not what is claimed, and no dead letters. They are counted to one more than
    ``max_backlog``, and not at all where that is None: then any number may wait.
    """

    max_backlog: int | None = None
    on_full: OnFull | None = None
    waiting: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a message."""
        return (
            self.max_backlog is not None
            and self.waiting is not None
            and self.waiting >= self.max_backlog
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the backlog as JSON can hold it."""
        return {"max_backlog": self.max_backlog, "on_full": self.on_full, "waiting": self.waiting}
