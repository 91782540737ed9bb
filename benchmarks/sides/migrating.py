"""The migrations of whichever xclaim is on the path."""

from __future__ import annotations

from importlib import import_module

_PLACES = ("xclaim.operations.migrate", "xclaim.migrate")  # today's, and that of older commits


def upgrade(url: str) -> None:
    """Make the schema of this xclaim. Raise ImportError if it has no migrations."""
    for place in _PLACES:
        try:
            migrate = import_module(place)
        except ImportError:
            continue
        migrate.upgrade(url)
        return
    raise ImportError(f"this xclaim has its migrations in none of {_PLACES}")
