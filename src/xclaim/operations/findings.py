"""What an examination has found, and how bad it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from xclaim.verbs.execution import as_utc

LONGER = "run `xclaim doctor`, which takes longer"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at, what was found, and what to do about it (None: nothing).

    ``queue``: the one it is about; None: it is about none.
    """

    name: str
    level: Level
    found: str
    remedy: str | None = None
    queue: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-serialisable values."""
        values = asdict(self)
        del values["queue"]  # is for pages; what is found names it
        return values


def unseen(name: str, found: str, remedy: str) -> Finding:
    """Return what is said where something could not be looked at."""
    return Finding(name=name, level=Level.WARNING, found=found, remedy=remedy)


def moment(value: Any) -> str:
    """Return a time as it is said."""
    return "never" if value is None else f"{as_utc(value):%Y-%m-%d %H:%M:%S} UTC"
